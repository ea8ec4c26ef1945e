//! Any text: it is a filter, which any item can be asked, or an error inside of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sslanalyze::capture::{Assembler, Options};
use sslanalyze::exchange::Item;
use sslanalyze::filter::Filter;
use sslanalyze::input::RecordSink;
use sslrec_formats::record::{Connection, Data, Direction, Record, Role};

fuzz_target!(|text: &str| {
    let filter = match Filter::parse(text) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(text.get(error.place()).is_some());
            assert_eq!(error.to_string().lines().count(), 4);
            return;
        }
    };
    let mut capture = Assembler::new(Options::default(), |item: Item| {
        filter.matches(&item);
    });
    let connection = Connection { conn: 1, pid: 1, role: Role::Client, ..Connection::default() };
    capture.record(&Record::Connection(connection));
    let request = "GET /a?b=1 HTTP/1.1\r\nHost: x:1\r\nA: 1\r\nA: 2\r\n\r\n";
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    for (dir, payload) in [(Direction::Sent, request), (Direction::Received, response)] {
        capture.record(&Record::Data(Data {
            conn: 1,
            ts_ns: 1,
            tid: 1,
            dir,
            offset: 0,
            func: "",
            lat_ns: 0,
            call_len: payload.len() as u64,
            call_offset: 0,
            payload: payload.as_bytes(),
        }));
    }
    let _ = capture.finish(0, true);
});
