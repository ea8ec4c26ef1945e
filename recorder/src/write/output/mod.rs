//! The files of a recording: one for each `-w`, or a series for each if `-C` or `-G` is set.

mod file;
mod names;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use jiff::Zoned;
use sslrec_formats::Destination;
use sslrec_formats::io::{Error, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::{self, RawLogWriter};
use sslrec_formats::record::{CaptureInfo, Record, Stats};

use self::file::{CaptureFile, folder_of};
use self::names::Names;
use crate::plan::{Rotation, Write};
use crate::process::privileges::Privileges;
use crate::stderr::message;

/// A file in one of the two formats, or a series of them.
pub(crate) struct Output {
    /// The name that the user entered.
    pub(crate) name: String,
    writer: Box<dyn Format>,
    series: Option<Series>,
    /// The current file contains data of the recording.
    used: bool,
}

impl Output {
    /// Opens every file of the plan.
    ///
    /// # Errors
    /// A file cannot be written, or is named twice.
    pub(crate) fn open_all(
        write: &Write,
        info: &CaptureInfo,
        privileges: &Privileges,
    ) -> Result<Vec<Self>> {
        let destinations = &write.destinations;
        for (i, destination) in destinations.iter().enumerate() {
            if destinations[..i].contains(destination) {
                bail!("-w {destination} is given twice");
            }
            if *destination == Destination::Stdout && write.rotation.is_some() {
                bail!("-w - is a single stream; -C and -G need files");
            }
        }
        let open = |destination| Self::open(destination, write, info, privileges);
        destinations.iter().map(open).collect()
    }

    fn open(
        destination: &Destination,
        write: &Write,
        info: &CaptureInfo,
        privileges: &Privileges,
    ) -> Result<Self> {
        let mut series = None;
        let mut create = |path: &Path| {
            if let Some(rotation) = write.rotation {
                privileges.check_folder(folder_of(path))?;
                series.insert(Series::new(path, rotation)?).next()
            } else {
                CaptureFile::create(path)
            }
        };
        let writer: Box<dyn Format> = match destination {
            Destination::Stdout => Box::new(pcapng(CaptureFile::stdout()?, write, info)?),
            Destination::Pcapng(path) => Box::new(pcapng(create(path)?, write, info)?),
            Destination::RawLog(path) => {
                Box::new(RawLogWriter::new(create(path)?, info.clone(), rawlog::DEFAULT_LEVEL)?)
            }
        };
        Ok(Self { name: destination.to_string(), writer, series, used: false })
    }

    /// Adds a record.
    pub(crate) fn write(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.used = true;
        self.writer.write(record)
    }

    /// Returns whether the current file is full, and another is to be begun.
    pub(crate) fn is_full(&self) -> bool {
        self.used && self.series.as_ref().is_some_and(|series| series.is_full(self.writer.len()))
    }

    /// Completes the file with its counters, and begins the next.
    pub(crate) fn next_file(&mut self, stats: &Stats) -> Result<(), Error> {
        let Some(series) = &mut self.series else { return Ok(()) };
        self.writer.write(&Record::Stats(stats.clone()))?;
        self.writer.next_file(series)?;
        self.used = false;
        // Writes its head now, in any case.
        self.writer.flush()
    }

    /// Writes everything so far to the file.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush()
    }

    /// Completes the file, and syncs it and its folder to disk.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.writer.finish()?;
        Ok(self.writer.file().sync()?)
    }

    /// Returns whether the reader closed the output early, which is not a failure.
    pub(crate) fn was_left(&self, error: &Error) -> bool {
        self.name == "-" && is_closed_pipe(error)
    }

    /// Returns why the file is not at the place where the user will look for it, if so.
    pub(crate) fn misplaced(&mut self) -> Option<String> {
        let lost = self.series.as_ref().and_then(|series| series.misplaced.clone());
        lost.or_else(|| {
            let problem = self.writer.file().misplaced()?;
            let path = self.series.as_ref().and_then(|series| series.files.back());
            let name = path.map_or_else(|| self.name.clone(), |path| path.display().to_string());
            Some(format!("{name}: {problem}"))
        })
    }

    /// Returns whether the output is a series of files.
    pub(crate) fn is_series(&self) -> bool {
        self.series.is_some()
    }

    /// Returns the description of the written files, for the summary.
    pub(crate) fn written(&self) -> String {
        self.series.as_ref().map_or_else(|| self.name.clone(), Series::written)
    }
}

pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

/// A writer of either format.
trait Format: RecordWriter + Send {
    /// Returns the bytes of the current file, as far as they are known.
    fn len(&self) -> u64;
    fn file(&mut self) -> &mut CaptureFile;
    fn next_file(&mut self, series: &mut Series) -> Result<(), Error>;
}

impl Format for PcapngWriter<CaptureFile> {
    fn len(&self) -> u64 {
        self.len()
    }

    fn file(&mut self) -> &mut CaptureFile {
        self.get_mut()
    }

    fn next_file(&mut self, series: &mut Series) -> Result<(), Error> {
        PcapngWriter::next_file(self, |file| series.switch(file))
    }
}

impl Format for RawLogWriter<CaptureFile> {
    fn len(&self) -> u64 {
        self.bytes_written()
    }

    fn file(&mut self) -> &mut CaptureFile {
        self.get_mut()
    }

    fn next_file(&mut self, series: &mut Series) -> Result<(), Error> {
        RawLogWriter::next_file(self, |file| series.switch(file))
    }
}

fn pcapng(
    file: CaptureFile,
    write: &Write,
    info: &CaptureInfo,
) -> Result<PcapngWriter<CaptureFile>, Error> {
    let pcapng = PcapngOptions {
        keep_port: write.keep_port,
        map_ports: write.map_ports.clone(),
        ..PcapngOptions::default()
    };
    PcapngWriter::new(file, info.clone(), pcapng)
}

/// A series of files.
#[derive(Debug)]
struct Series {
    names: Names,
    rotation: Rotation,
    /// The time at which the current file was begun.
    begun: Instant,
    /// The files so far, the last of them the current file; if all are kept, only the first and the
    /// last.
    files: VecDeque<PathBuf>,
    /// The number of files begun.
    count: u64,
    /// The number of files removed.
    removed: u64,
    /// The first file that was not at its place when it was complete, and the reason.
    misplaced: Option<String>,
}

impl Series {
    fn new(pattern: &Path, rotation: Rotation) -> Result<Self> {
        Ok(Self {
            names: Names::new(pattern)?,
            rotation,
            begun: Instant::now(),
            files: VecDeque::new(),
            count: 0,
            removed: 0,
            misplaced: None,
        })
    }

    fn is_full(&self, len: u64) -> bool {
        self.rotation.size.is_some_and(|size| len >= size)
            || self.rotation.period.is_some_and(|period| self.begun.elapsed() >= period)
    }

    fn next(&mut self) -> Result<CaptureFile> {
        let path = self.names.next(&Zoned::now())?;
        let file = CaptureFile::create(&path)?;
        self.begun = Instant::now();
        self.files.push_back(path);
        self.count += 1;
        if self.rotation.keep.is_none() && self.files.len() > 2 {
            self.files.remove(1);
        }
        Ok(file)
    }

    /// Continues in the next file, and removes the oldest file beyond the requested number.
    fn switch(&mut self, file: &mut CaptureFile) -> io::Result<()> {
        file.sync()?;
        if let (None, Some(problem), Some(path)) =
            (&self.misplaced, file.misplaced(), self.files.back())
        {
            self.misplaced = Some(format!("{}: {problem}", path.display()));
        }
        *file = self.next().map_err(|error| io::Error::other(format!("{error:#}")))?;
        while self.rotation.keep.is_some_and(|keep| self.files.len() > keep) {
            let Some(oldest) = self.files.pop_front() else { break };
            self.removed += 1;
            // The recording matters more than the space that the file takes.
            if let Err(error) = fs::remove_file(&oldest) {
                message(format_args!("cannot remove {}: {error}", oldest.display()));
            }
        }
        Ok(())
    }

    fn written(&self) -> String {
        let (Some(first), Some(last)) = (self.files.front(), self.files.back()) else {
            return String::new();
        };
        let removed = match self.removed {
            0 => String::new(),
            removed => format!(", {removed} older ones removed"),
        };
        match self.count - self.removed {
            1 => format!("{}{removed}", last.display()),
            count => {
                format!("{count} files from {} to {}{removed}", first.display(), last.display())
            }
        }
    }
}
