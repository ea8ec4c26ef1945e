//! One direction of an HTTP/1 connection: bytes and gaps in, events out.
//!
//! ```text
//!          +--------------------------- End ---------------------------+
//!          v                                                           |
//!        Start --first byte--> Head --empty line--> AwaitFraming --> body states
//!          ^                    |                        |             |
//!          |     not a head, gap|                        |tunnel       |gap outside of counted
//!          |                    v                        v             |bytes, bad chunk
//!          +--start line----- Search <---------------- Tunnel          |
//!                               ^--------------------------------------+
//! ```
//!
//! No input or output happens here, and bodies are never held: they pass through as slices of the
//! input. What is missing inside of a body of known length is counted and skipped, so the framing
//! stays in step; what is missing elsewhere makes the parser search for the next start line.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use memchr::memchr;
use sslrec_wire::http1::find_end_of_head;

use super::End;
use super::framing::Framing;
use super::head::{self, Head, Kind, MAX_HEAD};
use super::start;
use crate::exchange::Fields;

/// The longest line with a chunk size, extensions included.
const MAX_CHUNK_LINE: usize = 16 << 10;

/// How much is copied at once while a trailer section is put together.
const TRAILER_PIECE: usize = 8 << 10;

/// The most that is held while a CONNECT waits for its response.
const MAX_HELD: usize = 1 << 20;

