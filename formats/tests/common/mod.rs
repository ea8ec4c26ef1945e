//! Shared code of the tests: captures to write, and owned records to compare.

// Each test program uses a part of this, and a test fails by a panic.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod random;
pub mod tools;

use std::net::SocketAddr;

use sslrec_formats::io::{Error, RecordReader, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngReader, PcapngWriter};
use sslrec_formats::rawlog::{RawLogReader, RawLogWriter};
use sslrec_formats::record::{
    AddrKind, CaptureInfo, Close, CloseCause, Connection, Data, Direction, Gap, GapCause,
    Handshake, Process, Record, Role, Stats,
};

/// Start time of the captures of these tests.
pub const START_NS: u64 = 1_700_000_000_123_456_789;

pub fn info() -> CaptureInfo {
    CaptureInfo {
        start_ns: START_NS,
        tool: "sslrec 0.1.0".into(),
        os: "Linux 6.12.1 x86_64".into(),
        snaplen: 0,
        redacted: Vec::new(),
    }
}

/// Returns a record with its bytes leaked, which is fine in a test and keeps it comparable.
pub fn own(record: &Record<'_>) -> Record<'static> {
    match record {
        Record::Process(p) => Record::Process(p.clone()),
        Record::Connection(c) => Record::Connection(c.clone()),
        Record::Data(d) => Record::Data(Data {
            func: d.func.to_owned().leak(),
            payload: d.payload.to_vec().leak(),
            ..d.clone()
        }),
        Record::Gap(g) => Record::Gap(g.clone()),
        Record::Handshake(h) => {
            Record::Handshake(Handshake { func: h.func.to_owned().leak(), ..h.clone() })
        }
        Record::Close(c) => Record::Close(c.clone()),
        Record::Exit(e) => Record::Exit(e.clone()),
        Record::Coverage(c) => Record::Coverage(c.clone()),
        Record::Stats(s) => Record::Stats(s.clone()),
    }
}

/// Returns all records up to the end or an error.
pub fn drain(mut reader: impl RecordReader) -> (Vec<Record<'static>>, Option<Error>) {
    let mut records = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(record)) => records.push(own(&record)),
            Ok(None) => return (records, None),
            Err(error) => {
                assert!(matches!(reader.next(), Ok(None)), "an error is followed by the end");
                return (records, Some(error));
            }
        }
    }
}

