//! A direction of a connection whose protocol is not detected.

use sslrec_formats::record::{Direction, PerDirection};

use crate::http1::{Chunk, View};

/// Maximum number of bytes of no known protocol that are held until the other direction shows the
/// protocol: a malformed request, or the handshake of a proxy.
pub(super) const MAX_OTHER: usize = 16 << 10;

/// A direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Offset of the next byte.
    pub(super) offset: u64,
    /// Bytes held until the protocol is detected.
    pub(super) held: Vec<u8>,
    /// Length of the beginning of `held` that was searched and has no start line.
    pub(super) scanned: usize,
    /// Time of the calls for the held bytes.
    pub(super) chunk: Option<Chunk>,
    /// The direction starts in the middle of a message, and a start line is searched.
    pub(super) searching: bool,
    /// The first bytes belong to no supported protocol.
    pub(super) other: bool,
    /// The sender had received the other direction's bytes before this offset when it sent the next
    /// bytes, if it is known.
    pub(super) received: Option<u64>,
    /// A reset ended the direction.
    pub(super) reset: bool,
}

/// The held bytes of a direction.
pub(super) type Held = (Direction, Chunk, Vec<u8>);

impl Half {
    /// Returns whether the next bytes may be in the middle of a message.
    pub(super) fn begins_anywhere(&self) -> bool {
        self.searching || (self.other && self.held.is_empty())
    }

    /// Drops the held bytes, for which there is no memory.
    pub(super) fn give_up(&mut self) {
        self.searching |= !self.held.is_empty();
        self.held = Vec::new();
        self.scanned = 0;
    }

    /// Holds bytes of no known protocol, if they are all of the direction and not too many.
    pub(super) fn hold_other(&mut self, bytes: &[u8]) {
        let is_all = !self.searching && (!self.other || !self.held.is_empty());
        self.other = true;
        if is_all && self.held.len() + bytes.len() <= MAX_OTHER {
            self.held.extend_from_slice(bytes);
        } else {
            self.held = Vec::new();
        }
    }
}

/// Returns what the sides had received when they sent their next bytes.
pub(super) fn view(halves: &PerDirection<Half>, client: Direction) -> View {
    let (client, server) = (&halves[client], &halves[client.reverse()]);
    View {
        received: client.received,
        served: server.received,
        asked: client.offset,
        there: server.offset,
    }
}

/// Takes the held bytes of a direction.
pub(super) fn take_held(halves: &mut PerDirection<Half>, direction: Direction) -> Option<Held> {
    let half = &mut halves[direction];
    let held = std::mem::take(&mut half.held);
    half.scanned = 0;
    let chunk = half.chunk.take().filter(|_| !held.is_empty())?;
    Some((direction, chunk, held))
}
