//! Which files to probe: libraries and executables with TLS functions in them, found from what
//! the user asked for.

pub(crate) mod stack_switchers;

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::Options;
use crate::functions::Family;
use crate::proc::loader;
use crate::proc::processes;
use crate::symbols::{self, Symbols};

/// By this a file is known: uprobes belong to inodes, so that one file under two names is probed
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    /// As the kernel keeps it, and as `struct file_key` has it.
    pub(crate) dev: u32,
    pub(crate) inode: u64,
}

impl FileKey {
    /// With the two parts of the device's number.
    pub(crate) fn new(major: u32, minor: u32, inode: u64) -> Self {
        /// `MINORBITS` of the kernel's `linux/kdev_t.h`.
        const MINOR_BITS: u32 = 20;
        Self { dev: major << MINOR_BITS | minor, inode }
    }

    /// As a file's metadata say. The device may be another than that of a mapping of the file,
    /// on btrfs for one.
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self::new(libc::major(meta.dev()), libc::minor(meta.dev()), meta.ino())
    }
}

/// A file that a process has mapped to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// As the kernel has it for mappings.
    pub(crate) key: FileKey,
    /// Addresses.
    pub(crate) range: Range<u64>,
    /// What the process calls the file, or called it before it was deleted.
    pub(crate) path: PathBuf,
}

impl Mapping {
    /// By what path the very file is to be opened. As the process sees it, whatever its mount
    /// namespace; or, if it was deleted or replaced meanwhile, as an upgrade does, by way of the
    /// mapping; or, if the process is gone by now, as the recorder sees it.
    pub(crate) fn open_path(&self, pid: u32) -> Option<PathBuf> {
        let Range { start, end } = self.range;
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let path = self.path.strip_prefix("/").unwrap_or(&self.path);
        let ways = [
            root.join(path),
            format!("/proc/{pid}/map_files/{start:x}-{end:x}").into(),
            self.path.clone(),
        ];
        // The device may differ, see `FileKey::of`.
        let is_it = |way: &PathBuf| fs::metadata(way).is_ok_and(|m| m.ino() == self.key.inode);
        ways.into_iter().find(is_it)
    }
}

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// By `--lib`.
    Named,
    /// It is the command, or what that needs.
    Needed,
    /// The loader knows it.
    Cached,
    /// A process had it mapped when the recording began.
    Running,
    /// A process mapped it during the recording.
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
    /// Kept open, so that what is probed is what was read, whatever happens to the name.
    pub(crate) file: File,
    /// What its users call it.
    pub(crate) path: PathBuf,
    /// The functions in it.
    pub(crate) symbols: Symbols,
    pub(crate) found: Found,
}

impl Target {
    /// By what path this process, and the kernel in its name, opens the very file.
    pub(crate) fn open_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// Files that are known to have been looked at. A machine that compiles maps ever new ones.
const SEEN_MAX: usize = 1 << 18;

/// What was found, and what is worth a line to the user.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) files: Vec<Target>,
    pub(crate) notes: Vec<String>,
    /// The libraries of interest.
    families: Vec<Family>,
    /// Those that were looked at, whether they are to be probed or not; at most about `SEEN_MAX`.
    seen: HashSet<FileKey>,
}

impl Targets {
    /// None yet; only files with libraries of the wanted families will be.
    pub(crate) fn of_families(options: &Options) -> Self {
        Self { families: options.families(), ..Self::default() }
    }

    /// Finds the files to probe.
    ///
    /// # Errors
    /// A process or file that the user named is not there.
    pub(crate) fn find(options: &Options) -> Result<Self> {
        let mut targets = Self::of_families(options);
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
        Ok(targets)
    }

