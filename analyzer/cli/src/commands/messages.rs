//! Messages on top of HTTP, in the format of `show`: a summary line, then a line for each message,
//! with the time since the request began.
//!
//! Everything from the network is escaped.

use std::io::{self, Write};

use sslrec_analyzer::descriptors::{Descriptors, Named};
use sslrec_analyzer::exchange::carried::{
    Event, Events, Grpc, GrpcMessage, WebSocket, WebSocketKind, WebSocketMessage,
};
use sslrec_analyzer::exchange::{Carried, Exchange, Sender};
use sslrec_analyzer::protobuf::{self, Field, Value};
use sslrec_cli::text::Printable;

use super::{hexdump, pretty};
use crate::text::Duration;

/// Maximum number of bytes shown of a Protocol Buffers field.
const SHOWN_BYTES: usize = 32;

/// Returns whether the messages of a side replace the body of its message.
pub(super) fn stand_for_body(exchange: &Exchange, from: Sender) -> bool {
    match exchange.carried.as_deref() {
        Some(Carried::WebSocket(_)) => true,
        Some(Carried::Events(_)) => from == Sender::Server,
        Some(Carried::Grpc(grpc)) => {
            grpc.messages.iter().flatten().any(|message| message.from == from)
        }
        None => false,
    }
}

/// Writes the data of the protocol on top of HTTP, if any was detected.
pub(super) fn write(
    out: &mut impl Write,
    exchange: &Exchange,
    descriptors: Option<&Descriptors>,
) -> io::Result<()> {
    let first_ns = exchange.first_ns();
    match exchange.carried.as_deref() {
        Some(Carried::Grpc(grpc)) => write_grpc(out, grpc, first_ns, descriptors),
        Some(Carried::WebSocket(socket)) => write_websocket(out, socket, first_ns),
        Some(Carried::Events(events)) => write_events(out, events, first_ns),
        None => Ok(()),
    }
}

/// Writes the sender and the time.
fn write_start(out: &mut impl Write, from: Sender, time_ns: u64, first_ns: u64) -> io::Result<()> {
    let mark = match from {
        Sender::Client => '>',
        Sender::Server => '<',
    };
    write!(out, "{mark} +{} ", Duration(time_ns.saturating_sub(first_ns)))
}

fn messages(count: u64) -> String {
    format!("{count} {}", if count == 1 { "message" } else { "messages" })
}

fn write_grpc(
    out: &mut impl Write,
    grpc: &Grpc,
    first_ns: u64,
    descriptors: Option<&Descriptors>,
) -> io::Result<()> {
    let count = |count: Option<sslrec_analyzer::exchange::carried::Count>| {
        count.map_or("an unknown number of messages".to_owned(), |count| messages(count.messages))
    };
    write!(out, "* gRPC: {} from the client, ", count(grpc.requests))?;
    write!(out, "{} from the server", count(grpc.responses))?;
    match grpc.status {
        Some(status) => write!(out, "; status {status} {}", Grpc::name_of(status).unwrap_or(""))?,
        None => write!(out, "; no status")?,
    }
    match grpc.message.as_deref() {
        Some(message) if !message.is_empty() => writeln!(out, ": {}", Printable(message))?,
        _ => writeln!(out)?,
    }
    grpc.messages.iter().flatten().try_for_each(|message| {
        let named = descriptors.and_then(|descriptors| descriptors.name(grpc, message));
        write_grpc_message(out, message, first_ns, named)
    })
}

fn write_grpc_message(
    out: &mut impl Write,
    message: &GrpcMessage,
    first_ns: u64,
    named: Option<Named>,
) -> io::Result<()> {
    write_start(out, message.from, message.time_ns, first_ns)?;
    let compressed = if message.compressed { " compressed" } else { "" };
    let name = named.as_ref().map_or("message".to_owned(), |named| named.name.clone());
    writeln!(out, "{name} of {} bytes{compressed}", message.bytes)?;
    if let Some(problem) = &message.problem {
        writeln!(out, "* {}", Printable(problem))?;
        return hexdump::write_start(out, &message.data);
    }
    match named.map(|named| named.json) {
        Some(Ok(json)) => return write_json(out, json.get()),
        Some(Err(why)) => writeln!(out, "* not a {name}: {}", Printable(&why))?,
        None => {}
    }
    match protobuf::fields(&message.data) {
        Some(fields) => write_fields(out, &fields, 1),
        None => hexdump::write_start(out, &message.data),
    }
}

