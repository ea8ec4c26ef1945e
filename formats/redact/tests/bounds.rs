//! Patterns that stay unfinished over one-byte records take linear time, and the end of a match
//! that is too long to be held is blanked, too.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use sslrec_redact::{Redactor, Rules};
use sslrec_redact_testing::{cut, received, run};

/// Redacts a stream of `begin`, `count` letters and `end`, byte by byte. Returns the stream, and
/// the duration.
fn redact(rule: &str, begin: &[u8], count: usize, end: &[u8]) -> (Vec<u8>, Duration) {
    let mut redactor = Redactor::new(rule.parse::<Rules>().unwrap());
    let calls = cut(&vec![received([begin, &vec![b'A'; count], end].concat())], 1);
    let start = Instant::now();
    let [_, out] = run(&calls, false, &mut |record, emit| redactor.record(record, emit));
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
