//! An entry of a HAR, and the exchange that it describes.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{Bool, Headers, List, Maybe, Number, Text, Texts};
use super::time;
use crate::exchange::note::Defect;
use crate::exchange::{
    Body, ConnectionInfo, Exchange, Message, Note, Part, Request, Response, Scheme, Sender,
    SharedConnection,
};
use crate::over_http::websocket::{WebSocket, WebSocketClose, WebSocketKind, WebSocketMessage};
use crate::text::octets;

/// An entry. Names with an underscore are extensions of Chrome and of sslanalyze.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    #[serde(rename = "startedDateTime")]
    started: Text,
    time: Number,
    pub(super) request: Maybe<RequestObject>,
    response: Maybe<ResponseObject>,
    timings: Maybe<Timings>,
    #[serde(rename = "serverIPAddress")]
    server_ip: Text,
    pub(super) connection: Text,
    #[serde(rename = "_fromCache")]
    from_cache: Text,
    #[serde(rename = "_webSocketMessages")]
    messages: List<SocketMessage, MAX_MESSAGES>,
    #[serde(rename = "_pid")]
    pub(super) pid: Number,
    #[serde(rename = "_comm")]
    pub(super) comm: Text,
    #[serde(rename = "_role")]
    pub(super) role: Text,
    #[serde(rename = "_client")]
    pub(super) client: Text,
    #[serde(rename = "_server")]
    pub(super) server: Text,
    #[serde(rename = "_version")]
    pub(super) version: Text,
    #[serde(rename = "_cipher")]
    pub(super) cipher: Text,
    #[serde(rename = "_complete")]
    complete: Bool,
    #[serde(rename = "_lost_bytes")]
    lost_bytes: Number,
    #[serde(rename = "_notes")]
    notes: Texts,
}

/// Maximum number of messages of a WebSocket.
const MAX_MESSAGES: usize = 1 << 16;

/// A message of a WebSocket. Data that is no text is in base64.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct SocketMessage {
    /// `send` or `receive`.
    #[serde(rename = "type")]
    kind: Text,
    /// Seconds since the Unix epoch.
    time: Number,
    opcode: Number,
    data: Text,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RequestObject {
    method: Text,
    pub(super) url: Text,
    http_version: Text,
    headers: Headers,
    post_data: Maybe<PostData>,
    body_size: Number,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct PostData {
    text: Text,
    #[serde(rename = "_encoding", alias = "encoding")]
    encoding: Text,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResponseObject {
    status: Number,
    status_text: Text,
    http_version: Text,
    headers: Headers,
    content: Maybe<Content>,
    body_size: Number,
    #[serde(rename = "_error")]
    error: Text,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Content {
    size: Number,
    text: Text,
    encoding: Text,
}

/// Durations in milliseconds; negative or absent ones do not apply.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Timings {
    blocked: Number,
    dns: Number,
    /// Contains the time for TLS.
    connect: Number,
    send: Number,
    wait: Number,
    receive: Number,
}

/// A URL of HTTP or WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Url<'a> {
    scheme: &'a str,
    pub(super) authority: &'a str,
    /// Path and query; empty if the URL has neither.
    target: &'a str,
}

impl<'a> Url<'a> {
    /// Splits a URL; `None` for other schemes, such as `data`.
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let known = ["http", "https", "ws", "wss"];
        if !known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        // A fragment is never sent.
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        (!authority.is_empty()).then_some(Self { scheme, authority, target })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("https") || self.scheme.eq_ignore_ascii_case("wss")
    }

    fn is_web_socket(&self) -> bool {
        self.scheme.starts_with(['w', 'W'])
    }

    /// Returns the port of the server.
    pub(super) fn port(&self) -> Option<u16> {
        match self.authority.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok(),
            _ => Some(if self.is_tls() { 443 } else { 80 }),
        }
    }

    fn target(&self) -> Cow<'a, str> {
        match self.target {
            "" => "/".into(),
            query if query.starts_with('?') => format!("/{query}").into(),
            target => target.into(),
        }
    }
}

impl Entry {
    /// Returns the time at which it began.
    pub(super) fn started(&self) -> Option<u64> {
        time::parse(&self.started.0)
    }

