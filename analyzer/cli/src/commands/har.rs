//! `har`: writes the exchanges as HAR 1.2, a format that browsers' tools and many others import.
//!
//! Entries are written one by one, so that a long capture takes no memory. HAR has no value for the
//! unknown: as in browsers' exports, a missing response has status 0, and an unknown time is -1. An
//! unknown request, or a request without a URL, cannot be an entry; such exchanges are counted and
//! reported. Names with an underscore are extensions of sslanalyze, as the format allows.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::{Serialize, Serializer};
use sslrec_analyzer::coding;
use sslrec_analyzer::exchange::{
    ConnectionInfo, Exchange, Fields, Item, Message, Note, Request, Response,
};
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::ItemSink;
use sslrec_analyzer::text::{Rfc3339, latin1};

use super::reading::{Reading, Wanted, filter, flush, read, stdout};
use crate::flow;
use crate::over_http::{self, SocketMessage};
use crate::safe_json;
use crate::text::{Base64, Text};

/// Write the exchanges as HAR 1.2, for browsers' tools
///
/// Contains bodies without their content codings, as text or as base64, and messages of WebSocket
/// as `_webSocketMessages`, as Chrome exports them.
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
    cookies: Vec<Pair<'a>>,
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
    cookies: Vec<Pair<'a>>,
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

/// A body: as text if it is UTF-8, else as base64. So are many control characters: the escape of
/// each takes six bytes, and a bomb of them would take six times the limit of decoded contents.
#[derive(Clone, Copy)]
enum Contents<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Contents<'a> {
    fn new(data: &'a [u8]) -> Self {
        let is_control = |octet: u8| octet < b' ' && !matches!(octet, b'\t' | b'\n' | b'\r');
        // The count of a short part fits into an octet, which is much faster to add.
        let in_part = |part: &[u8]| -> u8 { part.iter().map(|&o| u8::from(is_control(o))).sum() };
        let controls: usize = data.chunks(128).map(|part| usize::from(in_part(part))).sum();
        match std::str::from_utf8(data) {
            Ok(text) if controls <= data.len() / 16 => Self::Text(text),
            _ => Self::Binary(data),
        }
    }

    fn encoding(self) -> Option<&'static str> {
        matches!(self, Self::Binary(_)).then_some("base64")
    }
}

impl Serialize for Contents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Binary(data) => serializer.collect_str(&Base64(data)),
        }
    }
}

fn entry<'a>(exchange: &'a Exchange, info: &'a ConnectionInfo) -> Option<Entry<'a>> {
    let request = exchange.request.as_ref()?;
    let client = exchange.request_direction;
    let (from, to) = info.ends(client);
    let timings = timings(exchange, request);
    let messages =
        over_http::of(exchange).and_then(|(name, shown)| Some((name, shown.har_messages()?)));
    let (resource_type, web_socket_messages) = messages.unzip();
    let known = [timings.send, timings.wait, timings.receive].into_iter().filter(|ms| *ms > 0.0);
    Some(Entry {
        started_date_time: Text(Rfc3339(exchange.first_ns())),
        time: known.sum(),
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
        return Timings { send: milliseconds(first, last), wait: -1.0, receive: -1.0 };
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
    let url = url(&request.url(info.tls)?);
    let post_data = contents(message).map(|text| PostData {
        mime_type: content_type(&message.headers),
        text,
        encoding: text.encoding(),
    });
    Some(RequestObject {
        method: request.method.as_deref()?,
        query_string: query(&url),
        url,
        http_version: version(proto),
        cookies: cookies(&message.headers),
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
        octets.into_iter().filter_map(|(name, value)| Some((name, latin1(value.as_deref()?))));
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
        compression: i64::try_from(size).ok().map(|size| size - sent).filter(|&saved| saved != 0),
        mime_type: content_type(&message.headers),
        text,
        encoding: text.and_then(Contents::encoding),
    };
    ResponseObject {
        status: response.status.unwrap_or(0),
        status_text: latin1(&response.reason),
        http_version: version(proto),
        cookies: message.headers.all("set-cookie").filter_map(cookie).collect(),
        headers: pairs(&message.headers).collect(),
        content,
        redirect_url: message.headers.first("location").map_or("".into(), latin1),
        headers_size: -1,
        body_size: sent,
    }
}

fn contents(message: &Message) -> Option<Contents<'_>> {
    message.body.data.as_deref().filter(|data| !data.is_empty()).map(Contents::new)
}

fn content_type(headers: &Fields) -> Cow<'_, str> {
    headers.first("content-type").map_or("x-unknown".into(), latin1)
}

fn pairs(fields: &Fields) -> impl Iterator<Item = Pair<'_>> {
    fields.iter().map(|(name, value)| Pair { name: latin1(name), value: latin1(value) })
}

fn cookies(headers: &Fields) -> Vec<Pair<'_>> {
    let lists = headers.all("cookie");
    lists.flat_map(|list| list.split(|&b| b == b';')).filter_map(cookie).collect()
}

/// Returns name and value of a cookie, without the attributes after a `;`.
fn cookie(text: &[u8]) -> Option<Pair<'_>> {
    let pair = text.split(|&b| b == b';').next()?.trim_ascii();
    let at = pair.iter().position(|&b| b == b'=')?;
    Some(Pair { name: latin1(&pair[..at]), value: latin1(&pair[at + 1..]) })
}

/// Returns the URL with all characters escaped that a URL cannot contain (RFC 3986 section 2). Each
/// character represents an octet.
fn url(url: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    let mut escaped = String::with_capacity(url.len());
    for c in url.chars() {
        if allowed(c) {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("%{:02X}", u32::from(c)));
        }
    }
    escaped
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    #[test]
    fn many_control_characters_are_not_text() {
        let zeros = [0; 300];
        for (bytes, encoding) in [
            (&b""[..], None),
            (b"a\tb\r\n\tc\n\n\n", None),
            (b"\x1b[1mtitle\x1b[0m of a terminal, in colours", None),
            (b"\0", Some("base64")),
            (b"\xff", Some("base64")),
            (&zeros, Some("base64")),
        ] {
            let contents = Contents::new(bytes);
            assert_eq!(contents.encoding(), encoding, "{}", bytes.escape_ascii());
            let json = serde_json::to_string(&contents).unwrap();
            assert!(json.len() <= 2 + bytes.len() * 3 / 2 + 12, "{json}");
        }
    }
}
