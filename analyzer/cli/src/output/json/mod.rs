//! Writes a JSON object a line: exchanges, streams and handshakes, then connections that were not
//! recorded, and a summary.
//!
//! Keys come from the table of fields ([`sslrec_analyzer::exchange::field`]), which filters use
//! too. Their order is part of the contract with readers. An unknown value is `null`. Octets of
//! heads above 0x7F become the code points of the same number (see
//! [`sslrec_analyzer::text::latin1`]), so that the octets can be restored.

mod object;
mod prepared;
mod value;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;

use sslrec_analyzer::descriptors::Descriptors;
use sslrec_analyzer::exchange::{
    ConnectionInfo, Exchange, Fields, Handshake, Item, Message, Request, Response,
    SharedConnection, Stream, field,
};
use sslrec_analyzer::pipeline::{Missed, Summary};
use sslrec_analyzer::text::Rfc3339;
use sslrec_formats::record::{Direction, Role};

use self::object::{Drain, Object};
pub(crate) use self::prepared::Prepared;
use self::value::{Latin1, Milliseconds, Value, write_array};
use super::Output;
use crate::over_http;
use crate::text::Base64;

/// Writes the listing as JSON lines.
#[derive(Debug)]
pub(crate) struct Json<W> {
    out: W,
    /// Buffer of the current line; kept to reuse its memory.
    line: Vec<u8>,
    descriptors: Option<Descriptors>,
}

impl<W: Write> Json<W> {
    /// Creates a listing that writes to `out`, which should be buffered.
    pub(crate) fn new(out: W) -> Self {
        Self { out, line: Vec::new(), descriptors: None }
    }

    /// Uses the descriptors to name the fields of gRPC messages.
    pub(crate) fn with_descriptors(self, descriptors: Option<Descriptors>) -> Self {
        Self { descriptors, ..self }
    }

    fn write_line(&mut self) -> io::Result<()> {
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        // A line with a long body is rare, so its memory is returned.
        self.line.clear();
        self.line.shrink_to(USUAL_LINE);
        Ok(())
    }
}

/// Memory of an exchange beyond which its line is not made ahead.
const LONG: usize = 1 << 20;

/// Capacity that the line buffer keeps from line to line.
const USUAL_LINE: usize = 64 << 10;

impl<W: Write> Output for Json<W> {
    fn item(&mut self, item: &Item) -> io::Result<()> {
        match item {
            Item::Exchange(exchange) => {
                let drain = Drain::new(&mut self.out);
                let descriptors = self.descriptors.as_ref();
                write_exchange(&mut self.line, exchange, descriptors, &drain)?;
                drain.finish()?;
            }
            Item::Stream(stream) => {
                let drain = Drain::new(&mut self.out);
                write_stream(&mut self.line, stream, &drain);
                drain.finish()?;
            }
            Item::Handshake(handshake) => write_handshake(&mut self.line, handshake),
        }
        self.write_line()
    }

    fn prepare(&mut self, item: &Item) -> io::Result<Option<Prepared>> {
        // A long line is written in parts when its turn has come.
        let Item::Exchange(exchange) = item else { return Ok(None) };
        if item.memory_bytes() > LONG {
            return Ok(None);
        }
        Ok(Some(Prepared::new(&mut self.line, exchange, self.descriptors.as_ref())?))
    }

