//! Protocols on top of HTTP: reads gRPC, WebSocket and server-sent events from the contents of an
//! exchange as they arrive, so that each message has its time.
//!
//! A [`Reader`] belongs to an unfinished exchange. It receives the contents of both sides after
//! transfer coding, with their gaps, and undoes content codings itself. If contents are not kept,
//! its memory does not grow. Its result is stored in the exchange at the end.
//!
//! A protocol is a module with a model, which implements [`Carried`], a [`Protocol`] that reads it,
//! and a [`Door`]; the door is a row of [`DOORS`].

mod base64;
pub mod events;
pub mod grpc;
mod messages;
pub mod websocket;

use std::fmt::Debug;

use crate::budget::{Budget, Keep};
use crate::coding::{self, StreamDecoder};
use crate::exchange::field::Field;
use crate::exchange::{Carried, Exchange, Fields, Note, Request, Sender};

/// The most of a coded body that is decoded at a time: what it decodes to is held as a whole.
const MAX_PIECE: usize = 4 << 10;

/// Reads the messages of a protocol from the contents of an exchange.
#[derive(Debug)]
pub(crate) struct Reader {
    protocol: Box<dyn Protocol>,
    /// Decoder for the content coding of each side, if there is a coding.
    client: Coded,
    server: Coded,
    /// The account of the decoders.
    budget: Budget,
    notes: Notes,
}

/// The reader of a protocol on top of HTTP for the contents of an exchange.
trait Protocol: Debug + Send {
    /// Processes a further head of the exchange.
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

    /// Processes contents of a side, without content coding. The call with the last byte was at
    /// `time_ns`.
    fn data(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes);

    /// Processes missing bytes of a side; with `None` their number is unknown, and may be 0.
    fn lost(&mut self, from: Sender, len: Option<u64>, time_ns: u64, notes: &mut Notes);

    /// Stops reading this side; a note has the reason.
    fn stop(&mut self, from: Sender) {
        let _ = from;
    }

    /// Returns whether contents are kept as messages, and not as bytes in addition.
    fn replaces_body(&self) -> bool {
        false
    }

    /// Ends the reading. Returns the result, and whether no message was truncated.
    fn finish(
        self: Box<Self>,
        exchange: &mut Exchange,
        notes: &mut Notes,
    ) -> (Box<dyn Carried>, bool);
}

/// The effect of a further head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Further {
    /// Contents are read as before.
    Same,
    /// Contents of the sender have the content coding of this head.
    Coded,
    /// The contents are of another protocol.
    Other,
}

/// A reader, if the protocol is in use.
type Found = Option<Box<dyn Protocol>>;

/// The description of a protocol: its name, its fields, and the functions that detect it. Each
/// returns a reader, which keeps messages if `keep` is set.
pub(crate) struct Door {
    /// The name, see [`Carried::name`].
    name: &'static str,
    /// The fields that filters name.
    pub(crate) fields: &'static [Field],
    /// Places in the JSON that no filter names.
    pub(crate) json_only: &'static [&'static str],
    /// Tests whether the request asks for the protocol.
    asked: fn(&Request, keep: &Keep) -> Found,
    /// Tests whether the response has the protocol. The request asked for no protocol, or was not
    /// recorded.
    answered: fn(Option<&Request>, &Fields, keep: &Keep) -> Found,
}

/// All protocols, in the order of their detection.
pub(crate) static DOORS: [Door; 3] = [websocket::DOOR, grpc::DOOR, events::DOOR];

/// Returns the names of all protocols.
pub fn names() -> impl Iterator<Item = &'static str> {
    DOORS.iter().map(|door| door.name)
}

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
        keep: &Keep,
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
        let (budget, notes) = (keep.budget.clone(), Notes::default());
        let mut new = Box::new(Self { protocol, client, server, budget, notes });
        new.coded(headers, from, coding::has_transfer_codings(exchange));
        *reader = Some(new);
    }

    /// Returns a reader for a connection that the response with these fields upgraded to WebSocket.
    pub(crate) fn upgraded(response: &Fields, keep: &Keep) -> Box<Self> {
        let mut socket = websocket::Reader::new(keep);
        let mut notes = Notes::default();
        socket.agreed(response, &mut notes);
        let protocol = Box::new(socket);
        let (client, server, budget) = (Coded::Not, Coded::Not, keep.budget.clone());
        Box::new(Self { protocol, client, server, budget, notes })
    }

    /// Returns whether contents are kept as messages, and not as bytes in addition.
    pub(crate) fn replaces_body(&self) -> bool {
        self.protocol.replaces_body()
    }

    /// Processes a further head. Returns whether the contents are still of the detected protocol.
    fn answered(&mut self, exchange: &Exchange, headers: &Fields, from: Sender) -> bool {
        let further = self.protocol.head(exchange, headers, from, &mut self.notes);
        if further == Further::Coded {
            self.coded(headers, from, coding::has_transfer_codings(exchange));
        }
        further != Further::Other
    }

    /// Prepares for the codings that these fields declare. `transfer`: transfer codings are among
    /// them.
    fn coded(&mut self, headers: &Fields, from: Sender, transfer: bool) {
        let coded = match StreamDecoder::of(headers, transfer, &self.budget) {
            Ok(None) => Coded::Not,
            Ok(Some(decoder)) => Coded::By(Box::new(decoder)),
            Err(fault) => {
                self.notes.add(Note::MessagesNotRead(from, fault));
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
        for piece in bytes.chunks(MAX_PIECE) {
            let (decoded, fault) = decoder.push(piece);
            self.protocol.data(from, &decoded, time_ns, &mut self.notes);
            if let Some(fault) = fault {
                decoder.ended().map(Note::DecodingEnded).into_iter().for_each(|note| {
                    self.notes.add(note);
                });
                *coded = Coded::Lost;
                self.notes.add(Note::MessagesBrokeOff(from, fault));
                return self.protocol.stop(from);
            }
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
        exchange.carried = Some(carried);
        exchange.complete &= whole;
        if notes.0.iter().any(|note| matches!(note, Note::DecodingEnded(_))) {
            exchange.decoding_ended();
        }
        notes.0.into_iter().for_each(|note| exchange.note(note));
    }
}

/// Notes that are added to the exchange at its end. Their number is bounded by the number of
/// distinct texts, so no note may contain text that a peer chooses.
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