    pub(super) fn server_ip(&self) -> Option<IpAddr> {
        self.server_ip.0.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Returns the exchange.
    pub(super) fn exchange(
        self,
        url: &Url<'_>,
        connection: &SharedConnection,
        info: Arc<ConnectionInfo>,
        number: u64,
        first_ns: u64,
    ) -> Exchange {
        let client = info.client_direction().unwrap_or(sslrec_formats::record::Direction::Sent);
        let mut exchange = Exchange::new(connection, client, number);
        exchange.connection = info;
        let (request, response) = (self.request.0, self.response.0);
        exchange.proto = protocol(&request.http_version.0)
            .or_else(|| protocol(&response.http_version.0))
            .unwrap_or("http");
        let times = self.timings.0.times(first_ns, self.time);
        for (part, headers) in
            [(Part::Request, &request.headers), (Part::Response, &response.headers)]
        {
            if headers.too_many {
                exchange.note(Note::Defect(part, Defect::TooManyFields));
            }
        }
        let failed = !response.error.0.is_empty();
        if failed {
            exchange.note(Note::BrowserError(response.error.0.as_str().into()));
        }
        if !self.from_cache.0.is_empty() {
            exchange.note(Note::FromCache(self.from_cache.0.as_str().into()));
        }
        for note in self.notes.0 {
            exchange.note(Note::Quoted(note.into()));
        }
        exchange.request = Some(request.request(url, exchange.proto, times));
        exchange.response = response.response(times);
        if self.messages.further > 0 {
            exchange.note(Note::TooManyMessages(MAX_MESSAGES));
        }
        let upgraded = exchange.response.as_ref().is_some_and(|r| r.status == Some(101));
        if !self.messages.items.is_empty() || (upgraded && url.is_web_socket()) {
            exchange.carried = Some(Box::new(web_socket(self.messages)));
        }
        let whole = exchange.response.is_some() && !failed;
        exchange.complete = self.complete.0.unwrap_or(whole);
        exchange.lost_bytes = self.lost_bytes.0.map_or(0, |bytes| bytes as u64);
        exchange
    }
}

/// Returns the listed name of a version of HTTP.
fn protocol(version: &str) -> Option<&'static str> {
    Some(match version.to_ascii_lowercase().as_str() {
        "http/0.9" => "http/0.9",
        "http/1.0" => "http/1.0",
        "http/1.1" => "http/1.1",
        "h2" | "http/2" | "http/2.0" => "h2",
        "h3" | "http/3" | "http/3.0" | "h3-29" | "http/2+quic/46" => "h3",
        _ => return None,
    })
}

/// Times of the bytes of an exchange.
#[derive(Debug, Clone, Copy)]
struct Times {
    first_ns: u64,
    sent_ns: u64,
    answered_ns: u64,
    last_ns: u64,
}

impl Timings {
    /// Returns the times of an exchange that began at `first_ns` and took `total` milliseconds.
    fn times(&self, first_ns: u64, total: Number) -> Times {
        let ns = |Number(ms): Number| ms.filter(|ms| *ms > 0.0).map_or(0, |ms| (ms * 1e6) as u64);
        let before = [self.blocked, self.dns, self.connect, self.send].into_iter().map(ns);
        let sent_ns = before.fold(first_ns, u64::saturating_add);
        let answered_ns = sent_ns.saturating_add(ns(self.wait));
        let last_ns = answered_ns.saturating_add(ns(self.receive));
        let known = [self.send, self.wait, self.receive].iter().any(|Number(ms)| ms.is_some());
        if known {
            return Times { first_ns, sent_ns, answered_ns, last_ns };
        }
        let last_ns = first_ns.saturating_add(ns(total));
        Times { first_ns, sent_ns: first_ns, answered_ns: last_ns, last_ns }
    }
}

impl RequestObject {
    fn request(self, url: &Url<'_>, proto: &str, times: Times) -> Request {
        let text = |name: &str| self.headers.pseudo.first(name).map(<[u8]>::to_vec);
        let method = Request::method_of(&octets(&self.method.0));
        let host = self.headers.fields.first("host");
        let same_host = host.is_some_and(|host| host == url.authority.as_bytes());
        let fields = text(":authority");
        let pseudo_authority = match proto {
            _ if same_host && fields.is_none() => None,
            "h2" | "h3" => Some(fields.unwrap_or_else(|| url.authority.into())),
            _ => None,
        };
        let mut target = url.target().into_owned();
        if method == "CONNECT" && !self.headers.pseudo.iter().any(|(name, _)| name == b":protocol")
        {
            // The target of a tunnel is a host (RFC 9112 section 3.2.3).
            target = url.authority.to_owned();
        } else if pseudo_authority.is_none() && !same_host {
            // The authority stays where nothing else has it.
            target = format!("{}://{}{target}", url.scheme, url.authority);
        }
        let scheme = match text(":scheme") {
            _ if url.is_web_socket() => Scheme::Sent(octets(url.scheme).into_owned().into()),
            Some(scheme) => Scheme::Sent(scheme.into()),
            None => Scheme::Implied,
        };
        let PostData { text: contents, encoding } = self.post_data.0;
        let (data, is_utf8) = decoded(contents.0, &encoding.0);
        let bytes = size(self.body_size).or(data.as_ref().map(|data| data.len() as u64));
        Request {
            method: Some(method).filter(|method| !method.is_empty()),
            target: Some(octets(&target).into_owned()),
            line: None,
            scheme,
            pseudo_authority,
            pseudo_protocol: text(":protocol"),
            message: Message {
                headers: self.headers.fields,
                body: body(bytes.unwrap_or(0), data, is_utf8),
                first_ns: times.first_ns,
                last_ns: times.sent_ns,
                ..Message::default()
            },
        }
    }
}

