//! Captures from peers that mean harm, through the program itself: each attack ends with its note,
//! within memory and time.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use serde_json::Value;
use sslrec_analyzer_testing::frames;
use sslrec_analyzer_testing::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, block, frame, get, request_block,
};
use sslrec_analyzer_testing::records::{Script, raw_log};

/// Address space of the program, in MiB: threads and buffers, and the part of an attack that it may
/// hold.
const MEMORY_MIB: u32 = 600;

/// The same where bodies are decoded: 256 MiB of a body, in a buffer that doubles, and again as
/// base64.
const MEMORY_DECODING_MIB: u32 = 1400;

/// Generous: the program runs without optimisation, and beside others.
const TIME: Duration = Duration::from_secs(40);

/// Lists a capture within memory and time; the exchanges.
fn listed(capture: &[u8], options: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c"), capture).unwrap();
    let start = Instant::now();
    let decode = options.contains(&"--decode");
    let memory_mib = if decode { MEMORY_DECODING_MIB } else { MEMORY_MIB };
    let limited = format!("ulimit -v {} && exec \"$@\"", memory_mib << 10);
    let output = Command::new("sh")
        .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_sslanalyze"), "--json"])
        .args(options)
        .arg(Path::new("c"))
        .current_dir(dir.path())
        // Each thread would reserve 64 MiB of addresses, which is not memory.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let took = start.elapsed();
    assert!(took < TIME, "{took:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object["type"] == "exchange").collect()
}

/// A raw log of the client's and the server's bytes.
fn log(sent: &[u8], received: &[u8]) -> Vec<u8> {
    let mut script = Script::client();
    for piece in sent.chunks(1 << 20) {
        script = script.sent(piece);
    }
    for piece in received.chunks(1 << 20) {
        script = script.received(piece);
    }
    raw_log(&script.close().records())
}

#[track_caller]
fn assert_noted(exchanges: &[Value], note: &str) {
    let all: Vec<&Value> = exchanges.iter().map(|exchange| &exchange["notes"]).collect();
    assert!(all.iter().any(|notes| notes.to_string().contains(note)), "{note} is not in {all:?}");
}

#[test]
fn smuggling_shapes_are_noted_each() {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for (fields, body, note) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", body, "both Transfer-Encoding"),
        ("Content-Length: 5\r\nContent-Length: 9\r\n", "hello", "contradict each other"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", "repeated Content-Length"),
        ("X: a\r\n b\r\nContent-Length: 5\r\n", "hello", "folded header field"),
    ] {
        let request = format!("POST /1 HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
        let next = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
        let exchanges = listed(&log((request + next).as_bytes(), b""), &[]);
        assert_noted(&exchanges[..1], note);
        assert_eq!(exchanges[0]["request"]["body_bytes"], 5, "{note}");
        assert_eq!(exchanges[1]["request"]["path"], "/2", "{note}");
    }
    // RFC 9112 section 2.2 lets a recipient take a bare LF for the end of a line.
    let bare = "POST /1 HTTP/1.1\nHost: h\nContent-Length: 5\n\nhelloGET /2 HTTP/1.1\n\n";
    let exchanges = listed(&log(bare.as_bytes(), b""), &[]);
    let paths: Vec<_> = exchanges.iter().map(|e| e["request"]["path"].as_str()).collect();
    assert_eq!(paths, [Some("/1"), Some("/2")]);
}

#[test]
fn heads_without_end_are_given_up() {
    let line = format!("a: {}\r\n", "x".repeat(8000));
    let head = format!("GET /1 HTTP/1.1\r\n{}\r\n", line.repeat(20_000));
    let exchanges = listed(&log(head.as_bytes(), b""), &["--bodies"]);
    assert_noted(&exchanges, "longer than 1 MiB");
    let many = format!("GET /1 HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(50_000));
    assert_noted(&listed(&log(many.as_bytes(), b""), &[]), "more than 10000 header fields");
}

#[test]
fn each_of_many_heads_takes_no_longer_for_those_behind_it() {
    let head = ["GET / HTTP/1.1\r\n", &"a:\r\n".repeat(66), "\r\n"].concat();
    let count = (12 << 20) / head.len();
    let sent = head.repeat(count);
    let exchanges =
        listed(&raw_log(&Script::client().sent(sent.as_bytes()).close().records()), &[]);
    assert_eq!(exchanges.len(), count);
}

#[test]
fn floods_and_bombs_of_http_2_are_given_up() {
    let start = frame(HEADERS, END_STREAM, 1, &request_block("GET", "/a"));
    let more = frame(CONTINUATION, 0, 1, &block(&[("a", "b")]).repeat(3000));
    let last = frame(CONTINUATION, END_HEADERS, 1, &[]);
    let flood = [frames::client(), start, more.repeat(5000), last, get(3, "/b")].concat();
    let exchanges = listed(&log(&flood, &frames::server()), &["--bodies"]);
    assert_noted(&exchanges, "the field block is longer than 1 MiB");
    assert_eq!(exchanges[1]["request"]["path"], "/b");

    // An entry of 4000 octets, to which each block refers sixteen thousand times: 64 MB a block.
    let mut large = vec![0x40, 1, b'n', 0x7f, 0xa1, 0x1e];
    large.extend([b'v'; 4000]);
    let mut bomb = frames::client();
    bomb.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &large));
    for n in 1..200 {
        let stream = 0x7fff_ffff - 2 * n;
        bomb.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0xbe; 16_000]));
    }
    let exchanges = listed(&log(&bomb, &frames::server()), &["--bodies"]);
    assert_noted(&exchanges, "more than 1 MiB of header fields");
    assert_eq!(exchanges.len(), 200);
    assert!(exchanges.iter().any(|exchange| exchange["stream"] == 0x7fff_ffff - 2));
}

