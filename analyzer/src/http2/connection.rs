//! An HTTP/2 connection: passes the bytes of each direction to its [`Half`], and the resulting
//! events to the [`Exchanges`].

use sslrec_formats::record::{Direction, GapCause};

use super::exchanges::{Exchanges, Source};
use super::half::Half;
use super::open::Open;
use crate::budget::Keep;
use crate::exchange::{Exchange, Note, SharedConnection};
use crate::http1::Chunk;
use crate::timeline::{Ticket, Timeline};

/// The position of the first bytes in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the beginning of the direction.
    Beginning,
    /// At the beginning of a frame.
    Frame,
    /// Anywhere.
    Anywhere,
}

/// Parses both directions of an HTTP/2 connection into exchanges.
#[derive(Debug)]
pub(crate) struct Connection {
    sent: Half,
    received: Half,
    exchanges: Exchanges,
}

impl Connection {
    /// Creates a connection. `client` is the direction of the client's bytes, if known.
    pub(crate) fn new(
        shared: &SharedConnection,
        client: Option<Direction>,
        place: impl Fn(Direction) -> Place,
        keep: &Keep,
    ) -> Self {
        let half = |direction| match place(direction) {
            Place::Beginning => Half::new(),
            Place::Frame => Half::joining(true),
            Place::Anywhere => Half::joining(false),
        };
        let intact = |direction| place(direction) == Place::Beginning;
        Self {
            sent: half(Direction::Sent),
            received: half(Direction::Received),
            exchanges: Exchanges::new(shared, client, intact, keep),
        }
    }

    /// Creates a connection that was upgraded from HTTP/1 (RFC 7540 section 3.2). The request that
    /// asked for it is on stream 1; the last part of `asked` is set if all of it is known.
    pub(crate) fn upgraded(
        shared: &SharedConnection,
        client: Direction,
        asked: Option<(Box<Exchange>, Ticket, bool)>,
        keep: &Keep,
    ) -> Self {
        let mut connection = Self::new(shared, Some(client), |_| Place::Beginning, keep);
        if let Some((exchange, ticket, whole)) = asked {
            connection.exchanges.adopt(1, Open { whole, ..Open::asked(exchange, ticket) });
        }
        connection
    }

    /// Returns the number of exchanges found.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges.count()
    }

    /// Processes bytes of a direction.
    pub(crate) fn data(
        &mut self,
        direction: Direction,
        chunk: Chunk,
        bytes: &[u8],
        timeline: &mut Timeline,
    ) {
        let source = Source { direction, chunk, cause: GapCause::Unknown };
        let (half, exchanges) = self.parts(direction);
        half.data(bytes, chunk.first_ns, &mut |event| exchanges.event(event, source, timeline));
    }

    /// Processes missing bytes of a direction.
    pub(crate) fn gap(
        &mut self,
        direction: Direction,
        cause: GapCause,
        ts_ns: u64,
        len: u64,
        timeline: &mut Timeline,
    ) {
        let chunk = Chunk { first_ns: ts_ns, last_ns: ts_ns };
        let source = Source { direction, chunk, cause };
        let (half, exchanges) = self.parts(direction);
        half.gap(len, &mut |event| exchanges.event(event, source, timeline));
    }

    /// Adds a note about the next bytes.
    pub(crate) fn note(&mut self, note: Note) {
        self.exchanges.note(note);
    }

    /// Adds bytes that were missing before HTTP/2 was detected.
    pub(crate) fn lost_before(&mut self, direction: Direction, cause: GapCause, len: u64) {
        self.exchanges.lose(direction, cause, len);
    }

    /// Ends the connection, if `closed`, or else its recording.
    pub(crate) fn finish(&mut self, closed: bool, ts_ns: u64, timeline: &mut Timeline) {
        let chunk = Chunk { first_ns: ts_ns, last_ns: ts_ns };
        for direction in [Direction::Sent, Direction::Received] {
            let source = Source { direction, chunk, cause: GapCause::Unknown };
            let (half, exchanges) = self.parts(direction);
            half.finish(&mut |event| exchanges.event(event, source, timeline));
        }
        self.exchanges.finish(closed, ts_ns, timeline);
    }

    fn parts(&mut self, direction: Direction) -> (&mut Half, &mut Exchanges) {
        match direction {
            Direction::Sent => (&mut self.sent, &mut self.exchanges),
            Direction::Received => (&mut self.received, &mut self.exchanges),
        }
    }
}
