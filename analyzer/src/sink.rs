//! The interface between readers of captures and assemblers: records, TCP segments and notes.

use std::error::Error;
use std::net::SocketAddr;
use std::ops::ControlFlow;

use sslrec_formats::record::{CaptureInfo, Direction, Record};

use crate::exchange::{Exchange, Note};

/// Whether a sink accepts more.
pub type Flow = ControlFlow<Stop>;

/// Why a sink stopped. The reader then ends, and returns the reason in its [`Outcome`].
///
/// [`Outcome`]: crate::input::Outcome
#[derive(Debug)]
pub enum Stop {
    /// The sink needs no more data.
    Done,
    /// The sink failed.
    Failed(Failure),
}

/// An error of a sink, of any type.
pub type Failure = Box<dyn Error + Send + Sync>;

impl Stop {
    /// Stops with the error of `result`; continues if there is none.
    pub fn on_error(result: Result<(), impl Into<Failure>>) -> Flow {
        match result {
            Ok(()) => Flow::Continue(()),
            Err(error) => Flow::Break(Self::Failed(error.into())),
        }
    }

    /// Fails, since the capture has exchanges instead of records.
    pub fn no_records() -> Flow {
        Flow::Break(Self::Failed(
            "a HAR has exchanges and no bytes of connections, which this command needs".into(),
        ))
    }

    /// Returns the error, if there is one.
    ///
    /// # Errors
    /// The sink failed.
    pub fn into_result(self) -> Result<(), Failure> {
        match self {
            Self::Done => Ok(()),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Receives the records of a capture. After a method has returned `Break`, none is called again.
pub trait RecordSink {
    /// Processes the next record.
    fn record(&mut self, record: &Record<'_>) -> Flow;

    /// Processes a TCP segment of a packet capture. Returns whether the sink accepts segments;
    /// otherwise it receives the records reassembled from them.
    fn segment(&mut self, segment: &Segment<'_>) -> ControlFlow<Stop, bool> {
        let _ = segment;
        ControlFlow::Continue(false)
    }

    /// Processes an exchange of a file that has exchanges instead of records. `is_new`: it is the
    /// first exchange of its connection. A sink of records fails.
    fn exchange(&mut self, exchange: Box<Exchange>, is_new: bool) -> Flow {
        let _ = (exchange, is_new);
        Stop::no_records()
    }

    /// Adds a note about a connection, at this place among its records.
    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        let _ = (conn, note);
        Flow::Continue(())
    }

    /// Reports that the sender of the next bytes of a direction had received the other direction's
    /// bytes before `offset`, and no more, when it sent them. Only packets tell.
    fn received(&mut self, conn: u64, dir: Direction, offset: u64) -> Flow {
        let _ = (conn, dir, offset);
        Flow::Continue(())
    }

    /// Reports that a reset ended this direction before its sender closed it: a body that lasts
    /// until the end of the connection is then incomplete. The close is the connection's next
    /// record.
    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        let _ = (conn, dir);
        Flow::Continue(())
    }

    /// Processes the head of the file, before all records; other programs' captures have no head.
    fn info(&mut self, info: &CaptureInfo) -> Flow {
        let _ = info;
        Flow::Continue(())
    }

    /// Reports the kind of the file that the following records come from.
    fn source(&mut self, kind: Kind) -> Flow {
        let _ = kind;
        Flow::Continue(())
    }
}

/// The kind of a capture file.
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
    /// A HAR, which has exchanges instead of records.
    Har,
}

impl Kind {
    /// Returns whether another program may have made the capture: packets from the wire, rather
    /// than data inside TLS, or a HAR.
    pub fn is_foreign(self) -> bool {
        matches!(self, Kind::ForeignPcap | Kind::ForeignPcapng | Kind::Har)
    }
}

/// A TCP segment.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// Capture time, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Address of the sender.
    pub src: SocketAddr,
    /// Address of the receiver.
    pub dst: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number, if its flag is set.
    pub ack: Option<u32>,
    /// The SYN flag.
    pub syn: bool,
    /// The FIN flag.
    pub fin: bool,
    /// The RST flag.
    pub rst: bool,
    /// The captured payload.
    pub payload: &'a [u8],
    /// Number of further payload bytes that were not captured.
    pub missing: usize,
}

impl Segment<'_> {
    /// Returns whether it has bytes, captured or not.
    pub fn has_bytes(&self) -> bool {
        !self.payload.is_empty() || self.missing > 0
    }
}