impl ResponseObject {
    /// Returns the response; `None` if the browser received none.
    fn response(self, times: Times) -> Option<Response> {
        let status = self.status.0.filter(|status| (1.0..1000.0).contains(status))? as u16;
        let Content { size: decoded_size, text, encoding } = self.content.0;
        let (data, is_utf8) = decoded(text.0, &encoding.0);
        let sent = size(self.body_size).filter(|bytes| *bytes > 0);
        let bytes = sent.or(size(decoded_size)).or(data.as_ref().map(|data| data.len() as u64));
        Some(Response {
            status: Some(status),
            reason: Response::reason_of(&octets(&self.status_text.0)),
            message: Message {
                headers: self.headers.fields,
                body: body(bytes.unwrap_or(0), data, is_utf8),
                first_ns: times.answered_ns,
                last_ns: times.last_ns,
                ..Message::default()
            },
        })
    }
}

/// Returns the messages of a WebSocket.
fn web_socket(list: List<SocketMessage, MAX_MESSAGES>) -> WebSocket {
    let mut socket = WebSocket::default();
    let mut messages = Vec::with_capacity(list.items.len());
    for message in list.items {
        let from = if message.kind.0 == "send" { Sender::Client } else { Sender::Server };
        let kind = WebSocketKind::of_opcode(message.opcode.0.map_or(1, |opcode| opcode as u8));
        let encoding = if kind == WebSocketKind::Text { "" } else { "base64" };
        let data = decoded(message.data.0, encoding).0.unwrap_or_default();
        let bytes = data.len() as u64;
        if matches!(kind, WebSocketKind::Text | WebSocketKind::Binary) {
            let count = match from {
                Sender::Client => &mut socket.client,
                Sender::Server => &mut socket.server,
            };
            count.messages += 1;
            count.bytes += bytes;
        }
        if kind == WebSocketKind::Close && socket.close.is_none() {
            let code = data.first_chunk().map(|code| u16::from_be_bytes(*code));
            let reason = String::from_utf8_lossy(data.get(2..).unwrap_or(&[])).into_owned();
            socket.close = Some(WebSocketClose { from, code, reason });
        }
        let time_ns = message.time.0.map_or(0, |seconds| (seconds * 1e9) as u64);
        let (compressed, problem) = (false, None);
        messages.push(WebSocketMessage { time_ns, from, kind, bytes, compressed, data, problem });
    }
    socket.messages = Some(messages);
    socket
}

/// Returns a body, whose contents have no coding in a HAR.
fn body(bytes: u64, data: Option<Vec<u8>>, is_utf8: bool) -> Body {
    let decoded_bytes = data.as_ref().map(|data| data.len() as u64);
    Body { bytes, data, decoded_bytes, is_utf8, ..Body::default() }
}

/// Returns contents as octets, and whether they are text; `None` if there are none.
fn decoded(text: String, encoding: &str) -> (Option<Vec<u8>>, bool) {
    if text.is_empty() {
        return (None, false);
    }
    if encoding.eq_ignore_ascii_case("base64")
        && let Ok(data) = STANDARD.decode(&text)
    {
        return (Some(data), false);
    }
    (Some(text.into_bytes()), true)
}

fn size(Number(number): Number) -> Option<u64> {
    number.filter(|size| *size >= 0.0).map(|size| size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        let url = |url| Url::parse(url).unwrap();
        for (text, authority, target, port, tls) in [
            ("https://h/a?b#c", "h", "/a?b", 443, true),
            ("http://h:8080", "h:8080", "/", 8080, false),
            ("HTTP://[::1]:81?x", "[::1]:81", "/?x", 81, false),
            ("https://[::1]/", "[::1]", "/", 443, true),
            ("wss://h/s", "h", "/s", 443, true),
            ("ws://h/s", "h", "/s", 80, false),
        ] {
            let parsed = url(text);
            assert_eq!((parsed.authority, &*parsed.target()), (authority, target), "{text}");
            assert_eq!((parsed.port(), parsed.is_tls()), (Some(port), tls), "{text}");
        }
        assert_eq!(url("http://h:99999/").port(), None);
        for other in
            ["data:text/plain,x", "blob:https://h/x", "about:blank", "", "http://", "ftp://h/"]
        {
            assert_eq!(Url::parse(other), None, "{other}");
        }
    }
}
