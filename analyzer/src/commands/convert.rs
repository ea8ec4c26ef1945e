//! `convert`: a raw log as pcapng, or a pcapng of ours as raw log.
//!
//! Records go from the reader of the one format to the writer of the other, and nothing here looks
//! at their contents. What one of the formats cannot hold stands in `formats/FORMAT.md`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;
use sslrec_formats::io::{Error, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{CaptureInfo, Record};

use super::new_file::NewFile;
use crate::files::{Files, Read};
use crate::input::{Kind, RecordSink};

/// Compression of the raw log, as `sslrec` chooses it.
const RAW_LOG_LEVEL: i32 = 1;

/// The arguments of `convert`.
///
/// The listing of OUT is that of IN. Of a connection that was recorded at both ends, a pcapng has one
/// end only. OUT has mode 0600, and takes the place of a file of its name once it is complete. A
/// damaged file is converted up to the damage, and the exit status is 1.
///
/// Example: `sslanalyze convert capture.zst capture.pcapng`
#[derive(Debug, Args)]
pub struct Convert {
    /// A raw log or pcapng of sslrec, also compressed; `-` is standard input
    #[arg(value_name = "IN")]
    file: PathBuf,

    /// What to write: NAME.pcapng, or NAME.zst for the raw log; `-` is pcapng on standard output
    #[arg(value_name = "OUT")]
    out: Destination,

    /// Write the servers' real ports into the pcapng, and not 80
    #[arg(long)]
    keep_port: bool,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Where the records go, and in which format. Named as for `sslrec -w`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Stdout,
    Pcapng(PathBuf),
    RawLog(PathBuf),
}

impl FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(text);
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if text == "-" => Ok(Self::Stdout),
            Some("pcapng") => Ok(Self::Pcapng(path)),
            Some("zst") => Ok(Self::RawLog(path)),
            _ => Err("the name must end in .pcapng, or in .zst for the raw log; - is stdout"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Pcapng(path) | Self::RawLog(path) => path.display().fmt(f),
        }
    }
}

/// Does it.
pub(super) fn run(convert: &Convert) -> Result<()> {
    let files = Files::open(std::slice::from_ref(&convert.file), false, convert.quiet)?;
    let mut out = match &convert.out {
        Destination::Stdout => NewFile::stdout(),
        Destination::Pcapng(path) | Destination::RawLog(path) => NewFile::create(path)?,
    };
    let (read, records) = copy(convert, files, &mut out)?;
    out.finish().with_context(|| format!("cannot write {}", convert.out))?;
    read.end(&format!("the {records} records before that were converted"))
}

/// Writes all records of the files, and returns how many there were.
fn copy(convert: &Convert, files: Files<'_>, out: &mut NewFile) -> Result<(Read, u64)> {
    let mut converter = Converter {
        convert,
        out: Some(out),
        writer: None,
        foreign: false,
        records: 0,
        failure: None,
    };
    let read = files.read(&mut converter)?;
    if converter.foreign {
        let file = convert.file.display();
        bail!("{file} holds packets of the wire; only what sslrec recorded can be converted");
    }
    let failure = converter.failure.map_or(Ok(()), Err);
    let finish = |()| converter.writer.map_or(Ok(()), |mut writer| writer.finish());
    failure.and_then(finish).with_context(|| format!("cannot write {}", convert.out))?;
    Ok((read, converter.records))
}

/// Writes records as they come.
struct Converter<'o> {
    convert: &'o Convert,
    /// Until the head of the file is known.
    out: Option<&'o mut NewFile>,
    writer: Option<Box<dyn RecordWriter + 'o>>,
    /// The file holds no records.
    foreign: bool,
    records: u64,
    /// The first one to write; nothing is written after it.
    failure: Option<Error>,
}

impl<'o> Converter<'o> {
    fn begin(&mut self, info: &CaptureInfo) -> Result<(), Error> {
        let Some(out) = self.out.take() else { return Ok(()) };
        self.writer = Some(match &self.convert.out {
            Destination::Stdout | Destination::Pcapng(_) => {
                let keep_port = self.convert.keep_port;
                let options = PcapngOptions { keep_port, ..PcapngOptions::default() };
                Box::new(PcapngWriter::new(out, info.clone(), options)?)
            }
            Destination::RawLog(_) => {
                Box::new(RawLogWriter::new(out, info.clone(), RAW_LOG_LEVEL)?)
            }
        });
        Ok(())
    }
}

impl RecordSink for Converter<'_> {
    fn source(&mut self, kind: Kind) {
        self.foreign = kind.is_foreign();
    }

    fn info(&mut self, info: &CaptureInfo) {
        self.failure = self.begin(info).err();
    }

    fn record(&mut self, record: &Record<'_>) {
        if let Some(writer) = &mut self.writer {
            self.failure = writer.write(record).err();
            self.records += 1;
        }
    }

    fn is_done(&self) -> bool {
        self.foreign || self.failure.is_some()
    }
}
