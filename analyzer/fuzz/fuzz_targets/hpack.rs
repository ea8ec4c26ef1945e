//! Field blocks of any bytes, read from the beginning and by somebody who joined later: what the
//! latter knows is what the former knows.
//!
//! Input: the number of blocks that the latter missed, then blocks, each behind its length. A
//! block goes out as the HEADERS of a request of its own.
#![no_main]

#[path = "../../../formats/fuzz/fuzz_targets/common/ends.rs"]
mod ends;

use ends::Ends;
use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::exchange::{Exchange, Item, Note};
use sslrec_analyzer::input::RecordSink;
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_formats::record::{Connection, Direction, Role};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const UNKNOWN: &[u8] = b"<unknown>";

fn list(calls: &[Vec<u8>], joined: bool) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let mut capture = Assembler::new(Options::default(), |item: Item| {
        if let Item::Exchange(exchange) = item {
            exchanges.push(*exchange);
        }
    });
    let connection = Connection {
        conn: 1,
        pid: 1,
        role: Role::Client,
        joined,
        alpn: Some("h2".into()),
        ..Connection::default()
    };
    let mut ends = Ends::new(connection, |record| assert!(capture.record(record).is_continue()));
    calls.iter().for_each(|payload| ends.data(Direction::Sent, payload));
    assert!(capture.finish(0, true).is_ok());
    exchanges
}

/// What an encoder does that makes no mistakes.
fn is_sound(exchange: &Exchange) -> bool {
    exchange.notes.iter().all(|note| matches!(note, Note::NoResponse(_)))
}

fuzz_target!(|input: &[u8]| {
    let Some((&missed, mut rest)) = input.split_first() else { return };
    let mut calls = Vec::new();
    while let [len, tail @ ..] = rest {
        let (block, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let stream = 2 * calls.len() as u8 + 1;
        // END_STREAM and END_HEADERS; an empty block would not be taken for a frame.
        let [high, low] = (block.len() as u16 + 1).to_be_bytes();
        let head = [0, high, low, 1, 5, 0, 0, 0, stream];
        calls.push([&head[..], &[0x82], block].concat());
        if calls.len() == 100 {
            break;
        }
    }
    let missed = usize::from(missed) % (calls.len() + 1);
    let whole = list(&[&[PREFACE.to_vec()], &calls[..]].concat(), false);
    let part = list(&calls[missed..], true);
    assert_eq!(whole.len(), calls.len());
    // A frame of which the payload looks like frame headers is not taken for the first one.
    assert!(part.len() <= calls.len() - missed);
    for whole in &whole[missed..] {
        if !is_sound(whole) {
            return;
        }
        let Some(part) = part.iter().find(|part| part.stream == whole.stream) else { continue };
        let (Some(all), Some(some)) = (&whole.request, &part.request) else { continue };
        let mut all = all.message.headers.iter();
        for (name, value) in some.message.headers.iter().filter(|(name, _)| *name != UNKNOWN) {
            assert!(all.any(|field| field == (name, value)), "{name:?}: {value:?}");
        }
    }
});
