//! Redacts arbitrary calls and gaps by all kinds of rules: each record must be returned at its
//! place, with its length.
//!
//! Input: a byte for whether the connection was joined, and how it begins; then blocks of a tag, a
//! length and that number of bytes. The tag's lowest bit is the direction; the next two select
//! whether the bytes are used as they are, are a gap, or are a frame of HTTP/2 whose type, flags
//! and stream are the first three bytes.
#![no_main]

#[path = "../../../fuzz/fuzz_targets/common/ends.rs"]
mod ends;

use ends::Ends;
use libfuzzer_sys::fuzz_target;
use sslrec_formats::record::{Connection, Direction, Record};
use sslrec_redact::{Redactor, Rules};
use sslrec_wire::http2::frame::PREFACE;

const RULES: [&str; 9] = [
    "default",
    "basic",
    "cookie:a",
    "header:b",
    "query:a",
    "json:a",
    "form:a",
    "regex:a.*z",
    r"regex:\b[0-9]{3}\b",
];

const BEGINNINGS: [&[u8]; 4] = [
    b"",
    PREFACE,
    b"POST /?a=b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
];

/// Direction, place and length.
type Place = (Direction, u64, usize);

fn place(record: &Record<'_>) -> Option<Place> {
    match record {
        Record::Data(data) => Some((data.dir, data.offset, data.payload.len())),
        Record::Gap(gap) => Some((gap.dir, gap.offset, gap.len as usize)),
        _ => None,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&setup, mut rest)) = input.split_first() else { return };
    let mut rules = Rules::default();
    RULES.iter().for_each(|rule| rules.add(rule.parse().expect("a rule")));
    let mut redactor = Redactor::new(rules);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let connection = Connection { conn: 1, joined: setup & 1 != 0, ..Connection::default() };
    let mut ends = Ends::new(connection, |record| {
        before.extend(place(record));
        redactor.record(record, &mut |record| after.extend(place(record)));
    });
    let beginning = usize::from(setup >> 1) % BEGINNINGS.len();
    ends.data(Direction::Sent, BEGINNINGS[beginning]);
    if beginning == 3 {
        let answer = b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\n\r\n";
        ends.data(Direction::Received, answer);
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
    redactor.finish(&mut |record| after.extend(place(record)));
    assert_eq!(before, after);
});