fn write_json(out: &mut impl Write, json: &str) -> io::Result<()> {
    let laid_out = pretty::json(json);
    let mut lines = laid_out.as_deref().unwrap_or(json).lines();
    lines.try_for_each(|line| writeln!(out, "  {}", Printable(line)))
}

fn write_fields(out: &mut impl Write, fields: &[Field<'_>], depth: usize) -> io::Result<()> {
    let indent = 2 * depth;
    for Field { number, value } in fields {
        write!(out, "{:indent$}{number}: ", "")?;
        match value {
            Value::Varint(value) => writeln!(out, "{value}")?,
            // The wire type holds integers and floating-point numbers, so both are shown.
            Value::Fixed64(bits) => writeln!(out, "{bits:#018x} ({})", f64::from_bits(*bits))?,
            Value::Fixed32(bits) => writeln!(out, "{bits:#010x} ({})", f32::from_bits(*bits))?,
            Value::Text(text) => writeln!(out, "\"{}\"", Printable(text))?,
            Value::Bytes(bytes) => {
                write!(out, "{} bytes", bytes.len())?;
                bytes.iter().take(SHOWN_BYTES).try_for_each(|byte| write!(out, " {byte:02x}"))?;
                writeln!(out, "{}", if bytes.len() > SHOWN_BYTES { " ..." } else { "" })?;
            }
            Value::Group(fields) | Value::Message(fields) => {
                writeln!(out, "{{")?;
                write_fields(out, fields, depth + 1)?;
                writeln!(out, "{:indent$}}}", "")?;
            }
        }
    }
    Ok(())
}

fn write_websocket(out: &mut impl Write, socket: &WebSocket, first_ns: u64) -> io::Result<()> {
    let (client, server) = (socket.client, socket.server);
    write!(
        out,
        "* WebSocket: {} ({} bytes) from the client, ",
        messages(client.messages),
        client.bytes
    )?;
    write!(out, "{} ({} bytes) from the server", messages(server.messages), server.bytes)?;
    match &socket.close {
        Some(close) => writeln!(out, "; closed by the {}", close.from)?,
        None => writeln!(out, "; not closed")?,
    }
    let all = socket.messages.iter().flatten();
    all.into_iter().try_for_each(|message| write_websocket_message(out, message, first_ns))
}

fn write_websocket_message(
    out: &mut impl Write,
    message: &WebSocketMessage,
    first_ns: u64,
) -> io::Result<()> {
    write_start(out, message.from, message.time_ns, first_ns)?;
    write!(out, "{}", message.kind.as_str())?;
    if let Some(text) = message.text() {
        return writeln!(out, " {}", Printable(text));
    }
    if let (WebSocketKind::Close, Some((code, reason))) =
        (message.kind, message.data.split_first_chunk())
    {
        let reason = String::from_utf8_lossy(reason);
        return writeln!(out, " {} {}", u16::from_be_bytes(*code), Printable(&reason));
    }
    writeln!(out, " of {} bytes", message.bytes)?;
    if let Some(problem) = &message.problem {
        writeln!(out, "* {}", Printable(problem))?;
    }
    hexdump::write_start(out, &message.data)
}

fn write_events(out: &mut impl Write, events: &Events, first_ns: u64) -> io::Result<()> {
    write!(out, "* {} {}", events.count, if events.count == 1 { "event" } else { "events" })?;
    if let Some(time_ns) = events.first_ns {
        write!(out, ", the first after {:#}", Duration(time_ns.saturating_sub(first_ns)))?;
    }
    writeln!(out)?;
    for Event { time_ns, event, id, data } in events.messages.iter().flatten() {
        write_start(out, Sender::Server, *time_ns, first_ns)?;
        write!(out, "{}", Printable(event.as_deref().unwrap_or("message")))?;
        if let Some(id) = id {
            write!(out, " id {}", Printable(id))?;
        }
        writeln!(out, ": {}", Printable(&String::from_utf8_lossy(data)))?;
    }
    Ok(())
}
