//! The model of protocols on top of HTTP: messages of gRPC and of WebSocket, and server-sent
//! events.
//!
//! Parsers build it (`over_http`), outputs read it. Messages are always counted, and kept only if
//! contents are requested. Unknown is `None`.

use super::Sender;

/// The data of a protocol on top of HTTP.
#[derive(Debug, Clone)]
pub enum Carried {
    /// gRPC, or gRPC-Web.
    Grpc(Grpc),
    /// WebSocket (RFC 6455, and RFC 8441 over HTTP/2).
    WebSocket(WebSocket),
    /// Server-sent events (HTML, section 9.2).
    Events(Events),
}

impl Carried {
    /// Returns the protocol, if the exchange is listed by it and not by its version of HTTP.
    pub fn proto(&self) -> Option<&'static str> {
        match self {
            Carried::Grpc(grpc) if grpc.is_web => Some("grpc-web"),
            Carried::Grpc(_) => Some("grpc"),
            Carried::WebSocket(_) => Some("websocket"),
            Carried::Events(_) => None,
        }
    }

    /// Returns the number of messages of both ends, or of events; `None` if the number of an end is
    /// unknown.
    pub fn message_count(&self) -> Option<u64> {
        match self {
            Carried::Grpc(grpc) => Some(grpc.requests?.messages + grpc.responses?.messages),
            Carried::WebSocket(socket) => Some(socket.client.messages + socket.server.messages),
            Carried::Events(events) => Some(events.count),
        }
    }

    /// Removes the messages and keeps their counts.
    pub fn forget_messages(&mut self) {
        match self {
            Carried::Grpc(grpc) => grpc.messages = None,
            Carried::WebSocket(socket) => socket.messages = None,
            Carried::Events(events) => events.messages = None,
        }
    }

    /// Returns the approximate memory in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let messages = match self {
            Carried::Grpc(grpc) => bytes_of(&grpc.messages, |message| &message.data),
            Carried::WebSocket(socket) => bytes_of(&socket.messages, |message| &message.data),
            Carried::Events(events) => bytes_of(&events.messages, |event| &event.data),
        };
        size_of::<Self>() + messages
    }
}

fn bytes_of<T>(messages: &Option<Vec<T>>, data: impl Fn(&T) -> &Vec<u8>) -> usize {
    let Some(messages) = messages else { return 0 };
    messages.capacity() * size_of::<T>()
        + messages.iter().map(|message| data(message).capacity()).sum::<usize>()
}

/// The amount of data in a direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Complete messages, without control frames of a WebSocket.
    pub messages: u64,
    /// Bytes of their contents as sent, compressed or not, and without framing.
    pub bytes: u64,
}

/// A call of gRPC.
#[derive(Debug, Clone, Default)]
pub struct Grpc {
    /// The call uses gRPC-Web, whose trailers are in the body.
    pub is_web: bool,
    /// The service with its package, from the path.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// `grpc-status`.
    pub status: Option<u32>,
    /// `grpc-message`, without its percent-encoding.
    pub message: Option<String>,
    /// Data from the client; `None` if its beginning was not recorded.
    pub requests: Option<Count>,
    /// Data from the server; `None` if its beginning was not recorded.
    pub responses: Option<Count>,
    /// The messages of both ends in the order of their completion.
    pub messages: Option<Vec<GrpcMessage>>,
}

impl Grpc {
    /// Returns the name of a status code, if it has a name.
    pub fn name_of(status: u32) -> Option<&'static str> {
        NAMES.get(status as usize).copied()
    }
}

/// Names of status codes, from 0.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A message of gRPC.
#[derive(Debug, Clone)]
pub struct GrpcMessage {
    /// Time of the call that completed the message, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Sender of the message.
    pub from: Sender,
    /// Length as sent.
    pub bytes: u64,
    /// The message was compressed.
    pub compressed: bool,
    /// The message, decompressed unless there is a `problem`.
    pub data: Vec<u8>,
    /// Why `data` is incomplete or as sent.
    pub problem: Option<String>,
}

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
    pub problem: Option<String>,
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

/// Server-sent events.
#[derive(Debug, Clone, Default)]
pub struct Events {
    /// Number of events.
    pub count: u64,
    /// When the first event was complete, nanoseconds since the Unix epoch.
    pub first_ns: Option<u64>,
    /// The last `retry` in milliseconds: how long a client waits before it reconnects.
    pub retry_ms: Option<u64>,
    /// The events.
    pub messages: Option<Vec<Event>>,
}

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Time of the call with the empty line after the event, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// `event`: its type, if present.
    pub event: Option<String>,
    /// `id`, if this event sets it.
    pub id: Option<String>,
    /// `data`, with lines joined by line feeds; it should be UTF-8.
    pub data: Vec<u8>,
}
