//! HTTP/2 frames made by hand, and a short form of their listing.

use sslrec_analyzer::exchange::{Exchange, Item, Stream};

use crate::records::{Script, list};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field block of literals that are not put into the table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

pub fn request_block(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path)])
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request_block("GET", path))
}

pub fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request_block("POST", path))
}

pub fn status(stream: u32, status: &str, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(&[(":status", status)]))
}

pub fn data(stream: u32, body: &[u8], flags: u8) -> Vec<u8> {
    frame(DATA, flags, stream, body)
}

pub fn client() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

pub fn server() -> Vec<u8> {
    frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64")
}

pub fn exchanges(items: &[Item]) -> Vec<&Exchange> {
    let exchanges = items.iter().filter_map(|item| match item {
        Item::Exchange(exchange) => Some(&**exchange),
        Item::Stream(_) | Item::Handshake(_) => None,
    });
    exchanges.collect()
}

pub fn streams(items: &[Item]) -> Vec<&Stream> {
    let streams = items.iter().filter_map(|item| match item {
        Item::Stream(stream) => Some(&**stream),
        Item::Exchange(_) | Item::Handshake(_) => None,
    });
    streams.collect()
}

/// `stream METHOD path status request-body response-body complete [notes]`.
pub fn brief(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref();
    let response = exchange.response.as_ref();
    format!(
        "{} {} {} {} {} {} {} {:?}",
        exchange.stream,
        request.and_then(|r| r.method.as_deref()).unwrap_or("-"),
        request.and_then(|r| r.path()).unwrap_or("-".into()),
        response.and_then(|r| r.status).unwrap_or(0),
        request.map_or(0, |r| r.message.body.bytes),
        response.map_or(0, |r| r.message.body.bytes),
        exchange.complete,
        exchange.notes,
    )
}

pub fn briefs(items: &[Item]) -> Vec<String> {
    exchanges(items).into_iter().map(brief).collect()
}

/// Lists a conversation of whole directions that ends with the connection.
pub fn talk(sent: &[&[u8]], received: &[&[u8]]) -> Vec<String> {
    let script = Script::client().sent(client()).received(server());
    briefs(&list(&script.sent(sent.concat()).received(received.concat()).close()).0)
}

pub fn fields(fields: &sslrec_analyzer::exchange::Fields) -> Vec<(String, String)> {
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}
