//! One direction of a connection: recognises the protocol of its bytes, and blanks the secrets in
//! them.
//!
//! ```text
//!            start line                101, CONNECT
//!  Unknown ------------> Http1 -----------------------> Unknown, WebSocket
//!     |  ^                 |  not understood, gap
//!     |  +-----------------+-------------------+
//!     |   preface, frames                      |
//!     +----------------> Http2 ----------------+
//! ```
//!
//! Bytes that were not recognised as HTTP may be HTTP all the same: malformed, or after other data.
//! They are searched like contents, and for lines that look like header fields. Bytes after a gap
//! or after invalid data are blanked up to the next place where HTTP begins.

use std::ops::Range;

use memchr::memchr;
use sslrec_wire::http1::Kind;
use sslrec_wire::http1::message::MAX_HEAD;
use sslrec_wire::http1::start;

use super::body::Body;
use super::counts::Place;
use super::http1::{Http1, Shared, Step};
use super::http2::Http2;
use super::websocket::WebSocket;
use super::window::{Engine, Window};
use sslrec_wire::http2::frame::{Frame, PREFACE};
use sslrec_wire::http2::search;

/// The most bytes held of a direction: the longest head, and some more.
const MAX_HELD: usize = MAX_HEAD + (64 << 10);

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) window: Window,
    protocol: Protocol,
    /// Place up to which the protocol has read.
    at: u64,
}

#[derive(Debug)]
enum Protocol {
    Unknown(Unknown),
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    WebSocket(WebSocket),
}

/// Bytes that are not HTTP, or possibly not HTTP.
#[derive(Debug)]
struct Unknown {
    /// Contents without missing bytes before them; `None` if bytes may be missing.
    opaque: Option<Body>,
    /// The direction had no bytes so far.
    first: bool,
    /// A line begins here.
    line: bool,
    /// Place before which no line ends.
    scanned: u64,
}

impl Unknown {
    /// Returns the state at the beginning of a protocol.
    fn fresh(engine: &Engine) -> Protocol {
        Protocol::Unknown(Self {
            opaque: Some(Body::unsure(engine)),
            first: true,
            line: true,
            scanned: 0,
        })
    }

    /// The state after a loss of framing.
    const LOST: Self = Self { opaque: None, first: false, line: false, scanned: 0 };
}

impl Direction {
    /// `joined`: earlier bytes were not recorded.
    pub(super) fn new(engine: &Engine, joined: bool) -> Self {
        let protocol =
            if joined { Protocol::Unknown(Unknown::LOST) } else { Unknown::fresh(engine) };
        Self { window: Window::default(), protocol, at: 0 }
    }

    /// Returns the place of the next byte in the stream.
    pub(super) fn end(&self) -> u64 {
        self.window.end()
    }

    /// Processes the next bytes.
    pub(super) fn data(&mut self, bytes: &[u8], engine: &mut Engine, shared: &mut Shared) {
        let call = self.window.end();
        self.window.push(bytes);
        self.advance(call, engine, shared);
        if self.window.len() > MAX_HELD {
            shared.miss();
            self.give_up(engine);
        }
    }

    /// Processes `len` missing bytes.
    pub(super) fn gap(&mut self, len: u64, engine: &mut Engine) {
        let step = match &mut self.protocol {
            Protocol::Unknown(Unknown { opaque: Some(body), first: false, .. }) => {
                let pending = self.at..self.window.end();
                body.data(&mut self.window, pending, engine);
                body.gap(&mut self.window, engine);
                Step::Again
            }
            Protocol::Http1(http1) => {
                http1.cut(&mut self.window, self.at, engine);
                http1.gap(len, &mut self.window, engine)
            }
            Protocol::Http2(http2) => {
                http2.cut(&mut self.window, &mut self.at);
                http2.gap(len, &mut self.window, engine)
            }
            Protocol::Unknown(_) | Protocol::WebSocket(_) => {
                let pending = self.at..self.window.end();
                engine.blank(&mut self.window, pending, Place::Other);
                Step::Lost
            }
        };
        if step != Step::Again {
            self.lose(engine);
        }
        self.at = self.window.end();
    }

    /// Continues at this place after a gap. All earlier bytes must have been taken.
    pub(super) fn move_to(&mut self, offset: u64) {
        self.window.move_to(offset);
        self.at = offset;
    }

