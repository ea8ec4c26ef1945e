//! A machine with another kernel: a kernel image, and a file system in memory with the recorder,
//! the programs to record and their files. All of it is emulated, so that it runs wherever qemu
//! does, at a tenth of the speed or less.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::support::{Live, Output, Recorded, SSLREC, read_lossy, within};

/// Longest that a guest may run. Undisturbed it takes a sixth of that.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// A case of the guest: the recorder with these options, and the recorded command.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The command that starts the recorder, such as `unshare`; empty: nothing.
    pub(crate) within: &'static str,
    pub(crate) options: &'static str,
    /// A program, found in the guest by its name, and its arguments.
    pub(crate) command: &'static str,
}

impl Case {
    /// Its line of the guest's script.
    fn line(&self) -> String {
        let Self { name, within, options, command } = self;
        let files = "-w capture.pcapng -w capture.zst";
        format!("run {name} {within} sslrec -v {files} {options} -- {command}\n")
    }
}

/// The results of a guest.
pub(crate) struct Guest {
    folder: PathBuf,
    /// `uname -r`.
    pub(crate) kernel: String,
}

impl Guest {
    /// Boots a kernel that runs the cases; `programs` are the recorded programs.
    pub(crate) fn run(live: &Live, kernel: &Path, programs: &[String], cases: &[Case]) -> Self {
        let initrd = initrd(live, programs, cases);
        let (console, archive) = (live.path("console"), live.path("out.tar.gz"));
        let mut qemu = Command::new("qemu-system-x86_64");
        // Two processors in turn: on two threads at once qemu now and then executes an instruction
        // that the kernel is just patching half old and half new, which ends the guest.
        qemu.args(
            "-accel tcg,thread=single -smp 2 -m 1024 -nodefaults -display none -no-reboot"
                .split(' '),
        )
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(&initrd)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .args(["-serial", &format!("file:{}", console.display())])
        .args(["-serial", &format!("file:{}", archive.display())]);
        let mut qemu = live.spawn(&mut qemu);
        let ended = within(TIME_LIMIT, || qemu.child.try_wait().unwrap());
        let seen = || format!("qemu: {}\n{}", read_lossy(&qemu.stderr), read_lossy(&console));
        let ended = ended.unwrap_or_else(|| panic!("no end after {TIME_LIMIT:?}; {}", seen()));
        assert!(ended.success(), "{ended}; {}", seen());

        let folder = live.path("out");
        fs::create_dir(&folder).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("xzf").arg(&archive).arg("-C").arg(&folder);
        assert!(tar.status().unwrap().success(), "nothing whole came out; {}", seen());
        // `--nocapture` shows the duration of each case.
        eprint!("{}", read_lossy(&console));
        Self { kernel: read_lossy(&folder.join("kernel")).trim().to_owned(), folder }
    }

    /// The recording that a case made.
    pub(crate) fn recorded(&self, name: &str) -> Recorded {
        let folder = self.folder.join(name);
        let text = |file: &str| read_lossy(&folder.join(file));
        let status: i32 = text("status").trim().parse().unwrap();
        Recorded {
            pcapng: folder.join("capture.pcapng"),
            raw: folder.join("capture.zst"),
            output: Output {
                // As wait(2) has it.
                status: ExitStatus::from_raw(status << 8),
                stdout: text("stdout"),
                stderr: text("stderr"),
            },
        }
    }
}

/// Packs the guest's file system.
fn initrd(live: &Live, programs: &[String], cases: &[Case]) -> PathBuf {
    let root = live.path("root");
    let bin = root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for program in programs.iter().map(String::as_str).chain([SSLREC]) {
        let name = Path::new(program).file_name().unwrap();
        // Without debug information, which is most of it.
        live.succeed("strip", &["-o".as_ref(), bin.join(name).as_os_str(), program.as_ref()]);
        add_libraries(program, &root);
    }
    let busybox = live.succeed("sh", &["-c", "command -v busybox"]);
    fs::copy(busybox.trim(), bin.join("busybox")).unwrap();
    add_libraries(busybox.trim(), &root);

    let init = root.join("init");
    fs::write(&init, include_str!("init.sh")).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("cases"), cases.iter().map(Case::line).collect::<String>()).unwrap();

    let initrd = live.path("initrd");
    let pack = "find . | busybox cpio --quiet -o -H newc";
    let mut cpio = Command::new("sh");
    cpio.args(["-c", pack]).current_dir(&root).stdout(File::create(&initrd).unwrap());
    assert!(cpio.status().unwrap().success(), "{pack}");
    initrd
}

/// Copies the files that the loader would load for a program to the same paths. A statically linked
/// program needs nothing.
fn add_libraries(program: &str, root: &Path) {
    let ldd = Command::new("ldd").arg(program).output().unwrap();
    let ldd = String::from_utf8(ldd.stdout).unwrap();
    for library in ldd.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = root.join(&library[1..]);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(library, copy).unwrap();
    }
}
