//! Reads a capture of any kind as records.
//!
//! The kind is told by the first bytes, never by the name, and nothing is ever sought in the
//! file, so that a pipe will do. What was compressed by gzip or zstd is decompressed on the way.
//! What other programs captured from the wire is reassembled ([`crate::tcp`]) into the same
//! records that our own files hold.

mod ahead;
mod batch;
mod compression;
mod exported;
mod follow;
mod link;
mod merge;
mod packets;

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

use crate::exchange::Note;
pub use crate::sink::{Failure, Flow, Kind, RecordSink, Stop};

/// What was read of a capture.
#[derive(Debug, Default)]
pub struct Outcome {
    /// When the capture began, nanoseconds since the Unix epoch; 0 where its head does not say.
    pub start_ns: u64,
    /// What was left out, and why.
    pub notes: Vec<Note>,
    /// Why reading ended before the end of the file.
    pub damage: Option<Error>,
    /// The file was read as far as it goes, and has no closing record, which other programs'
    /// captures never have.
    pub unclosed: bool,
    /// Why the sink ended the reading, if it did. Damage behind that place is not looked for.
    pub stop: Option<Stop>,
}

/// A capture whose kind is known.
pub struct Input<'r> {
    kind: Kind,
    compressed: bool,
    reader: Box<dyn Read + Send + 'r>,
}

/// How many times a file may have been compressed: a capture that is stored compressed may be
/// compressed once more on its way.
const MAX_PACKINGS: usize = 2;

/// How much is looked at to tell the kind: the first block of a pcapng with long comments.
const SNIFF_BYTES: usize = 64 << 10;

impl<'r> Input<'r> {
    /// Looks at the first bytes, decompressed if need be.
    ///
    /// # Errors
    /// If they cannot be read, or are of no kind that is known.
    pub fn open(reader: impl Read + Send + 'r) -> Result<Self, Error> {
        let mut reader: Box<dyn Read + Send + 'r> = Box::new(reader);
        for packings in 0..=MAX_PACKINGS {
            let head = read_head(&mut reader)?;
            let Some(packing) = Compression::of(&head).filter(|_| !is_raw_log(&head)) else {
                let kind = sniff(&head)?;
                let reader = Box::new(io::Cursor::new(head).chain(reader));
                return Ok(Self { kind, compressed: packings > 0, reader });
            };
            reader = packing.unpack(io::Cursor::new(head).chain(reader))?;
        }
        let reason = format!("it was compressed more than {MAX_PACKINGS} times");
        Err(Error::Foreign { expected: EXPECTED, reason })
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// It was compressed; places in it are those in its decompressed contents.
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Hands all records to `sink`.
    ///
    /// # Errors
    /// If not even the head of the file can be read. Damage behind that is in the outcome.
    pub fn read(self, sink: &mut dyn RecordSink) -> Result<Outcome, Error> {
        if let Flow::Break(stop) = sink.source(self.kind) {
            return Ok(Outcome { stop: Some(stop), ..Outcome::default() });
        }
        match self.kind {
            Kind::RawLog => read_own(RawLogReader::new(self.reader)?, sink),
            Kind::Pcapng => read_own(PcapngReader::new(self.reader)?, sink),
            Kind::ForeignPcap => packets::read_pcap(self.reader, sink),
            Kind::ForeignPcapng => packets::read_pcapng(self.reader, sink),
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

/// As many of the first bytes as tell the kind.
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

/// How many bytes are needed to tell the kind of a file that begins with `head`.
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

const EXPECTED: &str = "a raw log, pcapng or pcap";

/// Type of the section header block, the same in either byte order.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

fn sniff(head: &[u8]) -> Result<Kind, Error> {
    if is_raw_log(head) {
        return Ok(Kind::RawLog);
    }
    let reason = match head.first_chunk::<4>() {
        None if head.is_empty() => "it is empty",
        None => "it is too short",
        Some(&PCAPNG) if is_sslrec_pcapng(head) => return Ok(Kind::Pcapng),
        Some(&PCAPNG) => return Ok(Kind::ForeignPcapng),
        Some(magic) => match u32::from_be_bytes(*magic) {
            // Microseconds and nanoseconds, in either byte order.
            0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 => return Ok(Kind::ForeignPcap),
            0xa1b2_cd34 | 0x34cd_b2a1 => {
                "it is a modified pcap of an old Linux; convert it with `editcap -F pcapng IN OUT`"
            }
            0xfd37_7a58 => "it is compressed by xz; decompress it first",
            0x0422_4d18 => "it is compressed by lz4; decompress it first",
            magic if magic >> 8 == 0x42_5a68 => "it is compressed by bzip2; decompress it first",
            _ => "it begins like none of these",
        },
    };
    Err(Error::Foreign { expected: EXPECTED, reason: reason.into() })
}