    /// Processes the end: all held bytes are settled.
    pub(super) fn finish(&mut self, engine: &mut Engine) {
        let Self { window, protocol, at } = self;
        match protocol {
            Protocol::Unknown(Unknown { opaque: Some(body), .. }) => {
                let pending = *at..window.end();
                body.data(window, pending, engine);
                body.finish(window, engine);
            }
            Protocol::Unknown(_) | Protocol::WebSocket(_) => {
                engine.blank(window, *at..window.end(), Place::Other);
            }
            Protocol::Http1(http1) => {
                http1.cut(window, *at, engine);
                http1.body().finish(window, engine);
            }
            Protocol::Http2(http2) => {
                http2.cut(window, at);
                http2.finish(window, engine);
            }
        }
        self.at = self.window.end();
    }

    /// Returns the bytes of memory in use, approximately.
    pub(super) fn memory(&self) -> usize {
        let protocol = match &self.protocol {
            Protocol::Unknown(unknown) => unknown.opaque.as_ref().map_or(0, Body::memory),
            Protocol::Http1(http1) => http1.memory(),
            Protocol::Http2(http2) => http2.memory(),
            Protocol::WebSocket(_) => 0,
        };
        self.window.memory() + protocol
    }

    /// Returns the place before which all bytes are settled.
    pub(super) fn settled(&self) -> u64 {
        let held = match &self.protocol {
            Protocol::Unknown(unknown) => unknown.opaque.as_ref().and_then(Body::held_from),
            Protocol::Http1(http1) => http1.held_from(),
            Protocol::Http2(http2) => http2.held_from(),
            Protocol::WebSocket(_) => None,
        };
        held.map_or(self.at, |held| held.min(self.at))
    }

    /// Blanks the held bytes, which exceed the limit.
    pub(super) fn give_up(&mut self, engine: &mut Engine) {
        match &mut self.protocol {
            Protocol::Unknown(Unknown { opaque: Some(body), .. }) => {
                body.give_up(&mut self.window, engine);
            }
            Protocol::Http1(http1) => http1.body().give_up(&mut self.window, engine),
            Protocol::Http2(http2) => http2.give_up(&mut self.window, engine),
            Protocol::Unknown(_) | Protocol::WebSocket(_) => {}
        }
        if self.at < self.window.end() {
            // A frame or a head without end.
            let rest = self.at..self.window.end();
            engine.blank(&mut self.window, rest, Place::Other);
            self.at = self.window.end();
            self.lose(engine);
        }
    }

    /// Reads as far as possible; the last call began at `call`.
    fn advance(&mut self, call: u64, engine: &mut Engine, shared: &mut Shared) {
        loop {
            let Self { window, protocol, at } = self;
            let step = match protocol {
                Protocol::Http1(http1) => http1.step(window, at, engine, shared),
                Protocol::Http2(http2) => http2.step(window, at, engine),
                Protocol::WebSocket(socket) => socket.step(window, at, engine),
                Protocol::Unknown(unknown) => match unknown.step(window, at, call, engine) {
                    Found::Nothing => Step::Wait,
                    Found::Passed => Step::Again,
                    Found::Protocol(found) => {
                        // Skipped bytes are settled as far as possible.
                        if let Some(body) = &mut unknown.opaque {
                            body.finish(window, engine);
                        }
                        *protocol = found;
                        Step::Again
                    }
                },
            };
            match step {
                Step::Again => {}
                Step::Wait => return,
                Step::Lost => {
                    shared.miss();
                    self.lose(engine);
                }
                Step::Switched { websocket } => self.switch(engine, websocket),
            }
        }
    }

    /// Gives up the protocol at bytes that cannot be parsed.
    fn lose(&mut self, engine: &mut Engine) {
        match &mut self.protocol {
            Protocol::Http1(http1) => http1.body().gap(&mut self.window, engine),
            Protocol::Http2(http2) => http2.lose(&mut self.window, engine),
            Protocol::Unknown(_) | Protocol::WebSocket(_) => {}
        }
        self.protocol = Protocol::Unknown(Unknown::LOST);
    }

    /// Leaves HTTP/1 after its end.
    fn switch(&mut self, engine: &Engine, websocket: bool) {
        self.protocol = match websocket && engine.rules.concerns_bodies() {
            true => Protocol::WebSocket(WebSocket::default()),
            false => Unknown::fresh(engine),
        };
    }
}

/// The result of a search for a protocol.
enum Found {
    /// More bytes are needed, or there are none.
    Nothing,
    /// Bytes were skipped.
    Passed,
    Protocol(Protocol),
}