pub fn write_all(writer: &mut impl RecordWriter, records: &[Record<'_>]) {
    for record in records {
        writer.write(record).unwrap();
    }
    writer.finish().unwrap();
}

pub fn to_pcapng(records: &[Record<'_>]) -> Vec<u8> {
    to_pcapng_with(records, PcapngOptions::default())
}

pub fn to_pcapng_with(records: &[Record<'_>], options: PcapngOptions) -> Vec<u8> {
    let mut writer = PcapngWriter::new(Vec::new(), info(), options).unwrap();
    write_all(&mut writer, records);
    writer.into_inner()
}

pub fn to_rawlog(records: &[Record<'_>]) -> Vec<u8> {
    let mut writer = RawLogWriter::new(Vec::new(), info(), 1).unwrap();
    write_all(&mut writer, records);
    writer.into_inner()
}

pub fn read_pcapng(bytes: &[u8]) -> (Vec<Record<'static>>, Option<Error>) {
    match PcapngReader::new(bytes) {
        Ok(reader) => drain(reader),
        Err(error) => (Vec::new(), Some(error)),
    }
}

pub fn read_rawlog(bytes: &[u8]) -> (Vec<Record<'static>>, Option<Error>) {
    match RawLogReader::new(bytes) {
        Ok(reader) => drain(reader),
        Err(error) => (Vec::new(), Some(error)),
    }
}

pub fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

pub fn process(pid: u32, comm: &str) -> Record<'static> {
    Record::Process(Process {
        ts_ns: START_NS + 1,
        pid,
        uid: 1000,
        comm: comm.into(),
        exe: Some(format!("/usr/bin/{comm}")),
    })
}

pub fn connection(conn: u64, pid: u32, role: Role, local: &str, remote: &str) -> Connection {
    Connection {
        conn,
        ts_ns: START_NS + 10 * conn,
        pid,
        role,
        addr: AddrKind::Exact,
        local: address(local),
        remote: address(remote),
        lib: Some("/usr/lib/x86_64-linux-gnu/libssl.so.3".into()),
        sni: None,
        alpn: None,
        joined: false,
        version: None,
        cipher: None,
    }
}

pub fn data(conn: u64, dir: Direction, offset: u64, payload: &[u8]) -> Record<'static> {
    Record::Data(Data {
        conn,
        ts_ns: START_NS + 1_000_000 * conn + 1000 * (offset + 1),
        tid: 4000 + conn as u32,
        dir,
        offset,
        func: match dir {
            Direction::Sent => "SSL_write",
            Direction::Received => "SSL_read",
        },
        lat_ns: 14_211,
        call_len: payload.len() as u64,
        call_offset: 0,
        payload: payload.to_vec().leak(),
    })
}

pub fn gap(conn: u64, dir: Direction, offset: u64, len: u64, cause: GapCause) -> Record<'static> {
    Record::Gap(Gap { conn, ts_ns: START_NS + 2_000_000 * conn + offset, dir, offset, len, cause })
}

pub fn close(conn: u64, sent_bytes: u64, received_bytes: u64) -> Record<'static> {
    Record::Close(Close {
        conn,
        ts_ns: START_NS + 900_000_000,
        cause: CloseCause::Freed,
        sent_bytes,
        received_bytes,
    })
}

pub fn last_stats() -> Record<'static> {
    Record::Stats(Stats {
        ts_ns: START_NS + 950_000_000,
        last: true,
        calls: 4,
        bytes: 700,
        dropped_events: 2,
        lost_bytes: 99,
        failures: vec![("ring full".into(), 2), ("read=fault%".into(), 1)],
    })
}

pub const REQUEST: &[u8] = b"GET /a?b=1 HTTP/1.1\r\nHost: example.org\r\n\r\n";
pub const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Returns a small capture with every kind of record.
pub fn small_capture() -> Vec<Record<'static>> {
    use Direction::{Received, Sent};
    let mut first = connection(1, 1234, Role::Client, "10.0.0.5:51234", "93.184.216.34:443");
    first.sni = Some("example.org".into());
    first.alpn = Some("http/1.1".into());
    first.version = Some("TLSv1.3".into());
    first.cipher = Some("TLS_AES_256_GCM_SHA384".into());
    let handshake = Record::Handshake(Handshake {
        conn: 1,
        ts_ns: START_NS + 500,
        tid: 4001,
        func: "SSL_do_handshake",
        lat_ns: 1_000_000,
        ok: true,
        result: Some(1),
    });
    let second = connection(2, 99, Role::Server, "[2001:db8::1]:8443", "[2001:db8::2]:50000");
    let mut third = connection(3, 99, Role::Unknown, "10.0.0.5:1", "10.0.0.6:2");
    (third.addr, third.local, third.remote) = (AddrKind::Unknown, None, None);
    vec![
        process(1234, "curl"),
        Record::Connection(first),
        handshake,
        data(1, Sent, 0, REQUEST),
        data(1, Received, 0, RESPONSE),
        process(99, "odd name %"),
        Record::Connection(second),
        data(2, Received, 0, REQUEST),
        gap(2, Sent, 0, 300, GapCause::RingFull),
        data(2, Sent, 300, RESPONSE),
        Record::Connection(third),
        data(3, Sent, 0, b"\x00\x01\x02"),
        close(1, REQUEST.len() as u64, RESPONSE.len() as u64),
        close(2, 300 + RESPONSE.len() as u64, REQUEST.len() as u64),
        close(3, 3, 0),
        last_stats(),
    ]
}

/// xorshift64*, so that a failing seed can be run again.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}
