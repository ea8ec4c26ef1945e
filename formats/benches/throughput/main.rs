//! Speed of writing and reading captures: `cargo bench -p sslrec-formats`.
//!
//! Payload that looks like text in calls of 16 KiB, the limit of a TLS record, and of 256 bytes,
//! where the cost is mainly that of a record.

// A benchmark fails by a panic.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::io;
use std::time::Instant;

use sslrec_formats::io::{RecordReader, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngReader, PcapngWriter};
use sslrec_formats::rawlog::{RawLogReader, RawLogWriter};
use sslrec_formats::record::{CaptureInfo, Connection, Data, Direction, Process, Record, Role};

fn main() {
    for (payload_len, count) in [(16 << 10, 1 << 16), (256, 1 << 20)] {
        let total = payload_len as u64 * count;
        let text = text(payload_len);
        println!("{payload_len} bytes a call, {} MiB", total >> 20);
        let mut pcapng = Vec::with_capacity(total as usize * 2);
        let mut rawlog = Vec::new();
        time("  pcapng, write", count, total, || {
            let options = PcapngOptions::default();
            write(
                PcapngWriter::new(&mut pcapng, CaptureInfo::default(), options).unwrap(),
                &text,
                count,
            );
        });
        time("  raw log, write", count, total, || {
            write(RawLogWriter::new(&mut rawlog, CaptureInfo::default(), 1).unwrap(), &text, count);
        });
        time("  raw log, write, fastest level", count, total, || {
            let out = RawLogWriter::new(io::sink(), CaptureInfo::default(), -7).unwrap();
            write(out, &text, count);
        });
        time("  pcapng, read", count, total, || {
            read(PcapngReader::new(&pcapng[..]).unwrap(), total)
        });
        time("  raw log, read", count, total, || {
            read(RawLogReader::new(&rawlog[..]).unwrap(), total)
        });
        println!("  pcapng {} MiB, raw log {} MiB", pcapng.len() >> 20, rawlog.len() >> 20);
    }
}

/// Returns words in an order that repeats late, so that they compress like real text.
fn text(len: usize) -> Vec<u8> {
    let words =
        ["content", "-type", ": ", "text/html", "<div class=", "id", "9f3", "\r\n", "e", " "];
    let mut state = 88_172_645_463_325_252u64;
    let mut text = Vec::new();
    while text.len() < len + 65_536 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend_from_slice(words[(state % 10) as usize].as_bytes());
        text.push((state >> 32) as u8 & 0x7F);
    }
    text.truncate(len + 65_536);
    text
}

fn write(mut writer: impl RecordWriter, text: &[u8], count: u64) {
    writer
        .write(&Record::Process(Process { pid: 1, comm: "bench".into(), ..Default::default() }))
        .unwrap();
    let connection = Connection {
        conn: 1,
        pid: 1,
        role: Role::Client,
        local: "10.0.0.1:50000".parse().ok(),
        remote: "10.0.0.2:443".parse().ok(),
        lib: Some("/usr/lib/libssl.so.3".into()),
        sni: Some("example.org".into()),
        ..Default::default()
    };
    writer.write(&Record::Connection(connection)).unwrap();
    let len = text.len() - 65_536;
    for n in 0..count {
        let start = (n * 4099 % 65_536) as usize;
        let payload = &text[start..start + len];
        writer
            .write(&Record::Data(Data {
                conn: 1,
                ts_ns: n * 1000,
                tid: 1,
                dir: Direction::Sent,
                offset: n * len as u64,
                func: "SSL_write",
                lat_ns: 14_211,
                call_len: len as u64,
                call_offset: 0,
                payload,
            }))
            .unwrap();
    }
    writer.finish().unwrap();
}

fn read(mut reader: impl RecordReader, expected: u64) {
    let mut total = 0;
    while let Some(record) = reader.next().unwrap() {
        if let Record::Data(data) = record {
            total += black_box(data.payload).len() as u64;
        }
    }
    assert_eq!(total, expected);
}

fn time(what: &str, count: u64, bytes: u64, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    report(what, count, bytes, start.elapsed().as_secs_f64());
}

fn report(what: &str, count: u64, bytes: u64, seconds: f64) {
    let (mib, ns) = (bytes as f64 / seconds / f64::from(1 << 20), seconds * 1e9 / count as f64);
    println!("{what:32} {mib:8.0} MiB/s {ns:8.0} ns a record");
}
