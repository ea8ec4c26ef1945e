//! Two streams of any bytes, with calls and gaps anywhere, through to the exchanges.
//!
//! Input: blocks of a tag, a length and so many bytes. The tag's lowest bit is the direction, the
//! next one makes a gap of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sslanalyze::capture::{Assembler, Options};
use sslanalyze::exchange::Item;
use sslanalyze::input::RecordSink;
use sslrec_formats::record::{Connection, Data, Direction, Gap, GapCause, Record, Role};

fuzz_target!(|input: &[u8]| {
    let mut items = 0;
    let options = Options { bodies: true, ..Options::default() };
    let mut capture = Assembler::new(options, |_: Item| items += 1);
    let connection = Connection { conn: 1, pid: 1, role: Role::Client, ..Connection::default() };
    capture.record(&Record::Connection(connection));
    let mut offsets = [0u64; 2];
    let mut rest = input;
    let mut ts_ns = 0;
    while let [tag, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        ts_ns += 1;
        let dir = if tag & 1 == 0 { Direction::Sent } else { Direction::Received };
        let offset = &mut offsets[usize::from(tag & 1)];
        if tag & 2 != 0 {
            let len = u64::from(*len) + 1;
            let cause = GapCause::Unknown;
            capture.record(&Record::Gap(Gap { conn: 1, ts_ns, dir, offset: *offset, len, cause }));
            *offset += len;
        } else if !bytes.is_empty() {
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
                payload: bytes,
            }));
            *offset += bytes.len() as u64;
        }
    }
    let (summary, _) = capture.finish(0, true);
    assert_eq!(summary.exchanges + summary.streams, items);
    assert!(items > 0, "a connection is never left out");
});
