//! One connection: keeps its two byte streams in order and gives them to the protocol that they
//! turn out to be.
//!
//! A connection stays undecided until its bytes tell what it is. A few bytes are held meanwhile;
//! a connection that never tells is listed as a stream.

use sslrec_formats::record::{Close, CloseCause, Data, Direction, Gap, GapCause, PerDirection};

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
    /// Everything that went over it, for the case that it is not HTTP.
    raw: Box<Stream>,
    /// Its place in the listing while it may become a stream; none before its first byte, so that
    /// nothing waits for a connection that is not used.
    ticket: Option<Ticket>,
    keep: bool,
    beginning: Beginning,
    started: bool,
    halves: PerDirection<Half>,
    handshakes: Handshakes,
    /// Notes that came before it was known whom they concern.
    notes: Vec<Note>,
}

/// Where the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// In the capture.
    Here,
    /// Nowhere: the recording began after the connection did.
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
    /// Place of the next byte.
    offset: u64,
    /// Bytes that are held while the protocol is not known.
    held: Vec<u8>,
    /// How many of them are known to hold no start line, and need not be searched again.
    scanned: usize,
    /// When they were handed over.
    chunk: Option<Chunk>,
    /// It begins in the middle of something.
    searching: bool,
    /// Its first bytes are of no known protocol.
    other: bool,
    /// It was cut off by a reset.
    reset: bool,
}

impl Half {
    /// Its next bytes need not begin a message.
    fn begins_anywhere(&self) -> bool {
        self.searching || self.other
    }
}

impl Connection {
    pub(crate) fn new(shared: SharedConnection, keep: bool) -> Self {
        let info = shared.info();
        let (first_ns, joined) = (info.record.ts_ns, info.record.joined);
        Self {
            raw: Box::new(Stream::new(&shared, first_ns, keep)),
            shared,
            protocol: Protocol::Undecided,
            ticket: None,
            keep,
            beginning: if joined { Beginning::Unrecorded } else { Beginning::Here },
            started: false,
            halves: PerDirection::from_fn(|_| Half { searching: joined, ..Half::default() }),
            handshakes: Handshakes::default(),
            notes: Vec::new(),
        }
    }

    /// What is known of it.
    pub(crate) fn shared(&self) -> &SharedConnection {
        &self.shared
    }

    /// Bytes that were read or written. Returns how many turned out to be missing before them.
    pub(crate) fn data(&mut self, data: &Data<'_>, timeline: &mut Timeline) -> u64 {
        self.handshakes.settle(timeline);
        let first_ns = match data.dir {
            Direction::Sent => data.ts_ns.saturating_sub(data.lat_ns),
            Direction::Received => data.ts_ns,
        };
        let chunk = Chunk { first_ns, last_ns: data.ts_ns };
        let expected = self.halves[data.dir].offset;
        // A file that was put together from damaged parts can leave bytes out or repeat them.
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

    /// Bytes that are missing. Returns how many of them were not known to be yet.
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

    /// This direction goes on from an earlier file, which has the bytes up to here. Nothing is
    /// missing; if that file was read too, all of this is known.
    fn go_on_at(&mut self, direction: Direction, offset: u64) -> u64 {
        let half = &mut self.halves[direction];
        if offset > half.offset {
            half.offset = offset;
            half.searching = true;
            self.beginning = Beginning::EarlierFile;
        }
        0
    }

    /// A TLS handshake ended.
    pub(crate) fn handshake(&mut self, handshake: Handshake, timeline: &mut Timeline) {
        handshake.failure().iter().for_each(|failure| self.note(failure));
        self.handshakes.add(handshake, timeline);
    }

    /// Something about the bytes that come next.
    pub(crate) fn note(&mut self, note: &Note) {
        match &mut self.protocol {
            Protocol::Http1(http1) => http1.note(note.to_string()),
            Protocol::Http2(http2) => http2.note(note.to_string()),
            Protocol::Undecided if self.notes.contains(note) => {}
            Protocol::Undecided => self.notes.push(note.clone()),
            Protocol::Opaque => self.raw.note(note.clone()),
        }
    }

    /// This direction was cut off by a reset; the end of the connection follows.
    pub(crate) fn reset(&mut self, direction: Direction) {
        self.halves[direction].reset = true;
    }

    /// The connection ended, or with `None` the capture did. Returns how many bytes turned out to
    /// be missing.
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

    /// The first byte, present or missing, moves the connection from when it was made to when it
    /// was used.
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
        // Usually the first call tells, and then nothing needs to be held.
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
                // Only a search goes beyond one line, and it needs no more than the last one.
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

    /// The bytes of this direction are messages of this kind.
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
        let mut http1 = http1::Connection::new(&self.shared, requests, searching, self.keep);
        self.ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
        for (direction, cause, lost) in self.raw.losses.iter() {
            http1.gap(direction, cause, self.raw.first_ns, lost, timeline);
        }
        self.notes.drain(..).for_each(|note| http1.note(note.to_string()));
        if skipped > 0 {
            http1.note(Note::SkippedBytes(skipped).to_string());
        }
        if let Some((other, chunk, held)) = self.take_held(direction.reverse()) {
            http1.data(other, chunk, &held, timeline);
        }
        self.protocol = Protocol::Http1(Box::new(http1));
    }

    /// The bytes of this direction begin with a frame of HTTP/2, or with its preface.
    fn become_http2(&mut self, direction: Direction, skipped: u64, timeline: &mut Timeline) {
        let client = self.shared.info().client_direction();
        let place = |d| match self.halves[d].begins_anywhere() {
            true if d == direction => Place::Frame,
            true => Place::Anywhere,
            false => Place::Beginning,
        };
        let mut http2 = http2::Connection::new(&self.shared, client, place, self.keep);
        self.ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
        for (direction, cause, lost) in self.raw.losses.iter() {
            http2.lost_before(direction, cause, lost);
        }
        self.notes.drain(..).for_each(|note| http2.note(note.to_string()));
        if skipped > 0 {
            http2.note(Note::SkippedBytes(skipped).to_string());
        }
        if let Some((other, chunk, held)) = self.take_held(direction.reverse()) {
            http2.data(other, chunk, &held, timeline);
        }
        self.protocol = Protocol::Http2(Box::new(http2));
    }

    /// What was held of a direction while the protocol was not known.
    fn take_held(&mut self, direction: Direction) -> Option<(Direction, Chunk, Vec<u8>)> {
        let half = &mut self.halves[direction];
        let held = std::mem::take(&mut half.held);
        let chunk = half.chunk.take().filter(|_| !held.is_empty())?;
        Some((direction, chunk, held))
    }
}

/// What the handshake settled on, as far as it matters here.
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

/// Looks for frames of HTTP/2 in the call that begins at `call`, and for a start line in all of the
/// bytes, which begin in the middle of something: for one of the kind that the direction carries,
/// or of either where the role is not known. `from` is as in [`start::find`].
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
