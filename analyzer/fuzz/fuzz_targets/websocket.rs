//! A WebSocket after its upgrade: any bytes and gaps of both ends, with permessage-deflate or
//! without.
//!
//! Input: a byte that chooses the extension, then blocks as in `common/talk.rs`.
#![no_main]

#[path = "common/talk.rs"]
mod talk;

use libfuzzer_sys::fuzz_target;
use sslrec_formats::record::Direction::{Received, Sent};
use talk::Step;

const EXTENSIONS: [&str; 4] = [
    "",
    "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n",
    "Sec-WebSocket-Extensions: x, permessage-deflate; client_no_context_takeover\r\n",
];

fuzz_target!(|input: &[u8]| {
    let Some((setup, rest)) = input.split_first() else { return };
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n";
    let extension = EXTENSIONS[usize::from(setup & 3)];
    let response = format!("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n{extension}\r\n");
    let mut steps = vec![Step::Call(Sent, request), Step::Call(Received, response.as_bytes())];
    steps.extend(talk::steps(rest));
    talk::check(&steps);
});
