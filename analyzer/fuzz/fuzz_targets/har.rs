//! Text after the beginning of a HAR: its entries are listed, or it is damaged somewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::Input;
use sslrec_analyzer::pipeline::{Assembler, Options};

fuzz_target!(|bytes: &[u8]| {
    let file = [br#"{"log":{"entries":["#, bytes].concat();
    let options = Options { plaintext: true, bodies: true, ..Options::default() };
    let mut capture = Assembler::new(options, |_: Item| {});
    let Ok(outcome) = Input::open(&file[..]).and_then(|input| input.read(&mut capture)) else {
        panic!("a HAR was refused");
    };
    assert!(capture.finish(outcome.start_ns, outcome.damage.is_none()).is_ok());
});
