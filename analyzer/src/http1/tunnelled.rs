//! The seam to the connection inside a tunnel, whose protocol is detected anew.

use std::fmt::Debug;

use sslrec_formats::record::{Direction, GapCause, PerDirection};

use super::{Chunk, End};
use crate::budget::Keep;
use crate::exchange::{Note, SharedConnection};
use crate::timeline::Timeline;

/// A connection inside a tunnel.
pub(crate) trait Tunnelled: Debug + Send {
    /// Processes bytes of a direction.
    fn data(&mut self, direction: Direction, chunk: Chunk, bytes: &[u8], timeline: &mut Timeline);

    /// Processes missing bytes of a direction.
    fn lose(
        &mut self,
        direction: Direction,
        cause: GapCause,
        ts_ns: u64,
        len: u64,
        timeline: &mut Timeline,
    );

    /// Adds a note about the next bytes.
    fn note(&mut self, note: Note);

    /// Ends the tunnel, or its recording; the reason is given for each direction.
    fn finish(self: Box<Self>, end: PerDirection<End>, ts_ns: u64, timeline: &mut Timeline);
}

/// Creates the connection inside a tunnel, whose facts are those of the connection around it.
/// `None` means that it is inside too many tunnels.
pub(crate) type OpenTunnel = fn(SharedConnection, &Keep) -> Option<Box<dyn Tunnelled>>;
