//! A connection: keeps its two byte streams in order and passes them to the detected protocol.
//!
//! The first bytes determine the protocol. A few bytes are held until then; a connection without a
//! detected protocol is listed as a stream. A tunnel through a proxy contains a connection of its
//! own.

mod detection;
mod half;
mod inner;
mod search;
mod simple;

use sslrec_formats::record::{Close, CloseCause, Data, Direction, Gap, GapCause, PerDirection};

use self::half::Half;
use crate::budget::{Charge, Keep};
use crate::exchange::{Handshake, Item, Note, SharedConnection, Stream};
use crate::handshakes::Handshakes;
use crate::http1::{self, Chunk, End};
use crate::http2;
use crate::timeline::{Ticket, Timeline};

/// A connection that is being read.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: SharedConnection,
    protocol: Protocol,
    /// All data of the connection, in case it is not HTTP.
    raw: Box<Stream>,
    /// Place in the listing, if the connection turns out to be a stream. It is taken at the first
    /// byte, so that the listing never waits for an unused connection.
    ticket: Option<Ticket>,
    keep: Keep,
    beginning: Beginning,
    /// The next bytes may be a preamble of the protocol.
    may_be_preamble: bool,
    preambles: usize,
    started: bool,
    halves: PerDirection<Half>,
    handshakes: Handshakes,
    /// Notes that wait for the item they belong to.
    notes: Vec<Note>,
    /// Memory for it.
    held: Charge,
}

/// Memory for a connection without contents and exchanges, with what other parts keep of it.
pub(crate) const CONNECTION_COST: usize = 2600;

/// Whether the first bytes of a connection were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// They are in the capture.
    Here,
    /// They are missing: the recording began after the connection.
    Unrecorded,
    EarlierFile,
}

impl Beginning {
    fn note(self) -> Option<Note> {
        match self {
            Beginning::Here => None,
            Beginning::Unrecorded => Some(Note::JoinedMidStream),
            Beginning::EarlierFile => Some(Note::BeginsInEarlierFile),
        }
    }
}

#[derive(Debug)]
enum Protocol {
    Undecided,
    Http1(Box<http1::Connection>),
    Http2(Box<http2::Connection>),
    Opaque,
}

impl Connection {
    pub(crate) fn new(shared: SharedConnection, keep: &Keep, held: Charge) -> Self {
        let info = shared.info();
        let (first_ns, joined) = (info.record.ts_ns, info.record.joined);
        Self {
            raw: Box::new(Stream::counted(&shared, first_ns, keep)),
            shared,
            protocol: Protocol::Undecided,
            ticket: None,
            keep: keep.clone(),
            may_be_preamble: !joined,
            preambles: 0,
            beginning: if joined { Beginning::Unrecorded } else { Beginning::Here },
            started: false,
            halves: PerDirection::from_fn(|_| Half { searching: joined, ..Half::default() }),
            handshakes: Handshakes::default(),
            notes: Vec::new(),
            held,
        }
    }

    /// Notes that its first bytes follow, although the connection around it was joined.
    fn begins_here(&mut self) {
        self.beginning = Beginning::Here;
        self.may_be_preamble = true;
        self.halves.iter_mut().for_each(|(_, half)| half.searching = false);
    }

    /// When it was used last.
    pub(crate) fn last_ns(&self) -> u64 {
        self.raw.last_ns
    }

    /// Returns the shared facts about the connection.
    pub(crate) fn shared(&self) -> &SharedConnection {
        &self.shared
    }

    /// Processes bytes that were read or written. Returns the number of bytes that turned out to be
    /// missing before them.
    pub(crate) fn data(&mut self, data: &Data<'_>, timeline: &mut Timeline) -> u64 {
        self.handshakes.settle(timeline);
        let first_ns = match data.dir {
            Direction::Sent => data.ts_ns.saturating_sub(data.lat_ns),
            Direction::Received => data.ts_ns,
        };
        let chunk = Chunk { first_ns, last_ns: data.ts_ns };
        let expected = self.halves[data.dir].offset;
        // A file that was assembled from damaged parts can omit bytes or repeat them.
        let missing = data.offset.saturating_sub(expected);
        self.missing(data.dir, GapCause::Unknown, data.ts_ns, missing, timeline);
        let known = usize::try_from(expected.saturating_sub(data.offset)).unwrap_or(usize::MAX);
        let Some(bytes) = data.payload.get(known..).filter(|bytes| !bytes.is_empty()) else {
            return missing;
        };
        self.bytes(data.dir, chunk, bytes, timeline);
        missing
    }

