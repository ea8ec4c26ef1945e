//! WebSocket (RFC 6455, and RFC 8441 over HTTP/2): the model.

mod inflate;
mod reader;
mod resume;

pub(super) use self::reader::Reader;
use super::Door;
use crate::exchange::Sender;
use crate::exchange::carried::{Carried, Count, bytes_of};
use crate::exchange::note::MessageProblem;

/// The name of the protocol.
pub const NAME: &str = "websocket";

/// Detection and fields of WebSocket.
pub(super) const DOOR: Door = Door {
    name: NAME,
    asked: reader::asked,
    answered: reader::answered,
    fields: &[],
    json_only: &["websocket"],
};

/// A WebSocket.
#[derive(Debug, Clone, Default)]
pub struct WebSocket {
    /// Messages were compressed by permessage-deflate (RFC 7692), if marked so.
    pub deflate: bool,
    /// The subprotocol that the server chose in `Sec-WebSocket-Protocol`.
    pub subprotocol: Option<String>,
    /// Data from the client.
    pub client: Count,
    /// Data from the server.
    pub server: Count,
    /// The first close frame.
    pub close: Option<WebSocketClose>,
    /// The messages and control frames of both ends in the order of their completion.
    pub messages: Option<Vec<WebSocketMessage>>,
}

impl Carried for WebSocket {
    fn name(&self) -> &'static str {
        NAME
    }

    fn proto(&self) -> Option<&'static str> {
        Some(NAME)
    }

    fn message_count(&self) -> Option<u64> {
        Some(self.client.messages + self.server.messages)
    }

    fn forget_messages(&mut self) {
        self.messages = None;
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + bytes_of(&self.messages, |message| &message.data)
    }

    fn boxed(&self) -> Box<dyn Carried> {
        Box::new(self.clone())
    }
}

/// The end of a WebSocket (RFC 6455 section 7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketClose {
    /// Sender of the close frame.
    pub from: Sender,
    /// Status code.
    pub code: Option<u16>,
    /// Reason; invalid UTF-8 is replaced.
    pub reason: String,
}

/// The kind of a WebSocket message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebSocketKind {
    /// UTF-8 text.
    Text,
    /// Binary data.
    Binary,
    /// A control frame that ends the connection.
    Close,
    /// A control frame that requests a pong.
    Ping,
    /// A control frame that answers a ping.
    Pong,
    /// An opcode that RFC 6455 reserves.
    Reserved(u8),
}

impl WebSocketKind {
    pub(crate) fn of_opcode(opcode: u8) -> Self {
        match opcode {
            1 => WebSocketKind::Text,
            2 => WebSocketKind::Binary,
            8 => WebSocketKind::Close,
            9 => WebSocketKind::Ping,
            10 => WebSocketKind::Pong,
            other => WebSocketKind::Reserved(other),
        }
    }

    /// Returns the name in the listing.
    pub fn as_str(self) -> &'static str {
        match self {
            WebSocketKind::Text => "text",
            WebSocketKind::Binary => "binary",
            WebSocketKind::Close => "close",
            WebSocketKind::Ping => "ping",
            WebSocketKind::Pong => "pong",
            WebSocketKind::Reserved(_) => "reserved",
        }
    }
}

/// A message, or a control frame, of a WebSocket.
#[derive(Debug, Clone)]
pub struct WebSocketMessage {
    /// Time of the call that completed the message, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Sender of the message.
    pub from: Sender,
    /// Kind of the message.
    pub kind: WebSocketKind,
    /// Length of the contents as sent.
    pub bytes: u64,
    /// The message was compressed.
    pub compressed: bool,
    /// The contents, unmasked, and decompressed unless there is a `problem`.
    pub data: Vec<u8>,
    /// Why `data` is incomplete or as sent.
    pub problem: Option<MessageProblem>,
}

impl WebSocketMessage {
    /// Returns the contents of a text message, if they are valid UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self.kind {
            WebSocketKind::Text if self.problem.is_none() => std::str::from_utf8(&self.data).ok(),
            _ => None,
        }
    }
}
