//! Which files to probe: libraries and executables with TLS functions in them, found from what
//! the user asked for.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::Options;
use crate::loader;
use crate::processes;
use crate::symbols::{self, Symbols};

/// A file to probe.
#[derive(Debug)]
pub(crate) struct Target {
    /// Kept open, so that what is probed is what was read, whatever happens to the name.
    pub(crate) file: File,
    /// What its users call it.
    pub(crate) path: PathBuf,
    /// The functions in it.
    pub(crate) symbols: Symbols,
}

impl Target {
    /// By what path this process, and the kernel in its name, opens the very file.
    pub(crate) fn open_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// What was found, and what is worth a line to the user.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) files: Vec<Target>,
    pub(crate) notes: Vec<String>,
    /// Uprobes belong to inodes, so one file under two names is probed once.
    seen: HashSet<(u64, u64)>,
}

impl Targets {
    /// Finds the files to probe.
    ///
    /// # Errors
    /// A process or file that the user named is not there, or nothing can be probed at all.
    pub(crate) fn find(options: &Options) -> Result<Self> {
        let mut targets = Self::default();
        for &pid in &options.pids {
            match processes::of_thread(pid) {
                Some(process) if process == pid => {}
                Some(process) => bail!("{pid} is a thread of process {process}: use -p {process}"),
                None => bail!("no process {pid}; `pgrep -a NAME` finds the number"),
            }
        }
        if !options.libs.is_empty() {
            targets.add_named(options)?;
        } else if !options.pids.is_empty() {
            for &pid in &options.pids {
                targets.add_mapped(pid).with_context(|| {
                    format!("cannot read what process {pid} has mapped; run as root")
                })?;
            }
            if !options.no_children {
                targets.add_running(&processes::with_descendants(&options.pids));
            }
            if targets.files.is_empty() {
                targets.add_known(&loader::cached_libraries());
            }
        } else if let Some(command) = options.command.first() {
            targets.add_command(command)?;
        } else {
            targets.add_known(&loader::cached_libraries());
            targets.add_running(&processes::all());
        }
        if targets.files.is_empty() {
            bail!("no OpenSSL library found to probe; name one with --lib PATH");
        }
        Ok(targets)
    }

    /// Files that the user named: each must be good for something.
    fn add_named(&mut self, options: &Options) -> Result<()> {
        for library in &options.libs {
            let path = &library.path;
            let file = symbols::open(path)?;
            let symbols = Symbols::read(&file, path)?;
            if !symbols.carry_data() {
                bail!(
                    "{} has none of OpenSSL's functions (SSL_read, SSL_write, ...); \
                     give the libssl that the program uses, or a build with symbols",
                    path.display()
                );
            }
            self.add(file, fs::canonicalize(path)?, symbols);
        }
        Ok(())
    }

    /// The command's own ELF file, what it needs, and every libssl that the loader knows.
    fn add_command(&mut self, command: &str) -> Result<()> {
        let executables = loader::executables(&loader::find_command(command)?);
        let cache = loader::cached_libraries();
        for file in executables.iter().chain(&loader::needed(&executables, &cache)) {
            self.consider(file, file);
        }
        for folder in loader::library_path() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            self.add_known(&files);
        }
        self.add_known(&cache);
        Ok(())
    }

    /// Those of some libraries that are OpenSSL's by name.
    fn add_known(&mut self, libraries: &[PathBuf]) {
        for path in libraries {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("libssl.so") {
                self.consider(path, path);
            }
        }
    }

    /// Whatever executable file a process has mapped.
    fn add_mapped(&mut self, pid: u32) -> std::io::Result<()> {
        for (open_path, path) in mapped_files(pid)? {
            self.consider(&open_path, &path);
        }
        Ok(())
    }

    /// What these processes have mapped. They come and go: one that cannot be read is not an
    /// error here.
    fn add_running(&mut self, pids: &[u32]) {
        for &pid in pids {
            let _ = self.add_mapped(pid);
        }
    }

    /// Adds a file if it has TLS functions; one that does not, or is no ELF file for this machine, is
    /// passed over in silence, since nobody asked for it by name.
    fn consider(&mut self, open_path: &Path, path: &Path) {
        let Ok(meta) = fs::metadata(open_path) else { return };
        if self.seen.contains(&(meta.dev(), meta.ino())) {
            return;
        }
        let Ok(file) = symbols::open(open_path) else { return };
        match Symbols::read(&file, open_path) {
            Ok(symbols) if symbols.carry_data() => self.add(file, path.into(), symbols),
            _ => {
                self.seen.insert((meta.dev(), meta.ino()));
            }
        }
    }

    /// Whether this is one of the files to probe.
    pub(crate) fn has(&self, meta: &Metadata) -> bool {
        let is_it = |known: Metadata| known.dev() == meta.dev() && known.ino() == meta.ino();
        self.files.iter().any(|target| target.file.metadata().is_ok_and(is_it))
    }

    fn add(&mut self, file: File, path: PathBuf, symbols: Symbols) {
        let Ok(meta) = file.metadata() else { return };
        if !self.seen.insert((meta.dev(), meta.ino())) {
            return;
        }
        let missing = symbols.missing();
        if !missing.is_empty() {
            self.notes.push(format!("{} has no {}", path.display(), missing.join(", ")));
        }
        self.files.push(Target { file, path, symbols });
    }
}

/// The executable files that a process has mapped: by what path to open each, seen from the
/// process's own root, and what the process calls it. One that was deleted or replaced meanwhile,
/// as an upgrade does, is still to be had by way of the mapping.
pub(crate) fn mapped_files(pid: u32) -> std::io::Result<Vec<(PathBuf, PathBuf)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut paths = HashSet::new();
    let mappings = maps.lines().filter_map(executable_mapping);
    let files = mappings.filter(|(_, path)| paths.insert(*path)).map(|(range, path)| {
        match path.strip_suffix(" (deleted)") {
            None => (format!("/proc/{pid}/root{path}").into(), path.into()),
            Some(path) => (format!("/proc/{pid}/map_files/{range}").into(), path.into()),
        }
    });
    Ok(files.collect())
}

/// The address range and the file of a line of `/proc/PID/maps` (range, permissions, offset,
/// device, inode, path), if the file is mapped to be executed. The path may have spaces.
fn executable_mapping(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.splitn(6, ' ');
    let range = fields.next()?;
    let executable = fields.next()?.contains('x');
    let path = fields.nth(3)?.trim_start();
    (executable && path.starts_with('/')).then_some((range, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_mapped_to_be_executed_count() {
        let line = "7f00-7f10 r-xp 00001000 fe:00 1234                       /usr/lib/a b.so";
        assert_eq!(executable_mapping(line), Some(("7f00-7f10", "/usr/lib/a b.so")));
        assert_eq!(executable_mapping(&line.replace("r-xp", "r--p")), None);
        assert_eq!(executable_mapping("7f00-7f10 r-xp 0 00:00 0      [vdso]"), None);
        assert_eq!(executable_mapping("7f00-7f10 r-xp 0 00:00 0"), None);
        assert_eq!(executable_mapping(""), None);
    }

    #[test]
    fn the_own_mappings_are_readable() {
        let mut targets = Targets::default();
        targets.add_mapped(std::process::id()).unwrap();
        assert!(targets.files.is_empty(), "{:?}", targets.files);
    }
}
