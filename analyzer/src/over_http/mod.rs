//! What rides on HTTP: reads gRPC, WebSocket and server-sent events out of the contents of an
//! exchange, while they come, so that each message has its time.
//!
//! A [`Reader`] belongs to an exchange that is not finished. It is given contents after transfer
//! coding, of either side, and gaps in them; it undoes content codings itself. What it holds while
//! contents were not asked for does not grow. What it found is put into the exchange at its end.

mod base64;
mod events;
mod grpc;
mod messages;
mod websocket;

use crate::coding::StreamDecoder;
use crate::exchange::{Carried, Exchange, Fields, Note, Request, Sender};

/// Reads the messages of a protocol out of the contents of one exchange.
#[derive(Debug)]
pub(crate) struct Reader {
    protocol: Protocol,
    /// What undoes the content coding of each side, where there is one.
    client: Coded,
    server: Coded,
    notes: Notes,
}

#[derive(Debug)]
enum Protocol {
    Grpc(grpc::Reader),
    WebSocket(Box<websocket::Reader>),
    Events(events::Reader),
}

/// The content coding of a side.
#[derive(Debug)]
enum Coded {
    Not,
    By(Box<StreamDecoder>),
    /// It cannot be undone, or not any more.
    Lost,
}

impl Reader {
    /// A head was read: the reader that the contents of the exchange need from now on, if they need
    /// one. `keep` their messages.
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
            Sender::Client => request.and_then(|request| Protocol::asked(request, keep)),
            Sender::Server => Protocol::answered(request, headers, keep),
        };
        let Some(protocol) = protocol else { return };
        let (client, server) = (Coded::Not, Coded::Not);
        let mut new = Box::new(Self { protocol, client, server, notes: Notes::default() });
        new.coded(headers, from);
        *reader = Some(new);
    }

    /// A reader for a connection that the response with these fields has upgraded to WebSocket.
    pub(crate) fn upgraded(response: &Fields, keep: bool) -> Box<Self> {
        let mut socket = websocket::Reader::new(keep);
        let mut notes = Notes::default();
        socket.agreed(response, &mut notes);
        let protocol = Protocol::WebSocket(Box::new(socket));
        Box::new(Self { protocol, client: Coded::Not, server: Coded::Not, notes })
    }

    /// Contents are kept as messages, and not as bytes once more.
    pub(crate) fn replaces_body(&self) -> bool {
        matches!(self.protocol, Protocol::WebSocket(_))
    }

    /// A further head was read. Returns whether the contents still are what they seemed.
    fn answered(&mut self, exchange: &Exchange, headers: &Fields, from: Sender) -> bool {
        match &mut self.protocol {
            Protocol::Grpc(grpc) => {
                grpc.head(headers, from);
                self.coded(headers, from);
                true
            }
            Protocol::WebSocket(socket) if from == Sender::Server => {
                // RFC 8441 section 5: any 2xx opens it.
                let status = exchange.response.as_ref().and_then(|response| response.status);
                socket.agreed(headers, &mut self.notes);
                status.is_none_or(|status| (200..300).contains(&status))
            }
            Protocol::WebSocket(_) | Protocol::Events(_) => true,
        }
    }

    /// Prepares for the content coding that these fields tell of.
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

    /// Bytes of the contents of one side, the last of which was handed over at `time_ns`.
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

    /// So many bytes of the contents of one side are missing; with `None` it is not known how many,
    /// or whether any.
    pub(crate) fn lost(&mut self, from: Sender, len: Option<u64>, time_ns: u64) {
        let coded = match from {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        };
        match coded {
            Coded::Not => self.protocol.lost(from, len, time_ns, &mut self.notes),
            // What follows refers to what is missing.
            Coded::By(_) => {
                *coded = Coded::Lost;
                self.protocol.stop(from);
                self.notes.add(Note::CodedMessagesLost(from));
            }
            Coded::Lost => {}
        }
    }

    /// Nothing follows: what was found goes into the exchange. Contents that end inside of a
    /// message make it incomplete.
    pub(crate) fn finish(self, exchange: &mut Exchange) {
        let Self { protocol, mut notes, .. } = self;
        let (carried, whole) = match protocol {
            Protocol::Grpc(grpc) => {
                let (grpc, whole) = grpc.finish(exchange, &mut notes);
                (Carried::Grpc(grpc), whole)
            }
            Protocol::WebSocket(socket) => {
                let (socket, whole) = socket.finish(&mut notes);
                (Carried::WebSocket(socket), whole)
            }
            // Any text is a stream of events; what follows the last empty line is none.
            Protocol::Events(events) => (Carried::Events(events.finish()), true),
        };
        exchange.carried = Some(Box::new(carried));
        exchange.complete &= whole;
        notes.0.into_iter().for_each(|note| exchange.note(note));
    }
}

impl Protocol {
    /// What a request asks for, as far as it tells.
    fn asked(request: &Request, keep: bool) -> Option<Self> {
        if let Some(socket) = websocket::Reader::asked(request, keep) {
            return Some(Protocol::WebSocket(Box::new(socket)));
        }
        // Calls are always POST, so most requests are not looked at any further.
        if request.method.as_deref().is_some_and(|method| method != "POST") {
            return None;
        }
        grpc::Reader::asked(&request.message.headers, keep).map(Protocol::Grpc)
    }

    /// What a response with these fields has, to a request that said nothing of it.
    fn answered(request: Option<&Request>, headers: &Fields, keep: bool) -> Option<Self> {
        // One that was not recorded may have asked for anything.
        if request.is_none()
            && let Some(grpc) = grpc::Reader::answered(headers, keep)
        {
            return Some(Protocol::Grpc(grpc));
        }
        events::Reader::answered(headers, keep).map(Protocol::Events)
    }

    fn data(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        match self {
            Protocol::Grpc(grpc) => grpc.data(from, bytes, time_ns, notes),
            Protocol::WebSocket(socket) => socket.data(from, bytes, time_ns, notes),
            Protocol::Events(events) if from == Sender::Server => {
                events.data(bytes, time_ns, notes)
            }
            Protocol::Events(_) => {}
        }
    }

    fn lost(&mut self, from: Sender, len: Option<u64>, time_ns: u64, notes: &mut Notes) {
        match self {
            Protocol::Grpc(grpc) => grpc.lost(from, len, time_ns, notes),
            Protocol::WebSocket(socket) => socket.lost(from, len, time_ns, notes),
            Protocol::Events(events) if from == Sender::Server => events.lost(notes),
            Protocol::Events(_) => {}
        }
    }

    /// Nothing more is read of this side, and a note says why.
    fn stop(&mut self, from: Sender) {
        match self {
            Protocol::Grpc(grpc) => grpc.stop(from),
            // It is not given anything more.
            Protocol::WebSocket(_) | Protocol::Events(_) => {}
        }
    }
}

/// Notes that go into the exchange at its end. There are as many as there are texts of them, so
/// that none may hold what a peer chooses.
#[derive(Debug, Default)]
struct Notes(Vec<Note>);

impl Notes {
    /// Adds a note, once.
    fn add(&mut self, note: Note) {
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }
}
