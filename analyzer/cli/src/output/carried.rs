//! The part of an exchange's JSON object for protocols on top of HTTP: type, counts, and the
//! messages if they were kept.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use sslrec_analyzer::descriptors::{Descriptors, Named};
use sslrec_analyzer::exchange::carried::{
    Event, Events, Grpc, GrpcMessage, WebSocket, WebSocketClose, WebSocketMessage,
};
use sslrec_analyzer::exchange::{Carried, Exchange};
use sslrec_analyzer::protobuf::{self, Field, Value};
use sslrec_analyzer::text::Rfc3339;

use crate::text::{Base64, Text};

/// The data of a protocol on top of HTTP.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum CarriedObject<'a> {
    Grpc(GrpcObject<'a>),
    WebSocket(WebSocketObject<'a>),
    Events(EventsObject<'a>),
}

impl<'a> CarriedObject<'a> {
    pub(super) fn of(exchange: &'a Exchange, descriptors: Option<&'a Descriptors>) -> Option<Self> {
        Some(match exchange.carried.as_deref()? {
            Carried::Grpc(grpc) => CarriedObject::Grpc(grpc_object(exchange, grpc, descriptors)),
            Carried::WebSocket(socket) => CarriedObject::WebSocket(websocket(exchange, socket)),
            Carried::Events(list) => CarriedObject::Events(events(exchange, list)),
        })
    }

    /// Returns the key of this object in the exchange.
    pub(super) fn key(&self) -> &'static str {
        match self {
            CarriedObject::Grpc(_) => "grpc",
            CarriedObject::WebSocket(_) => "websocket",
            CarriedObject::Events(_) => "events",
        }
    }
}

/// Bytes as a JSON string.
type Base64Text<'a> = Text<Base64<'a>>;

fn base64(bytes: &[u8]) -> Base64Text<'_> {
    Text(Base64(bytes))
}

/// A list that is serialised element by element, each as the object that the function makes of it.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, O: Serialize, F: Fn(&'a T) -> O> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0 {
            seq.serialize_element(&self.1(value))?;
        }
        seq.end()
    }
}

type List<'a, T, O> = Option<Each<'a, T, fn(&'a T) -> O>>;

fn list<'a, T, O>(messages: &'a Option<Vec<T>>, object: fn(&'a T) -> O) -> List<'a, T, O> {
    messages.as_deref().map(|messages| Each(messages, object))
}

#[derive(Serialize)]
pub(super) struct GrpcObject<'a> {
    http: &'static str,
    service: Option<&'a str>,
    method: Option<&'a str>,
    status: Option<u32>,
    message: Option<&'a str>,
    request_messages: Option<u64>,
    response_messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<GrpcMessages<'a>>,
}

/// The messages of a call, each converted to an object while it is serialised.
struct GrpcMessages<'a> {
    grpc: &'a Grpc,
    messages: &'a [GrpcMessage],
    descriptors: Option<&'a Descriptors>,
}

impl Serialize for GrpcMessages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { grpc, messages, descriptors } = self;
        serializer.collect_seq(messages.iter().map(|message| {
            let named = descriptors.and_then(|descriptors| descriptors.name(grpc, message));
            grpc_message(message, named)
        }))
    }
}

#[derive(Serialize)]
struct GrpcMessageObject<'a> {
    time: Text<Rfc3339>,
    from: &'static str,
    bytes: u64,
    compressed: bool,
    data: Base64Text<'a>,
    #[serde(flatten)]
    view: GrpcView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Cow<'a, str>>,
}

/// The decoded contents of a message.
#[derive(Serialize)]
#[serde(untagged)]
enum GrpcView<'a> {
    Named {
        r#type: String,
        message: Box<RawValue>,
    },
    /// Decoded without a schema; `null` if the contents are not a Protocol Buffers message.
    Wire {
        fields: Option<FieldList<'a>>,
    },
}

