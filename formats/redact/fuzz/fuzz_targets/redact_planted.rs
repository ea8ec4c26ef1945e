//! Builds connections with secrets from the input, as in `tests/random.rs`: no secret may be left.
#![no_main]

#[path = "../../tests/planted/mod.rs"]
mod planted;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| planted::check(input));
