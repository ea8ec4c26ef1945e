//! A file that replaces its target once it is complete.
//!
//! It is written under a temporary name in the same folder, readable by this user only, and then
//! renamed. So a failure leaves the old file, and links are never followed.
//! [`sslrec_cli::output_file`] decides which files may be replaced and which devices may be
//! written.

use std::fs::File;
use std::io::{self, StdoutLock, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
#[cfg(unix)]
use sslrec_cli::output_file::is_same_file;
use tempfile::NamedTempFile;

use crate::exit::Usage;
use crate::files::is_stdin;

/// An output that is a file, a device or standard output.
pub(crate) enum NewFile {
    /// A regular file, and its target path.
    Whole(NamedTempFile, PathBuf),
    /// A device, which cannot be replaced.
    Special(File),
    /// Standard output.
    Stdout(StdoutLock<'static>),
}

impl NewFile {
    /// Returns an output that writes to standard output at once.
    pub(crate) fn stdout() -> Self {
        Self::Stdout(io::stdout().lock())
    }

    /// Creates a file for the target `path`, made from the capture `input`.
    ///
    /// # Errors
    /// The target must not be written (see [`sslrec_cli::output_file`]), writing fails, or the
    /// target is the capture itself, which is a [`Usage`] error.
    pub(crate) fn create(path: &Path, input: &Path) -> Result<Self> {
        refuse_input(path, input)?;
        if let Some(device) = existing_device(path)? {
            return Ok(Self::Special(device));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = NamedTempFile::with_prefix_in(".sslanalyze-", folder.unwrap_or(Path::new(".")));
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::Whole(file, path.to_owned()))
    }

    /// Finishes the file, and moves it to its target.
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

/// Returns an error if the output is its own input. Only one capture of two would be left, and
/// after a failure half-way the wrong capture.
fn refuse_input(path: &Path, input: &Path) -> Result<(), Usage> {
    if is_stdin(input) || !is_same_file(path, input) {
        return Ok(());
    }
    let (path, input) = (path.display(), input.display());
    Err(Usage(format!(
        "{path} is the capture {input} itself; write to another name, then move it there"
    )))
}

#[cfg(not(unix))]
fn is_same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|known| b.canonicalize().is_ok_and(|other| other == known))
}

/// Checks an existing file at `path`, and opens it if it is a device.
#[cfg(unix)]
fn existing_device(path: &Path) -> Result<Option<File>> {
    use sslrec_cli::output_file::{Found, Place};

    let place = Place::of(path)?;
    if !place.check_existing()? {
        return Ok(None);
    }
    Ok(match place.existing()? {
        Some(Found::Device(file)) => Some(file),
        Some(Found::Regular(_)) | None => None,
    })
}

#[cfg(not(unix))]
fn existing_device(path: &Path) -> Result<Option<File>> {
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.is_file() => {
            anyhow::bail!("cannot write {}: it is not a regular file", path.display())
        }
        _ => Ok(None),
    }
}

/// Opens a file for a report, and truncates it. A report contains no secrets, so its mode follows
/// the umask.
pub(crate) fn report(path: &Path, input: &Path) -> Result<File> {
    refuse_input(path, input)?;
    #[cfg(unix)]
    {
        use sslrec_cli::output_file::{Found, Place};

        let place = Place::of(path)?;
        if let Some(file) = place.create(0o666)? {
            return Ok(file);
        }
        match place.existing()? {
            Some(Found::Device(file)) => Ok(file),
            Some(Found::Regular(file)) => {
                file.set_len(0).with_context(|| format!("cannot write {}", path.display()))?;
                Ok(file)
            }
            None => {
                anyhow::bail!("cannot write {}: it was removed just now; try again", path.display())
            }
        }
    }
    #[cfg(not(unix))]
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
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
    fn the_target_is_replaced_when_the_file_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "older").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = NewFile::create(&path, Path::new("in")).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"older");
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(NewFile::create(&path, Path::new("in")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_and_folders_are_refused_and_devices_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        symlink("target", &path).unwrap();
        for (path, says) in [(&*path, "a symbolic link"), (folder.path(), "a directory")] {
            let error = NewFile::create(path, Path::new("in")).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
        let mut null = NewFile::create(Path::new("/dev/null"), Path::new("in")).unwrap();
        null.write_all(b"x").unwrap();
        null.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
