//! WebSocket in the outputs.

use std::io::{self, Write};

use serde::Serialize;
use sslrec_analyzer::descriptors::Descriptors;
use sslrec_analyzer::exchange::note::MessageProblem;
use sslrec_analyzer::exchange::{Exchange, Sender};
use sslrec_analyzer::over_http::websocket::{
    WebSocket, WebSocketClose, WebSocketKind, WebSocketMessage,
};
use sslrec_analyzer::text::Rfc3339;
use sslrec_cli::text::Printable;

use super::json::{Base64Text, List, base64, list};
use super::{Shown, messages, write_start};
use crate::hexdump;
use crate::safe_json;
use crate::text::{Base64, Text};

impl Shown for WebSocket {
    fn summary(&self) -> String {
        format!("ws {} up {} down", self.client.messages, self.server.messages)
    }

    fn bytes(&self, _: &Exchange) -> Option<u64> {
        Some(self.client.bytes.saturating_add(self.server.bytes))
    }

    fn write_json(
        &self,
        out: &mut dyn Write,
        exchange: &Exchange,
        _: Option<&Descriptors>,
    ) -> serde_json::Result<()> {
        safe_json::to_writer(out, &websocket(exchange, self))
    }

    fn replaces_body(&self, _: Sender) -> bool {
        true
    }

    fn show(&self, out: &mut dyn Write, first_ns: u64, _: Option<&Descriptors>) -> io::Result<()> {
        let (client, server) = (self.client, self.server);
        write!(
            out,
            "* WebSocket: {} ({} bytes) from the client, ",
            messages(client.messages),
            client.bytes
        )?;
        write!(out, "{} ({} bytes) from the server", messages(server.messages), server.bytes)?;
        match &self.close {
            Some(close) => writeln!(out, "; closed by the {}", close.from)?,
            None => writeln!(out, "; not closed")?,
        }
        let all = self.messages.iter().flatten();
        all.into_iter().try_for_each(|message| write_websocket_message(out, message, first_ns))
    }

    fn har_messages(&self) -> Option<Vec<SocketMessage<'_>>> {
        Some(self.messages.as_deref()?.iter().map(socket_message).collect())
    }
}

fn write_websocket_message(
    out: &mut dyn Write,
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
        writeln!(out, "* {}", Printable(&problem.to_string()))?;
    }
    hexdump::write_start(out, &message.data)
}

#[derive(Serialize)]
struct WebSocketObject<'a> {
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
    problem: Option<String>,
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
                problem: message.problem.as_ref().map(MessageProblem::to_string),
            }
        }),
    }
}

/// A WebSocket message as Chrome exports it since version 76. Contents that are not text are
/// base64.
#[derive(Serialize)]
pub(crate) struct SocketMessage<'a> {
    r#type: &'static str,
    /// Seconds since the Unix epoch.
    time: f64,
    /// RFC 6455 section 5.2.
    opcode: u8,
    data: SocketData<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SocketData<'a> {
    Text(&'a str),
    Octets(Text<Base64<'a>>),
}

fn socket_message(message: &WebSocketMessage) -> SocketMessage<'_> {
    let opcode = match message.kind {
        WebSocketKind::Text => 1,
        WebSocketKind::Binary => 2,
        WebSocketKind::Close => 8,
        WebSocketKind::Ping => 9,
        WebSocketKind::Pong => 10,
        WebSocketKind::Reserved(opcode) => opcode,
    };
    SocketMessage {
        r#type: if message.from == Sender::Client { "send" } else { "receive" },
        time: message.time_ns as f64 / 1e9,
        opcode,
        data: match message.text() {
            Some(text) => SocketData::Text(text),
            None => SocketData::Octets(Text(Base64(&message.data))),
        },
    }
}
