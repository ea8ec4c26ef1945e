//! `show`: shows complete exchanges in the layout of `curl -v`: `>` the request, `<` the response,
//! `*` remarks.
//!
//! Everything from the network is escaped. Binary bodies are described and their first bytes
//! dumped; the number of omitted bytes is shown.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use sslrec_analyzer::coding;
use sslrec_analyzer::descriptors::Descriptors;
use sslrec_analyzer::exchange::{
    ConnectionInfo, Exchange, Fields, Handshake, Item, Message, Request, Response, Sender,
    SharedConnection, Stream,
};
use sslrec_analyzer::input::{Flow, Stop};
use sslrec_analyzer::pipeline::ItemSink;
use sslrec_analyzer::text::{Rfc3339, readable};
use sslrec_cli::text::Printable;
use sslrec_formats::record::Direction;

use super::reading::{Reading, Wanted, filter, flush, read, stdout};
use super::{charset, curl};
use crate::text::Duration;
use crate::{files, flow, hexdump, over_http, pretty};

/// Show the headers and decoded bodies of exchanges
///
/// Bodies are shown without their content codings. JSON is formatted, and a body that is not text
/// is shown as a dump of its first 256 bytes.
///
/// Example: `sslanalyze show capture.pcapng 12`
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The capture; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Number of the exchange (`id` in the JSON), or a filter, as in the listing
    #[arg(value_name = "N|FILTER")]
    what: String,

    /// Print a curl command that repeats the request instead
    ///
    /// The command is quoted for a POSIX shell. The body is as sent; curl adds `Content-Length` and
    /// similar headers. Example: `sslanalyze show --curl capture.pcapng 12 | sh`
    #[arg(long)]
    curl: bool,

    /// Name the fields of gRPC's messages by a descriptor set
    ///
    /// `protoc --include_imports -o FILE` makes such a set from `.proto` files.
    #[arg(long, value_name = "FILE")]
    proto: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,
}

/// Runs `sslanalyze show`.
pub(super) fn run(show: &Show) -> Result<()> {
    let filter = filter(&show.what)?;
    let one = show.what.bytes().all(|b| b.is_ascii_digit());
    let descriptors = show.proto.as_deref().map(files::descriptors).transpose()?;
    let wanted = Wanted { filter: Some(filter), bodies: true, ..Wanted::default() };
    let mut shown = Shown { out: stdout(), descriptors, curl: show.curl, one, count: 0 };
    let done = read(&show.file, &show.reading, wanted, &mut shown)?;
    flush(&mut shown.out)?;
    let nothing = shown.count == 0;
    let exchanges = done.summary.exchanges;
    done.end()?;
    if nothing {
        let file = show.file.display();
        bail!("nothing in {file} matches {}; it has {exchanges} exchanges", show.what);
    }
    Ok(())
}

/// Writes the selected items.
struct Shown<W> {
    out: W,
    descriptors: Option<Descriptors>,
    curl: bool,
    /// At most one item can match.
    one: bool,
    count: u64,
}

impl<W: Write> ItemSink for Shown<W> {
    fn item(&mut self, item: Item) -> Flow {
        flow::of(self.take(item))?;
        let done = self.one && self.count > 0;
        if done { Flow::Break(Stop::Done) } else { Flow::Continue(()) }
    }
}

impl<W: Write> Shown<W> {
    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Exchange(exchange) if self.curl => {
                let command = curl::command(&exchange)?;
                if !exchange.complete || !command.left_out.is_empty() {
                    let mut why = command.left_out;
                    why.extend(exchange.notes.iter().map(|note| note.to_string()));
                    let (id, why) = (exchange.id, why.join("; "));
                    let warning = format!("request {id} may not be repeated exactly: {why}");
                    crate::stderr::report(&anyhow::anyhow!("{}", Printable(&warning)));
                }
                writeln!(self.out, "{}", command.line)?;
            }
            Item::Stream(_) | Item::Handshake(_) if self.curl => return Ok(()),
            Item::Exchange(mut exchange) => {
                coding::undo(&mut exchange);
                self.blank()?;
                write_exchange(&mut self.out, &exchange, self.descriptors.as_ref())?;
            }
            Item::Stream(stream) => {
                self.blank()?;
                write_stream(&mut self.out, &stream)?;
            }
            Item::Handshake(handshake) => {
                self.blank()?;
                write_handshake(&mut self.out, &handshake)?;
            }
        }
        self.count += 1;
        Ok(())
    }
}

