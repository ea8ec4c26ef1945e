//! Any text: it is a filter, which any item can be asked, or an error inside of it.
#![no_main]

#[path = "../../../formats/fuzz/fuzz_targets/common/ends.rs"]
mod ends;

use ends::Ends;
use libfuzzer_sys::fuzz_target;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::Filter;
use sslrec_analyzer::input::RecordSink;
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_formats::record::{Connection, Direction, Role};

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
    let mut ends = Ends::new(connection, |record| assert!(capture.record(record).is_continue()));
    let request = "GET /a?b=1 HTTP/1.1\r\nHost: x:1\r\nA: 1\r\nA: 2\r\n\r\n";
    ends.data(Direction::Sent, request.as_bytes());
    ends.data(Direction::Received, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert!(capture.finish(0, true).is_ok());
});
