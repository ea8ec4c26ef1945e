//! Output files that protect the capture from other users.
//!
//! A capture contains secrets. A user who can create a file at the place of an output file must not
//! get the capture: by a named pipe that the user reads, by a link to a file of the user, or by a
//! file that the user owns. So a file is written only if it is new, a character device, or a
//! regular file
//!
//! - that is not reached by a symbolic link in its last component,
//! - that belongs to the user who runs the program, to root, or to the user who called sudo(8),
//! - and that has no second name (hard link), if others can write to its folder.
//!
//! The checks are made on descriptors: the folder is opened once, the file is opened in it without
//! following a link and without waiting, and the checked file is the written file. Standard output
//! is not affected: the user who started the program chose it, and it may be a pipe or a socket.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// Bits of a folder's mode that let users other than its owner write to it.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder is opened for its path, for which it need not be readable.
#[cfg(target_os = "linux")]
const FOLDER: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const FOLDER: OFlags = OFlags::RDONLY;

/// The reason why a path is not written.
#[derive(Debug)]
pub struct Refused {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Kind(&'static str),
    Link,
    Directory,
    NoName,
    Owner,
    Names,
    Io(io::Error),
}

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write {}", self.path.display())?;
        let reason = match &self.reason {
            Reason::Kind(kind) => {
                return write!(
                    f,
                    ": it is a {kind}, whose other end may be somebody else; write to - instead"
                );
            }
            Reason::Link => "it is a symbolic link; name its target",
            Reason::Directory => "it is a directory; name a file in it",
            Reason::NoName => "the path has no file name",
            Reason::Owner => "it is another user's, who could read the capture; remove it first",
            Reason::Names => {
                "it has another name (hard link), and others can write to its folder; remove it \
                 first"
            }
            // The source of the error.
            Reason::Io(_) => return Ok(()),
        };
        write!(f, ": {reason}")
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// An existing file or device that may be written, opened for writing and not truncated.
#[derive(Debug)]
pub enum Found {
    /// A regular file.
    Regular(File),
    /// A character device.
    Device(File),
}

/// A place for an output file: a name in a folder.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    folder: File,
    name: OsString,
}

/// Fate of a file since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The file is at its place, or the place is no longer readable.
    Present,
    /// The file no longer has a name: its contents are lost once it is closed.
    Removed,
    /// The file has another name, and its place has another file or none.
    Moved,
}

impl Place {
    /// Opens the folder of `path`.
    ///
    /// # Errors
    /// The path has no file name, or its folder cannot be opened.
    pub fn of(path: &Path) -> Result<Self, Refused> {
        let refused = |reason| Refused { path: path.into(), reason };
        let Some(name) = path.file_name().filter(|_| !ends_with_slash(path)) else {
            let reason = if path.is_dir() { Reason::Directory } else { Reason::NoName };
            return Err(refused(reason));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let flags = FOLDER | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder.unwrap_or(Path::new(".")), flags, Mode::empty())
            .map_err(|error| refused(Reason::Io(error.into())))?;
        Ok(Self { path: path.into(), folder: folder.into(), name: name.into() })
    }