impl<W: Write> Shown<W> {
    /// Writes the line between two items.
    fn blank(&mut self) -> io::Result<()> {
        if self.count > 0 { self.out.write_all(b"\n") } else { Ok(()) }
    }
}

fn write_exchange(
    out: &mut impl Write,
    exchange: &Exchange,
    descriptors: Option<&Descriptors>,
) -> io::Result<()> {
    let proto = format!("{} stream {}", exchange.proto, exchange.stream);
    let number = format!("exchange {}", exchange.id);
    let client = Some(exchange.request_direction);
    let info = &*exchange.connection;
    write_origin(out, &number, exchange.first_ns(), info, client, &proto)?;
    write_tls(out, info)?;
    write_route(out, exchange.shared_connection())?;
    if let (Some(first), Some(all)) = (exchange.ttfb_ns(), exchange.duration_ns()) {
        writeln!(out, "* took {:#}, first byte after {:#}", Duration(all), Duration(first))?;
    }
    for note in &exchange.notes {
        writeln!(out, "* {}", Printable(&note.to_string()))?;
    }
    match &exchange.request {
        Some(request) => {
            write_request(out, request, version(exchange.proto))?;
            if !over_http::replaces_body(exchange, Sender::Client) {
                write_contents(out, &request.message)?;
            }
            write_trailers(out, '>', &request.message)?;
        }
        None => writeln!(out, "* the request was not recorded")?,
    }
    for interim in &exchange.interim {
        writeln!(out, "< {} {}", version(exchange.proto), interim.status)?;
        write_fields(out, '<', &interim.headers)?;
        writeln!(out, "<")?;
    }
    let Some(response) = &exchange.response else {
        over_http::show(out, exchange, descriptors)?;
        return writeln!(out, "* there is no response");
    };
    write_response(out, response, version(exchange.proto))?;
    if !over_http::replaces_body(exchange, Sender::Server) {
        write_contents(out, &response.message)?;
    }
    over_http::show(out, exchange, descriptors)?;
    write_trailers(out, '<', &response.message)
}

/// Returns the protocol as in a start line.
fn version(proto: &str) -> String {
    match proto {
        "h2" => "HTTP/2".into(),
        "h3" => "HTTP/3".into(),
        proto => proto.to_ascii_uppercase(),
    }
}

/// Writes time, process and connection.
pub(super) fn write_origin(
    out: &mut impl Write,
    number: &str,
    first_ns: u64,
    info: &ConnectionInfo,
    client: Option<Direction>,
    proto: &str,
) -> io::Result<()> {
    write!(out, "* {number}, {}", Rfc3339(first_ns))?;
    if let Some(comm) = &info.comm {
        write!(out, ", {}", Printable(comm))?;
    }
    if let Some(pid) = info.pid() {
        write!(out, "[{pid}]")?;
    }
    if let Some(role) = info.role(client) {
        write!(out, " as {role}")?;
    }
    write!(out, "\n* connection {} {proto}", info.record.conn)?;
    if let (Some(local), Some(remote)) = (info.record.local, info.record.remote) {
        let (from, to) = match client {
            Some(Direction::Received) => (remote, local),
            _ => (local, remote),
        };
        write!(out, ", {from} -> {to}")?;
    }
    writeln!(out, ", address {}", info.record.addr)
}

/// Writes the TLS parameters.
fn write_tls(out: &mut impl Write, info: &ConnectionInfo) -> io::Result<()> {
    match info.version_and_cipher() {
        Some(tls) => writeln!(out, "* {}", Printable(&tls)),
        None => Ok(()),
    }
}

/// Writes the proxies and tunnels of a connection that has some.
fn write_route(out: &mut impl Write, connection: &SharedConnection) -> io::Result<()> {
    let Some(route) = connection.route() else { return Ok(()) };
    if let Some(proxied) = route.proxied {
        let address = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        let unknown = || "unknown".to_owned();
        writeln!(
            out,
            "* proxied from {} to {} (PROXY header, version {})",
            address(proxied.client).unwrap_or_else(unknown),
            address(proxied.server).unwrap_or_else(unknown),
            proxied.version,
        )?;
    }
    for tunnel in &route.tunnels {
        let target = readable(&tunnel.target);
        writeln!(out, "* in a tunnel to {} ({})", Printable(&target), tunnel.protocol)?;
    }
    Ok(())
}