    /// Files that the user named: each must be good for something.
    fn add_named(&mut self, options: &Options) -> Result<()> {
        for library in &options.libs {
            let path = &library.path;
            let file = symbols::open(path)?;
            let families = library.family().map_or_else(|| self.families.clone(), |one| vec![one]);
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

    /// The command's own ELF file, what it needs, and every libssl that the loader knows.
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

    /// Those of some libraries that are TLS libraries by name.
    fn add_known(&mut self, libraries: &[PathBuf]) {
        for path in libraries {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut names = self.families.iter().flat_map(|family| family.library_names());
            if names.any(|start| name.starts_with(start)) {
                self.consider(path, path, Found::Cached);
            }
        }
    }

    /// Whatever executable file a process has mapped.
    fn add_mapped(&mut self, pid: u32) -> std::io::Result<()> {
        for mapping in mapped_files(pid)? {
            self.consider_mapping(pid, &mapping, Found::Running);
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

    /// Adds a file that a process has mapped, if it has TLS functions. It is looked at once.
    pub(crate) fn consider_mapping(&mut self, pid: u32, mapping: &Mapping, found: Found) {
        if !self.seen.contains(&mapping.key)
            && let Some(open_path) = mapping.open_path(pid)
        {
            self.consider(&open_path, &mapping.path, found);
            self.seen.insert(mapping.key);
        }
    }

    /// Adds a file if it has TLS functions; one that does not, or is no ELF file for this machine, is
    /// passed over in silence, since nobody asked for it by name.
    fn consider(&mut self, open_path: &Path, path: &Path, found: Found) {
        let Ok(meta) = fs::metadata(open_path) else { return };
        if self.seen.contains(&FileKey::of(&meta)) {
            return;
        }
        let Ok(file) = symbols::open(open_path) else { return };
        match Symbols::read(&file, open_path, &self.families) {
            Ok(symbols) if symbols.are_useful() => self.add(file, path.into(), symbols, found),
            Ok(Symbols { go: Some(Err(reason)), .. }) => {
                self.seen.insert(FileKey::of(&meta));
                self.notes.push(format!("{} {reason}; it is not recorded", path.display()));
            }
            _ => {
                self.seen.insert(FileKey::of(&meta));
            }
        }
    }

    /// Whether a file was looked at.
    pub(crate) fn has_seen(&self, key: FileKey) -> bool {
        self.seen.contains(&key)
    }

    /// Forgets the files that were looked at but for these, if they are very many: at the worst they
    /// are looked at once more.
    pub(crate) fn forget_but(&mut self, keep: impl Fn(FileKey) -> bool) {
        if self.seen.len() >= SEEN_MAX {
            self.seen.retain(|key| keep(*key));
        }
    }

    /// All files that were looked at.
    pub(crate) fn seen(&self) -> impl Iterator<Item = FileKey> {
        self.seen.iter().copied()
    }

    /// Whether this is one of the files to probe.
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

/// What to say of a file without any function of these libraries.
fn nothing_in(path: &Path, families: &[Family]) -> String {
    let names: Vec<_> = families.iter().map(ToString::to_string).collect();
    format!(
        "{} has no functions of {} (such as SSL_write) among its symbols; give the library that \
         the program uses, or a build with symbols",
        path.display(),
        names.join(", ")
    )
}

/// The files that a process has mapped to be executed, each once.
pub(crate) fn mapped_files(pid: u32) -> std::io::Result<Vec<Mapping>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut keys = HashSet::new();
    let mappings = maps.lines().filter_map(executable_mapping);
    Ok(mappings.filter(|mapping| keys.insert(mapping.key)).collect())
}

/// What a line of `/proc/PID/maps` says (range, permissions, offset, device, inode, path), if it
/// is of a file that is mapped to be executed. The path may have spaces.
fn executable_mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let executable = fields.next()?.contains('x');
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next()?.trim_start();
    if !executable || !path.starts_with('/') {
        return None;
    }
    let number = |text| u32::from_str_radix(text, 16).ok();
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        key: FileKey::new(number(major)?, number(minor)?, inode),
        range: address(start)?..address(end)?,
        path: path.strip_suffix(" (deleted)").unwrap_or(path).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_mapped_to_be_executed_count() {
        let line = "7f00-7f10 r-xp 00001000 fe:01 1234                       /usr/lib/a b.so";
        let mapping = Mapping {
            key: FileKey { dev: 0xfe << 20 | 1, inode: 1234 },
            range: 0x7f00..0x7f10,
            path: "/usr/lib/a b.so".into(),
        };
        assert_eq!(executable_mapping(line), Some(mapping.clone()));
        assert_eq!(executable_mapping(&format!("{line} (deleted)")), Some(mapping));
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
