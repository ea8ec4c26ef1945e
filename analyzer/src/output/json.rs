//! One JSON object a line: exchanges, streams and handshakes, then a summary.
//!
//! The order of the fields is part of the contract with people who read it. Unknown is `null`.
//! Octets of heads above 0x7F become the code points of the same number (see
//! [`crate::text::latin1`]).

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use sslrec_formats::record::{Direction, Role};

use super::Output;
use super::carried::CarriedField;
use crate::capture::Summary;
use crate::descriptors::Descriptors;
use crate::exchange::{
    ConnectionInfo, Exchange, Fields, Handshake, Interim, Item, Message, Request, Response, Stream,
};
use crate::text::{Base64, Rfc3339, latin1};

/// See the module.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    descriptors: Option<Descriptors>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, descriptors: None }
    }

    /// The same with names for messages of gRPC.
    pub fn with_descriptors(self, descriptors: Option<Descriptors>) -> Self {
        Self { descriptors, ..self }
    }
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

impl<W: Write> Output for Json<W> {
    fn item(&mut self, item: &Item) -> io::Result<()> {
        match item {
            Item::Exchange(exchange) => {
                let info = exchange.connection.borrow();
                line(&mut self.out, &exchange_line(exchange, &info, self.descriptors.as_ref()))
            }
            Item::Stream(stream) => {
                let info = stream.connection.borrow();
                line(&mut self.out, &stream_line(stream, &info))
            }
            Item::Handshake(handshake) => {
                let info = handshake.connection.borrow();
                line(&mut self.out, &handshake_line(handshake, &info))
            }
        }
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let summary = SummaryLine {
            r#type: "summary",
            exchanges: summary.exchanges,
            listed: summary.listed,
            streams: summary.streams,
            handshakes: summary.handshakes,
            connections: summary.connections,
            processes: summary.processes,
            incomplete: summary.incomplete,
            lost_bytes: summary.lost_bytes,
            dropped_events: summary.dropped_events,
            start: summary.start_ns.map(|ns| Text(Rfc3339(ns))),
            end: summary.end_ns.map(|ns| Text(Rfc3339(ns))),
            closed: summary.closed,
            notes: &summary.notes,
        };
        line(&mut self.out, &summary)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Anything that can be displayed, as a JSON string, without a copy.
#[derive(Debug)]
pub(super) struct Text<T>(pub(super) T);

/// Bytes as a JSON string.
pub(super) type Base64Text<'a> = Text<Base64<'a>>;

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Header fields as an array of pairs.
struct Pairs<'a>(&'a Fields);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for (name, value) in self.0.iter() {
            seq.serialize_element(&(latin1(name), latin1(value)))?;
        }
        seq.end()
    }
}

/// Who and where; the same in every object.
#[derive(Serialize)]
struct Identity<'a> {
    pid: Option<u32>,
    comm: Option<&'a str>,
    role: Option<&'static str>,
    lib: Option<Cow<'a, str>>,
    client: Option<Text<SocketAddr>>,
    server: Option<Text<SocketAddr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Text<SocketAddr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Text<SocketAddr>>,
    addr: &'static str,
    sni: Option<&'a str>,
    alpn: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// `client` is the direction in which the client's bytes went, where known.
    fn new(info: &'a ConnectionInfo, client: Option<Direction>) -> Self {
        let record = &info.record;
        let (from, to) = client.map_or((None, None), |client| info.ends(client));
        let unknown = client.is_none();
        Self {
            pid: info.pid(),
            comm: info.comm.as_deref(),
            role: info.role(client).map(Role::as_str),
            lib: info.lib().map(Cow::Borrowed),
            client: from.map(Text),
            server: to.map(Text),
            local: record.local.filter(|_| unknown).map(Text),
            remote: record.remote.filter(|_| unknown).map(Text),
            addr: record.addr.as_str(),
            sni: record.sni.as_deref(),
            alpn: record.alpn.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct ExchangeLine<'a> {
    r#type: &'static str,
    id: u64,
    conn: u64,
    stream: u64,
    proto: &'static str,
    time: Text<Rfc3339>,
    #[serde(flatten)]
    identity: Identity<'a>,
    request: Option<RequestObject<'a>>,
    response: Option<ResponseObject<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interim: Vec<InterimObject<'a>>,
    #[serde(flatten)]
    carried: Option<CarriedField<'a>>,
    ttfb_ms: Option<f64>,
    duration_ms: Option<f64>,
    complete: bool,
    lost_bytes: u64,
    notes: &'a [Cow<'static, str>],
}

