//! Protocols on top of HTTP: gRPC, WebSocket and server-sent events, read out of the contents of an
//! exchange while they arrive, so that each message has its time.
//!
//! A [`Reader`] belongs to an unfinished exchange. It takes contents after transfer coding, of either
//! side, and gaps in them; it undoes content codings itself. Without a request for contents its
//! memory does not grow. At its end its findings become part of the exchange.
//!
//! A protocol is a module with a [`Protocol`] and a [`Door`], a row of [`DOORS`], and a variant of
//! [`Carried`].

mod base64;
mod events;
mod grpc;
mod messages;
mod websocket;

use std::fmt::Debug;

use crate::coding::StreamDecoder;
use crate::exchange::{Carried, Exchange, Fields, Note, Request, Sender};

/// Reads the messages of a protocol from the contents of an exchange.
#[derive(Debug)]
pub(crate) struct Reader {
    protocol: Box<dyn Protocol>,
    /// What undoes the content coding of each side, where there is one.
    client: Coded,
    server: Coded,
    notes: Notes,
}

/// A protocol on top of HTTP, as it reads the contents of one exchange.
trait Protocol: Debug + Send {
    /// A further head of the exchange was read.
    fn head(
        &mut self,
        exchange: &Exchange,
        headers: &Fields,
        from: Sender,
        notes: &mut Notes,
    ) -> Further {
        let _ = (exchange, headers, from, notes);
        Further::Same
    }

    /// Contents of one side, without content coding; the last byte was handed over at `time_ns`.
    fn data(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes);

    /// Bytes of one side are missing; with `None` their number is unknown, and may be 0.
    fn lost(&mut self, from: Sender, len: Option<u64>, time_ns: u64, notes: &mut Notes);

    /// Nothing more is read of this side, and a note has the reason.
    fn stop(&mut self, from: Sender) {
        let _ = from;
    }

    /// Contents are kept as messages, and not as bytes as well.
    fn replaces_body(&self) -> bool {
        false
    }

    /// Nothing follows. Returns the findings, and whether they end between two messages.
    fn finish(self: Box<Self>, exchange: &Exchange, notes: &mut Notes) -> (Carried, bool);
}

/// Consequence of a further head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Further {
    /// Contents are read as before.
    Same,
    /// Contents of the sender have the content coding of this head.
    Coded,
    /// The contents are not of the protocol.
    Other,
}

/// A reader, if the protocol is in use.
type Found = Option<Box<dyn Protocol>>;

/// The ways into a protocol. Each returns a reader that keeps messages if `keep` is set.
struct Door {
    /// The request asks for the protocol.
    asked: fn(&Request, keep: bool) -> Found,
    /// The response has the protocol, and the request, if it was recorded, did not ask for any.
    answered: fn(Option<&Request>, &Fields, keep: bool) -> Found,
}

/// All protocols, in the order in which they are tried.
const DOORS: [Door; 3] = [websocket::DOOR, grpc::DOOR, events::DOOR];

/// The content coding of a side.
#[derive(Debug)]
enum Coded {
    Not,
    By(Box<StreamDecoder>),
    /// The coding cannot be undone, or no longer.
    Lost,
}

impl Reader {
    /// Processes a head. Returns the reader that the contents of the exchange need from now on, if
    /// any. `keep` keeps their messages.
    pub(crate) fn head(
        reader: &mut Option<Box<Self>>,
        exchange: &Exchange,
        from: Sender,
        keep: bool,
    ) {
        let request = exchange.request.as_ref();
        let response = exchange.response.as_ref();
        let headers = match from {
            Sender::Client => request.map(|request| &request.message.headers),
            Sender::Server => response.map(|response| &response.message.headers),
        };
        let Some(headers) = headers else { return };
        if let Some(known) = reader {
            if !known.answered(exchange, headers, from) {
                *reader = None;
            }
            return;
        }
        let protocol = match from {
            Sender::Client => request
                .and_then(|request| DOORS.iter().find_map(|door| (door.asked)(request, keep))),
            Sender::Server => DOORS.iter().find_map(|door| (door.answered)(request, headers, keep)),
        };
        let Some(protocol) = protocol else { return };
        let (client, server) = (Coded::Not, Coded::Not);
        let mut new = Box::new(Self { protocol, client, server, notes: Notes::default() });
        new.coded(headers, from);
        *reader = Some(new);
    }