    /// Creates the file with this mode, less the umask. Returns `None` if the place has a file
    /// already.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(&self, mode: u16) -> Result<Option<File>, Refused> {
        let mode = Mode::from_bits_truncate(mode.into());
        match self.open(OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(self.refused(Reason::Io(error.into()))),
        }
    }

    /// Opens the existing file or device at the place, if there is one.
    ///
    /// # Errors
    /// It must not be written, or cannot be.
    pub fn existing(&self) -> Result<Option<Found>, Refused> {
        let file: File = match self.open(OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.refused(self.reason(error))),
        };
        let io = |error: io::Error| self.refused(Reason::Io(error));
        let meta = file.metadata().map_err(io)?;
        self.check(&meta)?;
        // Only the opening must not block.
        rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(|error| io(error.into()))?;
        let is_device = meta.file_type().is_char_device();
        Ok(Some(if is_device { Found::Device(file) } else { Found::Regular(file) }))
    }

    /// Checks the file at the place, if there is one, without opening it: for a writer that
    /// replaces the file and writes nothing into it. Returns whether it is a device.
    ///
    /// # Errors
    /// The file must not be written.
    pub fn check_existing(&self) -> Result<bool, Refused> {
        match self.path.symlink_metadata() {
            Ok(meta) => self.check(&meta).map(|()| meta.file_type().is_char_device()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.refused(Reason::Io(error))),
        }
    }

    /// Removes a file that was created here, if it is still at its place.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, file: &File) -> io::Result<()> {
        match self.fate(file) {
            Fate::Present => Ok(rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty())?),
            Fate::Removed | Fate::Moved => Ok(()),
        }
    }

    /// Returns the fate of a file that was opened here.
    pub fn fate(&self, file: &File) -> Fate {
        let Ok(meta) = file.metadata() else { return Fate::Present };
        if meta.nlink() == 0 {
            return Fate::Removed;
        }
        match self.path.symlink_metadata() {
            Ok(found) if (found.dev(), found.ino()) == (meta.dev(), meta.ino()) => Fate::Present,
            Ok(_) => Fate::Moved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Fate::Moved,
            // Without privileges the folder may be inaccessible to this user now.
            Err(_) => Fate::Present,
        }
    }

    fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.folder, &self.name, flags, mode)
    }

    fn refused(&self, reason: Reason) -> Refused {
        Refused { path: self.path.clone(), reason }
    }

    /// Returns the reason why the kernel did not open the file, by the kind of file if that
    /// explains it.
    fn reason(&self, error: Errno) -> Reason {
        let kind = self.path.symlink_metadata().map(|meta| kind_objection(&meta));
        kind.ok().flatten().unwrap_or(Reason::Io(error.into()))
    }

    fn check(&self, meta: &Metadata) -> Result<(), Refused> {
        match self.objection(meta) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(self.refused(reason)),
            Err(error) => Err(self.refused(Reason::Io(error))),
        }
    }

    /// Returns the reason why the file must not be written, if there is one.
    fn objection(&self, meta: &Metadata) -> io::Result<Option<Reason>> {
        Ok(if let Some(reason) = kind_objection(meta) {
            Some(reason)
        } else if meta.file_type().is_char_device() {
            None
        } else if !owners().contains(&meta.uid()) {
            Some(Reason::Owner)
        } else if meta.nlink() > 1 && self.is_folder_of_others()? {
            Some(Reason::Names)
        } else {
            None
        })
    }

    /// Returns whether users other than this user and root can create links in the folder.
    fn is_folder_of_others(&self) -> io::Result<bool> {
        let folder = self.folder.metadata()?;
        Ok(folder.mode() & WRITABLE_BY_OTHERS != 0 || !owners().contains(&folder.uid()))
    }
}

/// Returns the reason why a file of this kind is not written, if there is one.
fn kind_objection(meta: &Metadata) -> Option<Reason> {
    let kind = meta.file_type();
    if kind.is_file() || kind.is_char_device() {
        None
    } else if kind.is_symlink() {
        Some(Reason::Link)
    } else if kind.is_dir() {
        Some(Reason::Directory)
    } else if kind.is_fifo() {
        Some(Reason::Kind("named pipe"))
    } else if kind.is_socket() {
        Some(Reason::Kind("socket"))
    } else {
        Some(Reason::Kind("block device"))
    }
}

/// Returns user and group of the caller of sudo(8), if the program runs as root by it.
pub fn sudo_caller() -> Option<(u32, u32)> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let ids = (number("SUDO_UID")?, number("SUDO_GID")?);
    rustix::process::geteuid().is_root().then_some(ids)
}

