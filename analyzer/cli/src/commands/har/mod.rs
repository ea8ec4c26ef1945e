//! `har`: writes the exchanges as HAR 1.2, a format that browsers' tools and many others import.
//!
//! Entries are written one by one, so that a long capture takes no memory. HAR has no value for the
//! unknown: as in browsers' exports, a missing response has status 0, and an unknown time is 0. An
//! unknown request, or a request without a URL, cannot be an entry; such exchanges are counted and
//! reported. Names with an underscore are extensions of sslanalyze, as the format allows.

mod contents;
mod cookie;
mod form;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::Serialize;
use sslrec_analyzer::coding;
use sslrec_analyzer::exchange::{
    ConnectionInfo, Exchange, Fields, Item, Message, Note, Request, Response,
};
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::ItemSink;
use sslrec_analyzer::text::{Rfc3339, readable};

use self::contents::Contents;
use self::cookie::Cookie;
use self::form::Param;
use super::reading::{Reading, Wanted, filter, flush, read, stdout};
use crate::flow;
use crate::over_http::{self, SocketMessage};
use crate::safe_json;
use crate::text::Text;

/// Write the exchanges as HAR 1.2, for browsers' tools
///
/// Contains bodies without their content codings, as text in any character set or as base64, the
/// parameters of forms, and messages of WebSocket as `_webSocketMessages`, as Chrome exports them.
///
/// Example: `sslanalyze har capture.pcapng 'host~api' > api.har`
#[derive(Debug, Args)]
pub(crate) struct Har {
    /// The capture; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Use only items that match, as in the listing
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    #[command(flatten)]
    reading: Reading,
}

/// Runs `sslanalyze har`.
pub(super) fn run(har: &Har) -> Result<()> {
    let filter = har.filter.as_deref().map(filter).transpose()?;
    let mut entries = Entries { out: stdout(), count: 0, left_out: 0 };
    let version = env!("CARGO_PKG_VERSION");
    write!(
        entries.out,
        r#"{{"log":{{"version":"1.2","creator":{{"name":"sslanalyze","version":"{version}"}},"entries":["#
    )?;
    let wanted = Wanted { filter, bodies: true, ..Wanted::default() };
    let done = read(&har.file, &har.reading, wanted, &mut entries)?;
    entries.out.write_all(b"\n]}}\n")?;
    flush(&mut entries.out)?;
    if entries.left_out > 0 {
        let count = entries.left_out;
        crate::stderr::report(&anyhow!(
            "{count} of {} are not in the HAR: they are not HTTP, or their URL is unknown; the listing has them",
            done.items
        ));
    }
    done.end()
}

struct Entries<W> {
    out: W,
    count: u64,
    left_out: u64,
}

impl<W: Write> ItemSink for Entries<W> {
    fn item(&mut self, item: Item) -> Flow {
        flow::of(self.take(item))
    }
}

impl<W: Write> Entries<W> {
    fn take(&mut self, item: Item) -> Result<()> {
        let Item::Exchange(mut exchange) = item else {
            self.left_out += 1;
            return Ok(());
        };
        coding::undo(&mut exchange);
        let info = &*exchange.connection;
        let Some(entry) = entry(&exchange, info) else {
            self.left_out += 1;
            return Ok(());
        };
        let separator: &[u8] = if self.count == 0 { b"\n" } else { b",\n" };
        self.count += 1;
        self.out.write_all(separator)?;
        safe_json::to_writer(&mut self.out, &entry)
            .map_err(io::Error::from)
            .context("cannot write the HAR")
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "startedDateTime")]
    started_date_time: Text<Rfc3339>,
    time: f64,
    request: RequestObject<'a>,
    response: ResponseObject<'a>,
    cache: Empty,
    timings: Timings,
    #[serde(rename = "serverIPAddress", skip_serializing_if = "Option::is_none")]
    server_ip_address: Option<String>,
    connection: String,
    _id: u64,
    _stream: u64,
    _pid: Option<u32>,
    _comm: Option<&'a str>,
    _role: Option<&'static str>,
    _client: Option<String>,
    _server: Option<String>,
    _addr: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    _version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _cipher: Option<&'a str>,
    _complete: bool,
    _lost_bytes: u64,
    _notes: Vec<String>,
    #[serde(rename = "_resourceType", skip_serializing_if = "Option::is_none")]
    resource_type: Option<&'static str>,
    #[serde(rename = "_webSocketMessages", skip_serializing_if = "Option::is_none")]
    web_socket_messages: Option<Vec<SocketMessage<'a>>>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Timings {
    send: f64,
    wait: f64,
    receive: f64,
}