    fn prepared(&mut self, prepared: Prepared, id: u64) -> io::Result<()> {
        push_start(&mut self.line, id);
        self.out.write_all(&self.line)?;
        self.line.clear();
        prepared.write(&mut self.out, &mut self.line)
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        // A filter selects items of recorded connections.
        let all = summary.listed.is_none();
        for missed in summary.missed_connections.iter().filter(|_| all) {
            write_missed(&mut self.line, missed);
            self.write_line()?;
        }
        let mut line = Object::begin(&mut self.line);
        line.field("type", "summary");
        line.field("exchanges", summary.exchanges);
        line.field_if_some("listed", summary.listed);
        line.field("streams", summary.streams);
        line.field("handshakes", summary.handshakes);
        line.field("connections", summary.connections);
        line.field("processes", summary.processes);
        line.field("incomplete", summary.incomplete);
        line.field("lost_bytes", summary.lost_bytes);
        line.field("dropped_events", summary.dropped_events);
        line.field_if_some("missed", (summary.missed > 0).then_some(summary.missed));
        line.field("start", summary.start_ns.map(Rfc3339));
        line.field("end", summary.end_ns.map(Rfc3339));
        line.field("closed", summary.closed);
        line.field("notes", &*summary.notes);
        line.end();
        self.write_line()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_exchange(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    descriptors: Option<&Descriptors>,
    drain: &Drain<'_>,
) -> serde_json::Result<()> {
    push_start(out, exchange.id);
    let mut line = Object::go_on(out).draining(Some(drain));
    exchange_fields(&mut line, exchange, descriptors)?;
    line.end();
    Ok(())
}

/// Writes the type and the number of an exchange.
fn push_start(out: &mut Vec<u8>, id: u64) {
    let mut line = Object::begin(out);
    line.field(field::TYPE.key(), "exchange");
    line.field(field::ID.key(), id);
}

/// Writes everything after the number of an exchange. Returns the range of the connection's fields
/// in the buffer.
fn exchange_fields(
    line: &mut Object<'_>,
    exchange: &Exchange,
    descriptors: Option<&Descriptors>,
) -> serde_json::Result<Range<usize>> {
    let info = &exchange.connection;
    line.field(field::CONN.key(), info.record.conn);
    line.field(field::STREAM.key(), exchange.stream);
    line.field(field::PROTO.key(), exchange.listed_proto());
    line.field(field::TIME.key(), Rfc3339(exchange.first_ns()));
    let start = line.position();
    identity(line, info, Some(exchange.request_direction));
    let end = line.position();
    route(line, exchange.shared_connection());
    line.object(field::REQUEST.key(), exchange.request.as_ref(), |object, r| {
        request(object, r, info.tls)
    });
    line.object(field::RESPONSE.key(), exchange.response.as_ref(), response);
    if !exchange.interim.is_empty() {
        line.objects("interim", &exchange.interim, |object, interim| {
            object.field("status", interim.status);
            object.field("headers", &interim.headers);
        });
    }
    if let Some((name, shown)) = over_http::of(exchange) {
        line.written(name, |out| shown.write_json(out, exchange, descriptors))?;
    }
    line.field(field::TTFB.key(), exchange.ttfb_ns().map(Milliseconds));
    line.field(field::TOOK.key(), exchange.duration_ns().map(Milliseconds));
    line.field(field::COMPLETE.key(), exchange.complete);
    line.field(field::LOST_BYTES.key(), exchange.lost_bytes);
    line.field(field::NOTES.key(), &*exchange.notes);
    Ok(start..end)
}

fn write_stream(out: &mut Vec<u8>, stream: &Stream, drain: &Drain<'_>) {
    let info = &stream.connection;
    let client = info.client_direction();
    let mut line = Object::begin(out).draining(Some(drain));
    line.field(field::TYPE.key(), "stream");
    line.field(field::CONN.key(), info.record.conn);
    line.field(field::PROTO.key(), "stream");
    line.field(field::TIME.key(), Rfc3339(stream.first_ns));
    identity(&mut line, info, client);
    route(&mut line, stream.shared_connection());
    let halves = client.map(|client| (&stream.halves[client], &stream.halves[client.reverse()]));
    line.field(field::CLIENT_BYTES.key(), halves.map(|(client, _)| client.bytes));
    line.field(field::SERVER_BYTES.key(), halves.map(|(_, server)| server.bytes));
    line.field("first_bytes", halves.map(|(client, _)| Base64(&client.first_bytes)));
    line.field("server_first_bytes", halves.map(|(_, server)| Base64(&server.first_bytes)));
    if let Some((client, server)) = halves {
        line.contents("client_data", client.data.as_deref());
        line.contents("server_data", server.data.as_deref());
    } else {
        by_end(&mut line, stream);
    }
    line.field(field::TOOK.key(), stream.last_ns.checked_sub(stream.first_ns).map(Milliseconds));
    line.field(field::COMPLETE.key(), stream.complete);
    line.field(field::LOST_BYTES.key(), stream.lost_bytes);
    line.field(field::NOTES.key(), &*stream.notes);
    line.end();
}

fn write_handshake(out: &mut Vec<u8>, handshake: &Handshake) {
    let info = &handshake.connection;
    let mut line = Object::begin(out);
    line.field(field::TYPE.key(), "handshake");
    line.field(field::CONN.key(), info.record.conn);
    line.field(field::TIME.key(), Rfc3339(handshake.first_ns));
    identity(&mut line, info, info.client_direction());
    line.field(field::VERSION.key(), info.record.version.as_deref());
    line.field(field::CIPHER.key(), info.record.cipher.as_deref());
    line.field(field::OK.key(), handshake.ok);
    line.field(field::RESULT.key(), handshake.result);
    line.field(field::FN.key(), &*handshake.func);
    line.field(field::LATENCY.key(), handshake.latency_ns().map(Milliseconds));
    line.end();
}

/// Writes a TLS connection that was seen at its socket and not recorded.
fn write_missed(out: &mut Vec<u8>, missed: &Missed) {
    let connection = &missed.connection;
    let client = match connection.role {
        Role::Client => Some(Direction::Sent),
        Role::Server => Some(Direction::Received),
        Role::Unknown => None,
    };
    let known = |address: SocketAddr| (address.port() != 0).then_some(address);
    let (local, remote) = (known(connection.local), known(connection.remote));
    let (from, to) = match client {
        Some(Direction::Sent) => (local, remote),
        Some(Direction::Received) => (remote, local),
        None => (None, None),
    };
    let bytes = |of_client: bool| {
        let dir = client.map(|client| if of_client { client } else { client.reverse() });
        dir.zip(connection.bytes).map(|(dir, bytes)| bytes[dir])
    };
    let mut line = Object::begin(out);
    line.field(field::TYPE.key(), "missed");
    line.field(field::PID.key(), missed.pid);
    line.field(field::COMM.key(), &*missed.comm);
    line.field("transport", if connection.quic { "quic" } else { "tcp" });
    line.field(field::ROLE.key(), client.map(|_| connection.role.as_str()));
    line.field(field::CLIENT.key(), from);
    line.field(field::SERVER.key(), to);
    if client.is_none() {
        line.field("local", connection.local);
        line.field("remote", connection.remote);
    }
    line.field(field::SNI.key(), connection.sni.as_deref());
    let offered: Vec<&str> = connection.alpn.iter().map(String::as_str).collect();
    line.field("offered_alpn", &*offered);
    line.field(field::VERSION.key(), connection.version.as_deref());
    line.field("client_bytes", bytes(true));
    line.field("server_bytes", bytes(false));
    line.field("reason", &*missed.reason);
    line.end();
}

/// Writes the data of both ends of a stream whose client is unknown.
fn by_end(line: &mut Object<'_>, stream: &Stream) {
    line.field("local_bytes", stream.halves.sent.bytes);
    line.field("remote_bytes", stream.halves.received.bytes);
    line.field("local_first_bytes", Base64(&stream.halves.sent.first_bytes));
    line.field("remote_first_bytes", Base64(&stream.halves.received.first_bytes));
    line.contents("local_data", stream.halves.sent.data.as_deref());
    line.contents("remote_data", stream.halves.received.data.as_deref());
}

/// Writes process, connection and addresses, the same in every object. `client` is the direction of
/// the client's bytes, if known.
fn identity(line: &mut Object<'_>, info: &ConnectionInfo, client: Option<Direction>) {
    let record = &info.record;
    let (from, to) = client.map_or((None, None), |client| info.ends(client));
    line.field(field::PID.key(), info.pid());
    line.field(field::COMM.key(), info.comm.as_deref());
    line.field(field::ROLE.key(), info.role(client).map(Role::as_str));
    line.field(field::LIB.key(), info.lib());
    line.field(field::CLIENT.key(), from);
    line.field(field::SERVER.key(), to);
    if client.is_none() {
        line.field_if_some("local", record.local);
        line.field_if_some("remote", record.remote);
    }
    line.field(field::ADDR.key(), record.addr.as_str());
    line.field(field::SNI.key(), record.sni.as_deref());
    line.field(field::ALPN.key(), record.alpn.as_deref());
}

/// Writes the proxies and tunnels of a connection that has some.
fn route(line: &mut Object<'_>, connection: &SharedConnection) {
    let Some(route) = connection.route() else { return };
    if let Some(proxied) = &route.proxied {
        line.object("proxied", Some(proxied), |object, proxied| {
            object.field("version", u64::from(proxied.version));
            object.field("client", proxied.client);
            object.field("server", proxied.server);
        });
    }
    if !route.tunnels.is_empty() {
        line.objects("tunnels", &route.tunnels, |object, tunnel| {
            object.field("protocol", tunnel.protocol);
            object.field("target", Latin1([&tunnel.target]));
        });
    }
}

fn request(object: &mut Object<'_>, request: &Request, tls: bool) {
    object.field(field::METHOD.key(), request.method.as_deref());
    object.field(field::URL.key(), request.url_octets(tls).map(Latin1));
    object.field_if_some(field::LINE.key(), request.line.as_deref().map(|line| Latin1([line])));
    object.field(field::AUTHORITY.key(), request.authority_octets().map(|octets| Latin1([octets])));
    object.field(field::PATH.key(), request.path_octets().map(|octets| Latin1([octets])));
    message(object, &request.message);
    // Most requests have no trailers, and the contract then omits the field.
    let trailers = &request.message.trailers;
    object.field_if_some("trailers", Some(trailers).filter(|trailers| !trailers.is_empty()));
}

fn response(object: &mut Object<'_>, response: &Response) {
    object.field(field::STATUS.key(), response.status);
    object.field(field::REASON.key(), Latin1([&response.reason]));
    message(object, &response.message);
    object.field("trailers", &response.message.trailers);
}

fn message(object: &mut Object<'_>, message: &Message) {
    object.field("headers", &message.headers);
    object.field(field::RESPONSE_BYTES.key(), message.body.bytes);
    // Length after decoding. It is present only if codings were to be undone; `body` is then
    // decoded too.
    object.field_if_some("decoded_bytes", message.body.decoded_bytes);
    object.contents("body", message.body.data.as_deref());
}

/// Header fields as an array of pairs.
impl Value for &Fields {
    fn write(&self, out: &mut Vec<u8>) {
        write_array(out, self.iter(), |out, (name, value)| {
            write_array(out, [name, value], |out, octets| Latin1([octets]).write(out));
        });
    }
}
