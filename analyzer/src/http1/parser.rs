//! A direction of an HTTP/1 connection: bytes and gaps in, events out.
//!
//! The [`Framer`] finds the parts of messages. The parser reads heads, keeps bytes until a part is
//! complete, and searches for the next message after framing is lost.
//!
//! It does no input or output and never holds bodies: they pass through as slices of the input.
//! Missing bytes inside a body of known length are counted and skipped, so the framing stays in
//! step; bytes missing elsewhere make the parser search for the next start line.

mod malformed;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use memchr::memchr;
use sslrec_wire::http1::message::{MAX_HEAD, Missing, State, Why};
use sslrec_wire::http1::{Framer, Framing, Kind, Piece, find_end_of_head, start};

use super::End;
use super::head::{self, Extent, Head};
use crate::exchange::Fields;
use crate::exchange::note::{Defect, Truncation};

/// Maximum number of bytes held while a CONNECT waits for its response.
const MAX_HELD: usize = 1 << 20;

/// A part of a message, or an event between messages. Everything between a `Begin` and its `End` or
/// `Abandoned` belongs to a single message.
#[derive(Debug)]
pub(crate) enum Event<'i> {
    /// The first byte of a message.
    Begin(Place),
    /// The head. Unless `cut`, [`Parser::set_framing`] must be called before the next event.
    Head { head: Head, cut: bool },
    /// Bytes of the content.
    Body(&'i [u8]),
    /// So many bytes of the message are missing.
    Lost(u64),
    /// The trailer fields.
    Trailers(Fields),
    /// A defect of the message.
    Defect(Defect),
    /// The message is complete.
    End,
    /// The message ends here, incomplete, for this reason.
    Abandoned(Truncation),
    /// So many bytes are missing between messages. `begins`: a message begins with them.
    Missing { len: u64, begins: bool },
    /// So many bytes between messages were skipped, because they are not a message. `heads`: the
    /// number of empty lines in them, each of which may end a head.
    Skipped { len: u64, heads: u64 },
    /// Bytes of another protocol.
    Tunnel(&'i [u8]),
}

/// How the beginning of a message was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It follows on a message.
    Next,
    /// It follows on missing bytes.
    Resumed,
    /// By a search. `after_hole`: bytes are missing before those that were searched, so that it may
    /// be content. `at_call`: a call, or a segment, begins with it.
    Found { after_hole: bool, at_call: bool },
}

/// Reads the messages of a direction.
#[derive(Debug)]
pub(crate) struct Parser {
    framer: Framer,
    /// The beginning of an incomplete part, or bytes after a CONNECT. After framing is lost: bytes
    /// in which the next start line may have begun.
    buffer: Vec<u8>,
    /// After framing is lost: the offset in `buffer` at which the search for a start line
    /// continues.
    from: usize,
    /// After framing is lost: the number of skipped bytes, and of empty lines in them.
    skipped: u64,
    heads: u64,
    /// Framing was lost in missing bytes, and not in bytes that are no message.
    after_hole: bool,
    /// After framing is lost: `buffer` is a head whose first line is malformed; the value is where
    /// its last line begins.
    malformed: Option<usize>,
    /// Framing of the last head, unless it has no content: its request is not known.
    doubtful: Option<Framing>,
    /// Number of bytes taken off the input, and missing.
    taken: u64,
    /// The next input is that of a new call; else the length of the call's input.
    call: Option<usize>,
    /// Events to return before more input is read.
    queue: VecDeque<Event<'static>>,
}

