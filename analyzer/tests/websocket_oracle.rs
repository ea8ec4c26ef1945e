//! Messages that tungstenite sends, after heads made by hand: the listing has every sent message.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{self, Read, Write};

use sslrec_analyzer::exchange::{Item, Sender};
use sslrec_analyzer::over_http::websocket::{self, WebSocketKind};
use sslrec_analyzer::pipeline::Options;
use sslrec_analyzer_testing::records::{Script, list_records};
use sslrec_formats::record::Direction::{self, Received, Sent};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Bytes, Message};

/// Keeps the bytes that an end writes; there is nothing to read.
#[derive(Default)]
struct Outgoing(Vec<u8>);

impl Read for Outgoing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    /// Lengths about which the form of the length changes are frequent.
    fn contents(&mut self) -> Vec<u8> {
        let about = [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 70_000];
        let len = about[self.below(about.len() as u64) as usize] + self.below(3);
        (0..len).map(|_| b' ' + self.below(95) as u8).collect()
    }
}

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

type Told = (Sender, WebSocketKind, Vec<u8>);

/// Sends a message, or a message in fragments with a ping among them.
fn send(random: &mut Random, end: &mut WebSocket<Outgoing>, from: Sender, told: &mut Vec<Told>) {
    let contents = random.contents();
    let kind =
        [WebSocketKind::Text, WebSocketKind::Binary, WebSocketKind::Ping, WebSocketKind::Pong]
            [random.below(4) as usize];
    let control: Vec<u8> = contents.iter().take(125).copied().collect();
    match kind {
        WebSocketKind::Ping => end.send(Message::Ping(Bytes::from(control.clone()))).unwrap(),
        WebSocketKind::Pong => end.send(Message::Pong(Bytes::from(control.clone()))).unwrap(),
        _ if random.below(3) == 0 => {
            let opcode = if kind == WebSocketKind::Text { Data::Text } else { Data::Binary };
            let parts: Vec<&[u8]> = contents.chunks(contents.len() / 3 + 1).collect();
            let last = parts.len().saturating_sub(1);
            for (number, part) in parts.iter().enumerate() {
                let opcode = if number == 0 { opcode } else { Data::Continue };
                let part = Bytes::copy_from_slice(part);
                let frame = Frame::message(part, OpCode::Data(opcode), number == last);
                end.send(Message::Frame(frame)).unwrap();
                if number < last {
                    end.send(Message::Ping(Bytes::from_static(b"between"))).unwrap();
                    told.push((from, WebSocketKind::Ping, b"between".to_vec()));
                }
            }
            if parts.is_empty() {
                return;
            }
        }
        WebSocketKind::Text => {
            end.send(Message::text(String::from_utf8(contents.clone()).unwrap())).unwrap();
        }
        _ => end.send(Message::Binary(Bytes::from(contents.clone()))).unwrap(),
    }
    let is_control = matches!(kind, WebSocketKind::Ping | WebSocketKind::Pong);
    told.push((from, kind, if is_control { control } else { contents }));
}

#[test]
fn what_tungstenite_sends_is_listed() {
    for seed in 1..40 {
        let mut random = Random(seed);
        let mut client = WebSocket::from_raw_socket(Outgoing::default(), Role::Client, None);
        let mut server = WebSocket::from_raw_socket(Outgoing::default(), Role::Server, None);
        let mut told = Vec::new();
        let mut script = Script::client()
            .sent("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n")
            .received(ANSWER);
        for _ in 0..30 {
            let from_client = random.below(2) == 0;
            let (end, from, direction): (_, _, Direction) = match from_client {
                true => (&mut client, Sender::Client, Sent),
                false => (&mut server, Sender::Server, Received),
            };
            send(&mut random, end, from, &mut told);
            let bytes = std::mem::take(&mut end.get_mut().0);
            let split = random.below(bytes.len() as u64 + 1) as usize;
            script = script.data(direction, &bytes[..split]).data(direction, &bytes[split..]);
        }
        let options = Options { bodies: true, ..Options::default() };
        let (items, _) = list_records(&script.close().records(), options);
        let [Item::Exchange(exchange)] = &items[..] else { panic!("{items:?}") };
        let socket = exchange.carried_as::<websocket::WebSocket>().unwrap();
        let messages = socket.messages.as_ref().unwrap().iter();
        let listed: Vec<Told> = messages.map(|m| (m.from, m.kind, m.data.clone())).collect();
        assert!(listed == told, "{seed}: {} of {}", listed.len(), told.len());
        assert!(exchange.complete && exchange.notes.is_empty(), "{:?}", exchange.notes);
        let all = |from| {
            let of = told.iter().filter(|(f, kind, _)| {
                *f == from && !matches!(kind, WebSocketKind::Ping | WebSocketKind::Pong)
            });
            of.map(|(.., data)| data.len() as u64).sum::<u64>()
        };
        assert_eq!(
            (socket.client.bytes, socket.server.bytes),
            (all(Sender::Client), all(Sender::Server))
        );
    }
}

/// Whole messages of a socket.
fn whole(socket: &websocket::WebSocket) -> Vec<Told> {
    let messages = socket.messages.as_ref().unwrap().iter().filter(|m| m.problem.is_none());
    messages.map(|m| (m.from, m.kind, m.data.clone())).collect()
}

#[test]
fn after_lost_bytes_messages_are_found_again_and_none_is_made_up() {
    let (mut after, mut found) = (0, 0);
    for seed in 1..120 {
        let mut random = Random(seed);
        let mut server = WebSocket::from_raw_socket(Outgoing::default(), Role::Server, None);
        let mut told = Vec::new();
        let mut script = Script::client()
            .sent("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n")
            .received(ANSWER);
        // Ends of the messages in the stream, with the number of messages up to there.
        let (head, mut ends) = (ANSWER.len() as u64, Vec::new());
        let mut end = head;
        for _ in 0..30 {
            send(&mut random, &mut server, Sender::Server, &mut told);
            let bytes = std::mem::take(&mut server.get_mut().0);
            end += bytes.len() as u64;
            ends.push((end, told.len()));
            // Long messages take several segments.
            for segment in bytes.chunks(1400) {
                script = script.data(Received, segment);
            }
        }
        let (at, len) = (head + random.below(end - head), 1 + random.below(3000));
        let script = script.close().without(Received, at, len);
        let options = Options { bodies: true, ..Options::default() };
        let (items, _) = list_records(&script.records(), options);
        let [Item::Exchange(exchange)] = &items[..] else { panic!("{items:?}") };
        let listed = whole(exchange.carried_as::<websocket::WebSocket>().unwrap());
        // In order, and each of them sent.
        let mut sent = told.iter();
        for message in &listed {
            assert!(sent.any(|m| m == message), "{seed}: {message:?}");
        }
        let first = ends.iter().find(|(end, _)| *end >= at + len).map_or(told.len(), |e| e.1);
        after += told.len() - first;
        let same = told[first..].iter().rev().zip(listed.iter().rev()).filter(|(a, b)| a == b);
        found += same.count();
    }
    assert!(found * 100 >= after * 99, "{found} of {after}");
}
