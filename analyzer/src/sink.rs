//! What readers of captures produce and assemblers take: records, TCP segments and notes.

use std::error::Error;
use std::net::SocketAddr;
use std::ops::ControlFlow;

use sslrec_formats::record::{CaptureInfo, Direction, Record};

use crate::exchange::Note;

/// Whether a sink takes more.
pub type Flow = ControlFlow<Stop>;

/// Why a sink takes nothing more. A reader that gets it ends, and returns it in its [`Outcome`].
///
/// [`Outcome`]: crate::input::Outcome
#[derive(Debug)]
pub enum Stop {
    /// The sink has all that it wants.
    Done,
    /// The sink failed.
    Failed(Failure),
}

/// An error of a sink, of whichever type.
pub type Failure = Box<dyn Error + Send + Sync>;

impl Stop {
    /// Stops with the error of `result`; continues if there is none.
    pub fn on_error(result: Result<(), impl Into<Failure>>) -> Flow {
        match result {
            Ok(()) => Flow::Continue(()),
            Err(error) => Flow::Break(Self::Failed(error.into())),
        }
    }

    /// The error, if there is one.
    ///
    /// # Errors
    /// If the sink failed.
    pub fn into_result(self) -> Result<(), Failure> {
        match self {
            Self::Done => Ok(()),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Takes the records of a capture. After a method has returned `Break`, none is called again.
pub trait RecordSink {
    /// The next record.
    fn record(&mut self, record: &Record<'_>) -> Flow;

    /// A TCP segment of a packet capture. Returns whether the sink takes it; if not, it gets the
    /// records that segments are reassembled to.
    fn segment(&mut self, segment: &Segment<'_>) -> ControlFlow<Stop, bool> {
        let _ = segment;
        ControlFlow::Continue(false)
    }

    /// Something unusual about a connection, at this place among its records.
    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        let _ = (conn, note);
        Flow::Continue(())
    }

    /// This direction of a connection was cut off by a reset, before its sender had ended it: a
    /// body that lasts until the end of the connection is not complete. The close is the
    /// connection's next record.
    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        let _ = (conn, dir);
        Flow::Continue(())
    }

    /// The head of the file, before all else; other programs' captures have none.
    fn info(&mut self, info: &CaptureInfo) -> Flow {
        let _ = info;
        Flow::Continue(())
    }

    /// The following records come from a file of this kind.
    fn source(&mut self, kind: Kind) -> Flow {
        let _ = kind;
        Flow::Continue(())
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
