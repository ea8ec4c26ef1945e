//! Reads a capture of any kind as records.
//!
//! The kind is told by the first bytes, never by the name, and nothing is ever sought in the
//! file, so that a pipe will do. What other programs captured from the wire is reassembled
//! ([`crate::tcp`]) into the same records that our own files hold.

mod foreign;
mod link;

use std::io::{self, Read};

use sslrec_formats::io::{Error, RecordReader};
use sslrec_formats::pcapng::{PcapngReader, is_sslrec_pcapng};
use sslrec_formats::rawlog::{RawLogReader, is_raw_log};
use sslrec_formats::record::{Direction, Record};

/// Takes the records of a capture.
pub trait RecordSink {
    /// The next record.
    fn record(&mut self, record: &Record<'_>);

    /// Something unusual about a connection, at this place among its records.
    fn note(&mut self, conn: u64, note: &str) {
        let _ = (conn, note);
    }

    /// This direction of a connection was cut off by a reset, before its sender had ended it: what
    /// lasts until the end of the connection is not whole. The close is the connection's next
    /// record.
    fn reset(&mut self, conn: u64, dir: Direction) {
        let _ = (conn, dir);
    }

    /// Reading may stop: nobody wants what would follow.
    fn is_done(&self) -> bool {
        false
    }
}

/// What kind of file a capture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The raw log.
    RawLog,
    /// The pcapng that `sslrec` writes.
    Pcapng,
    /// A pcap of any program.
    ForeignPcap,
    /// A pcapng of any other program.
    ForeignPcapng,
}

impl Kind {
    /// It holds what was captured from the wire, rather than inside of TLS.
    pub fn is_foreign(self) -> bool {
        matches!(self, Kind::ForeignPcap | Kind::ForeignPcapng)
    }
}

/// What was read of a capture.
#[derive(Debug, Default)]
pub struct Outcome {
    /// When the capture began, nanoseconds since the Unix epoch; 0 where its head does not say.
    pub start_ns: u64,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// Why reading ended before the end of the file.
    pub damage: Option<Error>,
}

/// A capture whose kind is known.
pub struct Input<'r> {
    kind: Kind,
    reader: Box<dyn Read + 'r>,
}

/// How much is looked at to tell the kind: the first block of a pcapng with long comments.
const SNIFF_BYTES: usize = 64 << 10;

impl<'r> Input<'r> {
    /// Looks at the first bytes.
    ///
    /// # Errors
    /// If they cannot be read, or are of no kind that is known.
    pub fn open(mut reader: impl Read + 'r) -> Result<Self, Error> {
        let mut head = Vec::new();
        let kind = loop {
            let wanted = head_len(&head);
            if head.len() < wanted {
                let more =
                    (&mut reader).take((wanted - head.len()) as u64).read_to_end(&mut head)?;
                if more > 0 {
                    continue;
                }
            }
            break sniff(&head)?;
        };
        Ok(Self { kind, reader: Box::new(io::Cursor::new(head).chain(reader)) })
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Hands all records to `sink`.
    ///
    /// # Errors
    /// If not even the head of the file can be read. Damage behind that is in the outcome.
    pub fn read(self, sink: &mut dyn RecordSink) -> Result<Outcome, Error> {
        match self.kind {
            Kind::RawLog => read_own(RawLogReader::new(self.reader)?, sink),
            Kind::Pcapng => read_own(PcapngReader::new(self.reader)?, sink),
            Kind::ForeignPcap => foreign::read_pcap(self.reader, sink),
            Kind::ForeignPcapng => foreign::read_pcapng(self.reader, sink),
        }
    }
}

fn read_own(mut reader: impl RecordReader, sink: &mut dyn RecordSink) -> Result<Outcome, Error> {
    let mut outcome = Outcome { start_ns: reader.info().start_ns, ..Outcome::default() };
    while !sink.is_done() {
        match reader.next() {
            Ok(Some(record)) => sink.record(&record),
            Ok(None) => break,
            Err(damage) => {
                outcome.damage = Some(damage);
                break;
            }
        }
    }
    Ok(outcome)
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
            0x28b5_2ffd => "it is zstd-compressed, but no raw log; decompress it first",
            magic if magic >> 16 == 0x1f8b => "it is gzip-compressed; decompress it first",
            _ => "it begins like none of these",
        },
    };
    Err(Error::Foreign { expected: "a raw log, pcapng or pcap", reason: reason.into() })
}
