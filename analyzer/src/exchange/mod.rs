//! The model that the parsers build and every output reads: exchanges, streams, handshakes, and
//! their connections.
//!
//! The model is independent of the wire formats. An unknown value is `None`.

pub mod carried;
mod connection;
pub mod field;
mod fields;
mod handshake;
mod losses;
mod message;
pub mod note;
pub mod route;
mod sender;
mod stream;

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use sslrec_formats::record::Direction;

use crate::budget::{Charge, Keep};

pub use self::carried::Carried;
pub use self::connection::{ConnectionInfo, SharedConnection};
pub use self::fields::Fields;
pub use self::handshake::Handshake;
pub(crate) use self::losses::Losses;
pub use self::message::{Body, Message, Request, Response, Scheme};
use self::note::Defect;
pub use self::note::{End, Note, Part};
pub use self::sender::Sender;
pub use self::stream::{Stream, StreamHalf};

/// A line of the listing.
#[derive(Debug, Clone)]
pub enum Item {
    /// A request and its response.
    Exchange(Box<Exchange>),
    /// A connection that is not HTTP.
    Stream(Box<Stream>),
    /// A TLS handshake of a connection, in addition to the connection's other items.
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

    /// Returns the approximate memory of the item in bytes.
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
                    + request.map_or(0, |r| held(&r.target) + held(&r.line) + message(&r.message))
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

/// A response before the final response, such as 100 or 103.
#[derive(Debug, Clone, Default)]
pub struct Interim {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: Fields,
}

/// A request and its response. At least one of the two is `Some`.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Place in the listing, from 1; 0 before it is listed.
    pub id: u64,
    /// The connection, as of the listing of the exchange.
    pub connection: Arc<ConnectionInfo>,
    pub(crate) shared: SharedConnection,
    /// Direction of the request.
    pub request_direction: Direction,
    /// Number of the exchange on its connection, from 1 (for HTTP/2: the stream identifier).
    pub stream: u64,
    /// Version of HTTP, such as `http/1.1`.
    pub proto: &'static str,
    /// The request.
    pub request: Option<Request>,
    /// Responses before the final response.
    pub interim: Vec<Interim>,
    /// The final response.
    pub response: Option<Response>,
    /// The data of a protocol on top of HTTP.
    pub carried: Option<Box<dyn Carried>>,
    /// Memory for the messages of it.
    pub(crate) held: Charge,
    /// Both messages are present and no byte of them is missing.
    pub complete: bool,
    /// Bytes of the two messages that are known to be missing.
    pub lost_bytes: u64,
    /// Notes about unusual facts, for people.
    pub notes: Vec<Note>,
}

impl Exchange {
    /// Creates an exchange without messages.
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
            held: Charge::default(),
            complete: false,
            lost_bytes: 0,
            notes: Vec::new(),
        }
    }

    /// Gives the connection another number, for all of its exchanges.
    pub(crate) fn renumber(&mut self, conn: u64) {
        let mut info = ConnectionInfo::clone(&self.connection);
        info.record.conn = conn;
        self.connection = Arc::new(info);
        self.shared.learn(Arc::clone(&self.connection));
        self.shared.list(Arc::clone(&self.connection));
    }

    /// Keeps messages that were read at once, if there is memory for them.
    pub(crate) fn keep_messages(&mut self, keep: &Keep) {
        let Some(carried) = &mut self.carried else { return };
        let Some(mut held) = keep.charge() else { return carried.forget_messages() };
        if held.grow(carried.memory_bytes()) {
            self.held = held;
        } else {
            carried.forget_messages();
            self.note(Note::MessagesLeftOut);
        }
    }

    /// Returns the connection, for a caller that writes the exchange before its turn in the listing
    /// and completes it then.
    pub fn shared_connection(&self) -> &SharedConnection {
        &self.shared
    }

    /// Returns the data of the protocol on top of HTTP, if it is of this type.
    pub fn carried_as<T: Carried>(&self) -> Option<&T> {
        let carried: &dyn Any = self.carried.as_deref()?;
        carried.downcast_ref()
    }

    /// Returns the listed protocol: the protocol on top of HTTP, or else the version of HTTP.
    pub fn listed_proto(&self) -> &'static str {
        self.carried.as_ref().and_then(|carried| carried.proto()).unwrap_or(self.proto)
    }

    /// Returns the time of the first byte: of the request, or of the response if there is no
    /// request.
    pub fn first_ns(&self) -> u64 {
        let request = self.request.as_ref().map(|r| r.message.first_ns);
        request.or(self.response.as_ref().map(|r| r.message.first_ns)).unwrap_or(0)
    }

    /// Returns the time from the request's first byte to the response's first byte, in nanoseconds.
    pub fn ttfb_ns(&self) -> Option<u64> {
        let request = self.request.as_ref()?.message.first_ns;
        self.response.as_ref()?.message.first_ns.checked_sub(request)
    }

    /// Returns the time from the request's first byte to the response's last byte, in nanoseconds.
    pub fn duration_ns(&self) -> Option<u64> {
        let request = self.request.as_ref()?.message.first_ns;
        self.response.as_ref()?.message.last_ns.checked_sub(request)
    }

    /// Ensures that at least one message is `Some`: if only interim responses were seen since
    /// `first_ns`, adds a final response of unknown status.
    pub(crate) fn keep_half(&mut self, first_ns: u64) {
        if self.request.is_none() && self.response.is_none() {
            let message = Message { first_ns, last_ns: first_ns, ..Message::default() };
            self.response = Some(Response { message, ..Response::default() });
        }
    }

    /// The budget for decoded output ended while this was decoded.
    pub(crate) fn decoding_ended(&self) {
        let bodies = [
            self.request.as_ref().map(|request| &request.message.body.held),
            self.response.as_ref().map(|response| &response.message.body.held),
            Some(&self.held),
        ];
        if let Some(budget) = bodies.into_iter().flatten().find_map(Charge::budget) {
            budget.end_decoding(self.connection.record.conn, self.stream);
        }
    }

    /// Adds a note for each body of which only a part is kept.
    pub(crate) fn note_cuts(&mut self) {
        let cut = |message: &Message| {
            let kept = message.body.data.as_ref().filter(|_| message.body.cut)?;
            Some(kept.len() as u64)
        };
        let request = self.request.as_ref().and_then(|request| cut(&request.message));
        let response = self.response.as_ref().and_then(|response| cut(&response.message));
        for (part, bytes) in [(Part::Request, request), (Part::Response, response)] {
            bytes.into_iter().for_each(|bytes| self.note(Note::BodyCut(part, bytes)));
        }
    }

    /// Adds a note about each defect of a message.
    pub(crate) fn note_defects(&mut self, part: Part, defects: &[Defect]) {
        defects.iter().for_each(|&defect| self.note(Note::Defect(part, defect)));
    }

    /// Adds a note, unless the exchange already has it.
    pub(crate) fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
