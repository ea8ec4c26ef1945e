//! Connections that are not HTTP.

use std::sync::Arc;

use sslrec_formats::record::{Direction, GapCause, PerDirection};

use super::losses::Losses;
use super::{Body, ConnectionInfo, Note, SharedConnection};
use crate::budget::{Charge, Keep};

/// A direction of a connection that is not decoded.
#[derive(Debug, Clone, Default)]
pub struct StreamHalf {
    /// Number of bytes seen.
    pub bytes: u64,
    /// The first bytes, at most 64.
    pub first_bytes: Vec<u8>,
    /// All bytes, if contents are kept.
    pub data: Option<Vec<u8>>,
}

/// Maximum number of bytes shown of each direction of a stream.
const FIRST_BYTES: usize = 64;

/// A connection, or its remainder, that is not HTTP.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The connection, as of the listing of the stream.
    pub connection: Arc<ConnectionInfo>,
    pub(crate) shared: SharedConnection,
    /// Time of the call with its first byte, or of the connection's creation if there is none.
    pub first_ns: u64,
    /// Time of the call with its last byte.
    pub last_ns: u64,
    /// The bytes that the recorded process wrote, and the bytes that it read.
    pub halves: PerDirection<StreamHalf>,
    /// No byte is missing, and the end of the connection was recorded.
    pub complete: bool,
    /// Bytes known to be missing.
    pub lost_bytes: u64,
    /// Direction and cause of the missing bytes.
    pub(crate) losses: Losses,
    /// Notes about the contents and about missing bytes, for people.
    pub notes: Vec<Note>,
    /// Memory for the contents.
    held: Charge,
    /// Contents are left out from here on: there was no memory for more.
    cut: bool,
}

impl Stream {
    /// Creates a stream without contents. With `keep`, added contents are kept.
    pub fn new(connection: &SharedConnection, first_ns: u64, keep: bool) -> Self {
        Self {
            connection: connection.info(),
            shared: connection.clone(),
            first_ns,
            last_ns: first_ns,
            halves: PerDirection::from_fn(|_| StreamHalf {
                data: keep.then(Vec::new),
                ..StreamHalf::default()
            }),
            complete: true,
            lost_bytes: 0,
            losses: Losses::default(),
            notes: Vec::new(),
            held: Charge::default(),
            cut: false,
        }
    }

    /// The same with contents that count towards a budget.
    pub(crate) fn counted(connection: &SharedConnection, first_ns: u64, keep: &Keep) -> Self {
        let held = keep.charge().unwrap_or_default();
        Self { held, ..Self::new(connection, first_ns, keep.contents) }
    }

    pub(crate) fn push(&mut self, direction: Direction, bytes: &[u8], last_ns: u64) {
        let half = &mut self.halves[direction];
        half.bytes += bytes.len() as u64;
        let room = FIRST_BYTES.saturating_sub(half.first_bytes.len()).min(bytes.len());
        half.first_bytes.extend_from_slice(&bytes[..room]);
        if let Some(data) = half.data.as_mut().filter(|_| !self.cut) {
            let room = self.held.grow_up_to(bytes.len());
            data.extend_from_slice(&bytes[..room]);
            self.cut = room < bytes.len();
        }
        self.last_ns = self.last_ns.max(last_ns);
    }

    /// Removes the contents and keeps their counts.
    pub fn forget_data(&mut self) {
        self.halves.iter_mut().for_each(|(_, half)| half.data = None);
        self.held = Charge::default();
    }

    /// Adds missing bytes.
    pub(crate) fn lose(&mut self, direction: Direction, cause: GapCause, len: u64) {
        self.lost_bytes = self.lost_bytes.saturating_add(len);
        self.losses.add(direction, cause, len);
    }

    /// Returns the connection.
    pub fn shared_connection(&self) -> &SharedConnection {
        &self.shared
    }

    /// Makes a body of the bytes of a direction.
    pub(crate) fn into_body(mut self, direction: Direction) -> Body {
        let half = std::mem::take(&mut self.halves[direction]);
        let Self { held, cut, .. } = self;
        Body { bytes: half.bytes, data: half.data, held, cut, ..Body::default() }
    }

    /// Ends the stream. `whole` is set if its beginning and end were recorded; `client` is the
    /// direction of the client's bytes, if known.
    pub(crate) fn finish(&mut self, whole: bool, client: Option<Direction>) {
        self.complete = whole && self.lost_bytes == 0;
        let losses = std::mem::take(&mut self.losses);
        losses.notes(Note::Missing, client).for_each(|note| self.note(note));
        if self.cut {
            let kept = self.halves.iter().map(|(_, half)| half.data.as_ref().map_or(0, Vec::len));
            self.note(Note::StreamCut(kept.map(|len| len as u64).sum()));
        }
    }

    /// Adds a note, unless the stream already has it.
    pub(crate) fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
