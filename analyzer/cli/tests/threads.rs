//! The listing is the same, byte by byte, however many threads share the work, and whether lines
//! are made ahead of their turn or not.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sslrec_formats::io::RecordWriter;
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{
    AddrKind, CaptureInfo, Close, CloseCause, Connection, Data, Direction, Gap, GapCause, Process,
    Record, Role,
};

fn analyze(file: &Path, arguments: &[&str]) -> Output {
    let mut sslanalyze = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    sslanalyze.args(arguments).arg("-q").arg(file).output().unwrap()
}

/// Lists a file in every way and returns its lines as JSON.
fn list(file: &Path) -> String {
    for options in [
        &["--json"][..],
        &["--json", "--both-ends"],
        &["--json", "--bodies", "--decode"],
        &["--color=never"],
        &["--json", "-Y", "complete and not conn=2"],
    ] {
        let [one, two, three] = ["1", "2", "3"].map(|threads| {
            let output = analyze(file, &[options, &["--threads", threads]].concat());
            (output.status.code(), output.stdout, output.stderr)
        });
        let name = file.display();
        assert!(one == two && one == three, "{name} {options:?}");
    }
    String::from_utf8(analyze(file, &["--json"]).stdout).unwrap()
}

#[test]
fn threads_do_not_change_the_listing_of_a_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer");
    let captures: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcapng"))
        .collect();
    assert!(captures.len() > 3);
    for path in captures {
        assert!(list(&path).contains("\"type\":\"summary\""));
        let damaged = tempfile::NamedTempFile::new().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&damaged, &bytes[..bytes.len() * 3 / 4 + 1]).unwrap();
        list(damaged.path());
    }
}

#[test]
fn threads_do_not_change_the_listing_of_random_captures() {
    let mut late_names = 0;
    for seed in 1..4 {
        let dir = tempfile::tempdir().unwrap();
        let records = Random::new(seed).capture();
        let (raw, png) = (dir.path().join("raw"), dir.path().join("png"));
        let info = CaptureInfo { start_ns: 1, ..CaptureInfo::default() };
        let mut bytes = Vec::new();
        write(RawLogWriter::new(&mut bytes, info.clone(), 1).unwrap(), &records);
        fs::write(&raw, &bytes).unwrap();
        let mut bytes = Vec::new();
        write(PcapngWriter::new(&mut bytes, info, PcapngOptions::default()).unwrap(), &records);
        fs::write(&png, &bytes).unwrap();
        list(&png);
        let lines = list(&raw);
        assert!(lines.lines().count() > 1000, "{}", lines.lines().count());
        // With a filter no line is made before its turn.
        let filtered = analyze(&raw, &["--json", "-Y", "conn>0"]).stdout;
        let filtered = String::from_utf8(filtered).unwrap();
        let without_summary =
            |lines: &str| lines.rsplit_once("{\"type\":\"summary\"").unwrap().0.to_owned();
        assert_eq!(without_summary(&lines), without_summary(&filtered), "seed {seed}");
        late_names += lines.matches("late.example").count();
    }
    assert!(late_names > 100, "{late_names}");
}

fn write(mut writer: impl RecordWriter, records: &[Record<'_>]) {
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
}

const REQUEST: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: x\r\nCookie: \"q\"\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: \xe9\\\r\n\r\nhello";

/// The values of the next record of a connection.
struct Line {
    connection: Connection,
    /// Bytes so far, sent and received.
    offsets: [u64; 2],
    requests_waiting: u32,
}

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// Connections that open, learn their names late, lose bytes and close in any order, over more
    /// time than the listing holds things back for.
    fn capture(&mut self) -> Vec<Record<'static>> {
        let process = Process { ts_ns: 1, pid: 7, comm: "p".into(), ..Process::default() };
        let mut records = vec![Record::Process(process)];
        let mut lines: Vec<Line> = Vec::new();
        let (mut now, mut opened) = (1_000_000_000, 0);
        while records.len() < 5000 {
            now += self.below(5_000_000);
            if lines.len() < 3 || (lines.len() < 40 && self.below(20) == 0) {
                opened += 1;
                lines.push(open(opened, now, self.below(2) == 0));
                records.push(Record::Connection(lines[lines.len() - 1].connection.clone()));
            }
            let at = self.below(lines.len() as u64) as usize;
            let record = match self.below(200) {
                0 => close(&lines.swap_remove(at), now),
                1..4 => {
                    lines[at].connection.sni = Some(format!("late.example{}", self.below(9)));
                    Record::Connection(lines[at].connection.clone())
                }
                4 => self.gap(&mut lines[at], now),
                _ => self.data(&mut lines[at], now),
            };
            records.push(record);
        }
        records
    }

    fn data(&mut self, line: &mut Line, ts_ns: u64) -> Record<'static> {
        let answers = line.requests_waiting > 0 && self.below(5) > 0;
        let (dir, payload) =
            if answers { (Direction::Received, RESPONSE) } else { (Direction::Sent, REQUEST) };
        line.requests_waiting =
            if answers { line.requests_waiting - 1 } else { line.requests_waiting + 1 };
        let offset = &mut line.offsets[usize::from(answers)];
        let data = Data {
            conn: line.connection.conn,
            ts_ns,
            tid: 1,
            dir,
            offset: *offset,
            func: "SSL_read",
            lat_ns: self.below(20_000_000),
            call_len: payload.len() as u64,
            call_offset: 0,
            payload,
        };
        *offset += payload.len() as u64;
        Record::Data(data)
    }

    fn gap(&mut self, line: &mut Line, ts_ns: u64) -> Record<'static> {
        let (dir, at) =
            if self.below(2) == 0 { (Direction::Sent, 0) } else { (Direction::Received, 1) };
        let len = 1 + self.below(60);
        let offset = line.offsets[at];
        line.offsets[at] += len;
        let (conn, cause) = (line.connection.conn, GapCause::RingFull);
        Record::Gap(Gap { conn, ts_ns, dir, offset, len, cause })
    }
}

fn open(conn: u64, ts_ns: u64, has_role: bool) -> Line {
    let connection = Connection {
        conn,
        ts_ns,
        pid: 7,
        role: if has_role { Role::Client } else { Role::Unknown },
        addr: AddrKind::Exact,
        local: Some(format!("10.0.0.1:{}", 1000 + conn).parse().unwrap()),
        remote: Some("[2001:db8::1]:443".parse().unwrap()),
        lib: Some("/lib/libssl.so.3".into()),
        ..Connection::default()
    };
    Line { connection, offsets: [0; 2], requests_waiting: 0 }
}

fn close(line: &Line, ts_ns: u64) -> Record<'static> {
    Record::Close(Close {
        conn: line.connection.conn,
        ts_ns,
        cause: CloseCause::Shutdown,
        sent_bytes: line.offsets[0],
        received_bytes: line.offsets[1],
    })
}
