//! `convert`: converts a raw log to pcapng, or a pcapng of sslrec to a raw log.
//!
//! Records go from the reader of one format to the writer of the other, without a look at their
//! contents. `formats/FORMAT.md` lists the data that a format cannot hold.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sslrec_analyzer::budget::Budget;
use sslrec_analyzer::input::{Flow, Kind, RecordSink, Stop};
use sslrec_formats::Destination;
use sslrec_formats::io::{Error, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::{self, RawLogWriter};
use sslrec_formats::record::{CaptureInfo, Record, Stats};
use sslrec_redact::{Counts, Redactor};

use super::new_file::NewFile;
use super::open_connections::OpenConnections;
use crate::files::{Files, Read};
use crate::flow;
use crate::limits::Memory;

/// Convert a raw log to a pcapng, or a pcapng to a raw log
///
/// OUT lists the same exchanges as IN. A connection that was recorded at both ends is in a pcapng
/// once. OUT has mode 0600, and replaces an existing file only once it is complete. A damaged file
/// is converted up to the damage, and the exit status is 1.
///
/// Example: `sslanalyze convert capture.zst capture.pcapng`
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// A raw log or pcapng of sslrec, also compressed; `-` is standard input
    #[arg(value_name = "IN")]
    file: PathBuf,

    /// File to write: NAME.pcapng, or NAME.zst for the raw log; `-` is pcapng on standard output
    #[arg(value_name = "OUT")]
    out: Destination,

    /// Write the real server ports into the pcapng, not 80
    #[arg(long)]
    keep_port: bool,

    #[command(flatten)]
    memory: Memory,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `sslanalyze convert`.
pub(super) fn run(convert: &Convert) -> Result<()> {
    let Convert { file, out, keep_port, memory, quiet } = convert;
    let (keep_port, memory, quiet) = (*keep_port, *memory, *quiet);
    Job { file, out, keep_port, memory, quiet, redactor: None }.run("converted").map(drop)
}

/// A copy of records from file to file.
pub(super) struct Job<'j> {
    pub(super) file: &'j PathBuf,
    pub(super) out: &'j Destination,
    /// Write servers' ports unchanged.
    pub(super) keep_port: bool,
    pub(super) memory: Memory,
    /// Show no progress.
    pub(super) quiet: bool,
    /// Redacts the records on their way.
    pub(super) redactor: Option<Redactor>,
}

impl Job<'_> {
    /// Writes the output; `done` is the verb for messages about damage. Returns the counts of
    /// blanked values.
    pub(super) fn run(self, done: &str) -> Result<Counts> {
        let files = Files::open(std::slice::from_ref(self.file), false, self.quiet)?
            .with_budget(&Budget::new(self.memory.into()));
        let mut out = match self.out {
            Destination::Stdout => NewFile::stdout(),
            Destination::Pcapng(path) | Destination::RawLog(path) => {
                NewFile::create(path, self.file)?
            }
        };
        let name = name(self.out);
        let (read, records, counts) = copy(self, files, &mut out)?;
        out.finish().with_context(|| format!("cannot write {name}"))?;
        read.end(&format!("the {records} records before the damage were {done}"))?;
        Ok(counts)
    }
}

/// Returns the name of the output in messages.
fn name(out: &Destination) -> String {
    match out {
        Destination::Stdout => "standard output".into(),
        file => file.to_string(),
    }
}

/// Writes all records of the files. Returns their number and the counts of blanked values.
fn copy(mut job: Job<'_>, files: Files<'_>, out: &mut NewFile) -> Result<(Read, u64, Counts)> {
    let (file, name) = (job.file.display(), name(job.out));
    let mut converter = Converter {
        redactor: job.redactor.take(),
        job: &job,
        out: Some(out),
        writer: None,
        foreign: false,
        open: OpenConnections::default(),
        max_open: job.memory.for_connections(true),
        records: 0,
        last_ns: 0,
    };
    let read = files.read(&mut converter)?;
    if converter.foreign && converter.redactor.is_none() {
        bail!("{file} contains network packets; only captures of sslrec can be converted");
    }
    let (records, given_up) = (converter.records, converter.open.given_up());
    if given_up > 0 {
        crate::stderr::report(&anyhow!(
            "{given_up} connections that were idle for longest end early in {name}: more were open \
             than fit into memory; raise --max-memory"
        ));
    }
    let counts = converter.finish().with_context(|| format!("cannot write {name}"))?;
    Ok((read, records, counts))
}

