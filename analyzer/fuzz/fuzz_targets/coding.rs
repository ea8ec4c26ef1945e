//! Any body under any chain of content codings: it is decoded within the limit.
//!
//! Input: a byte whose bits choose up to three codings, then the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::coding::decode;

fuzz_target!(|input: &[u8]| {
    let [choice, body @ ..] = input else { return };
    let names = ["gzip", "deflate", "br", "zstd"];
    let chain: Vec<&str> =
        (0..=(choice >> 6).min(2)).map(|at| names[usize::from(choice >> (2 * at) & 3)]).collect();
    let decoded = decode(&chain, body);
    assert!(decoded.bytes.is_some() || decoded.problem.is_some());
    assert!(decoded.bytes.is_none_or(|bytes| bytes.len() <= 16 << 20));
});
