//! Connections inside tunnels.

use sslrec_formats::record::{Direction, GapCause, PerDirection};

use super::{CONNECTION_COST, Connection};
use crate::budget::{Keep, Share};
use crate::exchange::{Note, SharedConnection};
use crate::http1::{Chunk, End, Tunnelled};
use crate::timeline::Timeline;

/// Maximum number of tunnels inside each other.
pub(super) const MAX_TUNNELS: usize = 8;

/// Creates the connection inside a tunnel, unless it is inside too many.
pub(super) fn open(shared: SharedConnection, keep: &Keep) -> Option<Box<dyn Tunnelled>> {
    let tunnels = shared.route().map_or(0, |route| route.tunnels.len());
    if tunnels > MAX_TUNNELS {
        return None;
    }
    let mut held = keep.budget.charge(Share::Contents);
    // Each is inside a connection, and their number is bounded.
    held.force(CONNECTION_COST);
    let mut connection = Connection::new(shared, keep, held);
    connection.begins_here();
    Some(Box::new(connection))
}

impl Tunnelled for Connection {
    fn data(&mut self, direction: Direction, chunk: Chunk, bytes: &[u8], timeline: &mut Timeline) {
        self.bytes(direction, chunk, bytes, timeline);
    }

    fn lose(
        &mut self,
        direction: Direction,
        cause: GapCause,
        ts_ns: u64,
        len: u64,
        timeline: &mut Timeline,
    ) {
        self.missing(direction, cause, ts_ns, len, timeline);
    }

    fn note(&mut self, note: Note) {
        Connection::note(self, &note);
    }

    fn finish(self: Box<Self>, end: PerDirection<End>, ts_ns: u64, timeline: &mut Timeline) {
        // A tunnel that no byte went through has no item.
        if self.started {
            self.end(end, ts_ns, timeline);
        }
    }
}
