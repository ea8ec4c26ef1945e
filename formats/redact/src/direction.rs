//! One direction of a connection: finds out what its bytes are, and has what is secret in them
//! blanked.
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
//! Bytes that are known not to be HTTP are looked through for patterns only. Bytes of which that is
//! not known, because something before them is missing or was not understood, are blanked up to
//! the next place where HTTP begins.

use std::ops::Range;

use memchr::memchr;

use super::body::Body;
use super::head::{self, Line};
use super::http1::{Http1, Shared, Step};
use super::http2::Http2;
use super::websocket::WebSocket;
use super::window::{Engine, Window};
use sslrec_wire::http2::frame::PREFACE;
use sslrec_wire::http2::search;

/// The most that is held of one direction.
const MAX_HELD: usize = 512 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) window: Window,
    protocol: Protocol,
    /// Up to here the protocol has read.
    at: u64,
}

#[derive(Debug)]
enum Protocol {
    Unknown(Unknown),
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    WebSocket(WebSocket),
}

/// Bytes that are not HTTP, or not known to be.
#[derive(Debug)]
struct Unknown {
    /// They are not HTTP as far as they were seen; `None` where that is not known.
    opaque: Option<Body>,
    /// Nothing was seen yet.
    first: bool,
}

impl Unknown {
    /// At the beginning of something.
    fn fresh(engine: &Engine) -> Protocol {
        Protocol::Unknown(Self { opaque: Some(Body::opaque(engine)), first: true })
    }

    /// In the middle of something.
    const LOST: Self = Self { opaque: None, first: false };
}

impl Direction {
    /// `joined` says that something was sent before.
    pub(super) fn new(engine: &Engine, joined: bool) -> Self {
        let protocol =
            if joined { Protocol::Unknown(Unknown::LOST) } else { Unknown::fresh(engine) };
        Self { window: Window::default(), protocol, at: 0 }
    }

    /// Where the next byte belongs in the stream.
    pub(super) fn end(&self) -> u64 {
        self.window.end()
    }

    /// The next bytes.
    pub(super) fn data(&mut self, bytes: &[u8], engine: &mut Engine, shared: &mut Shared) {
        let call = self.window.end();
        self.window.push(bytes);
        self.advance(call, engine, shared);
        if self.window.len() > MAX_HELD {
            shared.miss();
            self.give_up(engine);
        }
    }

    /// So many bytes are missing.
    pub(super) fn gap(&mut self, len: u64, engine: &mut Engine) {
        let step = match &mut self.protocol {
            Protocol::Unknown(Unknown { opaque: Some(body), first: false }) => {
                let pending = self.at..self.window.end();
                body.data(&mut self.window, pending, engine);
                body.finish(&mut self.window, engine);
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
                self.window.blank(pending);
                Step::Lost
            }
        };
        if step != Step::Again {
            self.lose(engine);
        }
        self.at = self.window.end();
    }

    /// Where bytes go on after a gap. All before must have been taken.
    pub(super) fn move_to(&mut self, offset: u64) {
        self.window.move_to(offset);
        self.at = offset;
    }

    /// Nothing follows: what is held is settled.
    pub(super) fn finish(&mut self, engine: &mut Engine) {
        let Self { window, protocol, at } = self;
        match protocol {
            Protocol::Unknown(Unknown { opaque: Some(body), .. }) => {
                let pending = *at..window.end();
                body.data(window, pending, engine);
                body.finish(window, engine);
            }
            Protocol::Unknown(_) => window.blank(*at..window.end()),
            Protocol::Http1(http1) => {
                http1.cut(window, *at, engine);
                http1.body().finish(window, engine);
            }
            Protocol::Http2(http2) => {
                http2.cut(window, at);
                http2.finish(window, engine);
            }
            Protocol::WebSocket(_) => window.blank(*at..window.end()),
        }
        self.at = self.window.end();
    }

    /// Up to here all is settled.
    pub(super) fn settled(&self) -> u64 {
        let held = match &self.protocol {
            Protocol::Unknown(unknown) => unknown.opaque.as_ref().and_then(Body::held_from),
            Protocol::Http1(http1) => http1.held_from(),
            Protocol::Http2(http2) => http2.held_from(),
            Protocol::WebSocket(_) => None,
        };
        held.map_or(self.at, |held| held.min(self.at))
    }

