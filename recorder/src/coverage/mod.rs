//! What was recorded of whom, and why not more: "nothing was captured" wants a reason.
//!
//! While the recording goes on this only takes notes: which files were probed and how they were
//! found, and what the recorded processes have mapped. The report is made of them at the end.

pub(crate) mod ports;
pub(crate) mod recognise;
mod report;
pub(crate) mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

pub(crate) use self::report::{Report, lines};
use crate::proc::maps::Mapping;
use crate::proc::processes;
use crate::targets::Found;

/// Processes that are reported each for itself: more than anybody reads, in about a megabyte.
const PROCESSES_MAX: usize = 2048;

/// The number under which all others are reported together. No process has it.
const REST: u32 = 0;

/// Files noted of a process that are not probed; only the reason why nothing was recorded could
/// come of more.
const OTHERS_MAX: usize = 128;

/// Different paths of such files, of all processes.
const PATHS_MAX: usize = 65_536;

/// Characters of a process's short name, at most.
const COMM_MAX: usize = 15;

/// A probed file.
#[derive(Debug, Clone)]
struct Lib {
    path: PathBuf,
    found: Found,
    functions: usize,
}

/// What is noted of a process.
#[derive(Debug, Clone, Default)]
struct Notes {
    comm: String,
    exe: Option<PathBuf>,
    /// Numbers of the probed files that it had mapped.
    libs: BTreeSet<u16>,
    /// Other files that it had mapped to be executed, its own program first.
    others: Vec<Arc<Path>>,
}

impl Notes {
    /// Of a process that has ended before it was looked at: what it maps first is its program.
    fn of_ended(program: &Path) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let comm = name.chars().take(COMM_MAX).collect();
        Self { comm, exe: Some(program.into()), ..Self::default() }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// By the number that events name them by.
    libs: Vec<Lib>,
    processes: BTreeMap<u32, Notes>,
    /// Paths are the same for many processes.
    paths: BTreeSet<Arc<Path>>,
    /// Processes of which no notes were taken any more.
    rest: Pids,
}

impl Inner {
    /// The path as it is kept; `None` if there are too many.
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

/// The notes, shared by those who take them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage(Arc<Mutex<Inner>>);

impl Coverage {
    /// Takes in a file that is about to be probed, and gives the number by which events will name
    /// it: whoever reads events finds it in here.
    pub(crate) fn add_lib(&self, path: PathBuf, found: Found) -> Result<u16> {
        let mut inner = self.lock();
        let number = u16::try_from(inner.libs.len())?;
        inner.libs.push(Lib { path, found, functions: 0 });
        Ok(number)
    }

    /// So many functions of it are probed.
    pub(crate) fn is_probed(&self, lib: u16, functions: usize) {
        if let Some(lib) = self.lock().libs.get_mut(usize::from(lib)) {
            lib.functions = functions;
        }
    }

    /// The file with this number.
    pub(crate) fn path(&self, lib: u16) -> Option<PathBuf> {
        self.lock().libs.get(usize::from(lib)).map(|lib| lib.path.clone())
    }

    /// A recorded process has mapped a file; `lib` is its number if it is probed.
    pub(crate) fn is_mapped(&self, pid: u32, mapping: &Mapping, lib: Option<u16>) {
        let exe = processes::executable(pid).map(PathBuf::from);
        let mut inner = self.lock();
        if inner.processes.len() >= PROCESSES_MAX && !inner.processes.contains_key(&pid) {
            inner.rest.insert(pid);
            return;
        }
        let path = if lib.is_none() { inner.shared(&mapping.path) } else { None };
        let notes = inner.processes.entry(pid).or_insert_with(|| Notes::of_ended(&mapping.path));
        // An exec replaces all that was mapped; who is gone has done with it.
        if exe.is_some() && notes.exe != exe {
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

    /// Notes are whole whatever happened to a thread that took some.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl<const N: usize> From<[&str; N]> for Coverage {
    fn from(paths: [&str; N]) -> Self {
        let coverage = Self::default();
        for path in paths {
            coverage.add_lib(path.into(), Found::Named).unwrap();
        }
        coverage
    }
}
