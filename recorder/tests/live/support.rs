//! Support of every live test: a turn of its own, a temporary folder, the recorder, and tools run
//! with a time limit.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Longest run of a program before the test ends it and fails.
const TIME_LIMIT: Duration = Duration::from_secs(90);

/// The recorder under test.
pub(crate) const SSLREC: &str = env!("CARGO_BIN_EXE_sslrec");

/// A live test's turn and folder. Tests run in turn: they load the machine, and some count the
/// kernel's objects.
pub(crate) struct Live {
    dir: tempfile::TempDir,
    runs: AtomicU32,
    _turn: MutexGuard<'static, ()>,
}

impl Live {
    /// `None`, with the reason printed, where this machine cannot record. In CI that is a failure.
    pub(crate) fn start() -> Option<Self> {
        if let Some(reason) = cannot_record() {
            assert!(std::env::var_os("CI").is_none(), "a live test cannot run in CI: {reason}");
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(Self::elsewhere())
    }

    /// For recordings from elsewhere that are only read here, which any machine can.
    pub(crate) fn elsewhere() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // An earlier failed test has poisoned the lock, which does not matter here.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { dir: tempfile::tempdir().unwrap(), runs: AtomicU32::new(0), _turn: turn }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Records `command` in child mode into both formats.
    pub(crate) fn record<S: AsRef<OsStr>>(&self, options: &[&str], command: &[S]) -> Recorded {
        let (files, mut sslrec) = self.sslrec(options);
        sslrec.arg("--").args(command);
        files.finish(self.run(&mut sslrec))
    }

    /// Starts the recorder with these options, and returns once it has announced that it records.
    pub(crate) fn attach<S: AsRef<OsStr>>(&self, options: &[S]) -> Running {
        let (files, mut sslrec) = self.sslrec(&[]);
        self.begin(files, sslrec.args(options))
    }

    /// The same in child mode, for a command that does not end by itself.
    pub(crate) fn attach_to_command<S: AsRef<OsStr>>(&self, command: &[S]) -> Running {
        let (files, mut sslrec) = self.sslrec(&[]);
        self.begin(files, sslrec.arg("--").args(command))
    }

    fn begin(&self, files: Files, sslrec: &mut Command) -> Running {
        let running = Running { files, started: self.spawn(sslrec) };
        // Other lines have the word too, before anything is recorded.
        running.wait_for_stderr("sslrec: recording");
        running
    }

    /// The recorder with two new output files.
    pub(crate) fn sslrec(&self, options: &[&str]) -> (Files, Command) {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let files = Files {
            pcapng: self.path(&format!("capture-{number}.pcapng")),
            raw: self.path(&format!("capture-{number}.zst")),
        };
        let mut command = Command::new(SSLREC);
        command.args(options).arg("-w").arg(&files.pcapng).arg("-w").arg(&files.raw);
        (files, command)
    }

    /// Starts a program whose output goes to files of this folder.
    pub(crate) fn spawn(&self, command: &mut Command) -> Started {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let stdout = self.path(&format!("run-{number}.stdout"));
        let stderr = self.path(&format!("run-{number}.stderr"));
        for proxy in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Started { child, stdout, stderr }
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Output {
        self.spawn(command).wait()
    }

    /// Wireshark's terminal sibling, with default preferences.
    pub(crate) fn tshark(&self, file: &Path, args: &[&str]) -> String {
        let home = self.path("empty-home");
        fs::create_dir_all(&home).unwrap();
        let output = self.run(
            Command::new("tshark")
                .arg("-r")
                .arg(file)
                .args(args)
                .env("HOME", &home)
                .env_remove("XDG_CONFIG_HOME"),
        );
        assert!(output.status.success(), "tshark {args:?}: {}", output.stderr);
        output.stdout
    }

    /// Returns the lines of a tshark field over the packets that match a filter.
    pub(crate) fn tshark_fields(&self, file: &Path, filter: &str, field: &str) -> Vec<String> {
        self.tshark(file, &["-Y", filter, "-T", "fields", "-e", field])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Tools of other people read the file to its end without complaint.
    pub(crate) fn others_read(&self, file: &Path) {
        if file.extension().is_some_and(|extension| extension == "zst") {
            self.succeed("zstd", &["-q".as_ref(), "-t".as_ref(), file]);
        } else {
            self.tshark(file, &["-q"]);
            self.succeed("capinfos", &[file]);
        }
    }

    /// Runs a program that must succeed, and gives its standard output.
    pub(crate) fn succeed<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> String {
        let output = self.run(Command::new(program).args(args));
        let status = output.status;
        assert!(status.success(), "{program}: {status}\n{}\n{}", output.stdout, output.stderr);
        output.stdout
    }

    /// A private copy of the system's libssl and libcrypto in a folder for `LD_LIBRARY_PATH`.
    /// Probes attach to the file, so that those on a copy touch no other program.
    pub(crate) fn private_libssl(&self) -> PathBuf {
        let folder = self.path("lib");
        fs::create_dir_all(&folder).unwrap();
        for name in ["libssl.so.3", "libcrypto.so.3"] {
            fs::copy(system_library(name), folder.join(name)).unwrap();
        }
        folder
    }
}

fn cannot_record() -> Option<&'static str> {
    if !fs::read_to_string("/proc/self/status").unwrap_or_default().contains("\nUid:\t0\t0\t") {
        return Some("recording needs root");
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel has no BTF (/sys/kernel/btf/vmlinux)");
    }
    None
}

/// Where the loader finds a library, such as `libssl.so.3`.
pub(crate) fn system_library(name: &str) -> PathBuf {
    let output = Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
    let cache = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = cache.lines().find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in the loader's cache"));
    PathBuf::from(line.rsplit(" => ").next().unwrap())
}

/// The two output files of a recording.
pub(crate) struct Files {
    pub(crate) pcapng: PathBuf,
    pub(crate) raw: PathBuf,
}

impl Files {
    pub(crate) fn finish(self, output: Output) -> Recorded {
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        Recorded { pcapng: self.pcapng, raw: self.raw, output }
    }
}

/// A recording that has ended.
pub(crate) struct Recorded {
    pub(crate) pcapng: PathBuf,
    pub(crate) raw: PathBuf,
    pub(crate) output: Output,
}

impl Recorded {
    /// The recorder's exit status; a signal is 128 and its number, as in a shell.
    pub(crate) fn code(&self) -> i32 {
        self.output.code()
    }

    /// For the recordings of which success is expected.
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code(), 0, "sslrec said: {}", self.output.stderr);
        self
    }
}

