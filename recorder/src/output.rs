//! The files that a recording goes to.
//!
//! A file is opened before the long work, and touched only when there is something to put in it:
//! a run that fails at the start leaves what was there. It is cut back to its last whole part if
//! the disk fills up, so that what was captured stays readable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sslrec_formats::io::{Error, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{CaptureInfo, Record};

use crate::cli::{Destination, Options};

/// Written to the file in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 20;

/// Compression of the raw log: zstd's fastest standard level, since it runs while the programs
/// do.
const RAW_LOG_LEVEL: i32 = 1;

/// A file in one of the two formats.
pub(crate) struct Output {
    /// As the user calls it.
    pub(crate) name: String,
    writer: Box<dyn RecordWriter + Send>,
}

impl Output {
    /// Opens every file that the options name.
    ///
    /// # Errors
    /// A file cannot be written, or is named twice.
    pub(crate) fn open_all(options: &Options, info: &CaptureInfo) -> Result<Vec<Self>> {
        for (i, destination) in options.write.iter().enumerate() {
            if options.write[..i].contains(destination) {
                bail!("-w {destination} is given twice");
            }
        }
        options.write.iter().map(|destination| Self::open(destination, options, info)).collect()
    }

    fn open(destination: &Destination, options: &Options, info: &CaptureInfo) -> Result<Self> {
        let writer: Box<dyn RecordWriter + Send> = match destination {
            Destination::Stdout => Box::new(pcapng(CaptureFile::stdout()?, options, info)?),
            Destination::Pcapng(path) => {
                Box::new(pcapng(CaptureFile::create(path)?, options, info)?)
            }
            Destination::RawLog(path) => Box::new(RawLogWriter::new(
                CaptureFile::create(path)?,
                info.clone(),
                RAW_LOG_LEVEL,
            )?),
        };
        Ok(Self { name: destination.to_string(), writer })
    }

    /// Adds a record.
    pub(crate) fn write(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.writer.write(record)
    }

    /// Puts everything so far into the file.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush()
    }

    /// Completes the file.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.writer.finish()
    }
}

fn pcapng(
    file: CaptureFile,
    options: &Options,
    info: &CaptureInfo,
) -> Result<PcapngWriter<CaptureFile>, Error> {
    let pcapng = PcapngOptions {
        keep_port: options.keep_port,
        map_ports: options.map_ports.clone(),
        ..PcapngOptions::default()
    };
    PcapngWriter::new(file, info.clone(), pcapng)
}

/// A buffered file that stays whole.
#[derive(Debug)]
struct CaptureFile {
    file: File,
    buffer: Vec<u8>,
    /// Bytes handed to the operating system.
    written: u64,
    /// Up to here the file ends with something complete: what was written at the last flush.
    whole: u64,
    /// Set for a regular file: it can be cut.
    regular: bool,
    /// Set if the file did not exist before: it is removed if nothing gets into it.
    created: Option<PathBuf>,
}

impl CaptureFile {
    fn create(path: &Path) -> Result<Self> {
        let context = || format!("cannot write {}", path.display());
        let open = |options: &mut OpenOptions| options.write(true).mode(0o600).open(path);
        let (file, created) = match open(OpenOptions::new().create_new(true)) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (open(&mut OpenOptions::new()).with_context(context)?, false)
            }
            Err(error) => return Err(error).with_context(context),
        };
        let regular = file.metadata().with_context(context)?.is_file();
        Ok(Self::new(file, regular, created.then(|| path.into())))
    }

    fn stdout() -> Result<Self> {
        use std::os::fd::AsFd;
        let file = io::stdout().as_fd().try_clone_to_owned().context("cannot use stdout")?;
        Ok(Self::new(file.into(), false, None))
    }

    fn new(file: File, regular: bool, created: Option<PathBuf>) -> Self {
        Self { file, buffer: Vec::new(), written: 0, whole: 0, regular, created }
    }

    /// Hands the buffer to the operating system. On failure the file is cut back to where it was
    /// whole; the error tells, and no more can be written.
    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.written == 0 && self.regular {
            use std::os::unix::fs::PermissionsExt;
            // What an earlier capture left, and the mode it had.
            self.file.set_len(0)?;
            self.file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            if self.regular {
                self.file.set_len(self.whole)?;
            }
            return Err(error);
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
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
        self.spill()?;
        self.whole = self.written;
        Ok(())
    }
}

impl Drop for CaptureFile {
    fn drop(&mut self) {
        if let Some(path) = self.created.take().filter(|_| self.whole == 0) {
            // Nothing was captured; if it cannot be removed an empty file stays, no more.
            let _ = std::fs::remove_file(path);
        }
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
}
