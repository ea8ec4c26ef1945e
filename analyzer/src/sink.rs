//! What readers of captures produce and assemblers take: records, TCP segments and notes.

use std::net::SocketAddr;

use sslrec_formats::record::{CaptureInfo, Direction, Record};

/// Takes the records of a capture.
pub trait RecordSink {
    /// The next record.
    fn record(&mut self, record: &Record<'_>);

    /// A TCP segment of a packet capture. Returns whether the sink takes it; if not, it gets the
    /// records that segments are reassembled to.
    fn segment(&mut self, segment: &Segment<'_>) -> bool {
        let _ = segment;
        false
    }

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

    /// The head of the file, before all else; other programs' captures have none.
    fn info(&mut self, info: &CaptureInfo) {
        let _ = info;
    }

    /// What follows comes from a file of this kind.
    fn source(&mut self, kind: Kind) {
        let _ = kind;
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

/// A TCP segment.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// When it was captured, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number, if its flag is set.
    pub ack: Option<u32>,
    /// Flag.
    pub syn: bool,
    /// Flag.
    pub fin: bool,
    /// Flag.
    pub rst: bool,
    /// Payload, as far as it was captured.
    pub payload: &'a [u8],
    /// How many bytes of payload followed that were not captured.
    pub missing: usize,
}
