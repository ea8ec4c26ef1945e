//! HTTP/2 from peers that mean harm: each attack ends within memory and time, with a note.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use sslrec_analyzer::exchange::Item;
use sslrec_analyzer_testing::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, block,
    brief, client, exchanges, frame, get, post, request_block, server, status,
};
use sslrec_analyzer_testing::records::{Script, list};

/// Lists the frames within a time limit, and returns the items.
fn bounded(sent: &[u8], received: &[u8]) -> Vec<Item> {
    let start = Instant::now();
    let script = Script::client().sent(client()).received(server());
    let (items, _) = list(&script.sent(sent).received(received).close());
    let took = start.elapsed();
    // Generous: these run without optimisation, and beside others.
    assert!(took < Duration::from_secs(20), "{took:?}");
    items
}

fn notes(items: &[Item]) -> String {
    let notes = items.iter().flat_map(|item| match item {
        Item::Exchange(exchange) => exchange.notes.clone(),
        Item::Stream(stream) => stream.notes.clone(),
        Item::Handshake(_) => Vec::new(),
    });
    notes.map(|note| note.to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_flood_of_continuations_ends_with_a_note() {
    let start = frame(HEADERS, END_STREAM, 1, &request_block("GET", "/a"));
    let more = frame(CONTINUATION, 0, 1, &block(&[("a", "b")]).repeat(1000));
    let last = frame(CONTINUATION, END_HEADERS, 1, &[]);
    let flood = [start.clone(), more.repeat(400), last.clone(), get(3, "/b")].concat();
    let items = bounded(&flood, &status(3, "204", END_STREAM));
    assert!(notes(&items).contains("the field block is longer than 1 MiB"), "{}", notes(&items));
    assert_eq!(brief(exchanges(&items)[1]), "3 GET /b 204 0 0 true []");
    // Empty fragments cost a peer more than the analyzer.
    let empty = [start, frame(CONTINUATION, 0, 1, &[]).repeat(100_000), last].concat();
    assert_eq!(
        brief(exchanges(&bounded(&empty, &status(1, "204", END_STREAM)))[0]),
        "1 GET /a 204 0 0 true []"
    );
}

#[test]
fn a_header_bomb_ends_with_a_note() {
    // An entry of 4000 bytes, and blocks that refer to it sixteen thousand times each.
    let value = "v".repeat(100);
    let mut large = vec![0x40, 1, b'n', 0x7f, 0xa1, 0x1e];
    large.extend([value.as_bytes(); 40].concat());
    let mut bomb = frame(HEADERS, END_HEADERS | END_STREAM, 1, &large);
    for n in 1..200 {
        bomb.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &[0xbe; 16_000]));
    }
    let items = bounded(&bomb, &[]);
    assert_eq!(exchanges(&items).len(), 200);
    assert!(notes(&items).contains("more than 1 MiB of header fields"), "{}", notes(&items));
    for exchange in exchanges(&items) {
        let headers = &exchange.request.as_ref().unwrap().message.headers;
        let octets: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(octets <= 1 << 20, "{octets}");
    }
}

#[test]
fn streams_without_end_are_bounded() {
    let asked: Vec<u8> = (0..20_000u32).flat_map(|n| post(2 * n + 1, "/a")).collect();
    let last = post(0x7fff_ffff, "/last");
    let items = bounded(&[asked, last].concat(), &status(0x7fff_ffff, "204", END_STREAM));
    assert_eq!(exchanges(&items).len(), 20_001);
    assert!(notes(&items).contains("4096 streams were open"));
    assert!(brief(exchanges(&items)[20_000]).starts_with("2147483647 POST /last 204"));
    // From the highest stream down, and the same streams again and again.
    let down: Vec<u8> = (0..10_000u32).flat_map(|n| get(0x7fff_ffff - 4 * n, "/a")).collect();
    let reset: Vec<u8> =
        (0..10_000u32).flat_map(|n| frame(RST_STREAM, 0, 0x7fff_ffff - 4 * n, &[0; 4])).collect();
    let items = bounded(&[down.clone(), reset, down].concat(), &[]);
    assert!(exchanges(&items).len() >= 10_000);
}

#[test]
fn floods_of_everything_else_cost_time_in_proportion() {
    let settings = frame(SETTINGS, 0, 0, &b"\0\x01\xff\xff\xff\xff".repeat(100));
    let interim = status(1, "103", 0);
    let flood = [
        frame(PING, 0, 0, b"12345678").repeat(50_000),
        settings.repeat(500),
        interim.repeat(20_000),
        frame(RST_STREAM, 0, 9, &[0; 4]).repeat(50_000),
        frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\x01").repeat(20_000),
        frame(0x77, 0, 0, &[]).repeat(50_000),
        vec![0xff; 1 << 20],
    ];
    let items = bounded(&get(1, "/a"), &flood.concat());
    let first = exchanges(&items)[0];
    assert_eq!(first.interim.len(), 1000);
    assert!(notes(&items).contains("more than 1000 interim responses"));
}
