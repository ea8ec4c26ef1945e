//! The worked examples in `FORMAT.md` are the output of the writers.
//!
//! After a change of a format: `UPDATE_FORMAT_MD=1 cargo test -p sslrec-formats --test format_md`
//! writes the new bytes into the document. The text around them must be updated by hand.

// A test fails by a panic.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write;
use std::path::Path;

use common::{START_NS, connection, to_pcapng, to_rawlog};
use sslrec_formats::record::{Data, Direction, Process, Record, Role};

/// Returns a process, a connection, and six bytes.
fn example() -> Vec<Record<'static>> {
    let mut shown = connection(1, 1234, Role::Client, "10.0.0.5:51234", "10.0.0.6:443");
    shown.lib = Some("/lib/libssl.so.3".into());
    vec![
        Record::Process(Process {
            ts_ns: START_NS + 1,
            pid: 1234,
            uid: 1000,
            comm: "curl".into(),
            exe: None,
        }),
        Record::Connection(shown),
        Record::Data(Data {
            conn: 1,
            ts_ns: START_NS + 5000,
            tid: 1234,
            dir: Direction::Sent,
            offset: 0,
            func: "SSL_write",
            lat_ns: 14_211,
            call_len: 6,
            call_offset: 0,
            payload: b"GET /\n",
        }),
    ]
}

fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::from("```text\n");
    for (row, line) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let plain: String =
            line.iter().map(|b| if (32..127).contains(b) { *b as char } else { '.' }).collect();
        writeln!(text, "{:04x}  {:<47}  {plain}", row * 16, hex.join(" ")).unwrap();
    }
    text + "```\n"
}

/// Writes `content` between the markers of this name, or asserts that it is there.
fn check(document: &mut String, name: &str, content: &str) {
    let begin = format!("<!-- begin {name} -->\n");
    let start = document.find(&begin).unwrap() + begin.len();
    let end = start + document[start..].find(&format!("<!-- end {name} -->")).unwrap();
    if std::env::var_os("UPDATE_FORMAT_MD").is_some() {
        document.replace_range(start..end, content);
    } else {
        assert_eq!(&document[start..end], content, "{name}: see the head of this test");
    }
}

#[test]
fn the_examples_in_the_specification_are_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md");
    let mut document = std::fs::read_to_string(&path).unwrap();
    let rawlog = to_rawlog(&example());
    check(&mut document, "opening", &hexdump(&rawlog[..16]));
    let contents = zstd::decode_all(&rawlog[..]).unwrap();
    // The first frame has no records and is as long as the head of the second.
    let head_len = 12 + u32::from_le_bytes(contents[8..12].try_into().unwrap()) as usize;
    check(&mut document, "frame", &hexdump(&contents[head_len..]));
    let pcapng = to_pcapng(&example());
    let mut at = 0;
    loop {
        let len = u32::from_le_bytes(pcapng[at + 4..at + 8].try_into().unwrap()) as usize;
        let block = &pcapng[at..at + len];
        if block.windows(6).any(|window| window == b"GET /\n") {
            check(&mut document, "packet", &hexdump(block));
            break;
        }
        at += len;
    }
    if std::env::var_os("UPDATE_FORMAT_MD").is_some() {
        std::fs::write(&path, document).unwrap();
    }
}
