//! Two streams of any bytes, with calls and gaps anywhere, through to the exchanges.
//!
//! Input: blocks of a tag, a length and so many bytes. The tag's lowest bit is the direction, the
//! next one makes a gap of it.
#![no_main]

#[path = "../../../formats/fuzz/fuzz_targets/common/ends.rs"]
mod ends;

use ends::Ends;
use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::RecordSink;
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_formats::record::{Connection, Direction, Role};

fuzz_target!(|input: &[u8]| {
    let mut items = 0;
    let options = Options { bodies: true, ..Options::default() };
    let mut capture = Assembler::new(options, |_: Item| items += 1);
    let connection = Connection { conn: 1, pid: 1, role: Role::Client, ..Connection::default() };
    let mut ends = Ends::new(connection, |record| assert!(capture.record(record).is_continue()));
    let mut rest = input;
    while let [tag, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let dir = if tag & 1 == 0 { Direction::Sent } else { Direction::Received };
        match tag & 2 {
            0 => ends.data(dir, bytes),
            _ => ends.gap(dir, u64::from(*len) + 1),
        }
    }
    let (summary, _) = capture.finish(0, true).unwrap();
    assert_eq!(summary.exchanges + summary.streams, items);
    assert!(items > 0, "a connection is never left out");
});
