//! What a connection carries after its heads: calls and gaps in both directions, read as they are and
//! byte by byte, which must come to the same.

use sslanalyze::capture::{Assembler, Options};
use sslanalyze::exchange::Item;
use sslanalyze::input::RecordSink;
use sslrec_formats::record::{Connection, Data, Direction, Gap, GapCause, Record, Role};

/// A call, or a gap of so many bytes.
pub enum Step<'a> {
    Call(Direction, &'a [u8]),
    Gap(Direction, u64),
}

/// Reads the rest of an input as steps: blocks of a tag, a length and so many bytes. The tag's lowest
/// bit is the direction, the next one makes a gap of it.
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
    capture.record(&Record::Connection(connection));
    let mut offsets = [0u64; 2];
    for (ts_ns, step) in (1..).zip(steps) {
        let (Step::Call(dir, _) | Step::Gap(dir, _)) = *step;
        let offset = &mut offsets[usize::from(dir == Direction::Received)];
        match step {
            Step::Call(_, bytes) => {
                for payload in bytes.chunks(piece) {
                    capture.record(&Record::Data(Data {
                        conn: 1,
                        ts_ns,
                        tid: 1,
                        dir,
                        offset: *offset,
                        func: "",
                        lat_ns: 0,
                        call_len: bytes.len() as u64,
                        call_offset: 0,
                        payload,
                    }));
                    *offset += payload.len() as u64;
                }
            }
            Step::Gap(_, len) => {
                let cause = GapCause::Unknown;
                let gap = Gap { conn: 1, ts_ns, dir, offset: *offset, len: *len, cause };
                capture.record(&Record::Gap(gap));
                *offset += len;
            }
        }
    }
    drop(capture.finish(0, true));
    items
}
