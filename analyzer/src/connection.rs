//! A connection: keeps its two byte streams in order and passes them to the detected protocol.
//!
//! The first bytes determine the protocol. A few bytes are held until then; a connection without a
//! detected protocol is listed as a stream.

use sslrec_formats::record::{Close, CloseCause, Data, Direction, Gap, GapCause, PerDirection};

use crate::budget::{Charge, Keep};
use crate::exchange::{Handshake, Item, Note, SharedConnection, Stream};
use crate::handshakes::Handshakes;
use crate::http1::start::{self, MAX_LINE, Verdict};
use crate::http1::{self, Chunk, End, Kind};
use crate::http2::{self, Place};
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
    started: bool,
    halves: PerDirection<Half>,
    handshakes: Handshakes,
    /// Notes that wait for the item they belong to.
    notes: Vec<Note>,
    /// Memory for it.
    _held: Charge,
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

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Offset of the next byte.
    offset: u64,
    /// Bytes held until the protocol is detected.
    held: Vec<u8>,
    /// Length of the beginning of `held` that was searched and has no start line.
    scanned: usize,
    /// Time of the calls for the held bytes.
    chunk: Option<Chunk>,
    /// The direction starts in the middle of a message, and a start line is searched.
    searching: bool,
    /// The first bytes belong to no supported protocol.
    other: bool,
    /// A reset ended the direction.
    reset: bool,
}

impl Half {
    /// Returns whether the next bytes may be in the middle of a message.
    fn begins_anywhere(&self) -> bool {
        self.searching || self.other
    }
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
            beginning: if joined { Beginning::Unrecorded } else { Beginning::Here },
            started: false,
            halves: PerDirection::from_fn(|_| Half { searching: joined, ..Half::default() }),
            handshakes: Handshakes::default(),
            notes: Vec::new(),
            _held: held,
        }
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
        self.begin(first_ns, timeline);
        let half = &mut self.halves[data.dir];
        half.offset = half.offset.saturating_add(bytes.len() as u64);
        self.raw.push(data.dir, bytes, data.ts_ns);
        match &mut self.protocol {
            Protocol::Http1(http1) => {
                http1.data(data.dir, chunk, bytes, timeline);
                if http1.exchanges() > 0 {
                    self.raw.forget_data();
                }
            }
            Protocol::Http2(http2) => {
                http2.data(data.dir, chunk, bytes, timeline);
                if http2.exchanges() > 0 {
                    self.raw.forget_data();
                }
            }
            Protocol::Undecided => self.undecided(data.dir, chunk, bytes, timeline),
            Protocol::Opaque => {}
        }
        missing
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
        let reset = PerDirection::from_fn(|direction| self.halves[direction].reset);
        let end = |direction| match direction {
            _ if !closed => End::Open,
            direction if reset[direction] => End::Reset,
            _ => End::Closed,
        };
        let (exchanges, nothing) = match &mut self.protocol {
            Protocol::Http1(http1) => {
                http1.finish(end, ts_ns, timeline);
                (http1.exchanges(), Some(Note::NoHttp1Head))
            }
            Protocol::Http2(http2) => {
                http2.finish(closed, ts_ns, timeline);
                (http2.exchanges(), Some(Note::NoHttp2Request))
            }
            Protocol::Undecided | Protocol::Opaque => (0, None),
        };
        if exchanges > 0 {
            return missing;
        }
        if let Some(nothing) = nothing {
            self.raw.note(nothing);
        }
        self.list_as_stream(closed, timeline);
        missing
    }

    fn list_as_stream(mut self, closed: bool, timeline: &mut Timeline) {
        self.notes.into_iter().for_each(|note| self.raw.note(note));
        if let Some(note) = self.beginning.note() {
            self.raw.note(note);
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
        let half = &mut self.halves[direction];
        half.offset = half.offset.saturating_add(len);
        half.searching = true;
        half.held.clear();
        half.scanned = 0;
        half.chunk = None;
        match &mut self.protocol {
            Protocol::Http1(http1) => http1.gap(direction, cause, ts_ns, len, timeline),
            Protocol::Http2(http2) => http2.gap(direction, cause, ts_ns, len, timeline),
            Protocol::Undecided | Protocol::Opaque => {}
        }
    }

    fn undecided(
        &mut self,
        direction: Direction,
        chunk: Chunk,
        bytes: &[u8],
        timeline: &mut Timeline,
    ) {
        let info = self.shared.info();
        let (role, alpn) = (info.client_direction(), Alpn::of(info.record.alpn.as_deref()));
        let half = &mut self.halves[direction];
        if half.other {
            return;
        }
        let began = *half.chunk.get_or_insert(chunk);
        // Usually the first call determines the protocol, and no bytes need to be held.
        let mut held = std::mem::take(&mut half.held);
        let before = held.len();
        if !held.is_empty() {
            held.extend_from_slice(bytes);
        }
        let view = if held.is_empty() { bytes } else { &held[..] };
        let (verdict, at) = if half.searching {
            let kind = role.map(|client| kind_of(direction, client));
            search(view, before, half.scanned, kind, alpn)
        } else {
            (start::judge(view), 0)
        };
        match verdict {
            Verdict::Http1(kind) => {
                let skipped = at as u64;
                self.become_http1(direction, kind, skipped, timeline);
                if let Protocol::Http1(http1) = &mut self.protocol {
                    http1.data(direction, began, &view[at..], timeline);
                }
            }
            Verdict::Http2 => {
                self.become_http2(direction, at as u64, timeline);
                if let Protocol::Http2(http2) = &mut self.protocol {
                    let chunk = if at >= before { chunk } else { began };
                    http2.data(direction, chunk, &view[at..], timeline);
                }
            }
            Verdict::Unsure => {
                if held.is_empty() {
                    held.extend_from_slice(bytes);
                }
                // A search needs only the last line of the earlier bytes.
                let excess = held.len().saturating_sub(2 * MAX_LINE);
                held.drain(..if excess > 0 { held.len() - MAX_LINE } else { 0 });
                let half = &mut self.halves[direction];
                half.scanned = held.len().saturating_sub(start::OVERLAP);
                half.held = held;
            }
            Verdict::Other => {
                half.other = true;
                half.chunk = None;
                if self.halves.sent.other && self.halves.received.other {
                    self.become_opaque();
                }
            }
        }
    }

    fn become_opaque(&mut self) {
        self.protocol = Protocol::Opaque;
        for (_, half) in self.halves.iter_mut() {
            half.held = Vec::new();
        }
    }

    /// Starts reading this direction as HTTP/1 messages of this kind.
    fn become_http1(
        &mut self,
        direction: Direction,
        kind: Kind,
        skipped: u64,
        timeline: &mut Timeline,
    ) {
        let requests = match kind {
            Kind::Request => direction,
            Kind::Response => direction.reverse(),
        };
        let searching = |d| d != direction && self.halves[d].begins_anywhere();
        let mut http1 = http1::Connection::new(&self.shared, requests, searching, &self.keep);
        self.ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
        for (direction, cause, lost) in self.raw.losses.iter() {
            http1.gap(direction, cause, self.raw.first_ns, lost, timeline);
        }
        self.notes.drain(..).for_each(|note| http1.note(note));
        if skipped > 0 {
            http1.note(Note::SkippedBytes(skipped));
        }
        if let Some((other, chunk, held)) = self.take_held(direction.reverse()) {
            http1.data(other, chunk, &held, timeline);
        }
        self.protocol = Protocol::Http1(Box::new(http1));
    }

    /// Starts reading this direction as HTTP/2, from a frame or the preface.
    fn become_http2(&mut self, direction: Direction, skipped: u64, timeline: &mut Timeline) {
        let client = self.shared.info().client_direction();
        let place = |d| match self.halves[d].begins_anywhere() {
            true if d == direction => Place::Frame,
            true => Place::Anywhere,
            false => Place::Beginning,
        };
        let mut http2 = http2::Connection::new(&self.shared, client, place, &self.keep);
        self.ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
        for (direction, cause, lost) in self.raw.losses.iter() {
            http2.lost_before(direction, cause, lost);
        }
        self.notes.drain(..).for_each(|note| http2.note(note));
        if skipped > 0 {
            http2.note(Note::SkippedBytes(skipped));
        }
        if let Some((other, chunk, held)) = self.take_held(direction.reverse()) {
            http2.data(other, chunk, &held, timeline);
        }
        self.protocol = Protocol::Http2(Box::new(http2));
    }

    /// Takes the held bytes of a direction.
    fn take_held(&mut self, direction: Direction) -> Option<(Direction, Chunk, Vec<u8>)> {
        let half = &mut self.halves[direction];
        let held = std::mem::take(&mut half.held);
        let chunk = half.chunk.take().filter(|_| !held.is_empty())?;
        Some((direction, chunk, held))
    }
}

