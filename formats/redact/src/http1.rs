//! One direction of HTTP/1: finds heads and contents by the framing that the listing uses
//! ([`Framer`]), and blanks the secrets in them.
//!
//! An error here would leave a secret, so invalid data always ends in [`Step::Lost`]: further bytes
//! are blanked until a start line is seen.

use std::collections::VecDeque;
use std::ops::Range;

use memchr::memchr;
use sslrec_wire::http1::message::{MAX_PIPELINE, Missing, State, Why};
use sslrec_wire::http1::{Framer, Framing, Kind, Piece, start};

use super::body::Body;
use super::counts::Place;
use super::head::{self, Line, Said, Section};
use super::window::{Engine, Window};

/// State that the two directions share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Methods of requests without a response, the oldest first.
    methods: VecDeque<Vec<u8>>,
    /// The response has ended HTTP/1, and the other direction has not switched yet; whether it
    /// continues as a WebSocket.
    switched: Option<bool>,
    /// A request may be missing, so that a response may belong to another request.
    missed: bool,
}

impl Shared {
    /// `joined`: earlier bytes were not recorded.
    pub(super) fn new(joined: bool) -> Self {
        Self { missed: joined, ..Self::default() }
    }

    /// Records that bytes of a direction are missing, or were invalid.
    pub(super) fn miss(&mut self) {
        self.missed = true;
    }
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes are needed.
    Wait,
    /// There may be more to read.
    Again,
    /// The bytes are invalid.
    Lost,
    /// Another protocol follows.
    Switched { websocket: bool },
}

/// One direction of HTTP/1.
#[derive(Debug)]
pub(super) struct Http1 {
    framer: Framer,
    body: Body,
    /// The head was just read.
    begins: bool,
    /// Bytes are missing before the heads, which may therefore be contents that look like heads.
    doubtful: bool,
}

impl Http1 {
    /// `doubtful`: bytes are missing before.
    pub(super) fn new(kind: Kind, doubtful: bool) -> Self {
        Self { framer: Framer::new(kind), body: Body::Free, begins: false, doubtful }
    }

    /// Returns the place of the first byte that is held back.
    pub(super) fn held_from(&self) -> Option<u64> {
        self.body.held_from()
    }

    /// Returns the bytes of memory in use, approximately.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.body.memory()
    }

    pub(super) fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Reads as far as possible from `at`.
    pub(super) fn step(
        &mut self,
        window: &mut Window,
        at: &mut u64,
        engine: &mut Engine,
        shared: &mut Shared,
    ) -> Step {
        let bytes = window.from(*at);
        if bytes.is_empty() && self.framer.state() != State::Done {
            return Step::Wait;
        }
        let is_request = self.framer.kind() == Kind::Request;
        if std::mem::take(&mut self.begins) && !is_request && shared.missed && is_head(bytes) {
            // The response to an unseen HEAD declares the length that its contents would have, and
            // the next head follows. The response to another request is followed by contents.
            self.framer.restart();
            self.doubtful = true;
        }
        if is_request
            && self.framer.state() == State::Start
            && let Some(websocket) = shared.switched.take()
        {
            return Step::Switched { websocket };
        }
        let piece = self.framer.next(bytes);
        let start = *at;
        let mut take = |len: usize| {
            *at += len as u64;
            start..*at
        };
        match piece {
            Piece::More => return Step::Wait,
            Piece::Begin => {}
            Piece::End => self.end(window, engine),
            Piece::Blank(len) | Piece::ChunkEnd(len) => drop(take(len)),
            Piece::Content(len) => self.body.data(window, take(len), engine),
            Piece::ChunkLine(len) => extension(window, take(len), engine),
            Piece::Head(len) => {
                let said = head::redact(window, take(len), engine, self.kind_of_head());
                return self.head(&said, engine, shared);
            }
            Piece::Trailers(len) => {
                head::redact(window, take(len), engine, Section::Trailers);
            }
            Piece::Lost(Why::LongHead | Why::LongTrailers) => {
                let section = match piece {
                    Piece::Lost(Why::LongTrailers) => Section::Trailers,
                    _ => self.kind_of_head(),
                };
                *at = window.end();
                head::redact_cut(window, start..*at, engine, section);
                return Step::Lost;
            }
            Piece::Lost(_) | Piece::Tunnel(_) => return Step::Lost,
        }
        Step::Again
    }

    /// Processes `len` missing bytes. [`Self::cut`] has handled the bytes held before them.
    pub(super) fn gap(&mut self, len: u64, window: &mut Window, engine: &mut Engine) -> Step {
        self.body.gap(window, engine);
        match self.framer.gap(len) {
            Missing::Content { ended, beyond: 0, .. } => {
                if ended {
                    self.end(window, engine);
                }
                Step::Again
            }
            _ => Step::Lost,
        }
    }

    /// Ends the piece held from `at`, since no more of it arrives.
    pub(super) fn cut(&mut self, window: &mut Window, at: u64, engine: &mut Engine) {
        let rest = at..window.end();
        if rest.is_empty() {
            return;
        }
        match self.framer.state() {
            State::Start | State::Head { .. } => {
                head::redact_cut(window, rest, engine, self.kind_of_head());
            }
            State::Trailers { .. } => head::redact_cut(window, rest, engine, Section::Trailers),
            _ => engine.blank(window, rest, Place::Other),
        }
    }

    fn head(&mut self, said: &Said, engine: &Engine, shared: &mut Shared) -> Step {
        let framing = match &said.line {
            Some(Line::Request { method, minor }) => {
                if shared.methods.len() == MAX_PIPELINE {
                    shared.methods.pop_front();
                    shared.miss();
                }
                shared.methods.push_back(method.clone());
                said.declared.of_request(method, *minor, |_| ())
            }
            Some(Line::Response { status, minor }) => {
                let is_interim = (100..200).contains(status) && *status != 101;
                let method = if is_interim { None } else { shared.methods.pop_front() };
                shared.missed |= method.is_none() && !is_interim && *status != 101;
                said.declared.of_response(*status, *minor, method.as_deref(), |_| ())
            }
            None => return Step::Lost,
        };
        match framing {
            // Another request follows, or a tunnel: the bytes decide.
            Framing::AwaitResponse => return Step::Switched { websocket: false },
            Framing::Tunnel => {
                shared.switched = Some(said.websocket);
                return Step::Switched { websocket: said.websocket };
            }
            Framing::Length(0) => self.body = Body::Free,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                self.body = Body::new(engine, said.contents);
            }
        }
        self.begins = matches!(framing, Framing::Length(1..) | Framing::UntilClose);
        self.framer.set_framing(framing);
        Step::Again
    }

    fn kind_of_head(&self) -> Section {
        if self.doubtful { Section::Doubtful } else { Section::Head }
    }

    fn end(&mut self, window: &mut Window, engine: &mut Engine) {
        self.body.finish(window, engine);
        self.body = Body::Free;
    }
}

/// Returns whether the bytes begin with a start line.
fn is_head(bytes: &[u8]) -> bool {
    let line = memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..end]);
    start::parse_any(line).is_some()
}

/// Blanks the extensions after the size of a chunk.
fn extension(window: &mut Window, line: Range<u64>, engine: &mut Engine) {
    let Some(at) = memchr(b';', window.get(line.clone())) else { return };
    let mut text = Body::text(engine, Place::Body);
    text.data(window, line.start + at as u64..line.end, engine);
    text.finish(window, engine);
}