#[test]
fn bombs_in_contents_are_decoded_up_to_a_limit() {
    let zeros = vec![0; 1 << 20];
    let gigabyte = |out: &mut dyn Write| (0..1024).for_each(|_| out.write_all(&zeros).unwrap());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gigabyte(&mut gzip);
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    gigabyte(&mut zstd);
    for (coding, body) in [("gzip", gzip.finish().unwrap()), ("zstd", zstd.finish().unwrap())] {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
        );
        let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let capture = log(request, &[head.as_bytes(), &body].concat());
        let exchanges = listed(&capture, &["--bodies", "--decode"]);
        assert_noted(&exchanges, "more than ");
        assert_eq!(exchanges[0]["response"]["body_bytes"], length);
    }
}

/// A capture of packets (classic pcap, Ethernet): direction, sequence number and payload.
fn packets(segments: &[(bool, u32, &[u8])]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for (at, (client, seq, payload)) in (0u32..).zip(segments) {
        let (src, dst) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let ends = if *client { (src, dst, 4000, 80) } else { (dst, src, 80, 4000) };
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(ends.0, ends.1, 64);
        let builder = builder.tcp(ends.2, ends.3, *seq, 65_535);
        let mut packet = Vec::new();
        if payload.is_empty() { builder.syn() } else { builder.psh() }
            .write(&mut packet, payload)
            .unwrap();
        for number in [at, 0, packet.len() as u32, packet.len() as u32] {
            file.extend(number.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

#[test]
fn segments_that_contradict_one_another_keep_what_came_first() {
    // The sequence numbers wrap around within the request; parts come again, out of order, and a
    // part with other data.
    let isn = u32::MAX - 10;
    let at = |offset: u32| isn.wrapping_add(1 + offset);
    let request = b"GET /first HTTP/1.1\r\nHost: h\r\n\r\n";
    let segments = [
        (true, isn, &b""[..]),
        (true, at(0), &request[..8]),
        (true, at(20), &request[20..]),
        (true, at(4), b"/other HTTP/1.1\r\nHo"),
        (true, at(0), &request[..8]),
        (true, at(8), &request[8..20]),
        (true, at(0), request),
    ];
    let exchanges = listed(&packets(&segments), &[]);
    assert_noted(&exchanges, "a retransmission held other data; the first was kept");
    assert_eq!(exchanges.len(), 1);
    let path = exchanges[0]["request"]["path"].as_str().unwrap();
    assert!(path.starts_with("/fir"), "{path}");
    // Nothing contradicts anything here.
    let again = [segments[0], segments[2], segments[1], segments[4], segments[5], segments[6]];
    let exchanges = listed(&packets(&again), &[]);
    assert_eq!(exchanges[0]["request"]["path"], "/first");
    assert!(!exchanges[0]["notes"].to_string().contains("retransmission"));
}

#[test]
fn what_waits_behind_a_hole_is_bounded() {
    let request = b"GET /far HTTP/1.1\r\nHost: h\r\n\r\n";
    let payload = vec![b'x'; 60_000];
    let mut segments: Vec<(bool, u32, &[u8])> = vec![(true, 0, b"")];
    // 180 MB after a missing byte.
    segments.extend((0..3000).map(|n| (true, 2 + n * 60_000, &payload[..])));
    segments.push((true, 2 + 3000 * 60_000, request));
    let exchanges = listed(&packets(&segments), &["--bodies"]);
    assert_eq!(exchanges.last().unwrap()["request"]["path"], "/far");
    assert_noted(&exchanges, "1 byte");
}