    /// Processes the next bytes of a direction.
    fn bytes(&mut self, direction: Direction, chunk: Chunk, bytes: &[u8], timeline: &mut Timeline) {
        self.begin(chunk.first_ns, timeline);
        let half = &mut self.halves[direction];
        half.offset = half.offset.saturating_add(bytes.len() as u64);
        self.raw.push(direction, bytes, chunk.last_ns);
        self.read(direction, chunk, bytes, timeline);
    }

    /// Passes bytes to the protocol.
    fn read(&mut self, direction: Direction, chunk: Chunk, bytes: &[u8], timeline: &mut Timeline) {
        if let Protocol::Http2(_) = self.protocol
            && self.halves.iter().all(|(_, half)| !half.searching)
            && self.raw.halves[direction].bytes == bytes.len() as u64
            && bytes.starts_with(b"HTTP/1.")
        {
            self.refuse_http2(direction, chunk, timeline);
        }
        match &mut self.protocol {
            Protocol::Http1(http1) => {
                http1.see(|client| half::view(&self.halves, client));
                http1.data(direction, chunk, bytes, timeline);
                if http1.exchanges() > 0 {
                    self.raw.forget_data();
                }
            }
            Protocol::Http2(http2) => {
                http2.data(direction, chunk, bytes, timeline);
                if http2.exchanges() > 0 {
                    self.raw.forget_data();
                }
            }
            Protocol::Undecided => self.undecided(direction, chunk, bytes, timeline),
            Protocol::Opaque => {}
        }
    }

    /// Processes a gap. Returns the number of its bytes that were not yet counted as missing.
    pub(crate) fn gap(&mut self, gap: &Gap, timeline: &mut Timeline) -> u64 {
        self.handshakes.settle(timeline);
        let end = gap.offset.saturating_add(gap.len);
        if gap.cause == GapCause::EarlierFile && matches!(self.protocol, Protocol::Undecided) {
            return self.go_on_at(gap.dir, end);
        }
        let len = end.saturating_sub(self.halves[gap.dir].offset);
        self.missing(gap.dir, gap.cause, gap.ts_ns, len, timeline);
        len
    }

    /// Continues the direction at `offset` from an earlier file, which has the bytes before it. No
    /// bytes are missing; if that file was read too, the bytes are already processed.
    fn go_on_at(&mut self, direction: Direction, offset: u64) -> u64 {
        let half = &mut self.halves[direction];
        if offset > half.offset {
            half.offset = offset;
            half.searching = true;
            self.beginning = Beginning::EarlierFile;
        }
        0
    }

    /// Adds a finished TLS handshake.
    pub(crate) fn handshake(&mut self, handshake: Handshake, timeline: &mut Timeline) {
        handshake.failure().iter().for_each(|failure| self.note(failure));
        self.handshakes.add(handshake, timeline);
    }

    /// Adds a note about the next bytes.
    pub(crate) fn note(&mut self, note: &Note) {
        match &mut self.protocol {
            Protocol::Http1(http1) => http1.note(note.clone()),
            Protocol::Http2(http2) => http2.note(note.clone()),
            Protocol::Undecided if self.notes.contains(note) => {}
            Protocol::Undecided => self.notes.push(note.clone()),
            Protocol::Opaque => self.raw.note(note.clone()),
        }
    }

    /// Notes that the sender of the next bytes of a direction had received the other direction's
    /// bytes before `offset`.
    pub(crate) fn received(&mut self, direction: Direction, offset: u64) {
        self.halves[direction].received = Some(offset);
    }

