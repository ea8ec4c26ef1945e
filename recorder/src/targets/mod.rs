//! The files to probe: libraries and executables with TLS functions in them, found according to the
//! user's choice.

pub(crate) mod stack_switchers;

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::functions::{Family, NamedFile};
use crate::plan::{Plan, Select};
use crate::proc::maps::{FileKey, Mapping, mapped_files};
use crate::proc::{loader, own, processes};
use crate::process::descriptors;
use crate::select::{Filters, chosen};
use crate::symbols::{self, Symbols, TooLarge};

/// The way a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Named by `--lib`.
    Named,
    /// The command, or a library that it needs.
    Needed,
    /// In the loader's cache.
    Cached,
    /// Mapped by a process when the recording began.
    Running,
    /// Mapped by a process during the recording.
    Later,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named by --lib",
            Self::Needed => "needed by the command",
            Self::Cached => "in the loader's cache",
            Self::Running => "mapped by a running process",
            Self::Later => "mapped during the recording",
        })
    }
}

/// A file to probe.
#[derive(Debug)]
pub(crate) struct Target {
    /// Kept open, so that the probed file is the file that was read, even if its name changes.
    pub(crate) file: File,
    /// The path that its users call it by.
    pub(crate) path: PathBuf,
    /// The functions in it.
    pub(crate) symbols: Symbols,
    pub(crate) found: Found,
}

impl Target {
    /// The path by which this process, and the kernel on its behalf, opens exactly this file.
    pub(crate) fn open_path(&self) -> PathBuf {
        own::path_of(self.file.as_fd())
    }
}

/// Maximum number of inspected files that are remembered. A machine that compiles maps new files
/// all the time.
const SEEN_MAX: usize = 1 << 18;

/// The files that were found, and notes for the user.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) files: Vec<Target>,
    pub(crate) notes: Vec<String>,
    /// The libraries of interest.
    families: Vec<Family>,
    /// Inspected files, whether they are to be probed or not; at most about `SEEN_MAX`.
    seen: HashSet<FileKey>,
    /// Set after the note about a lack of file descriptors.
    short_of_descriptors: bool,
}

impl Targets {
    /// Returns an empty set; only files with libraries of these families will be added.
    pub(crate) fn of_families(families: &[Family]) -> Self {
        Self { families: families.to_vec(), ..Self::default() }
    }

    /// Finds the files to probe.
    ///
    /// # Errors
    /// A process or file that the user named does not exist.
    pub(crate) fn find(plan: &Plan, filters: Filters<'_>) -> Result<Self> {
        let Select { pids, command, .. } = &plan.select;
        let mut targets = Self::of_families(&plan.probe.families);
        for &pid in pids {
            match processes::of_thread(pid) {
                Some(process) if process == pid => {}
                Some(process) => bail!("{pid} is a thread of process {process}: use -p {process}"),
                None => bail!("no process {pid}; `pgrep -a NAME` finds the number"),
            }
        }
        if !plan.probe.files.is_empty() {
            targets.add_named(&plan.probe.files)?;
        } else if !pids.is_empty() {
            for &pid in pids {
                targets.add_mapped(pid).with_context(|| {
                    format!("cannot read the mappings of process {pid}; run as root")
                })?;
            }
            targets.add_running(&chosen(&plan.select, filters));
            if targets.files.is_empty() {
                targets.add_known(&loader::cached_libraries());
            }
        } else if let Some(command) = command.first() {
            targets.add_command(command)?;
        } else {
            // Processes that start later will load one of these.
            targets.add_known(&loader::cached_libraries());
            targets.add_running(&chosen(&plan.select, filters));
        }
        Ok(targets)
    }

    /// Adds files that the user named: each must contain functions to probe.
    fn add_named(&mut self, files: &[NamedFile]) -> Result<()> {
        for named in files {
            let path = &named.path;
            let file = symbols::open(path)?;
            let families = named.family().map_or_else(|| self.families.clone(), |one| vec![one]);
            let symbols = Symbols::read(&file, path, &families)?;
            if let Some(Err(reason)) = &symbols.go {
                bail!("{} {reason}", path.display());
            }
            if !symbols.are_useful() {
                bail!("{}", nothing_in(path, &families));
            }
            self.add(file, fs::canonicalize(path)?, symbols, Found::Named);
        }
        Ok(())
    }