    /// More is held than may be: what is held is blanked.
    pub(super) fn give_up(&mut self, engine: &mut Engine) {
        match &mut self.protocol {
            Protocol::Unknown(Unknown { opaque: Some(body), .. }) => body.give_up(&mut self.window),
            Protocol::Http1(http1) => http1.body().give_up(&mut self.window),
            Protocol::Http2(http2) => http2.give_up(&mut self.window),
            Protocol::Unknown(_) | Protocol::WebSocket(_) => {}
        }
        if self.at < self.window.end() {
            // A frame or a head that never ends.
            self.window.blank(self.at..self.window.end());
            self.at = self.window.end();
            self.lose(engine);
        }
    }

    /// Reads what can be read; the last call began at `call`.
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
                        // What was passed over is settled as far as it can be.
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

    /// What follows is not understood.
    fn lose(&mut self, engine: &mut Engine) {
        match &mut self.protocol {
            Protocol::Http1(http1) => http1.body().gap(&mut self.window, engine),
            Protocol::Http2(http2) => http2.lose(&mut self.window, engine),
            Protocol::Unknown(_) | Protocol::WebSocket(_) => {}
        }
        self.protocol = Protocol::Unknown(Unknown::LOST);
    }

    /// HTTP/1 has ended.
    fn switch(&mut self, engine: &Engine, websocket: bool) {
        self.protocol = match websocket && engine.rules.concerns_bodies() {
            true => Protocol::WebSocket(WebSocket::default()),
            false => Unknown::fresh(engine),
        };
    }
}

/// What became of bytes of which it is not known what they are.
enum Found {
    /// More are needed, or there are none.
    Nothing,
    /// Some were passed over.
    Passed,
    Protocol(Protocol),
}

impl Unknown {
    fn step(&mut self, window: &mut Window, at: &mut u64, call: u64, engine: &mut Engine) -> Found {
        let bytes = window.from(*at);
        if bytes.is_empty() {
            return Found::Nothing;
        }
        if (self.first || *at == call)
            && let Some(found) = self.http2(window, at)
        {
            return found;
        }
        let bytes = window.from(*at);
        let line = memchr(b'\n', bytes).map(|end| &bytes[..=end]);
        let believed = |line: &[u8]| self.opaque.is_some() || head::is_certain(line);
        match line.map(|line| head::start_line(line).filter(|_| believed(line))) {
            Some(Some(line)) => {
                let responses = matches!(line, Line::Response { .. });
                return Found::Protocol(Protocol::Http1(Box::new(Http1::new(responses))));
            }
            None if head::may_be_start(bytes) && self.may_begin(window, *at, call) => {
                return Found::Nothing;
            }
            Some(None) | None => {}
        }
        let len = line.map_or(bytes.len(), <[u8]>::len) as u64;
        // RFC 9112 section 2.2: empty lines before a request do not count.
        self.first &= line.is_some_and(|line| line.trim_ascii().is_empty());
        let passed = *at..*at + len;
        *at = passed.end;
        self.pass(window, passed, engine);
        Found::Passed
    }

    /// A message can begin here: at the beginning of a call or a line.
    fn may_begin(&self, window: &Window, at: u64, call: u64) -> bool {
        self.first || at == call || window.get(at.saturating_sub(1)..at) == b"\n"
    }

    fn pass(&mut self, window: &mut Window, range: Range<u64>, engine: &mut Engine) {
        match &mut self.opaque {
            Some(body) => body.data(window, range, engine),
            None => window.blank(range),
        }
    }

    /// Looks for HTTP/2.
    fn http2(&mut self, window: &mut Window, at: &mut u64) -> Option<Found> {
        let bytes = window.from(*at);
        let http2 = |joining| Found::Protocol(Protocol::Http2(Box::new(Http2::new(joining))));
        let known = &bytes[..bytes.len().min(PREFACE.len())];
        if PREFACE.starts_with(known) {
            let whole = known.len() == PREFACE.len();
            return Some(if whole { http2(!self.first) } else { Found::Nothing });
        }
        if self.first {
            // A server begins with SETTINGS (RFC 9113 section 3.4).
            return match *bytes {
                [0, 0, len, 4, 0, 0, 0, 0, 0, ..] if len % 6 == 0 => Some(http2(false)),
                [0] | [0, 0] | [0, 0, _] => Some(Found::Nothing),
                [0, 0, len, 4, ref rest @ ..]
                    if len % 6 == 0 && rest.len() < 5 && rest.iter().all(|&octet| octet == 0) =>
                {
                    Some(Found::Nothing)
                }
                _ => None,
            };
        }
        if self.opaque.is_some() {
            return None;
        }
        let skipped = search::find(bytes)? as u64;
        window.blank(*at..*at + skipped);
        *at += skipped;
        Some(http2(true))
    }
}
