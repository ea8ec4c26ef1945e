//! Server-sent events: any bytes and gaps, and with a content coding any bytes that it may have.
//!
//! Input: a byte that chooses the coding, then blocks as in `common/talk.rs`.
#![no_main]

#[path = "common/talk.rs"]
mod talk;

use libfuzzer_sys::fuzz_target;
use sslrec_formats::record::Direction::{Received, Sent};
use talk::Step;

const CODINGS: [&str; 6] = ["", "gzip", "deflate", "br", "zstd", "gzip, br"];

fuzz_target!(|input: &[u8]| {
    let Some((setup, rest)) = input.split_first() else { return };
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let coding = CODINGS[usize::from(setup % 6)];
    let response = format!(
        "HTTP/1.1 200 x\r\nContent-Type: text/event-stream\r\nContent-Encoding: {coding}\r\n\r\n"
    );
    let mut steps = vec![Step::Call(Sent, request), Step::Call(Received, response.as_bytes())];
    steps.extend(talk::steps(rest));
    talk::check(&steps);
});