/// Returns the users whose files are written: this user, root, and the caller of sudo(8).
fn owners() -> Vec<u32> {
    let own = rustix::process::geteuid().as_raw();
    [Some(own), Some(0), sudo_caller().map(|(uid, _)| uid)].into_iter().flatten().collect()
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Returns whether both paths lead to the same file, also by links.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        meta.is_file().then(|| (meta.dev(), meta.ino()))
    };
    id(a).is_some_and(|known| id(b) == Some(known))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions, Permissions};
    use std::io::{Read, Write};
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    use rustix::fs::mkfifoat;

    use super::*;

    fn existing(path: &Path) -> Result<Option<Found>, String> {
        let found = Place::of(path).and_then(|place| place.existing());
        found.map_err(|refused| refused.to_string())
    }

    fn refusal(path: &Path) -> String {
        let refusal = existing(path).map(|found| panic!("{found:?}")).unwrap_err();
        if let Ok(place) = Place::of(path) {
            assert_eq!(place.check_existing().unwrap_err().to_string(), refusal);
        }
        refusal
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn a_new_file_is_private_and_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(&folder.path().join("a")).unwrap();
        assert!(place.existing().unwrap().is_none());
        let mut file = place.create(0o600).unwrap().unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(place.create(0o600).unwrap().is_none());
        assert!(matches!(place.existing().unwrap(), Some(Found::Regular(_))));
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"x", "opening changes nothing");
    }

    #[test]
    fn devices_are_written() {
        let Ok(Some(Found::Device(mut null))) = existing(Path::new("/dev/null")) else { panic!() };
        null.write_all(b"x").unwrap();
        assert!(!rustix::fs::fcntl_getfl(&null).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn pipes_are_refused_with_a_reader_and_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).unwrap();
        assert!(refusal(&path).contains("a named pipe"), "{}", refusal(&path));
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
        let mut reader = options.open(&path).unwrap();
        assert!(refusal(&path).contains("a named pipe"), "{}", refusal(&path));
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the reader got something");
    }

    #[test]
    fn sockets_links_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _listener = UnixListener::bind(path("socket")).unwrap();
        assert!(refusal(&path("socket")).contains("a socket"));
        symlink("target", path("link")).unwrap();
        assert!(refusal(&path("link")).contains("a symbolic link"));
        fs::write(path("target"), "x").unwrap();
        assert!(refusal(&path("link")).contains("a symbolic link"));
        assert!(Place::of(&path("link")).unwrap().create(0o600).unwrap().is_none());
        for name in [folder.path(), &path(".")] {
            assert!(refusal(name).contains("a directory"), "{}", refusal(name));
        }
        for name in ["no/such/folder/a", "", "..", "/", "a/"] {
            Place::of(Path::new(name)).and_then(|place| place.create(0o600)).map(drop).unwrap_err();
        }
    }

    #[test]
    fn block_devices_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let device = rustix::fs::makedev(7, 250);
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::BlockDevice,
            Mode::RWXU,
            device,
        );
        match made {
            Ok(()) => assert!(refusal(&path).contains("a block device"), "{}", refusal(&path)),
            Err(error) => assert!(!is_root(), "{error}"),
        }
    }

    #[test]
    fn another_users_file_is_refused() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "somebody's").unwrap();
        chown(&path, Some(65534), None).unwrap();
        assert!(refusal(&path).contains("another user's"));
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    }

    #[test]
    fn a_hard_link_is_refused_where_others_can_create_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "x").unwrap();
        fs::hard_link(&path, folder.path().join("b")).unwrap();
        assert!(existing(&path).unwrap().is_some());
        for mode in [0o1777, 0o770, 0o702] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&path).contains("hard link"), "{mode:o}");
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(existing(&path).unwrap().is_some());
        if is_root() {
            chown(folder.path(), Some(65534), None).unwrap();
            assert!(refusal(&path).contains("hard link"));
        }
        fs::remove_file(folder.path().join("b")).unwrap();
        assert!(existing(&path).unwrap().is_some(), "one name is enough");
    }

    #[test]
    fn removal_and_replacement_are_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let place = Place::of(&path("a")).unwrap();
        let file = place.create(0o600).unwrap().unwrap();
        assert_eq!(place.fate(&file), Fate::Present);
        fs::rename(path("a"), path("b")).unwrap();
        assert_eq!(place.fate(&file), Fate::Moved);
        fs::write(path("a"), "another").unwrap();
        assert_eq!(place.fate(&file), Fate::Moved);
        fs::remove_file(path("b")).unwrap();
        assert_eq!(place.fate(&file), Fate::Removed);
        place.remove(&file).unwrap();
        assert_eq!(fs::read(path("a")).unwrap(), b"another", "another file was removed");
    }

    #[test]
    fn a_file_is_recognised_by_all_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "other"] {
            fs::write(path(name), "x").unwrap();
        }
        symlink("a", path("link")).unwrap();
        fs::hard_link(path("a"), path("b")).unwrap();
        for name in ["a", "link", "b"] {
            assert!(is_same_file(&path("a"), &path(name)), "{name}");
        }
        assert!(!is_same_file(&path("a"), &path("other")));
        assert!(!is_same_file(&path("missing"), &path("missing")));
        let null = Path::new("/dev/null");
        assert!(!is_same_file(null, null), "a device has no contents to lose");
    }
}
