//! One direction of HTTP/1: where heads and contents are, as far as redacting them takes.
//!
//! An error here would leave a secret, so whatever is not understood ends in [`Step::Lost`]: what
//! follows is blanked until a start line is seen.

use std::collections::VecDeque;

use memchr::memchr;

use super::body::Body;
use super::head::{self, Line, MAX_HEAD, Method, Said};
use super::window::{Engine, Window};
use sslrec_wire::http1::find_end_of_head;

/// The longest line with the size of a chunk.
const MAX_CHUNK_LINE: usize = 16 << 10;

/// The most requests that are remembered until their responses come.
const MAX_WAITING: usize = 1000;

/// What the two directions tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Methods of requests without a response, the oldest first.
    methods: VecDeque<Method>,
    /// The response has ended HTTP/1, which the other direction has not seen yet; whether it goes on as
    /// a web socket.
    switched: Option<bool>,
    /// A request may have been missed, so that a response may be that to another one.
    missed: bool,
}

impl Shared {
    /// `joined` says that something was sent before.
    pub(super) fn new(joined: bool) -> Self {
        Self { missed: joined, ..Self::default() }
    }

    /// Bytes of one of the directions are missing, or were not understood.
    pub(super) fn miss(&mut self) {
        self.missed = true;
    }
}

/// How far a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes are needed.
    Wait,
    /// There may be more to do.
    Again,
    /// These bytes were not understood.
    Lost,
    /// What follows is something else.
    Switched { websocket: bool },
}

#[derive(Debug)]
enum State {
    /// Before a head.
    Start,
    Length {
        left: u64,
    },
    ChunkSize,
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailers,
    UntilClose,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Http1 {
    state: State,
    body: Body,
    /// How much of what waits is known not to hold the end of a head.
    scanned: usize,
    responses: bool,
    /// The head was just read.
    begins: bool,
}

impl Http1 {
    pub(super) fn new(responses: bool) -> Self {
        Self { state: State::Start, body: Body::Free, scanned: 0, responses, begins: false }
    }

    /// Where the first byte stands that is held back.
    pub(super) fn held_from(&self) -> Option<u64> {
        self.body.held_from()
    }

