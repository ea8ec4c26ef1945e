//! The fields of an item: names, kinds of values, and where the values come from.
//!
//! This is the table of the fields of all items; protocols on top of HTTP have tables of their
//! own, and [`crate::item_fields`] joins them. Filters, their error messages and suggestions, the
//! help of `sslanalyze --filter` and the grouping of `stats` use it; the JSON output takes its keys
//! from it. A new field is a row here and a line in the JSON output; a test compares the two.

use std::borrow::Cow;
use std::net::SocketAddr;

use sslrec_formats::record::Direction;

use super::stream::StreamHalf;
use super::{Carried, ConnectionInfo, Exchange, Handshake, Item, Request, Response, Stream};
use crate::text::{Rfc3339, readable};

/// A field that items can have.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Names in filters, each with the kind of its values. The help lists the first name.
    pub names: &'static [(&'static str, Kind)],
    /// Place in the JSON, from the top; empty if the field is not in the JSON.
    pub json: &'static [&'static str],
    /// Explanation in the help.
    pub remark: Option<&'static str>,
    /// A filter on this field also matches handshakes.
    pub of_handshakes: bool,
    /// Reads the values.
    pub(crate) values: Get,
}

/// A function that reads the values of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Get {
    One(GetOne),
    All(GetAll),
}

pub(crate) type GetOne = for<'a> fn(&'a Subject<'a>) -> Option<Value<'a>>;
pub(crate) type GetAll = fn(&Subject<'_>, &mut dyn FnMut(Value<'_>));

impl Field {
    /// Returns the usual name.
    pub const fn name(&self) -> &'static str {
        self.names[0].0
    }

    /// Returns the key of the field in its JSON object.
    pub const fn key(&self) -> &'static str {
        match self.json {
            [.., key] => key,
            [] => "",
        }
    }

    /// Calls `see` with each value of the field; not at all if it is unknown.
    pub(crate) fn values(&self, subject: &Subject<'_>, see: &mut dyn FnMut(Value<'_>)) {
        match self.values {
            Get::One(get) => get(subject).into_iter().for_each(see),
            Get::All(get) => get(subject, see),
        }
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Field {}

/// The kind of a value, which determines the possible comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Text that is compared as a number if it is numeric: a header field.
    Header,
    /// A number in this unit.
    Number(Unit),
    /// A condition.
    Bool,
    /// A point in time.
    Time,
}

/// The notation of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A whole number.
    Count,
    /// Bytes, or units of 1024 bytes.
    Bytes,
    /// Time with its unit; the value is in nanoseconds.
    Duration,
    /// Milliseconds without a unit; the value is in nanoseconds.
    Millis,
}

/// A known value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text; of message heads as [`readable`] has it.
    Text(Cow<'a, str>),
    /// A number; nanoseconds for times and durations.
    Number(u64),
    /// A condition.
    Bool(bool),
}

pub(crate) const COUNT: Kind = Kind::Number(Unit::Count);
const BYTES: Kind = Kind::Number(Unit::Bytes);
const DURATION: Kind = Kind::Number(Unit::Duration);
const MILLIS: Kind = Kind::Number(Unit::Millis);

