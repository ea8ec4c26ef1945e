//! A connection that has stopped being HTTP/1: a tunnel, HTTP/2, or a WebSocket.

use sslrec_formats::record::{Direction, GapCause, PerDirection};

use super::open::{Chunk, Open, emit};
use super::{End, Tunnelled};
use crate::budget::Keep;
use crate::exchange::{Body, Fields, Item, Message, Note, Sender, SharedConnection, Stream};
use crate::http2;
use crate::over_http::Reader;
use crate::text::readable;
use crate::timeline::{Ticket, Timeline};

/// The protocol that a connection changes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Http2,
    WebSocket,
    /// The connection to another server, which the client names.
    Tunnel,
    /// An unsupported protocol, and a note about it.
    Other(Note),
}

impl Next {
    /// Returns the protocol from the final response to the request that asked for the change.
    pub(super) fn of(status: u16, fields: &Fields) -> Self {
        let Some(to) = fields.first("upgrade").filter(|_| status == 101) else {
            return Next::Tunnel;
        };
        match to {
            to if to.eq_ignore_ascii_case(b"h2c") => Next::Http2,
            to if to.eq_ignore_ascii_case(b"websocket") => Next::WebSocket,
            to => Next::Other(Note::UpgradedTo(readable(to).into())),
        }
    }
}

/// The state of a connection after it changed its protocol.
#[derive(Debug)]
pub(super) enum Became {
    /// An unsupported protocol. The stream begins with its first byte.
    Tunnel { note: Option<Note>, stream: Option<(Ticket, Box<Stream>)> },
    /// A connection inside a tunnel, with a protocol of its own.
    Tunnelled(Box<dyn Tunnelled>),
    /// HTTP/2, after an upgrade (RFC 7540 section 3.2).
    H2c(Box<http2::Connection>),
    /// A WebSocket. The exchange that opened it ends with the WebSocket.
    WebSocket(Box<Open>),
}

/// A connection's properties that do not change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'c> {
    pub(super) shared: &'c SharedConnection,
    pub(super) request_direction: Direction,
    pub(super) keep: &'c Keep,
}

impl Context<'_> {
    fn sender(&self, direction: Direction) -> Sender {
        if direction == self.request_direction { Sender::Client } else { Sender::Server }
    }
}

/// Returns the message of a side of an exchange, if it was recorded.
fn message(open: &mut Open, from: Sender) -> Option<&mut Message> {
    let exchange = &mut open.exchange;
    match from {
        Sender::Client => exchange.request.as_mut().map(|request| &mut request.message),
        Sender::Server => exchange.response.as_mut().map(|response| &mut response.message),
    }
}

impl Became {
    pub(super) fn tunnel(note: Option<Note>) -> Self {
        Became::Tunnel { note, stream: None }
    }

    /// Makes a WebSocket of the connection that the exchange opened. Contents are kept as messages,
    /// and not as bytes in addition. With `is_lost` the end of the request is unknown, and so is
    /// the place of the first frame.
    pub(super) fn websocket(mut open: Open, is_lost: bool, keep: &Keep, chunk: Chunk) -> Self {
        let headers = open.exchange.response.as_ref().map(|response| &response.message.headers);
        open.reader = headers.map(|headers| Reader::upgraded(headers, keep));
        if is_lost {
            let reader = open.reader.iter_mut();
            reader.for_each(|reader| reader.lost(Sender::Client, None, chunk.first_ns));
        }
        for from in [Sender::Client, Sender::Server] {
            message(&mut open, from).into_iter().for_each(|message| message.body = Body::default());
        }
        Became::WebSocket(Box::new(open))
    }

    /// Returns the number of exchanges since the change.
    pub(super) fn exchanges(&self) -> u64 {
        match self {
            Became::H2c(h2c) => h2c.exchanges(),
            // Those of a tunnel have numbers of their own.
            Became::Tunnel { .. } | Became::Tunnelled(_) | Became::WebSocket(_) => 0,
        }
    }

