//! The files that a recording goes to: one for each `-w`, or one after another for each where
//! `-C` or `-G` asks for that.

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
use crate::messages::say;
use crate::plan::{Rotation, Write};
use crate::process::privileges::Privileges;

/// A file in one of the two formats, or a series of them.
pub(crate) struct Output {
    /// As the user calls it.
    pub(crate) name: String,
    writer: Box<dyn Format>,
    series: Option<Series>,
    /// The file at hand has something of the recording.
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
                bail!("-w - is one stream; -C and -G want files");
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

    /// The file at hand has had enough; another one is to be begun.
    pub(crate) fn is_full(&self) -> bool {
        self.used && self.series.as_ref().is_some_and(|series| series.is_full(self.writer.len()))
    }

    /// Completes the file with its counters, and begins the next one.
    pub(crate) fn next_file(&mut self, stats: &Stats) -> Result<(), Error> {
        let Some(series) = &mut self.series else { return Ok(()) };
        self.writer.write(&Record::Stats(stats.clone()))?;
        self.writer.next_file(series)?;
        self.used = false;
        // Its head is in it from now on, whatever happens.
        self.writer.flush()
    }

    /// Puts everything so far into the file.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush()
    }

    /// Completes the file, and syncs it and its folder to disk.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.writer.finish()?;
        Ok(self.writer.file().sync()?)
    }

    /// Whoever read it has had enough: no failure.
    pub(crate) fn was_left(&self, error: &Error) -> bool {
        self.name == "-" && is_closed_pipe(error)
    }

    /// Why the file is not where the user will look for it, if so.
    pub(crate) fn misplaced(&mut self) -> Option<String> {
        let lost = self.series.as_ref().and_then(|series| series.misplaced.clone());
        lost.or_else(|| {
            let problem = self.writer.file().misplaced()?;
            let path = self.series.as_ref().and_then(|series| series.files.back());
            let name = path.map_or_else(|| self.name.clone(), |path| path.display().to_string());
            Some(format!("{name}: {problem}"))
        })
    }

    /// The output is a series of files.
    pub(crate) fn is_series(&self) -> bool {
        self.series.is_some()
    }

    /// What was written, for the summary.
    pub(crate) fn written(&self) -> String {
        self.series.as_ref().map_or_else(|| self.name.clone(), Series::written)
    }
}

pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

/// A writer of either format.
trait Format: RecordWriter + Send {
    /// Bytes of the file at hand, as far as they are known.
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

/// Files one after another.
#[derive(Debug)]
struct Series {
    names: Names,
    rotation: Rotation,
    /// When the file at hand was begun.
    begun: Instant,
    /// Those that were, the last of them the one at hand; if all are kept, only the first and the
    /// last.
    files: VecDeque<PathBuf>,
    /// How many were begun.
    count: u64,
    /// How many were removed.
    removed: u64,
    /// The first file that was not at its place when it was complete, and why.
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

    /// Goes on in the next file, and removes one that is more than were asked for.
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
                say(format_args!("cannot remove {}: {error}", oldest.display()));
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