/// Defines a constant for each row, and the table of all rows.
macro_rules! fields {
    ($(
        $(#[$doc:meta])+
        $id:ident: $names:expr, $json:expr, $remark:expr, $handshakes:expr, $get:expr;
    )+) => {
        $($(#[$doc])+ pub const $id: $crate::exchange::field::Field = $crate::exchange::field::Field {
            names: &$names, json: &$json, remark: $remark, of_handshakes: $handshakes, values: $get,
        };)+
        /// The fields, in the order of the help.
        pub static FIELDS: &[$crate::exchange::field::Field] = &[$($id),+];
    };
}

use Get::{All, One};
pub(crate) use fields;

fields! {
    /// Status code of the response.
    STATUS: [("status", COUNT), ("response.status", COUNT)], ["response", "status"], None, false,
        One(|s| Some(u64::from(s.response()?.status?).into()));
    /// Method of the request.
    METHOD: [("method", Kind::Text), ("request.method", Kind::Text)],
        ["request", "method"], None, false,
        One(|s| Some(s.request()?.method.as_deref()?.into()));
    /// Host of the request.
    HOST: [("host", Kind::Text)], [], Some("authority without port"), false,
        One(|s| Some(s.request()?.host()?.into()));
    /// Path and query of the request.
    PATH: [("path", Kind::Text), ("request.path", Kind::Text)], ["request", "path"], None, false,
        One(|s| Some(s.request()?.path()?.into()));
    /// URL of the request.
    URL: [("url", Kind::Text), ("request.url", Kind::Text)], ["request", "url"], None, false,
        One(|s| Some(s.request()?.url(s.info.tls)?.into()));
    /// First line of a request, if it is no well-formed request line of HTTP/1.
    LINE: [("request.line", Kind::Text)], ["request", "line"], Some("if it is malformed"), false,
        One(|s| Some(readable(s.request()?.line.as_deref()?).into()));
    /// Host and port of the request.
    AUTHORITY: [("authority", Kind::Text), ("request.authority", Kind::Text)],
        ["request", "authority"], None, false,
        One(|s| Some(s.request()?.authority()?.into()));
    /// From the first byte of the item to its last byte.
    TOOK: [("duration", DURATION), ("duration_ms", MILLIS)], ["duration_ms"], None, false,
        One(|s| Some(match s.item {
            Of::Exchange(exchange) => exchange.duration_ns()?.into(),
            Of::Stream(stream) => stream.last_ns.checked_sub(stream.first_ns)?.into(),
            Of::Handshake(_) => return None,
        }));
    /// From the first byte of the request to that of the response.
    TTFB: [("ttfb", DURATION), ("ttfb_ms", MILLIS)], ["ttfb_ms"], None, false,
        One(|s| Some(s.exchange()?.ttfb_ns()?.into()));
    /// Length of the response's body.
    RESPONSE_BYTES: [("body_bytes", BYTES), ("response.body_bytes", BYTES)],
        ["response", "body_bytes"],
        Some("of the response"), false,
        One(|s| Some(s.response()?.message.body.bytes.into()));
    /// Length of the request's body.
    REQUEST_BYTES: [("request.body_bytes", BYTES)], ["request", "body_bytes"], None, false,
        One(|s| Some(s.request()?.message.body.bytes.into()));
    /// Process.
    PID: [("pid", COUNT)], ["pid"], None, false, One(|s| Some(u64::from(s.info.pid()?).into()));
    /// Short name of the process.
    COMM: [("comm", Kind::Text)],
        ["comm"], None, false, One(|s| Some(s.info.comm.as_deref()?.into()));
    /// Protocol.
    PROTO: [("proto", Kind::Text)], ["proto"], None, false,
        One(|s| Some(match s.item {
            Of::Exchange(exchange) => exchange.listed_proto().into(),
            Of::Stream(_) => "stream".into(),
            Of::Handshake(_) => return None,
        }));
    /// Server name of TLS.
    SNI: [("sni", Kind::Text)], ["sni"], None, false,
        One(|s| Some(s.info.record.sni.as_deref()?.into()));
    /// Protocol that TLS negotiated.
    ALPN: [("alpn", Kind::Text)], ["alpn"], None, false,
        One(|s| Some(s.info.record.alpn.as_deref()?.into()));
    /// The recorded end.
    ROLE: [("role", Kind::OneOf(&["client", "server"]))], ["role"], None, false,
        One(|s| Some(s.info.role(s.client)?.as_str().into()));
    /// Number of the connection.
    CONN: [("conn", COUNT)], ["conn"], None, false, One(|s| Some(s.info.record.conn.into()));
    /// Number of the exchange on its connection.
    STREAM: [("stream", COUNT)],
        ["stream"], None, false, One(|s| Some(s.exchange()?.stream.into()));
    /// Number of the exchange in the listing.
    ID: [("id", COUNT)], ["id"], None, false, One(|s| Some(s.exchange()?.id.into()));
    /// Type of the item.
    TYPE: [("type", Kind::OneOf(&["exchange", "stream", "handshake"]))], ["type"], None, true,
        One(|s| Some(match s.item {
            Of::Exchange(_) => "exchange".into(),
            Of::Stream(_) => "stream".into(),
            Of::Handshake(_) => "handshake".into(),
        }));
    /// Time of the first byte.
    TIME: [("time", Kind::Time)], ["time"], None, false,
        One(|s| Some(Value::Text(Cow::Owned(Rfc3339(s.first_ns()).to_string()))));
    /// Address of the client.
    CLIENT: [("client", Kind::Text)], ["client"], None, false, One(|s| Some(s.ends()?.0?.into()));
    /// Address of the server.
    SERVER: [("server", Kind::Text)], ["server"], None, false, One(|s| Some(s.ends()?.1?.into()));
    /// Source of the addresses.
    ADDR: [("addr", Kind::OneOf(&["exact", "inferred", "unknown"]))], ["addr"], None, false,
        One(|s| Some(s.info.record.addr.as_str().into()));
    /// File name of the TLS library.
    LIB: [("lib", Kind::Text)], ["lib"], None, false, One(|s| Some(s.info.lib()?.into()));
    /// Version of TLS.
    VERSION: [("version", Kind::Text)], ["version"], None, false,
        One(|s| Some(s.info.record.version.as_deref()?.into()));
    /// Cipher of TLS.
    CIPHER: [("cipher", Kind::Text)], ["cipher"], Some("of TLS, like version"), false,
        One(|s| Some(s.info.record.cipher.as_deref()?.into()));
    /// Reason phrase of the response.
    REASON: [("reason", Kind::Text), ("response.reason", Kind::Text)],
        ["response", "reason"], None, false,
        One(|s| Some(readable(&s.response()?.reason).into()));
    /// No byte of the item is missing.
    COMPLETE: [("complete", Kind::Bool)], ["complete"], None, false,
        One(|s| Some(Value::Bool(match s.item {
            Of::Exchange(exchange) => exchange.complete,
            Of::Stream(stream) => stream.complete,
            Of::Handshake(_) => return None,
        })));
    /// Bytes that are missing.
    LOST_BYTES: [("lost_bytes", BYTES)], ["lost_bytes"], None, false,
        One(|s| Some(match s.item {
            Of::Exchange(exchange) => exchange.lost_bytes.into(),
            Of::Stream(stream) => stream.lost_bytes.into(),
            Of::Handshake(_) => return None,
        }));
    /// Targets of the tunnels around the item.
    TUNNEL: [("tunnel", Kind::Text)], [], Some("target of a tunnel around it"), false,
        All(|s, see| {
            let connection = match s.item {
                Of::Exchange(exchange) => exchange.shared_connection(),
                Of::Stream(stream) => stream.shared_connection(),
                Of::Handshake(_) => return,
            };
            let tunnels = connection.route().into_iter().flat_map(|route| &route.tunnels);
            tunnels.for_each(|tunnel| see(readable(&tunnel.target).into()));
        });
    /// Notes about the item.
    NOTES: [("note", Kind::Text), ("notes", Kind::Text)], ["notes"], None, false,
        All(|s, see| {
            let notes = match s.item {
                Of::Exchange(exchange) => &exchange.notes,
                Of::Stream(stream) => &stream.notes,
                Of::Handshake(_) => return,
            };
            notes.iter().for_each(|note| see(Value::Text(Cow::Owned(note.to_string()))));
        });
    /// Bytes that the client sent on a stream.
    CLIENT_BYTES: [("client_bytes", BYTES)], ["client_bytes"], None, false,
        One(|s| Some(s.halves()?.0.bytes.into()));
    /// Bytes that the server sent on a stream.
    SERVER_BYTES: [("server_bytes", BYTES)], ["server_bytes"], None, false,
        One(|s| Some(s.halves()?.1.bytes.into()));
    /// There is a request.
    REQUEST: [("request", Kind::Bool)], ["request"], None, false,
        One(|s| Some(Value::Bool(s.exchange()?.request.is_some())));
    /// There is a response.
    RESPONSE: [("response", Kind::Bool)], ["response"], None, false,
        One(|s| Some(Value::Bool(s.exchange()?.response.is_some())));
    /// Number of messages on top of HTTP.
    MESSAGES: [("messages", COUNT)], [], Some("of gRPC and WebSocket, or events"), false,
        One(|s| Some(s.exchange()?.carried.as_ref()?.message_count()?.into()));
    /// Duration of a handshake.
    LATENCY: [("latency", DURATION), ("latency_ms", MILLIS)], ["latency_ms"], None, true,
        One(|s| Some(s.handshake()?.latency_ns()?.into()));
    /// A handshake succeeded.
    OK: [("ok", Kind::Bool)], ["ok"], None, true, One(|s| Some(Value::Bool(s.handshake()?.ok)));
    /// Result of a handshake's last call. It can be negative, and is a name more than a number.
    RESULT: [("result", Kind::Text)], ["result"], None, true,
        One(|s| Some(Value::Text(Cow::Owned(s.handshake()?.result?.to_string()))));
    /// Function of a handshake's last call.
    FN: [("fn", Kind::Text)], ["fn"], None, true, One(|s| Some((&*s.handshake()?.func).into()));
}

/// Places in the JSON of all items that no filter names, with a dot for each level. `header.NAME`
/// and `trailer.NAME` name single fields of heads and trailers.
pub const JSON_ONLY: &[&str] = &[
    "client_data",
    "first_bytes",
    "interim",
    "local",
    "local_bytes",
    "local_data",
    "local_first_bytes",
    "proxied",
    "proxied.client",
    "proxied.server",
    "proxied.version",
    "remote",
    "remote_bytes",
    "remote_data",
    "remote_first_bytes",
    "request.body",
    "request.decoded_bytes",
    "request.headers",
    "request.trailers",
    "response.body",
    "response.decoded_bytes",
    "response.headers",
    "response.trailers",
    "server_data",
    "server_first_bytes",
    "tunnels",
];

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Value::Text(text)
    }
}