    pub(super) fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Reads what can be read from `at` on.
    pub(super) fn step(
        &mut self,
        window: &mut Window,
        at: &mut u64,
        engine: &mut Engine,
        shared: &mut Shared,
    ) -> Step {
        if *at == window.end() {
            return Step::Wait;
        }
        if std::mem::take(&mut self.begins) && self.responses && shared.missed {
            // The answer to a HEAD that was not seen says how long its contents would be, and is
            // followed by the next head.
            let bytes = window.from(*at);
            let line = memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..end]);
            if head::start_line(line).is_some() {
                self.state = State::Start;
            }
        }
        match self.state {
            State::Start => self.start(window, at, engine, shared),
            State::Length { left } => {
                let left = left - self.contents(window, at, left, engine);
                self.state = State::Length { left };
                if left == 0 { self.end(window, engine) } else { Step::Wait }
            }
            State::ChunkData { left } => {
                let left = left - self.contents(window, at, left, engine);
                self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData { left } };
                Step::Again
            }
            State::UntilClose => {
                self.contents(window, at, u64::MAX, engine);
                Step::Wait
            }
            State::ChunkSize => self.chunk_size(window, at),
            State::ChunkEnd => match window.from(*at) {
                [b'\n', ..] => self.chunk_ended(at, 1),
                [b'\r', b'\n', ..] => self.chunk_ended(at, 2),
                [b'\r'] => Step::Wait,
                _ => Step::Lost,
            },
            State::Trailers => self.trailers(window, at, engine),
        }
    }

    /// So many bytes are missing. What waits before them was handled by [`Self::cut`].
    pub(super) fn gap(&mut self, len: u64, window: &mut Window, engine: &mut Engine) -> Step {
        self.body.gap(window, engine);
        match self.state {
            State::Length { left } if len < left => {
                self.state = State::Length { left: left - len };
                Step::Again
            }
            State::ChunkData { left } if len <= left => {
                let left = left - len;
                self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData { left } };
                Step::Again
            }
            State::Length { left } if len == left => self.end(window, engine),
            State::UntilClose => Step::Again,
            _ => Step::Lost,
        }
    }

    /// No more comes of what waits from `at` on.
    pub(super) fn cut(&mut self, window: &mut Window, at: u64, engine: &mut Engine) {
        if at < window.end() && matches!(self.state, State::Start | State::Trailers) {
            let trailers = matches!(self.state, State::Trailers);
            head::redact_cut(window, at..window.end(), engine, trailers);
        }
        self.scanned = 0;
    }

    fn start(
        &mut self,
        window: &mut Window,
        at: &mut u64,
        engine: &mut Engine,
        shared: &mut Shared,
    ) -> Step {
        if !self.responses
            && let Some(websocket) = shared.switched.take()
        {
            return Step::Switched { websocket };
        }
        if self.scanned == 0 {
            // RFC 9112 section 2.2: empty lines before a start line.
            let bytes = window.from(*at);
            *at += bytes.iter().take_while(|octet| b"\r\n".contains(octet)).count() as u64;
        }
        let bytes = window.from(*at);
        let is_start = match memchr(b'\n', bytes) {
            _ if self.scanned > 0 => true,
            Some(end) => head::start_line(&bytes[..end]).is_some(),
            None if bytes.is_empty() => return Step::Wait,
            None if head::may_be_start(bytes) => return Step::Wait,
            None => false,
        };
        if !is_start {
            return Step::Lost;
        }
        match find_end_of_head(bytes, self.scanned) {
            Some(len) => {
                self.scanned = 0;
                let range = *at..*at + len as u64;
                *at = range.end;
                let said = head::redact(window, range, engine, false);
                self.head(&said, engine, shared)
            }
            None => self.wait_for_end(window, at, engine),
        }
    }

    fn wait_for_end(&mut self, window: &mut Window, at: &mut u64, engine: &mut Engine) -> Step {
        self.scanned = window.from(*at).len();
        if self.scanned <= MAX_HEAD {
            return Step::Wait;
        }
        self.cut(window, *at, engine);
        *at = window.end();
        Step::Lost
    }

    fn head(&mut self, said: &Said, engine: &Engine, shared: &mut Shared) -> Step {
        let is_response = matches!(said.line, Some(Line::Response { .. }));
        if is_response != self.responses {
            return Step::Lost;
        }
        let state = match said.line {
            Some(Line::Request(method)) => {
                if shared.methods.len() == MAX_WAITING {
                    shared.methods.pop_front();
                    shared.miss();
                }
                shared.methods.push_back(method);
                if method == Method::Connect {
                    // Another request follows, or a tunnel: both are found out.
                    return Step::Switched { websocket: false };
                }
                declared(said).unwrap_or(State::Start)
            }
            Some(Line::Response { status }) => match response(status, said, shared) {
                Some(state) => state,
                None => {
                    shared.switched = Some(said.websocket);
                    return Step::Switched { websocket: said.websocket };
                }
            },
            None => return Step::Lost,
        };
        self.body = match state {
            State::Start => Body::Free,
            _ => Body::new(engine, said.contents),
        };
        self.begins = matches!(state, State::Length { .. } | State::UntilClose);
        self.state = state;
        Step::Again
    }

    /// Reads up to `left` bytes of contents; returns how many.
    fn contents(
        &mut self,
        window: &mut Window,
        at: &mut u64,
        left: u64,
        engine: &mut Engine,
    ) -> u64 {
        let len = left.min(window.end() - *at);
        self.body.data(window, *at..*at + len, engine);
        *at += len;
        len
    }

    fn end(&mut self, window: &mut Window, engine: &mut Engine) -> Step {
        self.body.finish(window, engine);
        self.body = Body::Free;
        self.state = State::Start;
        Step::Again
    }

    fn chunk_ended(&mut self, at: &mut u64, len: u64) -> Step {
        *at += len;
        self.state = State::ChunkSize;
        Step::Again
    }

    fn chunk_size(&mut self, window: &mut Window, at: &mut u64) -> Step {
        let bytes = window.from(*at);
        let Some(end) = memchr(b'\n', bytes) else {
            return if bytes.len() > MAX_CHUNK_LINE { Step::Lost } else { Step::Wait };
        };
        let digits = bytes[..end].split(|&octet| octet == b';').next().unwrap_or_default();
        let digits = std::str::from_utf8(digits.trim_ascii()).ok();
        let size = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(size) = size.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            return Step::Lost;
        };
        *at += end as u64 + 1;
        self.state = if size == 0 { State::Trailers } else { State::ChunkData { left: size } };
        Step::Again
    }

    fn trailers(&mut self, window: &mut Window, at: &mut u64, engine: &mut Engine) -> Step {
        let bytes = window.from(*at);
        let len = match bytes {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => return Step::Wait,
            _ => match find_end_of_head(bytes, self.scanned) {
                Some(len) => len,
                None => return self.wait_for_end(window, at, engine),
            },
        };
        self.scanned = 0;
        let range = *at..*at + len as u64;
        *at = range.end;
        head::redact(window, range, engine, true);
        self.end(window, engine)
    }
}

/// What follows the head of a response (RFC 9112 section 6.3); `None` is another protocol.
fn response(status: u16, said: &Said, shared: &mut Shared) -> Option<State> {
    if status == 101 {
        return None;
    }
    if status < 200 {
        return Some(State::Start);
    }
    let method = shared.methods.pop_front();
    shared.missed |= method.is_none();
    match (status, method) {
        (200..=299, Some(Method::Connect)) => None,
        (204 | 304, _) | (_, Some(Method::Head)) => Some(State::Start),
        _ => Some(declared(said).unwrap_or(State::UntilClose)),
    }
}

fn declared(said: &Said) -> Option<State> {
    match (said.chunked, said.content_length) {
        (Some(true), _) => Some(State::ChunkSize),
        (Some(false), _) => Some(State::UntilClose),
        (None, Some(0)) => Some(State::Start),
        (None, Some(left)) => Some(State::Length { left }),
        (None, None) => None,
    }
}
