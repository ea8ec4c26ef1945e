//! Reads a capture of any kind as records.
//!
//! The first bytes determine the kind, never the name. The input is read without seeking, so that a
//! pipe works. Data compressed by gzip or zstd is decompressed. Packets captured from the wire are
//! reassembled ([`crate::tcp`]) into the same records as in the files of sslrec.

mod ahead;
mod batch;
mod compression;
mod encapsulation;
mod encrypted;
mod exported;
mod follow;
mod har;
mod merge;
mod packets;
mod pcap;
mod pcapng;
mod window;

use std::io::{self, Read};

pub(crate) use self::ahead::Ahead;
pub use self::ahead::read_ahead;
use self::compression::Compression;
pub use self::follow::{Follow, Until};
pub use self::merge::{Merged, merge};
use sslrec_formats::io::{Error, RecordReader};
use sslrec_formats::pcapng::{PcapngReader, is_sslrec_pcapng};
use sslrec_formats::rawlog::{RawLogReader, is_raw_log};
use sslrec_formats::record::Record;

use crate::budget::{Budget, Limits};
use crate::exchange::Note;
pub use crate::sink::{Failure, Flow, Kind, RecordSink, Stop};

/// The result of reading a capture.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Start of the capture, nanoseconds since the Unix epoch; 0 if its head has no time.
    pub start_ns: u64,
    /// Notes on omitted data, with the reason.
    pub notes: Vec<Note>,
    /// Why reading ended before the end of the file.
    pub damage: Option<Error>,
    /// The file was read to its end, and has no closing record. Captures of other programs never
    /// have such a record.
    pub unclosed: bool,
    /// Why the sink stopped, if it did. Damage after that place is not detected.
    pub stop: Option<Stop>,
}

/// A capture of known kind.
pub struct Input<'r> {
    kind: Kind,
    compressed: bool,
    reader: Box<dyn Read + Send + 'r>,
    /// What the connections of packets count towards.
    budget: Budget,
}

/// Maximum number of compressions of a file: a capture that is stored compressed may be compressed
/// once more for transfer.
const MAX_PACKINGS: usize = 2;

/// Number of bytes read to detect the kind: the first block of a pcapng with long comments.
const SNIFF_BYTES: usize = 64 << 10;

impl<'r> Input<'r> {
    /// Detects the kind from the first bytes, decompressed if necessary.
    ///
    /// # Errors
    /// The bytes cannot be read, or are of no known kind.
    pub fn open(reader: impl Read + Send + 'r) -> Result<Self, Error> {
        let mut reader: Box<dyn Read + Send + 'r> = Box::new(reader);
        for packings in 0..=MAX_PACKINGS {
            let head = read_head(&mut reader)?;
            let Some(packing) = Compression::of(&head).filter(|_| !is_raw_log(&head)) else {
                let kind = sniff(&head)?;
                let reader = Box::new(io::Cursor::new(head).chain(reader));
                let budget = Budget::new(Limits::DEFAULT);
                return Ok(Self { kind, compressed: packings > 0, reader, budget });
            };
            reader = packing.unpack(io::Cursor::new(head).chain(reader))?;
        }
        let reason = format!("it was compressed more than {MAX_PACKINGS} times");
        Err(Error::Foreign { expected: EXPECTED, reason })
    }

    /// Counts the connections of packets towards this budget.
    pub fn with_budget(self, budget: &Budget) -> Self {
        Self { budget: budget.clone(), ..self }
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns whether the capture is compressed; offsets are then offsets in the decompressed
    /// data.
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Passes all records to `sink`.
    ///
    /// # Errors
    /// The head of the file cannot be read. Later damage is in the outcome.
    pub fn read(self, sink: &mut dyn RecordSink) -> Result<Outcome, Error> {
        if let Flow::Break(stop) = sink.source(self.kind) {
            return Ok(Outcome { stop: Some(stop), ..Outcome::default() });
        }
        match self.kind {
            Kind::RawLog => read_own(RawLogReader::new(self.reader)?, sink),
            Kind::Pcapng => read_own(PcapngReader::new(self.reader)?, sink),
            Kind::ForeignPcap => pcap::read(self.reader, &self.budget, sink),
            Kind::Har => har::read(self.reader, &self.budget, sink),
            Kind::ForeignPcapng => pcapng::read(self.reader, &self.budget, sink),
        }
    }
}

fn read_own(mut reader: impl RecordReader, sink: &mut dyn RecordSink) -> Result<Outcome, Error> {
    let start_ns = reader.info().start_ns;
    let mut closed = false;
    let mut flow = sink.info(reader.info());
    while flow.is_continue() {
        let damage = match reader.next() {
            Ok(Some(record)) => {
                if let Record::Stats(stats) = &record {
                    closed = stats.last;
                }
                flow = sink.record(&record);
                continue;
            }
            Ok(None) => None,
            Err(damage) => Some(damage),
        };
        return Ok(Outcome { start_ns, damage, unclosed: !closed, ..Outcome::default() });
    }
    Ok(Outcome { start_ns, stop: flow.break_value(), ..Outcome::default() })
}

/// Reads enough of the first bytes to detect the kind.
fn read_head(reader: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    loop {
        let wanted = head_len(&head);
        if head.len() >= wanted {
            return Ok(head);
        }
        let more = reader.by_ref().take((wanted - head.len()) as u64).read_to_end(&mut head)?;
        if more == 0 {
            return Ok(head);
        }
    }
}

/// Returns the number of bytes needed to detect the kind of a file that begins with `head`.
fn head_len(head: &[u8]) -> usize {
    let Some((kind, rest)) = head.split_first_chunk::<4>() else { return 4 };
    if *kind != PCAPNG {
        return 24;
    }
    let Some((len, rest)) = rest.split_first_chunk::<4>() else { return 12 };
    match rest.first_chunk::<4>() {
        Some([0x1a, ..]) => (u32::from_be_bytes(*len) as usize).clamp(12, SNIFF_BYTES),
        Some(_) => (u32::from_le_bytes(*len) as usize).clamp(12, SNIFF_BYTES),
        None => 12,
    }
}

const EXPECTED: &str = "a raw log, pcapng, pcap or HAR";

/// Type of the section header block, the same in either byte order.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

fn sniff(head: &[u8]) -> Result<Kind, Error> {
    if is_raw_log(head) {
        return Ok(Kind::RawLog);
    }
    if head.starts_with(&PCAPNG) {
        return Ok(if is_sslrec_pcapng(head) { Kind::Pcapng } else { Kind::ForeignPcapng });
    }
    if pcap::is_pcap(head) {
        return Ok(Kind::ForeignPcap);
    }
    if har::is_har(head) {
        return Ok(Kind::Har);
    }
    let reason = match pcap::other_format(head) {
        Some(name) => format!("it is {name}; convert it with `editcap -F pcapng IN OUT`"),
        None if head.is_empty() => "it is empty".into(),
        None if head.len() < 4 => "it is too short".into(),
        None => "it begins like none of these".into(),
    };
    Err(Error::Foreign { expected: EXPECTED, reason })
}
