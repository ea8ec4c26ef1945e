//! A file on disk for one of the formats: private, and truncated to its last complete part if the
//! disk fills up. Formats write complete parts only, which are buffered here.
//!
//! The file is opened before the long work, and changed only when there is data to write: a run
//! that fails at the start leaves the previous contents.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sslrec_cli::output_file::{Fate, Found, Place, sudo_caller};

/// Written to the file in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 20;

/// A buffered file that stays complete.
#[derive(Debug)]
pub(super) struct CaptureFile {
    file: File,
    buffer: Vec<u8>,
    /// Bytes passed to the operating system, up to the end of some complete part.
    written: u64,
    /// Set for a regular file: it can be truncated.
    regular: bool,
    /// Set for a file with a name: its place.
    place: Option<Place>,
    /// Set if the file did not exist before.
    created: Option<Created>,
}

/// A file that did not exist before.
#[derive(Debug)]
struct Created {
    /// Its folder, opened before privileges are dropped; `None` if the user may create files there
    /// but not list them.
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

    /// Returns why the file is no longer at its place, if so.
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

    /// Syncs the written data to disk, and the file's entry in its folder.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.regular {
            self.file.sync_data()?;
        }
        self.created.as_ref().map_or(Ok(()), Created::sync_folder)
    }

    /// Passes the buffer to the operating system. On failure the file is truncated to its earlier
    /// size; the error contains the details, and no more can be written.
    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.written == 0 && self.regular {
            // Removes the contents of an earlier capture, and its mode.
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

    /// Truncates the file after a partial write. Returns the reason, with a second error if
    /// truncating failed too.
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
            // Nothing was captured. At worst an empty file remains.
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
            // Some file systems cannot sync a folder, and offer no other way.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// Returns the folder of a file of this name.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The owner of the files: the user who called sudo(8), or else the current user.
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