impl From<SocketAddr> for Value<'_> {
    fn from(addr: SocketAddr) -> Self {
        Value::Text(Cow::Owned(addr.to_string()))
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

/// The item whose fields are read.
pub(crate) struct Subject<'a> {
    info: &'a ConnectionInfo,
    /// Direction of the client's bytes.
    client: Option<Direction>,
    item: Of<'a>,
}

#[derive(Clone, Copy)]
enum Of<'a> {
    Exchange(&'a Exchange),
    Stream(&'a Stream),
    Handshake(&'a Handshake),
}

impl<'a> Subject<'a> {
    pub(crate) fn new(item: &'a Item) -> Self {
        match item {
            Item::Exchange(exchange) => Self {
                info: &exchange.connection,
                client: Some(exchange.request_direction),
                item: Of::Exchange(exchange),
            },
            Item::Stream(stream) => {
                let info = &*stream.connection;
                Self { info, client: info.client_direction(), item: Of::Stream(stream) }
            }
            Item::Handshake(handshake) => {
                let info = &*handshake.connection;
                Self { info, client: info.client_direction(), item: Of::Handshake(handshake) }
            }
        }
    }

    pub(crate) fn exchange(&self) -> Option<&'a Exchange> {
        match self.item {
            Of::Exchange(exchange) => Some(exchange),
            Of::Stream(_) | Of::Handshake(_) => None,
        }
    }

    fn handshake(&self) -> Option<&'a Handshake> {
        match self.item {
            Of::Handshake(handshake) => Some(handshake),
            Of::Exchange(_) | Of::Stream(_) => None,
        }
    }

    fn request(&self) -> Option<&'a Request> {
        self.exchange()?.request.as_ref()
    }

    fn response(&self) -> Option<&'a Response> {
        self.exchange()?.response.as_ref()
    }

    /// Returns the data of the protocol on top of HTTP, if it is of this type.
    pub(crate) fn carried<T: Carried>(&self) -> Option<&'a T> {
        self.exchange()?.carried_as()
    }

    /// Returns the halves of a stream: the client's and the server's.
    fn halves(&self) -> Option<(&'a StreamHalf, &'a StreamHalf)> {
        let (Of::Stream(stream), Some(client)) = (self.item, self.client) else { return None };
        Some((&stream.halves[client], &stream.halves[client.reverse()]))
    }

    /// Returns the addresses of the client and of the server.
    fn ends(&self) -> Option<(Option<SocketAddr>, Option<SocketAddr>)> {
        self.client.map(|client| self.info.ends(client))
    }

    fn first_ns(&self) -> u64 {
        match self.item {
            Of::Exchange(exchange) => exchange.first_ns(),
            Of::Stream(stream) => stream.first_ns,
            Of::Handshake(handshake) => handshake.first_ns,
        }
    }
}
