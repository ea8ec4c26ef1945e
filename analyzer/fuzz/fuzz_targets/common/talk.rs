//! What a connection carries after its heads: calls and gaps in both directions, read as they are
//! and byte by byte, which must come to the same.

#[path = "../../../../formats/fuzz/fuzz_targets/common/ends.rs"]
mod ends;

use ends::Ends;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::RecordSink;
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_formats::record::{Connection, Direction, Role};

/// A call, or a gap of so many bytes.
pub enum Step<'a> {
    Call(Direction, &'a [u8]),
    Gap(Direction, u64),
}

/// Reads the rest of an input as steps: blocks of a tag, a length and so many bytes. The tag's
/// lowest bit is the direction, the next one makes a gap of it.
pub fn steps(mut rest: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    while let [tag, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let dir = if tag & 1 == 0 { Direction::Sent } else { Direction::Received };
        steps.push(match tag & 2 {
            0 => Step::Call(dir, bytes),
            _ => Step::Gap(dir, u64::from(*len) + 1),
        });
    }
    steps
}

/// What is listed of the steps, in calls as they are, and of single bytes.
pub fn check(steps: &[Step<'_>]) {
    let whole = listed(steps, usize::MAX, true);
    assert_eq!(whole, listed(steps, 1, true));
    listed(steps, usize::MAX, false);
}

fn listed(steps: &[Step<'_>], piece: usize, bodies: bool) -> Vec<String> {
    let mut items = Vec::new();
    let options = Options { bodies, ..Options::default() };
    let mut capture = Assembler::new(options, |item: Item| {
        items.push(match item {
            Item::Exchange(e) => format!("{:?} {} {:?}", e.carried, e.complete, e.notes),
            Item::Stream(stream) => format!("{:?}", stream.notes),
            Item::Handshake(handshake) => format!("{handshake:?}"),
        });
    });
    let connection = Connection { conn: 1, pid: 1, role: Role::Client, ..Connection::default() };
    let mut ends = Ends::new(connection, |record| assert!(capture.record(record).is_continue()));
    for step in steps {
        match *step {
            Step::Call(dir, bytes) => ends.pieces(dir, bytes, piece),
            Step::Gap(dir, len) => ends.gap(dir, len),
        }
    }
    assert!(capture.finish(0, true).is_ok());
    items
}