fn write_request(out: &mut impl Write, request: &Request, version: String) -> io::Result<()> {
    if let Some(line) = &request.line {
        writeln!(out, "> {}", Printable(&readable(line)))?;
    } else {
        let method = request.method.as_deref().unwrap_or("<unknown>");
        let target = request.target.as_deref().map_or(Cow::Borrowed("<unknown>"), readable);
        writeln!(out, "> {} {} {version}", Printable(method), Printable(&target))?;
    }
    let pseudo =
        [(":authority", &request.pseudo_authority), (":protocol", &request.pseudo_protocol)];
    for (name, value) in pseudo {
        if let Some(value) = value {
            writeln!(out, "> {name}: {}", Printable(&readable(value)))?;
        }
    }
    write_head(out, '>', &request.message)
}

fn write_response(out: &mut impl Write, response: &Response, version: String) -> io::Result<()> {
    match response.status {
        Some(status) => write!(out, "< {version} {status:03}")?,
        None => write!(out, "< {version} <unknown>")?,
    }
    if !response.reason.is_empty() {
        write!(out, " {}", Printable(&readable(&response.reason)))?;
    }
    writeln!(out)?;
    write_head(out, '<', &response.message)
}

fn write_head(out: &mut impl Write, mark: char, message: &Message) -> io::Result<()> {
    write_fields(out, mark, &message.headers)?;
    writeln!(out, "{mark}")
}

fn write_contents(out: &mut impl Write, message: &Message) -> io::Result<()> {
    let Some(data) = message.body.data.as_deref().filter(|data| !data.is_empty()) else {
        return Ok(());
    };
    write_body(out, &charset::content_type(message), data)
}

fn write_trailers(out: &mut impl Write, mark: char, message: &Message) -> io::Result<()> {
    if message.trailers.is_empty() {
        return Ok(());
    }
    writeln!(out, "* trailers")?;
    write_fields(out, mark, &message.trailers)
}

fn write_fields(out: &mut impl Write, mark: char, fields: &Fields) -> io::Result<()> {
    for (name, value) in fields.iter() {
        let (name, value) = (readable(name), readable(value));
        writeln!(out, "{mark} {}: {}", Printable(&name), Printable(&value))?;
    }
    Ok(())
}

fn write_body(out: &mut impl Write, content_type: &str, data: &[u8]) -> io::Result<()> {
    let Some(text) = charset::text(content_type, data) else {
        let kind = if content_type.is_empty() { "of no stated type" } else { content_type };
        writeln!(out, "* {} bytes {}", data.len(), Printable(kind))?;
        return hexdump::write_start(out, data);
    };
    let laid_out = pretty::json(&text);
    for line in laid_out.as_deref().unwrap_or(&text).lines() {
        // A tab is harmless, and escaping it would spoil the layout.
        let parts = line.split('\t').map(|part| Printable(part).to_string());
        writeln!(out, "{}", parts.collect::<Vec<_>>().join("\t"))?;
    }
    Ok(())
}

fn write_stream(out: &mut impl Write, stream: &Stream) -> io::Result<()> {
    let info = &*stream.connection;
    let client = info.client_direction();
    write_origin(out, "stream", stream.first_ns, info, client, "not HTTP")?;
    write_tls(out, info)?;
    write_route(out, stream.shared_connection())?;
    for note in &stream.notes {
        writeln!(out, "* {}", Printable(&note.to_string()))?;
    }
    for (who, half) in [("sent", &stream.halves.sent), ("received", &stream.halves.received)] {
        writeln!(out, "* {who} {} bytes", half.bytes)?;
        hexdump::write_start(out, half.data.as_deref().unwrap_or(&half.first_bytes))?;
    }
    Ok(())
}

fn write_handshake(out: &mut impl Write, handshake: &Handshake) -> io::Result<()> {
    let info = &*handshake.connection;
    let client = info.client_direction();
    let proto =
        info.record.alpn.as_deref().map_or("over TLS".into(), |alpn| Printable(alpn).to_string());
    write_origin(out, "TLS handshake", handshake.first_ns, info, client, &proto)?;
    write_tls(out, info)?;
    if let Some(name) = &info.record.sni {
        writeln!(out, "* server name {}", Printable(name))?;
    }
    match handshake.failure() {
        Some(failure) => write!(out, "* {}", Printable(&failure.to_string()))?,
        None => write!(out, "* it succeeded ({})", Printable(&handshake.func))?,
    }
    match handshake.latency_ns() {
        Some(latency) => writeln!(out, " after {:#}", Duration(latency)),
        None => writeln!(out),
    }
}
