//! Patterns that stay unfinished over one-byte records take linear time, and the end of a match
//! that is too long to be held is blanked, too.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use sslrec_formats::record::{Connection, Data, Direction, Record};
use sslrec_redact::{Redactor, Rules};

/// Redacts a stream of `begin`, `count` letters and `end`, byte by byte. Returns the stream, and
/// the duration.
fn redact(rule: &str, begin: &[u8], count: usize, end: &[u8]) -> (Vec<u8>, Duration) {
    let mut redactor = Redactor::new(rule.parse::<Rules>().unwrap());
    let mut out = Vec::new();
    let mut take = |record: &Record<'_>| {
        if let Record::Data(data) = record {
            out.extend_from_slice(data.payload);
        }
    };
    let start = Instant::now();
    let connection = Connection { conn: 1, ..Connection::default() };
    redactor.record(&Record::Connection(connection), &mut take);
    let text = [begin, &vec![b'A'; count], end].concat();
    for (offset, octet) in text.iter().enumerate() {
        let data = Data {
            conn: 1,
            ts_ns: 0,
            tid: 1,
            dir: Direction::Received,
            offset: offset as u64,
            func: "",
            lat_ns: 0,
            call_len: 1,
            call_offset: 0,
            payload: std::slice::from_ref(octet),
        };
        redactor.record(&Record::Data(data), &mut take);
    }
    redactor.finish(&mut take);
    assert_eq!(out.len(), text.len());
    (out, start.elapsed())
}

#[test]
fn a_long_match_takes_linear_time_and_is_blanked_to_its_end() {
    for (rule, begin, count) in [
        ("default", &b"bearer "[..], 150_000),
        ("default", b"Authorization: bearer ", 150_000),
        ("regex:a.*z", b"a", 150_000),
        (r"regex:k[A-Z]{1000}", b"k", 150_000),
    ] {
        let (out, took) = redact(rule, begin, count, b"\nthe end\n");
        println!("{rule} {}: {count} bytes in {took:?}", begin.escape_ascii());
        assert!(took < Duration::from_secs(60), "{rule} {took:?}");
        assert!(out.ends_with(b"the end\n"), "{rule}");
        if rule == "default" {
            let left = out.iter().filter(|&&octet| octet == b'A').count();
            assert!(left <= 1, "{rule}: {left} letters are left");
        }
    }
}

#[test]
fn an_expression_for_a_hundred_thousand_bytes_is_refused() {
    let error = r"regex:[\w\W]{100000}".parse::<Rules>().unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
}
