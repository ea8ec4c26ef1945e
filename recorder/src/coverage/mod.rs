//! Reports what was recorded of each process, and the reasons for any missing data: "nothing was
//! captured" requires an explanation.
//!
//! During the recording this module only takes notes: the probed files, the way they were found,
//! and the mappings of the recorded processes. The report is made from them at the end.

pub(crate) mod account;
pub(crate) mod ports;
mod quic;
pub(crate) mod reason;
pub(crate) mod recognise;
mod report;
pub(crate) mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

pub(crate) use self::report::{Report, lines};
use crate::functions::Family;
use crate::proc::maps::Mapping;
use crate::proc::processes;
use crate::targets::Found;

/// Processes that are reported individually: more than a user reads, in about a megabyte.
const PROCESSES_MAX: usize = 2048;

/// The number under which all other processes are reported together. No process has it.
const REST: u32 = 0;

/// Unprobed files noted of a process; further files could only add reasons why nothing was
/// recorded.
const OTHERS_MAX: usize = 512;

/// Different paths of such files, of all processes.
const PATHS_MAX: usize = 65_536;

/// Characters of a process's short name, at most.
const COMM_MAX: usize = 15;

/// The program of the recorder; `None` if it cannot be determined.
static OWN_PROGRAM: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| processes::executable(std::process::id()).map(PathBuf::from));

/// A probed file.
#[derive(Debug, Clone)]
struct Lib {
    path: PathBuf,
    found: Found,
    functions: usize,
    /// The libraries whose functions are in it.
    families: Vec<Family>,
}

/// Notes on a process.
#[derive(Debug, Clone, Default)]
struct Notes {
    comm: String,
    exe: Option<PathBuf>,
    /// Numbers of the probed files that the process had mapped.
    libs: BTreeSet<u16>,
    /// Other files that the process had mapped as executable, its own program first.
    others: Vec<Arc<Path>>,
}

impl Notes {
    /// Returns the notes on a process that ended before it was inspected: its first mapping is its
    /// program.
    fn of_ended(program: &Path) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let comm = name.chars().take(COMM_MAX).collect();
        Self { comm, exe: Some(program.into()), ..Self::default() }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// By the number of the file in events.
    libs: Vec<Lib>,
    processes: BTreeMap<u32, Notes>,
    /// Paths are the same for many processes.
    paths: BTreeSet<Arc<Path>>,
    /// Processes without notes, beyond the limit.
    rest: Pids,
}

impl Inner {
    /// Returns the stored path; `None` if there are too many.
    fn shared(&mut self, path: &Path) -> Option<Arc<Path>> {
        if let Some(known) = self.paths.get(path) {
            return Some(Arc::clone(known));
        }
        let path: Arc<Path> = path.into();
        (self.paths.len() < PATHS_MAX && self.paths.insert(Arc::clone(&path))).then_some(path)
    }
}

/// A set of processes in half a megabyte, however many they are.
#[derive(Debug, Default)]
struct Pids {
    /// A bit for each: numbers are below 2^22 (`PID_MAX_LIMIT` of Linux).
    bits: Vec<u64>,
    len: u64,
}

impl Pids {
    fn insert(&mut self, pid: u32) {
        let (word, bit) = (pid as usize / 64 % (1 << 16), 1 << (pid % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.len += u64::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }
}

/// The notes, shared by all modules that take them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage(Arc<Mutex<Inner>>);

impl Coverage {
    /// Adds a file that is about to be probed, and returns its number in events: a reader of events
    /// finds the file here.
    pub(crate) fn add_lib(
        &self,
        path: PathBuf,
        found: Found,
        families: Vec<Family>,
    ) -> Result<u16> {
        let mut inner = self.lock();
        let number = u16::try_from(inner.libs.len())?;
        inner.libs.push(Lib { path, found, functions: 0, families });
        Ok(number)
    }

    /// Stores the number of probed functions of a file.
    pub(crate) fn is_probed(&self, lib: u16, functions: usize) {
        if let Some(lib) = self.lock().libs.get_mut(usize::from(lib)) {
            lib.functions = functions;
        }
    }

    /// Returns the file with this number.
    pub(crate) fn path(&self, lib: u16) -> Option<PathBuf> {
        self.lock().libs.get(usize::from(lib)).map(|lib| lib.path.clone())
    }

    /// Notes that a recorded process has mapped a file; `lib` is its number if it is probed.
    pub(crate) fn is_mapped(&self, pid: u32, mapping: &Mapping, lib: Option<u16>) {
        let exe = processes::executable(pid).map(PathBuf::from);
        // The recorder's own processes load libraries in order to test probes.
        if exe.is_some() && exe == *OWN_PROGRAM {
            return;
        }
        let mut inner = self.lock();
        if inner.processes.len() >= PROCESSES_MAX && !inner.processes.contains_key(&pid) {
            inner.rest.insert(pid);
            return;
        }
        let path = if lib.is_none() { inner.shared(&mapping.path) } else { None };
        let is_new = !inner.processes.contains_key(&pid);
        let notes = inner.processes.entry(pid).or_insert_with(|| Notes::of_ended(&mapping.path));
        // An exec replaces all mappings. A process that has exited cannot map more.
        if exe.is_some() && (is_new || notes.exe != exe) {
            *notes =
                Notes { exe, comm: processes::comm(pid).unwrap_or_default(), ..Notes::default() };
        }
        if let Some(lib) = lib {
            notes.libs.insert(lib);
        } else if let Some(path) = path
            && notes.others.len() < OTHERS_MAX
            && !notes.others.contains(&path)
        {
            notes.others.push(path);
        }
    }

    /// Locks the notes. They are consistent even if a thread panicked while taking notes.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether this number still belongs to the process in the notes.
fn is_still(pid: u32, notes: &Notes) -> bool {
    let exe = processes::executable(pid).map(PathBuf::from);
    exe.is_some() && exe == notes.exe
}

#[cfg(test)]
impl<const N: usize> From<[&str; N]> for Coverage {
    fn from(paths: [&str; N]) -> Self {
        let coverage = Self::default();
        for path in paths {
            coverage.add_lib(path.into(), Found::Named, Vec::new()).unwrap();
        }
        coverage
    }
}