#[derive(Serialize)]
struct Pair<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestObject<'a> {
    method: &'a str,
    url: String,
    http_version: Cow<'static, str>,
    cookies: Vec<Cookie<'a>>,
    headers: Vec<Pair<'a>>,
    query_string: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post_data: Option<PostData<'a>>,
    /// -1, because the octets of the head are not kept.
    headers_size: i64,
    body_size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostData<'a> {
    mime_type: Cow<'a, str>,
    /// The format has either this or the text; browsers write both.
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Vec<Param>>,
    text: Contents<'a>,
    #[serde(rename = "_encoding", skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseObject<'a> {
    status: u16,
    status_text: Cow<'a, str>,
    http_version: Cow<'static, str>,
    cookies: Vec<Cookie<'a>>,
    headers: Vec<Pair<'a>>,
    content: Content<'a>,
    #[serde(rename = "redirectURL")]
    redirect_url: Cow<'a, str>,
    headers_size: i64,
    body_size: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<i64>,
    mime_type: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Contents<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

fn entry<'a>(exchange: &'a Exchange, info: &'a ConnectionInfo) -> Option<Entry<'a>> {
    let request = exchange.request.as_ref()?;
    let client = exchange.request_direction;
    let (from, to) = info.ends(client);
    let timings = timings(exchange, request);
    let messages =
        over_http::of(exchange).and_then(|(name, shown)| Some((name, shown.har_messages()?)));
    let (resource_type, web_socket_messages) = messages.unzip();
    Some(Entry {
        started_date_time: Text(Rfc3339(exchange.first_ns())),
        time: timings.send + timings.wait + timings.receive,
        request: request_object(request, exchange.proto, info)?,
        response: response_object(exchange.response.as_ref(), exchange.proto),
        cache: Empty {},
        timings,
        server_ip_address: to.map(|addr| addr.ip().to_string()),
        connection: info.record.conn.to_string(),
        _id: exchange.id,
        _stream: exchange.stream,
        _pid: info.pid(),
        _comm: info.comm.as_deref(),
        _role: info.role(Some(client)).map(|role| role.as_str()),
        _client: from.map(|addr| addr.to_string()),
        _server: to.map(|addr| addr.to_string()),
        _addr: info.record.addr.as_str(),
        _version: info.record.version.as_deref(),
        _cipher: info.record.cipher.as_deref(),
        _complete: exchange.complete,
        _lost_bytes: exchange.lost_bytes,
        _notes: exchange.notes.iter().map(Note::to_string).collect(),
        resource_type,
        web_socket_messages,
    })
}

/// Returns the timings. `send` ends no later than the response begins, so that the three add up to
/// the total.
fn timings(exchange: &Exchange, request: &Request) -> Timings {
    let milliseconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    let (first, last) = (request.message.first_ns, request.message.last_ns);
    let Some(response) = &exchange.response else {
        return Timings { send: milliseconds(first, last), wait: 0.0, receive: 0.0 };
    };
    let (begins, ends) = (response.message.first_ns, response.message.last_ns);
    let sent = last.min(begins);
    Timings {
        send: milliseconds(first, sent),
        wait: milliseconds(sent.max(first), begins),
        receive: milliseconds(begins, ends),
    }
}

