//! Captures made by hand, and their listings.

use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::RecordSink;
use sslrec_analyzer::pipeline::{Assembler, Options, Summary};
use sslrec_formats::io::RecordWriter;
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{
    AddrKind, CaptureInfo, Close, CloseCause, Connection, Data, Direction, Gap, GapCause, Process,
    Record, Role, Stats,
};

/// A connection: its calls, in order. The n-th call returns at n * 1000 ns and takes 100.
#[derive(Debug, Clone)]
pub struct Script {
    role: Role,
    joined: bool,
    calls: Vec<(Direction, Vec<u8>)>,
    closed: bool,
    hole: Option<(Direction, u64, u64)>,
}

impl Script {
    pub fn client() -> Self {
        Self { role: Role::Client, joined: false, calls: vec![], closed: false, hole: None }
    }

    pub fn server() -> Self {
        Self { role: Role::Server, ..Self::client() }
    }

    pub fn joined(mut self) -> Self {
        self.joined = true;
        self
    }

    pub fn data(mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> Self {
        if !bytes.as_ref().is_empty() {
            self.calls.push((direction, bytes.as_ref().to_vec()));
        }
        self
    }

    pub fn sent(self, bytes: impl AsRef<[u8]>) -> Self {
        self.data(Direction::Sent, bytes)
    }

    pub fn received(self, bytes: impl AsRef<[u8]>) -> Self {
        self.data(Direction::Received, bytes)
    }

    pub fn calls(&self) -> &[(Direction, Vec<u8>)] {
        &self.calls
    }

    pub fn close(mut self) -> Self {
        self.closed = true;
        self
    }

    /// Takes bytes away and puts a gap in their place.
    pub fn without(mut self, direction: Direction, offset: u64, len: u64) -> Self {
        self.hole = Some((direction, offset, len));
        self
    }

    /// The records of it.
    pub fn records(&self) -> Vec<Record<'_>> {
        let mut records = vec![
            Record::Process(Process {
                ts_ns: 1,
                pid: 42,
                comm: "prog".into(),
                ..Process::default()
            }),
            Record::Connection(Connection {
                conn: 1,
                ts_ns: 2,
                pid: 42,
                role: self.role,
                addr: AddrKind::Exact,
                local: Some("10.0.0.1:1000".parse().unwrap()),
                remote: Some("10.0.0.2:443".parse().unwrap()),
                lib: Some("/usr/lib/libssl.so.3".into()),
                joined: self.joined,
                ..Connection::default()
            }),
        ];
        let mut offsets = [0u64; 2];
        let mut ts_ns = 0;
        for (dir, bytes) in &self.calls {
            ts_ns += 1000;
            let offset = &mut offsets[dir.index()];
            self.call(*dir, *offset, ts_ns, bytes, &mut records);
            *offset += bytes.len() as u64;
        }
        if self.closed {
            let ts_ns = ts_ns + 1000;
            let [sent_bytes, received_bytes] = offsets;
            let cause = CloseCause::Shutdown;
            records.push(Record::Close(Close {
                conn: 1,
                ts_ns,
                cause,
                sent_bytes,
                received_bytes,
            }));
        }
        records.push(Record::Stats(Stats { ts_ns, last: true, ..Stats::default() }));
        records
    }

    fn call<'a>(
        &self,
        dir: Direction,
        start: u64,
        ts_ns: u64,
        bytes: &'a [u8],
        records: &mut Vec<Record<'a>>,
    ) {
        let data = |from: u64, to: u64| {
            Record::Data(Data {
                conn: 1,
                ts_ns,
                tid: 42,
                dir,
                offset: start + from,
                func: if dir == Direction::Sent { "SSL_write" } else { "SSL_read" },
                lat_ns: 100,
                call_len: bytes.len() as u64,
                call_offset: from,
                payload: &bytes[from as usize..to as usize],
            })
        };
        let len = bytes.len() as u64;
        let (from, to) = match self.hole {
            Some((d, at, hole)) if d == dir => {
                (at.saturating_sub(start).min(len), (at + hole).saturating_sub(start).min(len))
            }
            _ => (len, len),
        };
        if from > 0 {
            records.push(data(0, from));
        }
        if to > from {
            let (offset, len) = (start + from, to - from);
            records.push(Record::Gap(Gap {
                conn: 1,
                ts_ns,
                dir,
                offset,
                len,
                cause: GapCause::RingFull,
            }));
        }
        if to < len {
            records.push(data(to, len));
        }
    }
}

/// The records of a script as those of another connection, some time later.
pub fn moved(script: &Script, conn: u64, by_ns: u64, mirrored: bool) -> Vec<Record<'_>> {
    let mut records = script.records();
    for record in &mut records {
        match record {
            Record::Connection(c) => {
                c.conn = conn;
                c.ts_ns += by_ns;
                if mirrored {
                    std::mem::swap(&mut c.local, &mut c.remote);
                }
            }
            Record::Data(d) => (d.conn, d.ts_ns) = (conn, d.ts_ns + by_ns),
            Record::Gap(g) => (g.conn, g.ts_ns) = (conn, g.ts_ns + by_ns),
            Record::Close(c) => (c.conn, c.ts_ns) = (conn, c.ts_ns + by_ns),
            Record::Process(_)
            | Record::Handshake(_)
            | Record::Exit(_)
            | Record::Coverage(_)
            | Record::Stats(_) => {}
        }
    }
    records
}

/// Lists the records of a script.
pub fn list(script: &Script) -> (Vec<Item>, Summary) {
    list_records(&script.records(), Options::default())
}

pub fn list_records(records: &[Record<'_>], options: Options) -> (Vec<Item>, Summary) {
    let mut items = Vec::new();
    let mut capture = Assembler::new(options, |item| items.push(item));
    for record in records {
        assert!(capture.record(record).is_continue());
    }
    let (summary, _) = capture.finish(0, true).unwrap();
    (items, summary)
}

fn info() -> CaptureInfo {
    CaptureInfo { start_ns: 1, tool: "sslrec test".into(), ..CaptureInfo::default() }
}

/// A raw log of these records.
pub fn raw_log(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(RawLogWriter::new(&mut bytes, info(), 1).unwrap(), records);
    bytes
}

/// A pcapng of these records.
pub fn pcapng(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(PcapngWriter::new(&mut bytes, info(), PcapngOptions::default()).unwrap(), records);
    bytes
}

fn write(mut writer: impl RecordWriter, records: &[Record<'_>]) {
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
}

/// The raw log of these records if the recorder is killed after them.
pub fn unfinished_raw_log(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flush(RawLogWriter::new(&mut bytes, info(), 1).unwrap(), records);
    bytes
}

/// The same of the pcapng.
pub fn unfinished_pcapng(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flush(PcapngWriter::new(&mut bytes, info(), PcapngOptions::default()).unwrap(), records);
    bytes
}

fn flush(mut writer: impl RecordWriter, records: &[Record<'_>]) {
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.flush().unwrap();
}