    /// Returns a reader for a connection that the response with these fields upgraded to WebSocket.
    pub(crate) fn upgraded(response: &Fields, keep: bool) -> Box<Self> {
        let mut socket = websocket::Reader::new(keep);
        let mut notes = Notes::default();
        socket.agreed(response, &mut notes);
        let protocol = Box::new(socket);
        Box::new(Self { protocol, client: Coded::Not, server: Coded::Not, notes })
    }

    /// Returns whether contents are kept as messages, and not as bytes in addition.
    pub(crate) fn replaces_body(&self) -> bool {
        self.protocol.replaces_body()
    }

    /// A further head was read. Returns whether the contents still are of the protocol.
    fn answered(&mut self, exchange: &Exchange, headers: &Fields, from: Sender) -> bool {
        let further = self.protocol.head(exchange, headers, from, &mut self.notes);
        if further == Further::Coded {
            self.coded(headers, from);
        }
        further != Further::Other
    }

    /// Prepares for the content coding that these fields declare.
    fn coded(&mut self, headers: &Fields, from: Sender) {
        let coded = match StreamDecoder::of(headers) {
            Ok(None) => Coded::Not,
            Ok(Some(decoder)) => Coded::By(Box::new(decoder)),
            Err(problem) => {
                self.notes.add(Note::MessagesNotRead { from, problem });
                self.protocol.stop(from);
                Coded::Lost
            }
        };
        match from {
            Sender::Client => self.client = coded,
            Sender::Server => self.server = coded,
        }
    }

    /// Processes bytes of the contents of a side. The call with the last byte was at `time_ns`.
    pub(crate) fn data(&mut self, from: Sender, bytes: &[u8], time_ns: u64) {
        let coded = match from {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        };
        let decoder = match coded {
            Coded::Not => return self.protocol.data(from, bytes, time_ns, &mut self.notes),
            Coded::By(decoder) => decoder,
            Coded::Lost => return,
        };
        let (decoded, problem) = decoder.push(bytes);
        self.protocol.data(from, &decoded, time_ns, &mut self.notes);
        if let Some(problem) = problem {
            *coded = Coded::Lost;
            self.notes.add(Note::MessagesBrokeOff { from, problem });
            self.protocol.stop(from);
        }
    }

    /// Processes missing bytes of the contents of a side; with `None` their number is unknown, and
    /// may be 0.
    pub(crate) fn lost(&mut self, from: Sender, len: Option<u64>, time_ns: u64) {
        let coded = match from {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        };
        match coded {
            Coded::Not => self.protocol.lost(from, len, time_ns, &mut self.notes),
            // The following data refers to the missing bytes.
            Coded::By(_) => {
                *coded = Coded::Lost;
                self.protocol.stop(from);
                self.notes.add(Note::CodedMessagesLost(from));
            }
            Coded::Lost => {}
        }
    }

    /// Ends the reading and stores the result in the exchange. Contents that end inside a message
    /// make the exchange incomplete.
    pub(crate) fn finish(self, exchange: &mut Exchange) {
        let Self { protocol, mut notes, .. } = self;
        let (carried, whole) = protocol.finish(exchange, &mut notes);
        exchange.carried = Some(Box::new(carried));
        exchange.complete &= whole;
        notes.0.into_iter().for_each(|note| exchange.note(note));
    }
}

/// Notes that go into the exchange at its end. There are as many as there are texts of them, so
/// that none may hold what a peer chooses.
#[derive(Debug, Default)]
struct Notes(Vec<Note>);

impl Notes {
    /// Adds a note, unless it is already present.
    fn add(&mut self, note: Note) {
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }
}
