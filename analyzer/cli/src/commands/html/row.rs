//! The fields of an item for the table of the page and its filter. Names are those of the JSON;
//! nested fields have their names in filters.

use std::borrow::Cow;

use serde::Serialize;
use sslrec_analyzer::exchange::{ConnectionInfo, Exchange, Note, Stream};
use sslrec_analyzer::text::readable;

use crate::over_http;

/// A row of the table. It is owned, because a page collects rows before it writes them.
#[derive(Serialize)]
pub(super) struct Row {
    r#type: &'static str,
    id: Option<u64>,
    conn: u64,
    proto: String,
    /// Milliseconds since the Unix epoch. The number type of JavaScript limits the precision to a
    /// quarter of a microsecond.
    start_ms: f64,
    ttfb_ms: Option<f64>,
    duration_ms: Option<f64>,
    method: Option<String>,
    url: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    /// The server of the connection, if the request names no host.
    peer: Option<String>,
    status: Option<u16>,
    content_type: Option<String>,
    /// The protocol on top of HTTP, as in the listing.
    carried: Option<String>,
    body_bytes: Option<u64>,
    pid: Option<u32>,
    comm: Option<String>,
    role: Option<&'static str>,
    complete: bool,
    notes: Vec<String>,
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

pub(super) fn of_exchange(exchange: &Exchange) -> Row {
    let info = &*exchange.connection;
    let client = exchange.request_direction;
    let request = exchange.request.as_ref();
    let response = exchange.response.as_ref();
    let content_type = response.and_then(|r| r.message.headers.media_type());
    let (carried, body_bytes) = match over_http::of(exchange) {
        Some((_, shown)) => (Some(shown.summary()), shown.bytes(exchange)),
        None => (None, response.map(|response| response.message.body.bytes)),
    };
    Row {
        r#type: "exchange",
        id: Some(exchange.id),
        conn: info.record.conn,
        proto: exchange.listed_proto().to_owned(),
        start_ms: milliseconds(exchange.first_ns()),
        ttfb_ms: exchange.ttfb_ns().map(milliseconds),
        duration_ms: exchange.duration_ns().map(milliseconds),
        method: request.and_then(|r| r.method.as_deref()).map(str::to_owned),
        url: request.and_then(|r| r.url(info.tls)).map(Cow::into_owned),
        authority: request.and_then(|r| r.authority()).map(Cow::into_owned),
        path: request.and_then(|r| r.path()).map(Cow::into_owned),
        peer: peer(info, info.ends(client).1),
        status: response.and_then(|r| r.status),
        content_type: content_type.map(|value| readable(value).into_owned()),
        carried,
        body_bytes,
        pid: info.pid(),
        comm: info.comm.as_deref().map(str::to_owned),
        role: info.role(Some(client)).map(|role| role.as_str()),
        complete: exchange.complete,
        notes: exchange.notes.iter().map(Note::to_string).collect(),
    }
}

pub(super) fn of_stream(stream: &Stream) -> Row {
    let info = &*stream.connection;
    let client = info.client_direction();
    Row {
        r#type: "stream",
        id: None,
        conn: info.record.conn,
        proto: "stream".to_owned(),
        start_ms: milliseconds(stream.first_ns),
        ttfb_ms: None,
        duration_ms: stream.last_ns.checked_sub(stream.first_ns).map(milliseconds),
        method: None,
        url: None,
        authority: None,
        path: None,
        peer: peer(info, client.map_or(info.record.remote, |client| info.ends(client).1)),
        status: None,
        content_type: None,
        carried: None,
        body_bytes: Some(stream.halves.sent.bytes + stream.halves.received.bytes),
        pid: info.pid(),
        comm: info.comm.as_deref().map(str::to_owned),
        role: info.role(client).map(|role| role.as_str()),
        complete: stream.complete,
        notes: stream.notes.iter().map(Note::to_string).collect(),
    }
}

/// Returns the server's name, else its address.
fn peer(info: &ConnectionInfo, server: Option<std::net::SocketAddr>) -> Option<String> {
    info.record.sni.clone().or_else(|| server.map(|server| server.to_string()))
}