/// The protocol that the handshake negotiated, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alpn {
    Http1,
    Http2,
    Unknown,
}

impl Alpn {
    fn of(name: Option<&str>) -> Self {
        match name {
            Some("h2") => Alpn::Http2,
            Some("http/1.1" | "http/1.0") => Alpn::Http1,
            _ => Alpn::Unknown,
        }
    }
}

fn kind_of(direction: Direction, client: Direction) -> Kind {
    if direction == client { Kind::Request } else { Kind::Response }
}

/// Searches a direction that starts in the middle of a message. It searches the call at `call` for
/// HTTP/2 frames, and all bytes for a start line: of the kind that this direction carries, or of
/// either kind if the role is unknown. `from` is as in [`start::find`].
fn search(
    bytes: &[u8],
    call: usize,
    from: usize,
    kind: Option<Kind>,
    alpn: Alpn,
) -> (Verdict, usize) {
    if alpn != Alpn::Http1
        && let Some(at) = http2::find(&bytes[call..])
    {
        return (Verdict::Http2, call + at);
    }
    if alpn == Alpn::Http2 {
        return (Verdict::Unsure, 0);
    }
    let kinds = kind.map_or([Kind::Request, Kind::Response], |kind| [kind, kind]);
    let found = kinds.map(|kind| start::find(kind, bytes, from).map(|at| (at, kind)));
    match found.into_iter().flatten().min_by_key(|(at, _)| *at) {
        Some((at, kind)) => (Verdict::Http1(kind), at),
        None => (Verdict::Unsure, 0),
    }
}