    /// Adds the command's own ELF file, the libraries it needs, and every libssl in the loader's
    /// cache.
    fn add_command(&mut self, command: &str) -> Result<()> {
        let executables = loader::executables(&loader::find_command(command)?);
        let cache = loader::cached_libraries();
        for file in executables.iter().chain(&loader::needed(&executables, &cache)) {
            self.consider(file, file, Found::Needed);
        }
        for folder in loader::library_path() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            self.add_known(&files);
        }
        self.add_known(&cache);
        Ok(())
    }

    /// Adds the libraries whose file name is that of a TLS library.
    fn add_known(&mut self, libraries: &[PathBuf]) {
        for path in libraries {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut names = self.families.iter().flat_map(|family| family.library().sonames());
            if names.any(|start| name.starts_with(start)) {
                self.consider(path, path, Found::Cached);
            }
        }
    }

    /// Adds every executable file that a process has mapped.
    fn add_mapped(&mut self, pid: u32) -> std::io::Result<()> {
        for mapping in mapped_files(pid)? {
            self.consider_mapping(pid, &mapping, Found::Running);
        }
        Ok(())
    }

    /// Adds the mappings of these processes. Processes may exit meanwhile: an unreadable process is
    /// not an error here.
    fn add_running(&mut self, pids: &[u32]) {
        for &pid in pids {
            let _ = self.add_mapped(pid);
        }
    }

    /// Adds a file that a process has mapped, if it has TLS functions. A file is inspected once.
    pub(crate) fn consider_mapping(&mut self, pid: u32, mapping: &Mapping, found: Found) {
        if !self.seen.contains(&mapping.key)
            && let Some(open_path) = mapping.open_path(pid)
        {
            let looked_at = self.consider(&open_path, &mapping.path, found);
            if looked_at {
                self.seen.insert(mapping.key);
            }
        }
    }

    /// Adds a file if it has TLS functions. Any other file, or a file that is not an ELF file for
    /// this machine, is skipped without a message, since the user did not name it.
    ///
    /// Returns false if the file could not be read for now and should be tried again.
    fn consider(&mut self, open_path: &Path, path: &Path, found: Found) -> bool {
        let Ok(meta) = fs::metadata(open_path) else { return true };
        if self.seen.contains(&FileKey::of(&meta)) {
            return true;
        }
        let file = match symbols::open(open_path) {
            Ok(file) => file,
            Err(error) => return !self.is_short_of_descriptors(&error, path),
        };
        match Symbols::read(&file, open_path, &self.families) {
            Ok(symbols) if symbols.are_useful() => self.add(file, path.into(), symbols, found),
            Ok(Symbols { go: Some(Err(reason)), .. }) => {
                self.seen.insert(FileKey::of(&meta));
                self.notes.push(format!("{} {reason}; it is not recorded", path.display()));
            }
            refused => {
                self.seen.insert(FileKey::of(&meta));
                if let Some(TooLarge(reason)) = refused.err().and_then(|e| e.downcast().ok()) {
                    self.notes.push(format!("{} {reason}; it is not recorded", path.display()));
                }
            }
        }
        true
    }

    /// Returns whether a file was not opened for lack of file descriptors, and notes this once.
    pub(crate) fn is_short_of_descriptors(&mut self, error: &anyhow::Error, path: &Path) -> bool {
        let Some(shortage) = descriptors::shortage(error) else { return false };
        if !std::mem::replace(&mut self.short_of_descriptors, true) {
            let path = path.display();
            self.notes.push(format!("{shortage}: {path} and maybe more files are not recorded"));
        }
        true
    }

    /// Returns whether a file was inspected.
    pub(crate) fn has_seen(&self, key: FileKey) -> bool {
        self.seen.contains(&key)
    }

    /// Forgets the inspected files except for these, if there are very many: at worst they are
    /// inspected once more.
    pub(crate) fn forget_but(&mut self, keep: impl Fn(FileKey) -> bool) {
        if self.seen.len() >= SEEN_MAX {
            self.seen.retain(|key| keep(*key));
        }
    }

    /// Returns all inspected files.
    pub(crate) fn seen(&self) -> impl Iterator<Item = FileKey> {
        self.seen.iter().copied()
    }

    /// Returns whether this is one of the files to probe.
    pub(crate) fn has(&self, meta: &Metadata) -> bool {
        let is_it = |known: Metadata| FileKey::of(&known) == FileKey::of(meta);
        self.files.iter().any(|target| target.file.metadata().is_ok_and(is_it))
    }

    fn add(&mut self, file: File, path: PathBuf, symbols: Symbols, found: Found) {
        let Ok(meta) = file.metadata() else { return };
        if !self.seen.insert(FileKey::of(&meta)) {
            return;
        }
        let missing = symbols.missing();
        if !missing.is_empty() {
            self.notes.push(format!("{} has no {}", path.display(), missing.join(", ")));
        }
        self.files.push(Target { file, path, symbols, found });
    }
}

/// Returns the message for a file without any function of these libraries.
fn nothing_in(path: &Path, families: &[Family]) -> String {
    let names: Vec<_> = families.iter().map(ToString::to_string).collect();
    format!(
        "{} has no functions of {} (such as SSL_write) among its symbols; give the library that \
         the program uses, or install its debug symbols (debuginfod-find)",
        path.display(),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_mappings_are_readable() {
        let mut targets = Targets::default();
        targets.add_mapped(std::process::id()).unwrap();
        assert!(targets.files.is_empty(), "{:?}", targets.files);
    }
}
