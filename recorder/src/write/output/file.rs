//! A file on disk that a format writes to: private, and cut back to its last whole part if the disk
//! fills up. Formats write whole parts only, which are gathered here.
//!
//! It is opened before the long work, and touched only when there is something to put in it: a run
//! that fails at the start leaves what was there.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sslrec_cli::output_file::{Fate, Found, Place, sudo_caller};

/// Written to the file in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 20;

/// A buffered file that stays whole.
#[derive(Debug)]
pub(super) struct CaptureFile {
    file: File,
    buffer: Vec<u8>,
    /// Bytes that the operating system has, up to the end of some whole part.
    written: u64,
    /// Set for a regular file: it can be cut.
    regular: bool,
    /// Set for a file with a name: its place.
    place: Option<Place>,
    /// Set if the file did not exist before.
    created: Option<Created>,
}

/// A file that was not there before.
#[derive(Debug)]
struct Created {
    /// Where it stands, opened while there are privileges to; not if the user may put files there
    /// but not look.
    folder: Option<File>,
}

impl CaptureFile {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let context = || format!("cannot write {}", path.display());
        let place = Place::of(path)?;
        if let Some(file) = place.create(0o600)? {
            Owner::of_files().give(&file).with_context(context)?;
            let created = Created::at(path).with_context(context)?;
            return Ok(Self::new(file, true, Some(place), Some(created)));
        }
        match place.existing()? {
            Some(Found::Regular(file)) => Ok(Self::new(file, true, Some(place), None)),
            Some(Found::Device(file)) => Ok(Self::new(file, false, None, None)),
            None => bail!("cannot write {}: it was removed just now; try again", path.display()),
        }
    }

    /// Why the file cannot be found at its place any more, if so.
    pub(super) fn misplaced(&self) -> Option<&'static str> {
        match self.place.as_ref()?.fate(&self.file) {
            Fate::Present => None,
            Fate::Removed => Some("it was removed while it was written; its contents are lost"),
            Fate::Moved => Some(
                "it was moved or replaced while it was written; the capture is not under this name",
            ),
        }
    }

    pub(super) fn stdout() -> Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned().context("cannot use stdout")?;
        Ok(Self::new(file.into(), false, None, None))
    }

    fn new(file: File, regular: bool, place: Option<Place>, created: Option<Created>) -> Self {
        Self { file, buffer: Vec::new(), written: 0, regular, place, created }
    }

    /// Syncs what was written to disk, and that the file is in its folder.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.regular {
            self.file.sync_data()?;
        }
        self.created.as_ref().map_or(Ok(()), Created::sync_folder)
    }

    /// Hands the buffer to the operating system. On failure the file is cut back to where it was
    /// before; the error tells, and no more can be written.
    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.written == 0 && self.regular {
            // What an earlier capture left, and the mode it had.
            self.file.set_len(0)?;
            self.file.set_permissions(Permissions::from_mode(0o600))?;
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            return Err(self.cut_back(error));
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// After a write that failed half-way. Gives the reason, with what may have come on top.
    fn cut_back(&self, failed: io::Error) -> io::Error {
        if !self.regular {
            return failed;
        }
        match self.file.set_len(self.written) {
            Ok(()) => failed,
            Err(error) => {
                let kind = failed.kind();
                io::Error::new(kind, format!("{failed}, and it cannot be cut back: {error}"))
            }
        }
    }
}

impl Write for CaptureFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.spill()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spill()
    }
}

impl Drop for CaptureFile {
    fn drop(&mut self) {
        if let Some(place) = &self.place
            && self.created.is_some()
            && self.written == 0
        {
            // Nothing was captured. At worst an empty file stays.
            let _ = place.remove(&self.file);
        }
    }
}

impl Created {
    fn at(path: &Path) -> io::Result<Self> {
        let folder = match File::open(folder_of(path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            folder => Some(folder?),
        };
        Ok(Self { folder })
    }

    fn sync_folder(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match folder.sync_all() {
            // File systems that cannot sync a folder have no other way to ask for it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// Where a file of this name stands.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whose the files are: the user's who called sudo(8), or else ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn of_files() -> Self {
        let (uid, gid) = sudo_caller().unwrap_or_else(|| {
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        });
        Self { uid, gid }
    }

    fn give(self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        if (meta.uid(), meta.gid()) == (self.uid, self.gid) {
            return Ok(());
        }
        std::os::unix::fs::fchown(file, Some(self.uid), Some(self.gid))
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nothing_is_left_of_a_run_that_never_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        let mut file = CaptureFile::create(&path).unwrap();
        file.write_all(b"header").unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn an_older_file_survives_a_run_that_never_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        fs::write(&path, "older").unwrap();
        drop(CaptureFile::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"older");
    }

    #[test]
    fn a_capture_replaces_an_older_file_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        fs::write(&path, "an older and longer file").unwrap();
        let mut file = CaptureFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut file = CaptureFile::create(Path::new("/dev/full")).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(file.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = CaptureFile::create(folder.path()).unwrap_err();
        assert!(format!("{error:#}").contains("directory"), "{error:#}");
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("a.pcapng"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = CaptureFile::create(&link).unwrap_err();
        assert!(format!("{error:#}").contains("symbolic link"), "{error:#}");
        fs::write(&target, "somebody's").unwrap();
        assert!(CaptureFile::create(&link).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"somebody's");
    }

    #[test]
    fn another_users_file_is_left_alone() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        fs::write(&path, "somebody's").unwrap();
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let error = CaptureFile::create(&path).unwrap_err();
        assert!(format!("{error:#}").contains("another user's"), "{error:#}");
    }
}