#[derive(Serialize)]
struct RequestObject<'a> {
    method: Option<&'a str>,
    url: Option<Cow<'a, str>>,
    authority: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    #[serde(flatten)]
    message: MessageObject<'a>,
    /// Most requests have none, and the contract shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    trailers: Option<Pairs<'a>>,
}

#[derive(Serialize)]
struct ResponseObject<'a> {
    status: Option<u16>,
    reason: Cow<'a, str>,
    #[serde(flatten)]
    message: MessageObject<'a>,
    trailers: Pairs<'a>,
}

#[derive(Serialize)]
struct MessageObject<'a> {
    headers: Pairs<'a>,
    body_bytes: u64,
    /// Without content codings; only where these were to be undone, and then so is the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Base64Text<'a>>,
}

#[derive(Serialize)]
struct InterimObject<'a> {
    status: u16,
    headers: Pairs<'a>,
}

#[derive(Serialize)]
struct StreamLine<'a> {
    r#type: &'static str,
    conn: u64,
    proto: &'static str,
    time: Text<Rfc3339>,
    #[serde(flatten)]
    identity: Identity<'a>,
    client_bytes: Option<u64>,
    server_bytes: Option<u64>,
    first_bytes: Option<Base64Text<'a>>,
    server_first_bytes: Option<Base64Text<'a>>,
    #[serde(flatten)]
    by_end: Option<ByEnd<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_data: Option<Base64Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_data: Option<Base64Text<'a>>,
    duration_ms: Option<f64>,
    complete: bool,
    lost_bytes: u64,
    notes: &'a [Cow<'static, str>],
}

#[derive(Serialize)]
struct HandshakeLine<'a> {
    r#type: &'static str,
    conn: u64,
    time: Text<Rfc3339>,
    #[serde(flatten)]
    identity: Identity<'a>,
    version: Option<&'a str>,
    cipher: Option<&'a str>,
    ok: bool,
    result: Option<i32>,
    r#fn: &'a str,
    latency_ms: Option<f64>,
}

/// What the two ends sent, where it is not known which one is the client.
#[derive(Serialize)]
struct ByEnd<'a> {
    local_bytes: u64,
    remote_bytes: u64,
    local_first_bytes: Base64Text<'a>,
    remote_first_bytes: Base64Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_data: Option<Base64Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_data: Option<Base64Text<'a>>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    r#type: &'static str,
    exchanges: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<u64>,
    streams: u64,
    handshakes: u64,
    connections: u64,
    processes: u64,
    incomplete: u64,
    lost_bytes: u64,
    dropped_events: Option<u64>,
    start: Option<Text<Rfc3339>>,
    end: Option<Text<Rfc3339>>,
    closed: bool,
    notes: &'a [String],
}

pub(super) fn base64(bytes: &[u8]) -> Base64Text<'_> {
    Text(Base64(bytes))
}

pub(super) fn milliseconds(ns: Option<u64>) -> Option<f64> {
    ns.map(|ns| ns as f64 / 1e6)
}

fn message(message: &Message) -> MessageObject<'_> {
    MessageObject {
        headers: Pairs(&message.headers),
        body_bytes: message.body.bytes,
        decoded_bytes: message.body.decoded_bytes,
        body: message.body.data.as_deref().map(base64),
    }
}