    /// Adds a note about the next bytes. Returns the note if there is no place for it.
    pub(super) fn note(&mut self, note: Note) -> Option<Note> {
        match self {
            Became::H2c(h2c) => h2c.note(note),
            Became::Tunnelled(connection) => connection.note(note),
            Became::WebSocket(open) => open.exchange.note(note),
            Became::Tunnel { stream: Some((_, stream)), .. } => stream.note(note),
            Became::Tunnel { stream: None, .. } => return Some(note),
        }
        None
    }

    /// Processes bytes of a direction.
    pub(super) fn data(
        &mut self,
        context: Context<'_>,
        direction: Direction,
        bytes: &[u8],
        chunk: Chunk,
        timeline: &mut Timeline,
    ) {
        match self {
            Became::H2c(h2c) => h2c.data(direction, chunk, bytes, timeline),
            Became::Tunnelled(connection) => connection.data(direction, chunk, bytes, timeline),
            Became::WebSocket(open) => {
                let from = context.sender(direction);
                if let Some(message) = message(open, from) {
                    message.body.push(bytes);
                    message.last_ns = message.last_ns.max(chunk.last_ns);
                }
                open.reader.iter_mut().for_each(|reader| reader.data(from, bytes, chunk.first_ns));
            }
            Became::Tunnel { note, stream } => {
                let (_, stream) = stream.get_or_insert_with(|| {
                    let mut stream = Stream::counted(context.shared, chunk.first_ns, context.keep);
                    note.take().into_iter().for_each(|note| stream.note(note));
                    (timeline.open(chunk.first_ns), Box::new(stream))
                });
                stream.push(direction, bytes, chunk.last_ns);
            }
        }
    }

    /// Processes missing bytes of a direction. Returns whether they are known to belong to the new
    /// protocol.
    pub(super) fn lose(
        &mut self,
        context: Context<'_>,
        direction: Direction,
        (cause, len): (GapCause, u64),
        chunk: Chunk,
        timeline: &mut Timeline,
    ) -> bool {
        match self {
            Became::WebSocket(open) => {
                open.lose(direction, cause, len);
                let from = context.sender(direction);
                let reader = open.reader.iter_mut();
                reader.for_each(|reader| reader.lost(from, Some(len), chunk.first_ns));
            }
            Became::H2c(h2c) => h2c.gap(direction, cause, chunk.first_ns, len, timeline),
            Became::Tunnelled(connection) => {
                connection.lose(direction, cause, chunk.first_ns, len, timeline);
            }
            Became::Tunnel { stream: Some((_, stream)), .. } => stream.lose(direction, cause, len),
            Became::Tunnel { stream: None, .. } => return false,
        }
        true
    }

    /// Ends the connection, or its recording; the reason is given for the client and for the
    /// server.
    pub(super) fn finish(
        &mut self,
        request_direction: Direction,
        ends: [End; 2],
        ts_ns: u64,
        timeline: &mut Timeline,
    ) {
        let closed = !ends.contains(&End::Open);
        if let Became::H2c(h2c) = self {
            // The state is kept, because its number of exchanges is still read.
            return h2c.finish(closed, ts_ns, timeline);
        }
        match std::mem::replace(self, Became::tunnel(None)) {
            Became::Tunnel { stream: Some((ticket, mut stream)), .. } => {
                stream.finish(closed, Some(request_direction));
                timeline.close(ticket, Item::Stream(stream));
            }
            Became::Tunnel { stream: None, .. } | Became::H2c(_) => {}
            Became::Tunnelled(connection) => {
                let [client, server] = ends;
                let end = match request_direction {
                    Direction::Sent => PerDirection { sent: client, received: server },
                    Direction::Received => PerDirection { sent: server, received: client },
                };
                connection.finish(end, ts_ns, timeline);
            }
            Became::WebSocket(mut open) => {
                open.request_done = closed;
                open.response_done = closed;
                if !closed {
                    open.exchange.note(Note::WebSocketOpen);
                } else if ends.contains(&End::Reset) {
                    open.exchange.note(Note::WebSocketReset);
                }
                emit(*open, timeline);
            }
        }
    }
}
