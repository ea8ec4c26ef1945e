//! The common needs of all sections: the programs under test, a private copy of libssl, a folder in
//! memory for captures, and the duration of a measurement.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::succeed;
use crate::machine::Machine;

/// The recorder under test, with the optimisations of a release.
pub(crate) const SSLREC: &str = env!("CARGO_BIN_EXE_sslrec");

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers");

/// tmpfs on every Linux: a disk would be measured along with the recorder.
const MEMORY: &str = "/dev/shm";

/// A folder where nobody but root can write, so that the recorder tests a library before it
/// records.
const TRUSTED: &str = "/opt";

/// The beginning of the folder's name, before the number of its process.
const PREFIX: &str = "sslrec-bench-";

/// The state that the sections share. Its folder is removed when it is dropped.
pub(crate) struct Setup {
    folder: tempfile::TempDir,
    /// The folder around `libraries`.
    _trusted: tempfile::TempDir,
    /// A single short round, for trials.
    pub(crate) quick: bool,
    /// For `LD_LIBRARY_PATH`: probes attach to the file, so that probes on a copy affect no other
    /// program.
    pub(crate) libraries: PathBuf,
    /// A case for each way of using the library.
    pub(crate) tls_cases: PathBuf,
    /// A fast no-op TLS library that is also a program.
    pub(crate) fake_tls: PathBuf,
    pub(crate) sslanalyze: PathBuf,
    pub(crate) machine: Machine,
    /// The folder for the JSON.
    pub(crate) results: PathBuf,
    /// Whether the recorder has an option to work without placed probes.
    pub(crate) has_placement: bool,
}

impl Setup {
    /// # Errors
    /// This machine cannot record, or something is missing, as stated in the message.
    pub(crate) fn new(quick: bool) -> Result<Self> {
        check_machine()?;
        let machine = Machine::read();
        remove_leftovers()?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(MEMORY)?;
        let trusted = tempfile::Builder::new().prefix(&prefix).tempdir_in(TRUSTED)?;
        let libraries = trusted.path().join("lib");
        copy_libraries(&libraries)?;
        let build = |name: &str, sources: &[&str], libraries: &[&str]| {
            build_peer(&folder.path().join(name), sources, libraries)
        };
        let sources = [
            "tls_cases.c",
            "mapped.c",
            "nested.c",
            "shared.c",
            "unannounced.c",
            "volume.c",
            "deaths.c",
            "peer.c",
        ];
        let tls_cases = build("tls_cases", &sources, &["-lssl", "-lcrypto"])?;
        let fake_tls = build("fake_tls", &["fake_tls.c"], &[])?;
        let binaries = Path::new(SSLREC).parent().context("the recorder is in no folder")?;
        let sslanalyze = binaries.join("sslanalyze");
        if !sslanalyze.exists() {
            bail!("{} is missing; `make bench` builds it", sslanalyze.display());
        }
        let results = binaries.parent().unwrap_or(binaries).join("bench");
        let has_placement = knows_placement()?;
        Ok(Self {
            folder,
            _trusted: trusted,
            quick,
            libraries,
            tls_cases,
            fake_tls,
            sslanalyze,
            machine,
            results,
            has_placement,
        })
    }

    /// Returns a path for a file that lives as long as this.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the copy of libssl.
    pub(crate) fn libssl(&self) -> PathBuf {
        self.libraries.join("libssl.so.3")
    }

    /// Returns `usual`, or 1 in a trial.
    pub(crate) fn rounds(&self, usual: usize) -> usize {
        if self.quick { 1 } else { usual }
    }

    /// Returns `usual`, or a tenth in a trial.
    pub(crate) fn count(&self, usual: u64) -> u64 {
        if self.quick { usual / 10 } else { usual }
    }
}

fn check_machine() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")) {
        bail!("recording needs root");
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        bail!("this kernel has no BTF (/sys/kernel/btf/vmlinux)");
    }
    for program in ["clang", "curl", "gcc", "nginx", "openssl", "tshark", "wget", "wrk", "h2load"] {
        let found = Command::new("sh")
            .args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}")])
            .stdout(Stdio::null())
            .status()?;
        if !found.success() {
            bail!(
                "{program} is missing; `make bench` installs it (packaging/install-deps.sh bench)"
            );
        }
    }
    Ok(())
}

/// Removes the captures that an interrupted run has left in memory.
fn remove_leftovers() -> Result<()> {
    for entry in fs::read_dir(MEMORY)?.chain(fs::read_dir(TRUSTED)?) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let Some((pid, _)) = pid else { continue };
        if !Path::new("/proc").join(pid).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Copies the system's libssl and libcrypto from the folders that the loader uses.
fn copy_libraries(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    ["libssl.so.3", "libcrypto.so.3"].into_iter().try_for_each(|name| copy_library(name, folder))
}

/// Copies a library of the system.
pub(crate) fn copy_library(name: &str, folder: &Path) -> Result<()> {
    let cache = succeed(Command::new("/sbin/ldconfig").arg("-p"))?;
    let path = cache
        .lines()
        .filter(|line| line.trim_start().starts_with(name))
        .find_map(|line| Some(line.split_once(" => ")?.1))
        .with_context(|| format!("{name} is not in the loader's cache"))?;
    fs::copy(path, folder.join(name)).with_context(|| format!("cannot copy {path}"))?;
    Ok(())
}

fn build_peer(program: &Path, sources: &[&str], libraries: &[&str]) -> Result<PathBuf> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-g", "-pthread", "-o"]).arg(program).args(sources).args(libraries);
    succeed(gcc.current_dir(PEERS))?;
    Ok(program.to_owned())
}

/// Returns whether the recorder has the option. If not, it refuses the command line before it acts,
/// and `--version` does nothing.
fn knows_placement() -> Result<bool> {
    let mut sslrec = Command::new(SSLREC);
    sslrec.args(["--without", "placement", "--version"]);
    let status = sslrec.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    Ok(status.success())
}
