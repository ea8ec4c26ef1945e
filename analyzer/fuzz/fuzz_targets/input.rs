//! Any file: it is listed, or refused, or damaged somewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::Input;
use sslrec_analyzer::pipeline::{Assembler, Options};

fuzz_target!(|bytes: &[u8]| {
    let Ok(input) = Input::open(bytes) else { return };
    let plaintext = input.kind().is_foreign();
    let mut capture = Assembler::new(Options { plaintext, ..Options::default() }, |_: Item| {});
    if let Ok(outcome) = input.read(&mut capture) {
        assert!(capture.finish(outcome.start_ns, outcome.damage.is_none()).is_ok());
    }
});
