//! A file that takes its place once it is complete.
//!
//! It grows under another name beside its place, readable by this user only, and is then moved
//! there: so a failure leaves what was there before, no link is ever written through, and a
//! capture can even be written over itself.

use std::fs::{File, OpenOptions};
use std::io::{self, StdoutLock, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// A file that is written, and put in its place once it is complete.
pub(crate) enum NewFile {
    /// A regular file, and its place.
    Whole(NamedTempFile, PathBuf),
    /// A pipe or a device, which nothing can take the place of.
    Special(File),
    /// Standard output.
    Stdout(StdoutLock<'static>),
}

impl NewFile {
    /// Standard output, which is written to as it comes.
    pub(crate) fn stdout() -> Self {
        Self::Stdout(io::stdout().lock())
    }

    /// A file that will stand at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let name = path.display();
        let context = || format!("cannot write {name}");
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(context),
            Ok(metadata) if metadata.is_symlink() => {
                bail!("cannot write {name}: it is a link; name the file that it leads to");
            }
            Ok(metadata) if metadata.is_dir() => bail!("cannot write {name}: it is a directory"),
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                let file = OpenOptions::new().write(true).open(path).with_context(context)?;
                return Ok(Self::Special(file));
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = NamedTempFile::with_prefix_in(".sslanalyze-", folder.unwrap_or(Path::new(".")));
        Ok(Self::Whole(file.with_context(context)?, path.to_owned()))
    }

    /// Everything was written.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        match self {
            Self::Whole(file, path) => file.persist(path).map(drop).map_err(|error| error.error),
            Self::Special(_) | Self::Stdout(_) => Ok(()),
        }
    }

    fn inner(&mut self) -> &mut dyn Write {
        match self {
            Self::Whole(file, _) => file.as_file_mut(),
            Self::Special(file) => file,
            Self::Stdout(stdout) => stdout,
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner().flush()
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn it_takes_its_place_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "older").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"older");
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(NewFile::create(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_and_folders_are_refused_and_devices_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        symlink("target", &path).unwrap();
        for (path, says) in [(&*path, "a link"), (folder.path(), "a directory")] {
            let error = NewFile::create(path).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
        let mut null = NewFile::create(Path::new("/dev/null")).unwrap();
        null.write_all(b"x").unwrap();
        null.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