/// A program that has ended.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|n| 128 + n)).unwrap()
    }
}

/// A program that runs. Dropped, it is ended.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
}

impl Started {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }

    /// Ends a server, with time to tidy up.
    pub(crate) fn end(mut self) {
        self.signal(15);
        let _ = within(Duration::from_secs(5), || self.child.try_wait().unwrap());
    }

    pub(crate) fn wait(mut self) -> Output {
        let status = within(TIME_LIMIT, || self.child.try_wait().unwrap()).unwrap_or_else(|| {
            panic!("no end after {TIME_LIMIT:?}: {}", read_lossy(&self.stderr));
        });
        Output { status, stdout: read_lossy(&self.stdout), stderr: read_lossy(&self.stderr) }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // With its children. A program that survives this shows in the next test; nothing more
            // can be done here.
            let group = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A recorder that runs.
pub(crate) struct Running {
    files: Files,
    started: Started,
}

impl Running {
    pub(crate) fn started(&self) -> &Started {
        &self.started
    }

    /// The file that is being written.
    pub(crate) fn pcapng(&self) -> &Path {
        &self.files.pcapng
    }

    pub(crate) fn wait_for_stderr(&self, text: &str) {
        let stderr = &self.started().stderr;
        let found =
            within(Duration::from_secs(30), || read_lossy(stderr).contains(text).then_some(()));
        assert!(found.is_some(), "sslrec never said {text:?}: {}", read_lossy(stderr));
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(self, number: i32) -> Recorded {
        self.started.signal(number);
        self.wait()
    }

    /// Waits for an end that comes by itself.
    pub(crate) fn wait(self) -> Recorded {
        self.files.finish(self.started.wait())
    }
}

/// Asks every 20 ms until there is an answer.
pub(crate) fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn signal(pid: u32, number: i32) {
    // The shell's own: a program of that name is not on every machine.
    let kill = format!("kill -{number} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}

pub(crate) fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

pub(crate) fn sha256(data: &[u8]) -> String {
    openssl::sha::sha256(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The analyzer, built if it is not: cargo builds the binaries of other packages for nobody.
pub(crate) fn sslanalyze() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(SSLREC).parent().unwrap();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "sslanalyze", "--bin", "sslanalyze"]);
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        folder.join("sslanalyze")
    })
}
