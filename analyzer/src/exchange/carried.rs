//! The model of protocols on top of HTTP: messages of gRPC and of WebSocket, and server-sent
//! events.
//!
//! Parsers build it (`over_http`), outputs read it. Messages are always counted, and kept only if
//! contents are requested. Unknown is `None`.

use super::Sender;

/// What an exchange carried.
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
    /// Name of the protocol, where the exchange is listed by it and not by its version of HTTP.
    pub fn proto(&self) -> Option<&'static str> {
        match self {
            Carried::Grpc(grpc) if grpc.is_web => Some("grpc-web"),
            Carried::Grpc(_) => Some("grpc"),
            Carried::WebSocket(_) => Some("websocket"),
            Carried::Events(_) => None,
        }
    }

    /// Number of messages of both ends, or of events; `None` where it is not known of one.
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

    /// About how much memory it takes.
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

/// How much went in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Whole messages. Control frames of a WebSocket do not count.
    pub messages: u64,
    /// Bytes of their contents as they were sent, compressed or not, and without framing.
    pub bytes: u64,
}

/// A call of gRPC.
#[derive(Debug, Clone, Default)]
pub struct Grpc {
    /// It is gRPC-Web, which has its trailers in the body.
    pub is_web: bool,
    /// The service with its package, from the path.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// `grpc-status`.
    pub status: Option<u32>,
    /// `grpc-message`, without its percent-encoding.
    pub message: Option<String>,
    /// What the client sent; `None` where its beginning was not recorded.
    pub requests: Option<Count>,
    /// What the server sent.
    pub responses: Option<Count>,
    /// The messages of both in the order in which they were complete.
    pub messages: Option<Vec<GrpcMessage>>,
}

impl Grpc {
    /// Name of a status, if the code has one.
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
    /// When its last byte was handed over, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Who sent it.
    pub from: Sender,
    /// Its length as it was sent.
    pub bytes: u64,
    /// It was sent compressed.
    pub compressed: bool,
    /// The message, decompressed unless there is a `problem`.
    pub data: Vec<u8>,
    /// Why `data` is not the whole message, or is as it was sent.
    pub problem: Option<String>,
}

/// A WebSocket.
#[derive(Debug, Clone, Default)]
pub struct WebSocket {
    /// Messages were compressed by permessage-deflate (RFC 7692), if they were so marked.
    pub deflate: bool,
    /// What the server chose by `Sec-WebSocket-Protocol`.
    pub subprotocol: Option<String>,
    /// What the client sent.
    pub client: Count,
    /// What the server sent.
    pub server: Count,
    /// The first close frame.
    pub close: Option<WebSocketClose>,
    /// The messages and control frames of both in the order in which they were complete.
    pub messages: Option<Vec<WebSocketMessage>>,
}

/// The end of a WebSocket (RFC 6455 section 7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketClose {
    /// Who sent it.
    pub from: Sender,
    /// Status code.
    pub code: Option<u16>,
    /// Reason; what is not UTF-8 of it is replaced.
    pub reason: String,
}

/// What a message of a WebSocket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebSocketKind {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
    /// A control frame that ends the connection.
    Close,
    /// A control frame that asks for a pong.
    Ping,
    /// A control frame that answers a ping.
    Pong,
    /// An opcode that RFC 6455 reserves.
    Reserved(u8),
}

impl WebSocketKind {
    /// As it is listed.
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
    /// When its last byte was handed over, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Who sent it.
    pub from: Sender,
    /// What it is.
    pub kind: WebSocketKind,
    /// Length of its contents as they were sent.
    pub bytes: u64,
    /// It was sent compressed.
    pub compressed: bool,
    /// Its contents, unmasked, and decompressed unless there is a `problem`.
    pub data: Vec<u8>,
    /// Why `data` is not all of it, or is as it was sent.
    pub problem: Option<String>,
}

impl WebSocketMessage {
    /// Its contents as text, where they are meant to be text and are.
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
    /// Events.
    pub count: u64,
    /// When the first one was complete, nanoseconds since the Unix epoch.
    pub first_ns: Option<u64>,
    /// `retry` in milliseconds, as it was set last: how long a client waits before it comes back.
    pub retry_ms: Option<u64>,
    /// The events.
    pub messages: Option<Vec<Event>>,
}

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// When the empty line after it was handed over, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// `event`: its type, if it has one.
    pub event: Option<String>,
    /// `id`, where this event sets it.
    pub id: Option<String>,
    /// `data`, of which lines are joined by line feeds; it should be UTF-8.
    pub data: Vec<u8>,
}
