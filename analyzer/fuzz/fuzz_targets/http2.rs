//! A connection of HTTP/2 with any frames, bytes and gaps, through to the exchanges.
//!
//! Input: a byte that says what was recorded, then blocks of a tag, a length and so many bytes.
//! The tag's lowest bit is the direction; the next two say whether the bytes stand as they are,
//! make a gap, or are a frame of which the first three give type, flags and stream.
#![no_main]

#[path = "../../../formats/fuzz/fuzz_targets/common/ends.rs"]
mod ends;

use ends::Ends;
use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::RecordSink;
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_formats::record::{Connection, Direction, Role};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let Some((&setup, mut rest)) = input.split_first() else { return };
    let mut items = 0;
    let options = Options { bodies: true, ..Options::default() };
    let mut capture = Assembler::new(options, |item: Item| {
        items += 1;
        if let Item::Exchange(exchange) = item {
            assert!(exchange.request.is_some() || exchange.response.is_some());
            assert!(!exchange.complete || exchange.lost_bytes == 0);
        }
    });
    let role = [Role::Client, Role::Server, Role::Unknown][usize::from(setup >> 1) % 3];
    let joined = setup & 1 != 0;
    let connection = Connection { conn: 1, pid: 1, role, joined, ..Connection::default() };
    let mut ends = Ends::new(connection, |record| assert!(capture.record(record).is_continue()));
    if !joined {
        let client = if role == Role::Server { Direction::Received } else { Direction::Sent };
        ends.data(client, PREFACE);
    }
    while let [tag, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let dir = if tag & 1 == 0 { Direction::Sent } else { Direction::Received };
        match (tag >> 1 & 3, bytes) {
            (0, _) => ends.data(dir, bytes),
            (1, _) => ends.gap(dir, u64::from(*len) + 1),
            (_, [kind, flags, stream, payload @ ..]) => {
                let head = [0, 0, payload.len() as u8, kind % 11, *flags, 0, 0, 0, *stream];
                ends.data(dir, &[&head[..], payload].concat());
            }
            _ => {}
        }
    }
    if setup & 0x80 != 0 {
        ends.close();
    }
    let (summary, _) = capture.finish(0, true).unwrap();
    assert_eq!(summary.exchanges + summary.streams, items);
    assert!(items > 0, "a connection is never left out");
});