impl Parser {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with(Framer::new(kind))
    }

    /// Creates a parser for bytes that do not begin with a message.
    pub(crate) fn searching(kind: Kind) -> Self {
        Self::with(Framer::lost(kind))
    }

    fn with(framer: Framer) -> Self {
        Self {
            framer,
            buffer: Vec::new(),
            from: 0,
            skipped: 0,
            heads: 0,
            after_hole: false,
            malformed: None,
            doubtful: None,
            taken: 0,
            call: None,
            queue: VecDeque::new(),
        }
    }

    /// Returns the next event, taken from the input. `None` means that more input is needed.
    pub(crate) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        let before = input.len();
        self.call.get_or_insert(before);
        let event = self.next_event(input);
        self.taken = self.taken.saturating_add((before - input.len()) as u64);
        if event.is_none() {
            self.call = None;
        }
        event
    }

    fn next_event<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if let Some(framing) = self.doubtful
                && let Some(first) =
                    input.first_chunk().or((!input.is_empty()).then_some(b"-------"))
            {
                // A response to HEAD declares content and has none.
                self.framer.set_framing(framing);
                self.doubtful = None;
                if first == b"HTTP/1." {
                    self.framer.restart();
                    return Some(Event::End);
                }
            }
            let state = self.framer.state();
            if input.is_empty() && state != State::Done {
                return None;
            }
            match state {
                State::Lost if self.malformed.is_some() => self.read_malformed(input),
                State::Lost => self.search(input),
                State::Held => self.hold(input),
                _ if self.buffer.is_empty() => {
                    if let Some(event) = self.direct(input, state) {
                        return Some(event);
                    }
                }
                _ => self.buffered(input),
            }
        }
    }

    /// Returns the number of bytes taken off the input, and missing.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns the number of bytes before the next event, missing bytes included.
    pub(crate) fn position(&self) -> u64 {
        self.taken - self.buffer.len() as u64
    }

    /// Sets the framing of the head that was returned last.
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.framer.set_framing(framing);
        if matches!(framing, Framing::Tunnel | Framing::AwaitResponse) {
            self.queue.push_back(Event::End);
        }
    }

    /// Sets the framing of a response whose request is not known, and may be a HEAD.
    pub(crate) fn set_doubtful_framing(&mut self, framing: Framing) {
        match framing {
            Framing::Length(0) | Framing::Tunnel | Framing::AwaitResponse => {
                self.set_framing(framing);
            }
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                self.doubtful = Some(framing);
            }
        }
    }

    /// Ends the message after its head, and searches for the next: the head may be content.
    pub(crate) fn leave_content(&mut self) {
        self.queue.push_back(Event::End);
        self.search_anew(false);
    }

    /// Continues with a message: the sender of the other direction has read the messages before.
    pub(crate) fn begin_message(&mut self) {
        self.end_malformed(Extent::Unknown);
        match self.framer.state() {
            _ if self.doubtful.take().is_some() => self.queue.push_back(Event::End),
            State::Start => {}
            State::Held | State::Tunnel => return,
            State::Done => self.queue.push_back(Event::End),
            State::Lost => self.skip_buffer(false),
            State::Head { .. } => {
                self.cut_head();
                self.queue.push_back(Event::Abandoned(Truncation::Head));
            }
            _ => self.queue.push_back(Event::Abandoned(Truncation::Body)),
        }
        self.buffer.clear();
        self.framer.restart();
    }

    /// Ends the wait of a CONNECT, or makes a tunnel of the connection in any state. Returns the
    /// buffered bytes, which must be fed again.
    pub(crate) fn release(&mut self, tunnel: bool) -> Vec<u8> {
        match tunnel {
            true => self.framer.tunnel(),
            false => self.framer.restart(),
        }
        std::mem::take(&mut self.buffer)
    }

    /// Returns whether bytes were skipped that are no longer in the buffer.
    pub(crate) fn has_skipped(&self) -> bool {
        self.framer.state() == State::Lost && self.skipped > 0
    }

    /// Returns whether the parser waits for the response to a CONNECT.
    pub(crate) fn is_held(&self) -> bool {
        self.framer.state() == State::Held
    }

    /// Processes missing bytes. The next calls of [`Self::next`] return the events about them.
    pub(crate) fn gap(&mut self, len: u64) {
        if let Some(framing) = self.doubtful.take() {
            self.framer.set_framing(framing);
        }
        self.end_malformed(Extent::Unknown);
        self.taken = self.taken.saturating_add(len);
        let begins = matches!(self.framer.state(), State::Start | State::Done);
        match self.framer.gap(len) {
            Missing::Content { len, ended, beyond } => {
                self.queue.push_back(Event::Lost(len));
                self.queue.extend(ended.then_some(Event::End));
                if beyond > 0 {
                    self.queue.push_back(Event::Missing { len: beyond, begins: true });
                    self.search_anew(true);
                }
            }
            Missing::InTunnel => self.queue.push_back(Event::Lost(len)),
            Missing::Between => {
                self.skip_buffer(true);
                self.queue.push_back(Event::Missing { len, begins });
            }
            Missing::InHead => {
                self.cut_head();
                self.queue.extend([Event::Lost(len), Event::Abandoned(Truncation::GapInHead)]);
                self.search_anew(true);
            }
            Missing::InChunks => {
                self.queue.extend([Event::Lost(len), Event::Abandoned(Truncation::GapInChunks)]);
                self.search_anew(true);
            }
        }
    }

    /// Ends the input.
    pub(crate) fn finish(&mut self, end: End) {
        if let Some(framing) = self.doubtful.take() {
            self.framer.set_framing(framing);
        }
        self.end_malformed(Extent::Unknown);
        match self.framer.state() {
            State::Start | State::Done | State::Tunnel => {}
            State::Held | State::Lost => self.skip_buffer(false),
            State::UntilClose => self.queue.push_back(match end {
                End::Closed => Event::End,
                End::Reset => Event::Abandoned(Truncation::BodyReset),
                End::Open => Event::Abandoned(Truncation::BodyOpen),
            }),
            State::Head { .. } => {
                let known = self.cut_head();
                self.queue.push_back(Event::Abandoned(Truncation::Head));
                if !known {
                    let len = self.buffer.len() as u64;
                    self.queue.push_back(Event::Skipped { len, heads: 0 });
                }
            }
            _ => self.queue.push_back(Event::Abandoned(Truncation::Body)),
        }
        self.buffer.clear();
        self.framer.restart();
    }

    /// Takes the next part off the input. Nothing is buffered.
    fn direct<'i>(&mut self, input: &mut &'i [u8], state: State) -> Option<Event<'i>> {
        if let State::Head { .. } = state
            && let Some((head, len)) = head::parse_strict(self.framer.kind(), input)
            && len <= MAX_HEAD
        {
            // Most heads are complete and well formed.
            debug_assert_eq!(find_end_of_head(input, 0), Some(len));
            *input = &input[len..];
            self.framer.head_was_read();
            return Some(Event::Head { head, cut: false });
        }
        match self.framer.next(input) {
            Piece::Content(len) => return Some(Event::Body(take(input, len))),
            Piece::Tunnel(len) => return Some(Event::Tunnel(take(input, len))),
            Piece::Begin => return Some(Event::Begin(Place::Next)),
            Piece::End => return Some(Event::End),
            Piece::More => self.buffer.extend_from_slice(take(input, input.len())),
            Piece::Lost(Why::LongHead | Why::LongTrailers) => {
                // Take the line that exceeds the bound up to its end: a message may begin after it.
                let rest = input.get(MAX_HEAD..).unwrap_or_default();
                let line = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                let len = input.len() - rest.len() + line;
                self.buffer.extend_from_slice(take(input, len));
                self.too_long(state);
            }
            piece => {
                let len = self.piece(piece, input);
                take(input, len);
            }
        }
        None
    }

    /// Appends a line to the buffer and takes the part that it completes. Working line by line
    /// ensures that nothing after the part is consumed.
    fn buffered(&mut self, input: &mut &[u8]) {
        let (state, before, all) = (self.framer.state(), self.buffer.len(), *input);
        let line = memchr(b'\n', input).map_or(input.len(), |end| end + 1);
        self.buffer.extend_from_slice(take(input, line));
        match self.framer.next(&self.buffer) {
            Piece::More => {}
            Piece::Lost(Why::LongHead | Why::LongTrailers) => self.too_long(state),
            Piece::Lost(why @ (Why::BadChunkSize | Why::BadChunkEnd)) => {
                // The line is left for the search: it may be the next start line.
                self.buffer.truncate(before);
                *input = all;
                self.abandon(why, 0);
            }
            piece => {
                let buffer = std::mem::take(&mut self.buffer);
                let len = self.piece(piece, &buffer);
                self.buffer = buffer;
                self.buffer.drain(..len);
            }
        }
    }

    /// Queues the events about a part of `bytes`. Returns its length.
    fn piece(&mut self, piece: Piece, bytes: &[u8]) -> usize {
        match piece {
            Piece::Begin => self.queue.push_back(Event::Begin(Place::Next)),
            Piece::End => self.queue.push_back(Event::End),
            Piece::Blank(len) | Piece::ChunkLine(len) | Piece::ChunkEnd(len) => return len,
            Piece::Head(len) => match head::parse(self.framer.kind(), &bytes[..len], true) {
                Some(head) => {
                    self.queue.push_back(Event::Head { head, cut: false });
                    return len;
                }
                None => self.not_a_head(bytes),
            },
            Piece::Trailers(len) => {
                let (fields, defects) = head::parse_trailers(&bytes[..len]);
                self.queue.extend(defects.into_iter().map(Event::Defect));
                if !fields.is_empty() {
                    self.queue.push_back(Event::Trailers(fields));
                }
                return len;
            }
            Piece::Lost(Why::NotAHead) => self.not_a_head(bytes),
            Piece::Lost(why) => self.abandon(why, 0),
            Piece::More | Piece::Content(_) | Piece::Tunnel(_) => {}
        }
        0
    }

    /// Queues the complete part of the buffered head, if its start line is complete.
    fn cut_head(&mut self) -> bool {
        let head = head::parse(self.framer.kind(), &self.buffer, false);
        let known = head.is_some();
        self.queue.extend(head.map(|head| Event::Head { head, cut: true }));
        known
    }

    /// Abandons the message and searches for the next, in the buffer too.
    fn abandon(&mut self, why: Why, from: usize) {
        self.queue.push_back(Event::Abandoned(Truncation::Framing(why)));
        self.framer.search();
        (self.from, self.skipped, self.heads, self.after_hole) = (from, 0, 0, false);
    }

    /// Abandons a message whose head or trailer section exceeds the bound.
    fn too_long(&mut self, state: State) {
        let why = match state {
            State::Head { .. } => {
                self.cut_head();
                Why::LongHead
            }
            _ => Why::LongTrailers,
        };
        self.abandon(why, 0);
        self.skipped = self.buffer.len() as u64;
        self.buffer.clear();
    }

    fn search_anew(&mut self, after_hole: bool) {
        self.buffer.clear();
        self.framer.search();
        (self.from, self.skipped, self.heads, self.after_hole) = (0, 0, 0, after_hole);
    }

    /// Drops the bytes buffered between messages, and queues their number.
    fn skip_buffer(&mut self, after_hole: bool) {
        let skipped = self.skipped + self.buffer.len() as u64;
        if skipped > 0 {
            let heads = self.heads + empty_lines(&self.buffer, self.buffer.len());
            self.queue.push_back(Event::Skipped { len: skipped, heads });
        }
        self.search_anew(after_hole);
    }

    fn hold(&mut self, input: &mut &[u8]) {
        self.buffer.extend_from_slice(input);
        *input = &[];
        if self.buffer.len() > MAX_HELD {
            // No client sends so much before the response to its CONNECT.
            self.skip_buffer(false);
        }
    }

    fn search(&mut self, input: &mut &[u8]) {
        let (kind, before) = (self.framer.kind(), self.buffer.len());
        let call_at = (self.call == Some(input.len())).then_some(before);
        self.buffer.extend_from_slice(input);
        if let Some(at) = start::find(kind, &self.buffer, self.from) {
            let skipped = self.skipped + at as u64;
            if skipped > 0 {
                let heads = self.heads + empty_lines(&self.buffer, at);
                self.queue.push_back(Event::Skipped { len: skipped, heads });
            }
            if at >= before {
                *input = &input[at - before..];
                self.buffer.clear();
            } else {
                self.buffer.truncate(before);
                self.buffer.drain(..at);
            }
            let place = match skipped == 0 && self.after_hole {
                true => Place::Resumed,
                false => Place::Found { after_hole: self.after_hole, at_call: call_at == Some(at) },
            };
            self.framer.begin();
            (self.from, self.skipped, self.heads) = (0, 0, 0);
            return self.queue.push_back(Event::Begin(place));
        }
        *input = &[];
        // A request line is recognised at its end, a status line after 13 bytes.
        let keep = match kind {
            Kind::Request => start::MAX_LINE,
            Kind::Response => start::OVERLAP,
        };
        if self.buffer.len() > 2 * keep {
            let drop = self.buffer.len() - keep;
            self.heads += empty_lines(&self.buffer, drop);
            self.buffer.drain(..drop);
            self.skipped += drop as u64;
        }
        self.from = self.buffer.len().saturating_sub(start::OVERLAP).max(self.from.min(1));
    }
}

/// Returns the number of empty lines that begin in the first `len` bytes, after other lines.
fn empty_lines(bytes: &[u8], len: usize) -> u64 {
    let ends = memchr::memchr_iter(b'\n', &bytes[..len]);
    let is_empty = |end: &usize| matches!(bytes[end + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
    ends.filter(is_empty).count() as u64
}

/// Takes `len` bytes off the input.
fn take<'i>(input: &mut &'i [u8], len: usize) -> &'i [u8] {
    let (taken, rest) = input.split_at(len.min(input.len()));
    *input = rest;
    taken
}
