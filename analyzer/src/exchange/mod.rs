//! The model that the parsers build and every output reads: exchanges, streams, handshakes, and the
//! connection that they belong to.
//!
//! Nothing here knows a wire format. What is not known is `None`.

pub mod carried;
mod connection;
pub mod field;
mod fields;
mod handshake;
mod losses;
mod message;
mod note;
mod sender;
mod stream;

use std::borrow::Cow;
use std::sync::Arc;

use sslrec_formats::record::Direction;

pub use self::carried::Carried;
pub use self::connection::{ConnectionInfo, SharedConnection};
pub use self::fields::Fields;
pub use self::handshake::Handshake;
pub(crate) use self::losses::Losses;
pub use self::message::{Body, Message, Request, Response, Scheme};
pub use self::note::{End, Note};
pub use self::sender::Sender;
pub use self::stream::{Stream, StreamHalf};

/// One line of the listing.
#[derive(Debug, Clone)]
pub enum Item {
    /// A request and its response.
    Exchange(Box<Exchange>),
    /// A connection that is not HTTP.
    Stream(Box<Stream>),
    /// How TLS began on a connection. It comes beside what the connection carried.
    Handshake(Box<Handshake>),
}

impl Item {
    /// Updates the facts about the connection to those known where items are listed.
    pub fn refresh(&mut self) {
        let (shared, info) = match self {
            Item::Exchange(exchange) => (&exchange.shared, &mut exchange.connection),
            Item::Stream(stream) => (&stream.shared, &mut stream.connection),
            Item::Handshake(handshake) => (&handshake.shared, &mut handshake.connection),
        };
        shared.refresh(info);
    }

    /// Memory that the item takes, in bytes, approximately.
    pub fn memory_bytes(&self) -> usize {
        let held = |data: &Option<Vec<u8>>| data.as_ref().map_or(0, Vec::capacity);
        let message = |message: &Message| {
            let fields = message.headers.memory_bytes() + message.trailers.memory_bytes();
            fields + held(&message.body.data)
        };
        match self {
            Item::Exchange(exchange) => {
                let request = exchange.request.as_ref();
                let interim = exchange.interim.iter();
                size_of::<Exchange>()
                    + request.map_or(0, |r| {
                        r.target.as_ref().map_or(0, Vec::capacity) + message(&r.message)
                    })
                    + interim
                        .map(|i| size_of::<Interim>() + i.headers.memory_bytes())
                        .sum::<usize>()
                    + exchange.response.as_ref().map_or(0, |r| {
                        let reason = match &r.reason {
                            Cow::Owned(reason) => reason.capacity(),
                            Cow::Borrowed(_) => 0,
                        };
                        reason + message(&r.message)
                    })
                    + exchange.carried.as_ref().map_or(0, |carried| carried.memory_bytes())
            }
            Item::Stream(stream) => {
                size_of::<Stream>()
                    + held(&stream.halves.sent.data)
                    + held(&stream.halves.received.data)
            }
            Item::Handshake(handshake) => size_of::<Handshake>() + handshake.func.len(),
        }
    }
}

/// A response that was not the final one, such as 100 or 103.
#[derive(Debug, Clone, Default)]
pub struct Interim {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: Fields,
}

/// A request and its response. Never are both `None`.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Place in the listing, from 1; 0 before it is listed.
    pub id: u64,
    /// The connection that it was on, as far as it was known when the exchange was listed.
    pub connection: Arc<ConnectionInfo>,
    pub(crate) shared: SharedConnection,
    /// Direction in which the request went.
    pub request_direction: Direction,
    /// Number of the exchange on its connection, from 1 (for HTTP/2: the stream identifier).
    pub stream: u64,
    /// Version of HTTP, such as `http/1.1`.
    pub proto: &'static str,
    /// The request.
    pub request: Option<Request>,
    /// Responses before the final one.
    pub interim: Vec<Interim>,
    /// The final response.
    pub response: Option<Response>,
    /// What the contents are, if that is a protocol of its own.
    pub carried: Option<Box<Carried>>,
    /// Both halves are there and no byte of them is missing.
    pub complete: bool,
    /// Bytes of the two messages that are known to be missing.
    pub lost_bytes: u64,
    /// What was unusual, for people.
    pub notes: Vec<Note>,
}

impl Exchange {
    /// An exchange without messages.
    pub fn new(connection: &SharedConnection, request_direction: Direction, stream: u64) -> Self {
        Self {
            id: 0,
            connection: connection.info(),
            shared: connection.clone(),
            request_direction,
            stream,
            proto: "http/1.1",
            request: None,
            interim: Vec::new(),
            response: None,
            carried: None,
            complete: false,
            lost_bytes: 0,
            notes: Vec::new(),
        }
    }

    /// The connection, for a caller that writes the exchange before its turn in the listing and
    /// completes it then.
    pub fn shared_connection(&self) -> &SharedConnection {
        &self.shared
    }

    /// Protocol as it is listed: what the exchange carried, or its version of HTTP.
    pub fn listed_proto(&self) -> &'static str {
        self.carried.as_ref().and_then(|carried| carried.proto()).unwrap_or(self.proto)
    }

    /// When the first byte of it was handed over: of the request, or of the response where there
    /// is no request.
    pub fn first_ns(&self) -> u64 {
        let request = self.request.as_ref().map(|r| r.message.first_ns);
        request.or(self.response.as_ref().map(|r| r.message.first_ns)).unwrap_or(0)
    }

    /// From the request's first byte to the response's first byte, nanoseconds.
    pub fn ttfb_ns(&self) -> Option<u64> {
        let request = self.request.as_ref()?.message.first_ns;
        self.response.as_ref()?.message.first_ns.checked_sub(request)
    }

    /// From the request's first byte to the response's last byte, nanoseconds.
    pub fn duration_ns(&self) -> Option<u64> {
        let request = self.request.as_ref()?.message.first_ns;
        self.response.as_ref()?.message.last_ns.checked_sub(request)
    }

    /// Keeps the promise that never are both messages `None`: where all that was seen since
    /// `first_ns` are interim responses, the final one is there, and unknown.
    pub(crate) fn keep_half(&mut self, first_ns: u64) {
        if self.request.is_none() && self.response.is_none() {
            let message = Message::new(first_ns, false);
            self.response = Some(Response { message, ..Response::default() });
        }
    }

    /// Adds a note, once.
    pub(crate) fn note(&mut self, note: impl Into<Note>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
