//! Packets of any link type, in layers of any kind: they are listed, or counted in notes.
//!
//! The first byte is the link type. Each packet follows its length of two bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::Input;
use sslrec_analyzer::pipeline::{Assembler, Options};

/// Link types beyond those of a byte.
const WIDE: [u32; 8] = [258, 259, 274, 276, 281, 282, 283, 284];

fuzz_target!(|bytes: &[u8]| {
    let Some((link, mut rest)) = bytes.split_first() else { return };
    let link = WIDE.get(usize::from(link.wrapping_sub(247))).copied().unwrap_or(u32::from(*link));
    let mut file = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, link].map(u32::to_be_bytes).concat();
    let mut seconds = 0u32;
    while let Some((len, tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len) & 0x7fff);
        let packet = &tail[..len.min(tail.len())];
        let lens = [packet.len() as u32, len as u32];
        file.extend([seconds, 0, lens[0], lens[1]].map(u32::to_be_bytes).concat());
        file.extend(packet);
        rest = &tail[packet.len()..];
        seconds += 1;
    }
    let options = Options { plaintext: true, ..Options::default() };
    let mut capture = Assembler::new(options, |_: Item| {});
    let Ok(outcome) = Input::open(&file[..]).and_then(|input| input.read(&mut capture)) else {
        panic!("a pcap was refused");
    };
    assert!(outcome.damage.is_none());
    assert!(capture.finish(outcome.start_ns, true).is_ok());
});
