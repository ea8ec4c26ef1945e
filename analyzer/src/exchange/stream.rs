//! Connections that are not HTTP.

use std::sync::Arc;

use sslrec_formats::record::{Direction, GapCause, PerDirection};

use super::losses::Losses;
use super::{ConnectionInfo, Note, SharedConnection};

/// One direction of a connection that is not decoded.
#[derive(Debug, Clone, Default)]
pub struct StreamHalf {
    /// Bytes seen.
    pub bytes: u64,
    /// The first of them, at most 64.
    pub first_bytes: Vec<u8>,
    /// All of them, if they were asked for.
    pub data: Option<Vec<u8>>,
}

/// How many bytes of each direction of a stream are shown.
const FIRST_BYTES: usize = 64;

/// A connection, or the rest of one, that is not HTTP.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The connection, as far as it was known when the stream was listed.
    pub connection: Arc<ConnectionInfo>,
    pub(crate) shared: SharedConnection,
    /// When its first byte was handed over, or when the connection was made where there is none.
    pub first_ns: u64,
    /// When its last byte was handed over.
    pub last_ns: u64,
    /// The bytes that the recorded process wrote, and those that it read.
    pub halves: PerDirection<StreamHalf>,
    /// No byte is missing, and the end of the connection was recorded.
    pub complete: bool,
    /// Bytes known to be missing.
    pub lost_bytes: u64,
    /// Where and why they are.
    pub(crate) losses: Losses,
    /// What is known about the contents, and what is missing, for people.
    pub notes: Vec<Note>,
}

impl Stream {
    /// A stream without contents. With `keep`, contents that are added are kept.
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
        }
    }

    pub(crate) fn push(&mut self, direction: Direction, bytes: &[u8], last_ns: u64) {
        let half = &mut self.halves[direction];
        half.bytes += bytes.len() as u64;
        let room = FIRST_BYTES.saturating_sub(half.first_bytes.len()).min(bytes.len());
        half.first_bytes.extend_from_slice(&bytes[..room]);
        if let Some(data) = &mut half.data {
            data.extend_from_slice(bytes);
        }
        self.last_ns = self.last_ns.max(last_ns);
    }

    /// Removes the contents and keeps their counts.
    pub fn forget_data(&mut self) {
        self.halves.iter_mut().for_each(|(_, half)| half.data = None);
    }

    /// Bytes are missing here.
    pub(crate) fn lose(&mut self, direction: Direction, cause: GapCause, len: u64) {
        self.lost_bytes = self.lost_bytes.saturating_add(len);
        self.losses.add(direction, cause, len);
    }

    /// Nothing follows. `whole` says that its beginning and end were recorded; `client` is the
    /// direction in which the client's bytes went, where known.
    pub(crate) fn finish(&mut self, whole: bool, client: Option<Direction>) {
        self.complete = whole && self.lost_bytes == 0;
        let losses = std::mem::take(&mut self.losses);
        losses.notes("missing", client).for_each(|note| self.note(note));
    }

    pub(crate) fn note(&mut self, note: impl Into<Note>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