fn grpc_message(message: &GrpcMessage, named: Option<Named>) -> GrpcMessageObject<'_> {
    let wire = || GrpcView::Wire {
        fields: protobuf::fields(&message.data)
            .filter(|_| message.problem.is_none())
            .map(FieldList),
    };
    let problem = message.problem.as_deref().map(Cow::Borrowed);
    let (view, problem) = match named {
        None => (wire(), problem),
        Some(Named { name, json: Ok(message) }) => {
            (GrpcView::Named { r#type: name, message }, problem)
        }
        Some(Named { name, json: Err(why) }) => {
            (wire(), Some(format!("not a {name}: {why}").into()))
        }
    };
    GrpcMessageObject {
        time: Text(Rfc3339(message.time_ns)),
        from: message.from.as_str(),
        bytes: message.bytes,
        compressed: message.compressed,
        data: base64(&message.data),
        view,
        problem,
    }
}

fn grpc_object<'a>(
    exchange: &Exchange,
    grpc: &'a Grpc,
    descriptors: Option<&'a Descriptors>,
) -> GrpcObject<'a> {
    let messages = grpc.messages.as_deref();
    GrpcObject {
        http: exchange.proto,
        service: grpc.service.as_deref(),
        method: grpc.method.as_deref(),
        status: grpc.status,
        message: grpc.message.as_deref(),
        request_messages: grpc.requests.map(|count| count.messages),
        response_messages: grpc.responses.map(|count| count.messages),
        messages: messages.map(|messages| GrpcMessages { grpc, messages, descriptors }),
    }
}

/// Fields of a Protocol Buffers message.
struct FieldList<'a>(Vec<Field<'a>>);

impl Serialize for FieldList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(FieldObject))
    }
}

struct FieldObject<'f, 'a>(&'f Field<'a>);

impl Serialize for FieldObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Field { number, value } = self.0;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("field", number)?;
        map.serialize_entry("wire", value.wire())?;
        match value {
            Value::Varint(value) | Value::Fixed64(value) => map.serialize_entry("value", value)?,
            Value::Fixed32(value) => map.serialize_entry("value", value)?,
            Value::Text(text) => map.serialize_entry("text", text)?,
            Value::Bytes(bytes) => map.serialize_entry("bytes", &base64(bytes))?,
            Value::Group(fields) | Value::Message(fields) => {
                let fields: Vec<_> = fields.iter().map(FieldObject).collect();
                map.serialize_entry("fields", &fields)?;
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
pub(super) struct WebSocketObject<'a> {
    http: &'static str,
    subprotocol: Option<&'a str>,
    deflate: bool,
    client_messages: u64,
    client_bytes: u64,
    server_messages: u64,
    server_bytes: u64,
    close: Option<CloseObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: List<'a, WebSocketMessage, WebSocketMessageObject<'a>>,
}

#[derive(Serialize)]
struct CloseObject<'a> {
    from: &'static str,
    code: Option<u16>,
    reason: &'a str,
}

#[derive(Serialize)]
struct WebSocketMessageObject<'a> {
    time: Text<Rfc3339>,
    from: &'static str,
    kind: &'static str,
    bytes: u64,
    compressed: bool,
    /// The contents, if the message is a text and valid UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The contents in any other case.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Base64Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

fn websocket<'a>(exchange: &Exchange, socket: &'a WebSocket) -> WebSocketObject<'a> {
    let close = |close: &'a WebSocketClose| CloseObject {
        from: close.from.as_str(),
        code: close.code,
        reason: &close.reason,
    };
    WebSocketObject {
        http: exchange.proto,
        subprotocol: socket.subprotocol.as_deref(),
        deflate: socket.deflate,
        client_messages: socket.client.messages,
        client_bytes: socket.client.bytes,
        server_messages: socket.server.messages,
        server_bytes: socket.server.bytes,
        close: socket.close.as_ref().map(close),
        messages: list(&socket.messages, |message| {
            let text = message.text();
            WebSocketMessageObject {
                time: Text(Rfc3339(message.time_ns)),
                from: message.from.as_str(),
                kind: message.kind.as_str(),
                bytes: message.bytes,
                compressed: message.compressed,
                data: text.is_none().then(|| base64(&message.data)),
                text,
                problem: message.problem.as_deref(),
            }
        }),
    }
}

#[derive(Serialize)]
pub(super) struct EventsObject<'a> {
    count: u64,
    first_ms: Option<f64>,
    retry_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: List<'a, Event, EventObject<'a>>,
}

#[derive(Serialize)]
struct EventObject<'a> {
    time: Text<Rfc3339>,
    event: Option<&'a str>,
    id: Option<&'a str>,
    data: Cow<'a, str>,
}

fn events<'a>(exchange: &Exchange, events: &'a Events) -> EventsObject<'a> {
    let asked_ns = exchange.request.as_ref().map(|request| request.message.first_ns);
    let first_ns =
        asked_ns.zip(events.first_ns).and_then(|(asked, first)| first.checked_sub(asked));
    EventsObject {
        count: events.count,
        first_ms: first_ns.map(|ns| ns as f64 / 1e6),
        retry_ms: events.retry_ms,
        messages: list(&events.messages, |event| EventObject {
            time: Text(Rfc3339(event.time_ns)),
            event: event.event.as_deref(),
            id: event.id.as_deref(),
            data: String::from_utf8_lossy(&event.data),
        }),
    }
}