fn version(proto: &'static str) -> Cow<'static, str> {
    match proto {
        "h2" => "HTTP/2".into(),
        "h3" => "HTTP/3".into(),
        proto => proto.to_ascii_uppercase().into(),
    }
}

fn request_object<'a>(
    request: &'a Request,
    proto: &'static str,
    info: &ConnectionInfo,
) -> Option<RequestObject<'a>> {
    let message = &request.message;
    let mut headers = pseudo_headers(request, proto);
    headers.extend(pairs(&message.headers));
    let url = url(request, info.tls)?;
    let post_data = contents(message).map(|text| {
        let (mime_type, encoding) = (content_type(&message.headers), text.encoding());
        let data = message.body.data.as_deref().unwrap_or_default();
        PostData { params: form::params(&mime_type, data), mime_type, text, encoding }
    });
    Some(RequestObject {
        method: request.method.as_deref()?,
        query_string: query(&url),
        url,
        http_version: version(proto),
        cookies: cookie::sent(&message.headers),
        headers,
        post_data,
        headers_size: -1,
        body_size: message.body.bytes,
    })
}

/// Returns the fields that HTTP/2 sends in place of the request line.
fn pseudo_headers<'a>(request: &'a Request, proto: &str) -> Vec<Pair<'a>> {
    if proto.starts_with("http/1") {
        return Vec::new();
    }
    let method = request.method.as_deref().map(|method| (":method", Cow::Borrowed(method)));
    let octets = [
        (":authority", &request.pseudo_authority),
        (":path", &request.target),
        (":protocol", &request.pseudo_protocol),
    ];
    let octets =
        octets.into_iter().filter_map(|(name, value)| Some((name, readable(value.as_deref()?))));
    method
        .into_iter()
        .chain(octets)
        .map(|(name, value)| Pair { name: name.into(), value })
        .collect()
}

fn response_object<'a>(response: Option<&'a Response>, proto: &'static str) -> ResponseObject<'a> {
    let empty = Content {
        size: 0,
        compression: None,
        mime_type: "x-unknown".into(),
        text: None,
        encoding: None,
    };
    let Some(response) = response else {
        return ResponseObject {
            status: 0,
            status_text: "".into(),
            http_version: version(proto),
            cookies: Vec::new(),
            headers: Vec::new(),
            content: empty,
            redirect_url: "".into(),
            headers_size: -1,
            body_size: -1,
        };
    };
    let message = &response.message;
    let text = contents(message);
    let size = message.body.decoded_bytes.unwrap_or(message.body.bytes);
    let sent = i64::try_from(message.body.bytes).unwrap_or(i64::MAX);
    let content = Content {
        size,
        compression: i64::try_from(size).ok().map(|size| size - sent).filter(|&saved| saved > 0),
        mime_type: content_type(&message.headers),
        encoding: text.as_ref().and_then(Contents::encoding),
        text,
    };
    ResponseObject {
        status: response.status.unwrap_or(0),
        status_text: readable(&response.reason),
        http_version: version(proto),
        cookies: cookie::set(&message.headers, message.first_ns),
        headers: pairs(&message.headers).collect(),
        content,
        redirect_url: message.headers.first("location").map_or("".into(), readable),
        headers_size: -1,
        body_size: sent,
    }
}

fn contents(message: &Message) -> Option<Contents<'_>> {
    Contents::of(message)
}

fn content_type(headers: &Fields) -> Cow<'_, str> {
    headers.first("content-type").map_or("x-unknown".into(), readable)
}

fn pairs(fields: &Fields) -> impl Iterator<Item = Pair<'_>> {
    fields.iter().map(|(name, value)| Pair { name: readable(name), value: readable(value) })
}

/// Returns the target URI, with all octets escaped that a URL cannot contain (RFC 3986 section 2).
/// That of a CONNECT has no path (RFC 9112 section 3.3).
fn url(request: &Request, tls: bool) -> Option<String> {
    let mut parts = request.url_octets(tls)?;
    let target = parts[3];
    if request.is_tunnel() {
        parts = [if tls { b"https" } else { b"http" }, b"://", target, b""];
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    let mut escaped = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    for &octet in parts.iter().copied().flatten() {
        if allowed(octet) {
            escaped.push(char::from(octet));
        } else {
            escaped.push_str(&format!("%{octet:02X}"));
        }
    }
    Some(escaped)
}

/// Returns names and values of the query, still escaped.
fn query<'a>(url: &str) -> Vec<Pair<'a>> {
    let Some((_, query)) = url.split_once('?') else { return Vec::new() };
    let query = query.split('#').next().unwrap_or_default();
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Pair { name: name.to_owned().into(), value: value.to_owned().into() }
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}