/// What was found. Everything between a `Begin` and its `End` or `Abandoned` is one message.
#[derive(Debug)]
pub(crate) enum Event<'i> {
    /// The first byte of a message.
    Begin,
    /// Its head. Unless `cut`, [`Parser::set_framing`] must be called before the next event.
    Head { head: Head, cut: bool },
    /// Bytes of its content.
    Body(&'i [u8]),
    /// So many bytes of the message are missing.
    Lost(u64),
    /// Its trailer fields.
    Trailers(Fields),
    /// Something about it is unusual.
    Note(&'static str),
    /// Its last byte was before this.
    End,
    /// It ends here, incomplete; and why.
    Abandoned(&'static str),
    /// Between messages, so many bytes are missing.
    Missing(u64),
    /// Between messages, so many bytes were skipped since they are no message.
    Skipped(u64),
    /// Bytes of another protocol.
    Tunnel(&'i [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between messages.
    Start,
    /// `buffer` holds the head so far, of which `scanned` bytes do not hold its end. `started` says
    /// that its start line is whole and is one.
    Head {
        scanned: usize,
        started: bool,
    },
    /// The head was handed out and its framing is not set yet.
    AwaitFraming,
    Length {
        left: u64,
    },
    /// `buffer` holds the line with the chunk size so far.
    ChunkSize,
    ChunkData {
        left: u64,
    },
    /// Before the line break after chunk data.
    ChunkEnd,
    /// `buffer` holds a line feed and the trailer section so far.
    Trailers {
        scanned: usize,
    },
    UntilClose,
    /// `buffer` holds what followed a CONNECT.
    Held,
    Tunnel,
    /// `buffer` holds the bytes in which the next start line may have begun; it is looked for from
    /// `from`.
    Search {
        from: usize,
        skipped: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Parser {
    kind: Kind,
    state: State,
    buffer: Vec<u8>,
    /// Events that are due before more input is looked at.
    queue: VecDeque<Event<'static>>,
}

impl Parser {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, state: State::Start, buffer: Vec::new(), queue: VecDeque::new() }
    }

    /// A parser for bytes that do not begin with a message.
    pub(crate) fn searching(kind: Kind) -> Self {
        Self { state: State::Search { from: 0, skipped: 0 }, ..Self::new(kind) }
    }

    /// The next event; it consumes what it covers of `input`. After `None`, `input` is empty.
    pub(crate) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if input.is_empty() {
                return None;
            }
            match self.state {
                State::Start => self.start(input),
                State::Head { scanned, started } => self.head(input, scanned, started),
                // The caller broke its promise; the safe answer is to look for the next message.
                State::AwaitFraming => self.state = State::Search { from: 0, skipped: 0 },
                State::Length { left } => return Some(self.counted(input, left, false)),
                State::ChunkData { left } => return Some(self.counted(input, left, true)),
                State::ChunkSize => self.chunk_size(input),
                State::ChunkEnd => self.chunk_end(input),
                State::Trailers { scanned } => self.trailers(input, scanned),
                State::UntilClose => return Some(Event::Body(std::mem::take(input))),
                State::Tunnel => return Some(Event::Tunnel(std::mem::take(input))),
                State::Held => self.hold(input),
                State::Search { from, skipped } => self.search(input, from, skipped),
            }
        }
    }

    /// Says what follows the head that was handed out last.
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::Length(0) => State::Start,
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
            Framing::AwaitResponse => State::Held,
        };
        if matches!(self.state, State::Start | State::Tunnel | State::Held) {
            self.queue.push_back(Event::End);
        }
    }

    /// Ends the wait of a CONNECT, or makes a tunnel of the connection wherever it stands. What
    /// was buffered comes back and must be fed again.
    pub(crate) fn release(&mut self, tunnel: bool) -> Vec<u8> {
        self.state = if tunnel { State::Tunnel } else { State::Start };
        std::mem::take(&mut self.buffer)
    }

    /// Bytes were passed over, since they are no message, and are not in the buffer any more.
    pub(crate) fn has_skipped(&self) -> bool {
        matches!(self.state, State::Search { skipped: 1.., .. })
    }

    /// The parser waits for the response to a CONNECT.
    pub(crate) fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// Bytes are missing here. The events about it come from the next calls of [`Self::next`].
    pub(crate) fn gap(&mut self, len: u64) {
        match self.state {
            State::Length { left } if len < left => {
                self.queue.push_back(Event::Lost(len));
                self.state = State::Length { left: left - len };
            }
            State::Length { left } => {
                self.queue.extend([Event::Lost(left), Event::End]);
                self.state = State::Start;
                if len > left {
                    self.gap(len - left);
                }
            }
            State::ChunkData { left } if len <= left => {
                self.queue.push_back(Event::Lost(len));
                self.state = match left - len {
                    0 => State::ChunkEnd,
                    left => State::ChunkData { left },
                };
            }
            State::UntilClose | State::Tunnel | State::Held => {
                self.queue.push_back(Event::Lost(len));
            }
            State::Start | State::Search { .. } => {
                self.skip_buffer();
                self.queue.push_back(Event::Missing(len));
            }
            State::Head { .. } => {
                self.cut_head();
                self.queue.extend([Event::Lost(len), Event::Abandoned("head cut by a gap")]);
                self.search_anew();
            }
            State::AwaitFraming
            | State::ChunkSize
            | State::ChunkData { .. }
            | State::ChunkEnd
            | State::Trailers { .. } => {
                self.queue.extend([
                    Event::Lost(len),
                    Event::Abandoned("chunked body cut by a gap; its end was not found"),
                ]);
                self.search_anew();
            }
        }
    }

    /// Nothing follows.
    pub(crate) fn finish(&mut self, end: End) {
        match self.state {
            State::Start | State::Tunnel => {}
            State::Held | State::Search { .. } => self.skip_buffer(),
            State::UntilClose => self.queue.push_back(match end {
                End::Closed => Event::End,
                // RFC 9112 section 8: only a close that is no error ends such a body.
                End::Reset => Event::Abandoned(
                    "body lasts until the connection closes, and it was reset instead",
                ),
                End::Open => Event::Abandoned(
                    "body lasts until the connection closes, which was not recorded",
                ),
            }),
            State::Head { .. } => {
                let known = self.cut_head();
                self.queue.push_back(Event::Abandoned("head is not complete"));
                if !known {
                    self.queue.push_back(Event::Skipped(self.buffer.len() as u64));
                }
            }
            _ => self.queue.push_back(Event::Abandoned("body is not complete")),
        }
        self.buffer.clear();
        self.state = State::Start;
    }

    fn start(&mut self, input: &mut &[u8]) {
        // RFC 9112 section 2.2: empty lines before a start line are ignored.
        let blank = input.iter().take_while(|b| b"\r\n".contains(b)).count();
        *input = &input[blank..];
        if !input.is_empty() {
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.queue.push_back(Event::Begin);
        self.state = State::Head { scanned: 0, started: false };
    }

    fn head(&mut self, input: &mut &[u8], scanned: usize, started: bool) {
        if self.buffer.is_empty() {
            // Most heads are whole and well formed.
            if let Some((head, len)) = head::parse_strict(self.kind, input) {
                debug_assert_eq!(find_end_of_head(input, 0), Some(len));
                *input = &input[len..];
                return self.head_found(head);
            }
            if let Some(end) = find_end_of_head(input, 0) {
                let (bytes, rest) = input.split_at(end);
                match head::parse_lenient(self.kind, bytes) {
                    Some(head) => {
                        *input = rest;
                        self.head_found(head);
                    }
                    None => self.not_a_head(),
                }
                return;
            }
        }
        // Line by line, so that nothing behind the head, or behind a first line that turns out not
        // to be one, is ever consumed.
        let line = memchr(b'\n', input).map_or(input.len(), |end| end + 1);
        self.buffer.extend_from_slice(&input[..line]);
        *input = &input[line..];
        if find_end_of_head(&self.buffer, scanned).is_some() {
            match head::parse(self.kind, &self.buffer, true) {
                Some(head) => {
                    self.buffer.clear();
                    self.head_found(head);
                }
                None => self.not_a_head(),
            }
        } else if self.buffer.len() > MAX_HEAD {
            self.too_long("head is longer than 1 MiB");
        } else if started || start::may_be_head(self.kind, &self.buffer) {
            // The start line is not judged again for each line that follows: it may be long.
            let started = started || self.buffer.last() == Some(&b'\n');
            self.state = State::Head { scanned: self.buffer.len(), started };
        } else {
            self.not_a_head();
        }
    }

    fn head_found(&mut self, head: Head) {
        self.state = State::AwaitFraming;
        self.queue.push_back(Event::Head { head, cut: false });
    }

    /// Hands out what is complete of the buffered head, if its start line is.
    fn cut_head(&mut self) -> bool {
        let head = head::parse(self.kind, &self.buffer, false);
        let known = head.is_some();
        self.queue.extend(head.map(|head| Event::Head { head, cut: true }));
        known
    }

    /// The search begins after the first byte, so as not to find the same again.
    fn not_a_head(&mut self) {
        self.queue.push_back(Event::Abandoned("these bytes are no message of HTTP/1"));
        self.state = State::Search { from: 1, skipped: 0 };
    }

    /// Gives the message up and looks for the next one, in the buffer too.
    fn abandon(&mut self, why: &'static str) {
        self.queue.push_back(Event::Abandoned(why));
        self.state = State::Search { from: 0, skipped: 0 };
    }

    /// Gives a message up whose head or trailer section exceeds what is buffered.
    fn too_long(&mut self, why: &'static str) {
        if matches!(self.state, State::Head { .. }) {
            self.cut_head();
        }
        self.queue.push_back(Event::Abandoned(why));
        self.state = State::Search { from: 0, skipped: self.buffer.len() as u64 };
        self.buffer.clear();
    }

    fn search_anew(&mut self) {
        self.buffer.clear();
        self.state = State::Search { from: 0, skipped: 0 };
    }

    /// Drops what is buffered between messages, and says how much was skipped there.
    fn skip_buffer(&mut self) {
        let before = match self.state {
            State::Search { skipped, .. } => skipped,
            _ => 0,
        };
        let skipped = before + self.buffer.len() as u64;
        if skipped > 0 {
            self.queue.push_back(Event::Skipped(skipped));
        }
        self.search_anew();
    }

    fn counted<'i>(&mut self, input: &mut &'i [u8], left: u64, chunk: bool) -> Event<'i> {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at(take);
        *input = rest;
        self.state = match (left - take as u64, chunk) {
            (0, true) => State::ChunkEnd,
            (left, true) => State::ChunkData { left },
            (0, false) => {
                self.queue.push_back(Event::End);
                State::Start
            }
            (left, false) => State::Length { left },
        };
        Event::Body(bytes)
    }

    fn chunk_size(&mut self, input: &mut &[u8]) {
        let Some(end) = memchr(b'\n', input) else {
            self.buffer.extend_from_slice(input);
            *input = &[];
            if self.buffer.len() > MAX_CHUNK_LINE {
                self.abandon("line with a chunk size is longer than 16 KiB");
            }
            return;
        };
        let before = self.buffer.len();
        let size = if before == 0 {
            chunk_size(&input[..end])
        } else {
            self.buffer.extend_from_slice(&input[..end]);
            chunk_size(&self.buffer)
        };
        if size.is_none() {
            // The line is left to the search: it may be the next start line.
            self.buffer.truncate(before);
            return self.abandon("invalid chunk size");
        }
        *input = &input[end + 1..];
        self.buffer.clear();
        self.state = match size {
            Some(left @ 1..) => State::ChunkData { left },
            _ => {
                self.buffer.push(b'\n');
                State::Trailers { scanned: 0 }
            }
        };
    }

    fn chunk_end(&mut self, input: &mut &[u8]) {
        // The line break may be split: a CR alone is kept until the next byte shows.
        match (self.buffer.is_empty(), input[0]) {
            (true, b'\r') => self.buffer.push(b'\r'),
            (_, b'\n') => {
                self.buffer.clear();
                self.state = State::ChunkSize;
            }
            _ => return self.abandon("chunk is longer than its size says"),
        }
        *input = &input[1..];
    }

    fn trailers(&mut self, input: &mut &[u8], scanned: usize) {
        let before = self.buffer.len();
        let piece = input.len().min(TRAILER_PIECE);
        self.buffer.extend_from_slice(&input[..piece]);
        let Some(end) = find_end_of_head(&self.buffer, scanned) else {
            *input = &input[piece..];
            self.state = State::Trailers { scanned: self.buffer.len() };
            if self.buffer.len() > MAX_HEAD {
                self.too_long("trailer section is longer than 1 MiB");
            }
            return;
        };
        *input = &input[end - before..];
        let (fields, anomalies) = head::parse_trailers(&self.buffer[1..end]);
        self.queue.extend(anomalies.into_iter().map(Event::Note));
        if !fields.is_empty() {
            self.queue.push_back(Event::Trailers(fields));
        }
        self.queue.push_back(Event::End);
        self.buffer.clear();
        self.state = State::Start;
    }

    fn hold(&mut self, input: &mut &[u8]) {
        self.buffer.extend_from_slice(input);
        *input = &[];
        if self.buffer.len() > MAX_HELD {
            // No client sends so much before it knows that there is a tunnel.
            self.skip_buffer();
        }
    }

    fn search(&mut self, input: &mut &[u8], from: usize, skipped: u64) {
        let before = self.buffer.len();
        self.buffer.extend_from_slice(input);
        if let Some(at) = start::find(self.kind, &self.buffer, from) {
            let skipped = skipped + at as u64;
            if skipped > 0 {
                self.queue.push_back(Event::Skipped(skipped));
            }
            if at >= before {
                *input = &input[at - before..];
                self.buffer.clear();
            } else {
                self.buffer.truncate(before);
                self.buffer.drain(..at);
            }
            return self.begin();
        }
        *input = &[];
        // A request line is recognised at its end, a status line after 13 bytes.
        let keep = match self.kind {
            Kind::Request => start::MAX_LINE,
            Kind::Response => start::OVERLAP,
        };
        let mut skipped = skipped;
        if self.buffer.len() > 2 * keep {
            let drop = self.buffer.len() - keep;
            self.buffer.drain(..drop);
            skipped += drop as u64;
        }
        let from = self.buffer.len().saturating_sub(start::OVERLAP).max(from.min(1));
        self.state = State::Search { from, skipped };
    }
}

/// RFC 9112 section 7.1: hexadecimal digits, then perhaps extensions. At most 16 digits.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii();
    if digits == 0 || digits > 16 || !(rest.is_empty() || rest[0] == b';') {
        return None;
    }
    let digits = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}
