//! Any segments: what comes out is contiguous in each direction.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::input::{Flow, RecordSink};
use sslrec_analyzer::tcp::{Reassembler, Segment};
use sslrec_formats::record::{Direction, Record};

#[derive(Default)]
struct Contiguous(HashMap<(u64, bool), u64>);

impl RecordSink for Contiguous {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        let (conn, dir, offset, len) = match record {
            Record::Data(data) => (data.conn, data.dir, data.offset, data.payload.len() as u64),
            Record::Gap(gap) => (gap.conn, gap.dir, gap.offset, gap.len),
            _ => return Flow::Continue(()),
        };
        let next = self.0.entry((conn, dir == Direction::Sent)).or_default();
        assert_eq!(*next, offset);
        assert!(len > 0);
        *next += len;
        Flow::Continue(())
    }
}

fuzz_target!(|input: &[u8]| {
    let mut sink = Contiguous::default();
    let mut tcp = Reassembler::new();
    let ends = ["10.0.0.1:4000", "10.0.0.2:80"].map(|end| end.parse().expect("an address"));
    let mut rest = input;
    while let [flags, a, b, c, len, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let from = usize::from(flags & 1);
        let flow = tcp.segment(
            &Segment {
                ts_ns: 1,
                src: ends[from],
                dst: ends[1 - from],
                seq: u32::from_le_bytes([*a, *b, if flags & 64 == 0 { 0 } else { *c }, 0]),
                ack: (flags & 2 != 0).then(|| u32::from_le_bytes([*b, *c, 0, 0])),
                syn: flags & 4 != 0,
                fin: flags & 8 != 0,
                rst: flags & 16 != 0,
                payload,
                missing: if flags & 32 == 0 { 0 } else { usize::from(*c) },
            },
            &mut sink,
        );
        assert!(flow.is_continue());
    }
    assert!(tcp.finish(&mut sink).is_continue());
});
