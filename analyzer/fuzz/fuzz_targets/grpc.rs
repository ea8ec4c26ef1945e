//! Messages of gRPC-Web, which are those of gRPC with trailers among them, in bodies of any length:
//! any bytes and gaps. Each message is looked into as Protocol Buffers too.
//!
//! Input: a byte that chooses the compression, then blocks as in `common/talk.rs`.
#![no_main]

#[path = "common/talk.rs"]
mod talk;

use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::protobuf;
use sslrec_formats::record::Direction::{Received, Sent};
use talk::Step;

const ENCODINGS: [&str; 4] = ["identity", "gzip", "deflate", "zstd"];

fuzz_target!(|input: &[u8]| {
    let Some((setup, rest)) = input.split_first() else { return };
    let encoding = ENCODINGS[usize::from(setup & 3)];
    let fields =
        format!("Content-Type: application/grpc-web+proto\r\nGrpc-Encoding: {encoding}\r\n");
    let request =
        format!("POST /a.B/C HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 100000\r\n\r\n");
    let response = format!("HTTP/1.1 200 x\r\n{fields}\r\n");
    let mut steps =
        vec![Step::Call(Sent, request.as_bytes()), Step::Call(Received, response.as_bytes())];
    steps.extend(talk::steps(rest));
    talk::check(&steps);
    if let Some(fields) = protobuf::fields(rest) {
        assert!(fields.len() <= rest.len() / 2);
    }
});