    /// Notes that a reset ended this direction; the end of the connection follows.
    pub(crate) fn reset(&mut self, direction: Direction) {
        self.halves[direction].reset = true;
    }

    /// Ends the connection; with `None` as reason, the end of the capture ends it. Returns the
    /// number of bytes that turned out to be missing.
    pub(crate) fn finish(
        mut self,
        close: Option<&Close>,
        ts_ns: u64,
        timeline: &mut Timeline,
    ) -> u64 {
        self.handshakes.settle(timeline);
        let mut missing = 0u64;
        let lengths = close
            .map(|c| [(Direction::Sent, c.sent_bytes), (Direction::Received, c.received_bytes)]);
        for (direction, length) in lengths.into_iter().flatten() {
            let len = length.saturating_sub(self.halves[direction].offset);
            self.missing(direction, GapCause::Unknown, ts_ns, len, timeline);
            missing = missing.saturating_add(len);
        }
        let closed = close.is_some_and(|close| close.cause != CloseCause::StillOpen);
        let end = PerDirection::from_fn(|direction| match closed {
            false => End::Open,
            true if self.halves[direction].reset => End::Reset,
            true => End::Closed,
        });
        self.end(end, ts_ns, timeline);
        missing
    }

    /// Ends the protocol, or its recording; the reason is given for each direction.
    fn end(mut self, end: PerDirection<End>, ts_ns: u64, timeline: &mut Timeline) {
        let closed = end.sent != End::Open;
        let (exchanges, nothing) = match &mut self.protocol {
            Protocol::Http1(http1) => {
                http1.finish(|direction| end[direction], ts_ns, timeline);
                (http1.exchanges(), Some(Note::NoHttp1Head))
            }
            Protocol::Http2(http2) => {
                http2.finish(closed, ts_ns, timeline);
                (http2.exchanges(), Some(Note::NoHttp2Request))
            }
            Protocol::Undecided | Protocol::Opaque => (0, None),
        };
        if exchanges > 0 {
            return;
        }
        match nothing {
            Some(nothing) => self.raw.note(nothing),
            None if closed && self.list_as_simple(timeline) => return,
            None => {}
        }
        self.list_as_stream(closed, timeline);
    }

    fn list_as_stream(mut self, closed: bool, timeline: &mut Timeline) {
        self.notes.into_iter().for_each(|note| self.raw.note(note));
        if let Some(note) = self.beginning.note() {
            self.raw.note(note);
        }
        if self.shared.route().is_some_and(|route| !route.tunnels.is_empty()) {
            self.raw.note(Note::Tunnel);
        }
        if !closed {
            self.raw.note(Note::StillOpen);
        }
        let client = self.shared.info().client_direction();
        self.raw.finish(closed && self.beginning == Beginning::Here, client);
        let ticket = self.ticket.unwrap_or_else(|| timeline.open(self.raw.first_ns));
        timeline.close(ticket, Item::Stream(self.raw));
    }

    /// Moves the start of the connection from its creation to its first byte, whether present or
    /// missing.
    fn begin(&mut self, first_ns: u64, timeline: &mut Timeline) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.raw.first_ns = first_ns;
        self.ticket = Some(timeline.open(first_ns));
    }

    fn missing(
        &mut self,
        direction: Direction,
        cause: GapCause,
        ts_ns: u64,
        len: u64,
        timeline: &mut Timeline,
    ) {
        if len == 0 {
            return;
        }
        self.begin(ts_ns, timeline);
        self.raw.lose(direction, cause, len);
        self.may_be_preamble = false;
        let half = &mut self.halves[direction];
        half.offset = half.offset.saturating_add(len);
        half.searching = true;
        half.held.clear();
        half.scanned = 0;
        half.chunk = None;
        match &mut self.protocol {
            Protocol::Http1(http1) => {
                http1.see(|client| half::view(&self.halves, client));
                http1.gap(direction, cause, ts_ns, len, timeline);
            }
            Protocol::Http2(http2) => http2.gap(direction, cause, ts_ns, len, timeline),
            Protocol::Undecided | Protocol::Opaque => {}
        }
    }
}
