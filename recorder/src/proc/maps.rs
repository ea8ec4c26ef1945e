//! The files that processes have mapped: `/proc/PID/maps`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::file::each_line;
use super::processes;

/// Identifies a file: uprobes belong to inodes, so a file with two names is probed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    /// The device in the kernel's encoding, the same as in `struct file_key`.
    pub(crate) dev: u32,
    pub(crate) inode: u64,
}

impl FileKey {
    /// Returns the key with the two parts of the device's number.
    pub(crate) fn new(major: u32, minor: u32, inode: u64) -> Self {
        /// `MINORBITS` of the kernel's `linux/kdev_t.h`.
        const MINOR_BITS: u32 = 20;
        Self { dev: major << MINOR_BITS | minor, inode }
    }

    /// Returns the key from a file's metadata. The device may differ from that of a mapping of the
    /// file, as it does on btrfs.
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self::new(major(meta.dev()), minor(meta.dev()), meta.ino())
    }
}

/// A file that a process has mapped as executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The kernel's key for mappings.
    pub(crate) key: FileKey,
    /// Addresses.
    pub(crate) range: Range<u64>,
    /// The path of the file in the process, or its last path before it was deleted.
    pub(crate) path: PathBuf,
}

impl Mapping {
    /// Returns a path that opens exactly this file: the process's own path in its mount namespace;
    /// or, if the file was deleted or replaced meanwhile, as an upgrade does, the mapping; or, if
    /// the process has ended, the path in the recorder's mount namespace.
    pub(crate) fn open_path(&self, pid: u32) -> Option<PathBuf> {
        let Range { start, end } = self.range;
        let ways = [
            processes::path_in(pid, &self.path),
            processes::path(pid, &format!("map_files/{start:x}-{end:x}")),
            self.path.clone(),
        ];
        // The device may differ, see `FileKey::of`.
        let is_it = |way: &PathBuf| fs::metadata(way).is_ok_and(|m| m.ino() == self.key.inode);
        ways.into_iter().find(is_it)
    }
}

/// Returns the files that a process has mapped as executable, each once.
///
/// # Errors
/// The mappings cannot be read: the process has ended, or belongs to another user.
pub(crate) fn mapped_files(pid: u32) -> io::Result<Vec<Mapping>> {
    let (mut files, mut keys) = (Vec::new(), HashSet::new());
    each_line(processes::path(pid, "maps"), |line| {
        let mapping = Line::parse(line).and_then(|line| line.executable_file());
        files.extend(mapping.filter(|mapping| keys.insert(mapping.key)));
        ControlFlow::Continue(())
    })?;
    Ok(files)
}

/// Returns the addresses at which a process has mapped a library, with the zeroed pages that follow
/// it. The library is the file whose name begins with this.
///
/// # Errors
/// As [`mapped_files`].
pub(crate) fn addresses_of(pid: u32, name: &str) -> io::Result<Option<Range<u64>>> {
    let mut search = Search { name, found: None };
    each_line(processes::path(pid, "maps"), |line| {
        search.look_at(line);
        ControlFlow::Continue(())
    })?;
    Ok(search.found)
}

/// A search for the addresses of a library.
struct Search<'a> {
    name: &'a str,
    found: Option<Range<u64>>,
}

impl Search<'_> {
    fn look_at(&mut self, line: &[u8]) {
        let Some(Line { range, path, .. }) = Line::parse(line) else { return };
        let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let is_library = file.starts_with(self.name.as_bytes());
        match &mut self.found {
            None if is_library => self.found = Some(range),
            Some(found) if is_library || (path.is_empty() && found.end == range.start) => {
                found.end = range.end;
            }
            _ => {}
        }
    }
}

/// A line of `maps`: range, permissions, offset, device, inode, path.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    range: Range<u64>,
    is_executable: bool,
    key: FileKey,
    /// May contain spaces; empty for memory without a file.
    path: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let (start, end) = text()?.split_once('-')?;
        let is_executable = text()?.contains('x');
        text()?;
        let (major, minor) = text()?.split_once(':')?;
        let inode = text()?.parse().ok()?;
        let path = fields.next().unwrap_or_default().trim_ascii_start();
        let number = |text| u32::from_str_radix(text, 16).ok();
        let address = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            range: address(start)?..address(end)?,
            is_executable,
            key: FileKey::new(number(major)?, number(minor)?, inode),
            path,
        })
    }

    fn executable_file(self) -> Option<Mapping> {
        if !self.is_executable || !self.path.starts_with(b"/") {
            return None;
        }
        let path = self.path.strip_suffix(b" (deleted)").unwrap_or(self.path);
        let path = Path::new(OsStr::from_bytes(path)).into();
        Some(Mapping { key: self.key, range: self.range, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executable(line: &str) -> Option<Mapping> {
        Line::parse(line.as_bytes())?.executable_file()
    }

    #[test]
    fn only_files_mapped_to_be_executed_count() {
        let line = "7f00-7f10 r-xp 00001000 fe:01 1234                       /usr/lib/a b.so";
        let mapping = Mapping {
            key: FileKey { dev: 0xfe << 20 | 1, inode: 1234 },
            range: 0x7f00..0x7f10,
            path: "/usr/lib/a b.so".into(),
        };
        assert_eq!(executable(line), Some(mapping.clone()));
        assert_eq!(executable(&format!("{line} (deleted)")), Some(mapping));
        assert_eq!(executable(&line.replace("r-xp", "r--p")), None);
        assert_eq!(executable("7f00-7f10 r-xp 0 00:00 0      [vdso]"), None);
        assert_eq!(executable("7f00-7f10 r-xp 0 00:00 0"), None);
        assert_eq!(executable(""), None);
    }

    #[test]
    fn a_path_that_is_not_utf_8_is_kept() {
        let line = b"7f00-7f10 r-xp 00001000 fe:01 1234    /usr/lib/\xff.so";
        let mapping = Line::parse(line).unwrap().executable_file().unwrap();
        assert_eq!(mapping.path.as_os_str().as_bytes(), b"/usr/lib/\xff.so");
    }

    #[test]
    fn the_own_program_is_mapped() {
        let program = fs::metadata(std::env::current_exe().unwrap()).unwrap();
        let files = mapped_files(std::process::id()).unwrap();
        let mapping = files.iter().find(|file| file.key.inode == program.ino()).unwrap();
        assert!(mapping.open_path(std::process::id()).is_some());
        assert!(mapped_files(u32::MAX).is_err());
    }

    fn addresses(maps: &str, name: &str) -> Option<Range<u64>> {
        let mut search = Search { name, found: None };
        maps.lines().for_each(|line| search.look_at(line.as_bytes()));
        search.found
    }

    #[test]
    fn a_library_ends_with_the_zeroed_pages_behind_it() {
        let maps = "\
            1000-2000 r-xp 00000000 fe:01 7                          /bin/server\n\
            5000-6000 r--p 00000000 fe:01 8                          /lib/libssl3.so\n\
            6000-8000 r-xp 00001000 fe:01 8                          /lib/libssl3.so\n\
            8000-9000 rw-p 00003000 fe:01 8                          /lib/libssl3.so\n\
            9000-a000 rw-p 00000000 00:00 0 \n\
            b000-c000 rw-p 00000000 00:00 0 \n\
            c000-d000 r--p 00000000 fe:01 9                          /lib/libnspr4.so\n";
        assert_eq!(addresses(maps, "libssl3.so"), Some(0x5000..0xa000));
        assert_eq!(addresses(&maps.replace("libssl3", "libssl"), "libssl3.so"), None);
        assert_eq!(addresses("", "libssl3.so"), None);
    }
}