fn request(request: &Request, tls: bool) -> RequestObject<'_> {
    RequestObject {
        method: request.method.as_deref(),
        url: request.url(tls),
        authority: request.authority(),
        path: request.path(),
        message: message(&request.message),
        trailers: Some(&request.message.trailers).filter(|t| !t.is_empty()).map(Pairs),
    }
}

fn response(response: &Response) -> ResponseObject<'_> {
    ResponseObject {
        status: response.status,
        reason: latin1(&response.reason),
        message: message(&response.message),
        trailers: Pairs(&response.message.trailers),
    }
}

fn interim(interim: &Interim) -> InterimObject<'_> {
    InterimObject { status: interim.status, headers: Pairs(&interim.headers) }
}

fn exchange_line<'a>(
    exchange: &'a Exchange,
    info: &'a ConnectionInfo,
    descriptors: Option<&'a Descriptors>,
) -> ExchangeLine<'a> {
    ExchangeLine {
        r#type: "exchange",
        id: exchange.id,
        conn: info.record.conn,
        stream: exchange.stream,
        proto: exchange.listed_proto(),
        time: Text(Rfc3339(exchange.first_ns())),
        identity: Identity::new(info, Some(exchange.request_direction)),
        request: exchange.request.as_ref().map(|r| request(r, info.tls)),
        response: exchange.response.as_ref().map(response),
        interim: exchange.interim.iter().map(interim).collect(),
        carried: CarriedField::of(exchange, descriptors),
        ttfb_ms: milliseconds(exchange.ttfb_ns()),
        duration_ms: milliseconds(exchange.duration_ns()),
        complete: exchange.complete,
        lost_bytes: exchange.lost_bytes,
        notes: &exchange.notes,
    }
}

fn stream_line<'a>(stream: &'a Stream, info: &'a ConnectionInfo) -> StreamLine<'a> {
    let client = info.client_direction();
    let halves = client.map(|client| match client {
        Direction::Sent => (&stream.sent, &stream.received),
        Direction::Received => (&stream.received, &stream.sent),
    });
    let by_end = || ByEnd {
        local_bytes: stream.sent.bytes,
        remote_bytes: stream.received.bytes,
        local_first_bytes: base64(&stream.sent.first_bytes),
        remote_first_bytes: base64(&stream.received.first_bytes),
        local_data: stream.sent.data.as_deref().map(base64),
        remote_data: stream.received.data.as_deref().map(base64),
    };
    StreamLine {
        r#type: "stream",
        conn: info.record.conn,
        proto: "stream",
        time: Text(Rfc3339(stream.first_ns)),
        identity: Identity::new(info, client),
        client_bytes: halves.map(|(client, _)| client.bytes),
        server_bytes: halves.map(|(_, server)| server.bytes),
        first_bytes: halves.map(|(client, _)| base64(&client.first_bytes)),
        server_first_bytes: halves.map(|(_, server)| base64(&server.first_bytes)),
        by_end: halves.is_none().then(by_end),
        client_data: halves.and_then(|(client, _)| client.data.as_deref()).map(base64),
        server_data: halves.and_then(|(_, server)| server.data.as_deref()).map(base64),
        duration_ms: milliseconds(stream.last_ns.checked_sub(stream.first_ns)),
        complete: stream.complete,
        lost_bytes: stream.lost_bytes,
        notes: &stream.notes,
    }
}

fn handshake_line<'a>(handshake: &'a Handshake, info: &'a ConnectionInfo) -> HandshakeLine<'a> {
    HandshakeLine {
        r#type: "handshake",
        conn: info.record.conn,
        time: Text(Rfc3339(handshake.first_ns)),
        identity: Identity::new(info, info.client_direction()),
        version: info.record.version.as_deref(),
        cipher: info.record.cipher.as_deref(),
        ok: handshake.ok,
        result: handshake.result,
        r#fn: &handshake.func,
        latency_ms: milliseconds(handshake.latency_ns()),
    }
}