/// Writes records as they arrive.
struct Converter<'o> {
    job: &'o Job<'o>,
    redactor: Option<Redactor>,
    /// The output, until the head of the file is known.
    out: Option<&'o mut NewFile>,
    writer: Option<Box<dyn RecordWriter + 'o>>,
    /// The file has network packets instead of records of sslrec.
    foreign: bool,
    open: OpenConnections,
    /// The most memory of open connections, in bytes.
    max_open: usize,
    records: u64,
    /// Time of the last record.
    last_ns: u64,
}

impl<'o> Converter<'o> {
    fn begin(&mut self, info: &CaptureInfo) -> Result<(), Error> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let mut info = info.clone();
        if let Some(redactor) = &self.redactor {
            info.redacted.extend_from_slice(redactor.rules().stated());
        }
        self.writer = Some(match self.job.out {
            Destination::Stdout | Destination::Pcapng(_) => {
                let keep_port = self.job.keep_port;
                let options = PcapngOptions { keep_port, ..PcapngOptions::default() };
                Box::new(PcapngWriter::new(out, info, options)?)
            }
            Destination::RawLog(_) => {
                Box::new(RawLogWriter::new(out, info, rawlog::DEFAULT_LEVEL)?)
            }
        });
        Ok(())
    }

    fn write(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.last_ns = self.last_ns.max(record.ts_ns());
        if self.foreign && self.writer.is_none() {
            let (tool, start_ns) =
                (concat!("sslanalyze ", env!("CARGO_PKG_VERSION")), record.ts_ns());
            self.begin(&CaptureInfo { start_ns, tool: tool.into(), ..CaptureInfo::default() })?;
        }
        if self.writer.is_none() {
            return Ok(());
        }
        self.records += 1;
        if let Some(description) = self.open.description(record) {
            self.pass(&Record::Connection(description))?;
        }
        self.pass(record)?;
        let redactor = self.redactor.as_ref().map_or(0, Redactor::memory);
        if self.open.memory() + redactor > self.max_open {
            for close in self.open.give_up(record.ts_ns()) {
                self.pass(&Record::Close(close))?;
            }
        }
        Ok(())
    }

    /// Writes a record, redacted if it is to be.
    fn pass(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.open.record(record);
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let Some(redactor) = &mut self.redactor else { return writer.write(record) };
        let mut outcome = Ok(());
        redactor.record(record, &mut |record| write(writer, record, &mut outcome));
        outcome
    }

    /// Writes the records that the redactor still holds, and closes the output.
    fn finish(mut self) -> Result<Counts, Error> {
        if self.foreign {
            // The output of an empty capture is an empty capture. Captures of other programs have
            // no closing record; without such a record the output would count as truncated.
            let ts_ns = self.last_ns;
            self.write(&Record::Stats(Stats { ts_ns, last: true, ..Stats::default() }))?;
        }
        let Some(writer) = &mut self.writer else { return Ok(Counts::default()) };
        let mut outcome = Ok(());
        let mut counts = Counts::default();
        if let Some(redactor) = &mut self.redactor {
            redactor.finish(&mut |record| write(writer, record, &mut outcome));
            counts = redactor.counts().clone();
        }
        outcome?;
        writer.finish()?;
        Ok(counts)
    }

    fn flow(&self, written: Result<(), Error>) -> Flow {
        flow::of(written.with_context(|| format!("cannot write {}", name(self.job.out))))
    }
}

/// Writes a record, unless an earlier record failed.
fn write(
    writer: &mut Box<dyn RecordWriter + '_>,
    record: &Record<'_>,
    outcome: &mut Result<(), Error>,
) {
    if outcome.is_ok() {
        *outcome = writer.write(record);
    }
}

impl RecordSink for Converter<'_> {
    fn source(&mut self, kind: Kind) -> Flow {
        if kind == Kind::Har {
            return Stop::no_records();
        }
        self.foreign = kind.is_foreign();
        self.max_open = self.job.memory.for_connections(self.foreign);
        // Packets are reassembled to records, because only records can be redacted.
        if self.foreign && self.redactor.is_none() {
            Flow::Break(Stop::Done)
        } else {
            Flow::Continue(())
        }
    }

    fn info(&mut self, info: &CaptureInfo) -> Flow {
        let begun = self.begin(info);
        self.flow(begun)
    }

    fn record(&mut self, record: &Record<'_>) -> Flow {
        let written = self.write(record);
        self.flow(written)
    }
}