impl Unknown {
    fn step(&mut self, window: &mut Window, at: &mut u64, call: u64, engine: &mut Engine) -> Found {
        if window.from(*at).is_empty() {
            return Found::Nothing;
        }
        let begins = self.first || *at == call;
        if begins && let Some(found) = self.http2(window, at, engine) {
            return found;
        }
        let bytes = window.from(*at);
        // The line may be long and arrive byte by byte.
        let scanned = self.scanned.saturating_sub(*at).min(bytes.len() as u64) as usize;
        let line = memchr(b'\n', &bytes[scanned..]).map(|end| &bytes[..=scanned + end]);
        self.scanned = *at + line.map_or(bytes.len(), |_| 0) as u64;
        if line.is_none() && (begins || self.line) && may_be_start(bytes) {
            return Found::Nothing;
        }
        let text = line.unwrap_or(bytes);
        let message = line.and_then(|line| self.message(line));
        let len = match message {
            Some((start, _)) => start,
            // A message may begin with the last call, after data that this call does not continue.
            None if (*at + 1..*at + text.len() as u64).contains(&call) => (call - *at) as usize,
            None => text.len(),
        };
        if len > 0 {
            // RFC 9112 section 2.2: empty lines before a request do not count.
            self.first &= line.is_some() && text[..len].trim_ascii().is_empty();
            self.line = text[..len].ends_with(b"\n");
            let passed = *at..*at + len as u64;
            *at = passed.end;
            self.pass(window, passed, engine);
        }
        match message {
            Some((_, kind)) => {
                Found::Protocol(Protocol::Http1(Box::new(Http1::new(kind, self.opaque.is_none()))))
            }
            None => Found::Passed,
        }
    }

    /// Returns the place in a line where a message begins. After missing bytes the entire line must
    /// be a start line beyond doubt; elsewhere the line may begin with the end of other data.
    fn message(&self, line: &[u8]) -> Option<(usize, Kind)> {
        let kinds = [Kind::Response, Kind::Request];
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if self.opaque.is_none() && !start::is_certain(line) {
            return None;
        }
        // After a malformed request, the end of its content may precede the method.
        let whole = kinds.into_iter().find(|&kind| start::is_start_line(kind, text));
        let whole = whole.filter(|_| self.first || start::is_certain(line));
        if whole.is_some() || self.opaque.is_none() {
            return whole.map(|kind| (0, kind));
        }
        kinds
            .into_iter()
            .filter_map(|kind| Some((start::find(kind, line, 0)?, kind)))
            .min_by_key(|found| found.0)
    }

    fn pass(&mut self, window: &mut Window, range: Range<u64>, engine: &mut Engine) {
        match &mut self.opaque {
            Some(body) => body.data(window, range, engine),
            None => engine.blank(window, range, Place::Other),
        }
    }

    /// Searches for HTTP/2.
    fn http2(&mut self, window: &mut Window, at: &mut u64, engine: &mut Engine) -> Option<Found> {
        let bytes = window.from(*at);
        let http2 = |joining| Found::Protocol(Protocol::Http2(Box::new(Http2::new(joining))));
        let known = &bytes[..bytes.len().min(PREFACE.len())];
        if PREFACE.starts_with(known) {
            let whole = known.len() == PREFACE.len();
            return Some(if whole { http2(!self.first) } else { Found::Nothing });
        }
        if self.first {
            return match Frame::read(bytes) {
                Some(frame) => frame.is_first_of_server().then(|| http2(false)),
                None => may_be_settings(bytes).then_some(Found::Nothing),
            };
        }
        if self.opaque.is_some() {
            return None;
        }
        let skipped = search::find(bytes)? as u64;
        engine.blank(window, *at..*at + skipped, Place::Other);
        *at += skipped;
        Some(http2(true))
    }
}

/// Returns whether a line without its end can become a start line.
fn may_be_start(line: &[u8]) -> bool {
    start::may_be_request(line) || (line.len() <= start::MAX_LINE && start::may_be_version(line))
}

/// Returns whether the beginning of a frame header can become a server's first SETTINGS.
fn may_be_settings(bytes: &[u8]) -> bool {
    let expected = [Some(0), Some(0), None, Some(4), Some(0), Some(0), Some(0), Some(0), Some(0)];
    bytes.iter().zip(expected).all(|(&octet, expected)| expected.is_none_or(|e| e == octet))
}

#[cfg(test)]
mod tests;
