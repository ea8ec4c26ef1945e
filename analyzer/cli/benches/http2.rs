//! Measures how fast HTTP/2 is listed as JSON: `cargo bench -p sslanalyze --bench http2`. A size in
//! MiB after `--` replaces the default of 200.
//!
//! 64 connections at a time, 100 exchanges on each, 300 bytes a request and 700 a response on the
//! wire. The bytes come from a real client and server (the `h2` crate); a single conversation is
//! repeated, with other addresses and times. The capture is a pcapng as written by sslrec.

// A benchmark fails by a panic.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sslrec_analyzer_testing::h2_peers::{Calls, Plan, Said, Setup, run};
use sslrec_formats::io::RecordWriter;
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::record::{
    CaptureInfo, Close, CloseCause, Connection, Data, Direction, Process, Record, Role, Stats,
};

const CONNECTIONS: u64 = 64;
const EXCHANGES: usize = 100;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let mib: u64 = args.next().map_or(200, |arg| arg.parse().unwrap());
    let calls = conversation();
    let wire: usize = calls.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("{} bytes an exchange on the wire", wire / EXCHANGES);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("h2.pcapng");
    let rounds = (mib << 20) / (wire as u64 * CONNECTIONS);
    write(&file, &calls, rounds.max(1));
    let len = std::fs::metadata(&file).unwrap().len();
    if let Some(kept) = args.next() {
        std::fs::copy(&file, kept).unwrap();
    }
    for _ in 0..3 {
        let start = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
            .args(["--json", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let seconds = start.elapsed().as_secs_f64();
        let exchanges = (rounds * CONNECTIONS) as f64 * EXCHANGES as f64;
        println!(
            "{:.0} MB in {seconds:.2} s: {:.0} MB/s, {:.2} us an exchange",
            len as f64 / 1e6,
            len as f64 / 1e6 / seconds,
            seconds * 1e6 / exchanges
        );
    }
}

fn fields(pairs: &[(&'static str, String)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn plan(at: usize) -> Plan {
    let request = fields(&[
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) bench/1.0".into()),
        ("accept", "application/json".into()),
        ("accept-encoding", "gzip, deflate, br".into()),
        ("authorization", "Bearer 0123456789abcdef0123456789abcdef".into()),
        ("content-type", "application/json".into()),
        ("x-request-id", format!("{:016x}-{at}", at * 0x9e37_79b9)),
        ("x-plan", at.to_string()),
    ]);
    let response = fields(&[
        ("server", "bench".into()),
        ("date", "Mon, 23 Nov 2026 09:00:00 GMT".into()),
        ("content-type", "application/json; charset=utf-8".into()),
        ("cache-control", "no-store".into()),
        ("x-request-id", format!("{:016x}-{at}", at * 0x9e37_79b9)),
        ("content-length", "610".into()),
    ]);
    let said = |headers, len: usize| Said {
        headers,
        body: vec![vec![b'x'; len].into()],
        ..Said::default()
    };
    Plan {
        stream: 0,
        method: Method::POST,
        authority: "api.example.org".into(),
        path: format!("/v1/items/{at}?fields=name,price"),
        request: said(request, 190),
        interim: vec![],
        status: StatusCode::OK,
        response: said(response, 610),
        reset: None,
        pushed: false,
    }
}

fn conversation() -> Calls {
    let setup = Setup {
        client_table: 4096,
        server_table: 4096,
        max_frame: 16_384,
        parallel: 1,
        pipe: 1 << 20,
    };
    run(setup, (0..EXCHANGES).map(plan).collect()).0
}

/// Writes rounds of connections that are open at the same time.
fn write(file: &Path, calls: &Calls, rounds: u64) {
    let out = BufWriter::new(File::create(file).unwrap());
    let options = PcapngOptions::default();
    let mut writer = PcapngWriter::new(out, CaptureInfo::default(), options).unwrap();
    let start_ns = 1_795_407_694_000_000_000;
    let process = Process { ts_ns: start_ns, pid: 1, comm: "bench".into(), ..Process::default() };
    writer.write(&Record::Process(process)).unwrap();
    // 1.6 us a call: 300,000 exchanges a second.
    let mut ts_ns = start_ns;
    for round in 0..rounds {
        let conns = round * CONNECTIONS + 1..(round + 1) * CONNECTIONS + 1;
        for conn in conns.clone() {
            writer.write(&Record::Connection(connection(conn, ts_ns))).unwrap();
        }
        let mut offsets = [0u64; 2];
        for (dir, payload) in calls {
            let offset = &mut offsets[dir.index()];
            for conn in conns.clone() {
                ts_ns += 1_600;
                let func = if *dir == Direction::Sent { "SSL_write" } else { "SSL_read" };
                let call_len = payload.len() as u64;
                let data = Data {
                    conn,
                    ts_ns,
                    tid: 1,
                    dir: *dir,
                    offset: *offset,
                    func,
                    lat_ns: 1000,
                    call_len,
                    call_offset: 0,
                    payload,
                };
                writer.write(&Record::Data(data)).unwrap();
            }
            *offset += payload.len() as u64;
        }
        for conn in conns {
            let [sent_bytes, received_bytes] = offsets;
            let cause = CloseCause::Shutdown;
            let close = Close { conn, ts_ns, cause, sent_bytes, received_bytes };
            writer.write(&Record::Close(close)).unwrap();
        }
    }
    writer.write(&Record::Stats(Stats { ts_ns, last: true, ..Stats::default() })).unwrap();
    writer.finish().unwrap();
}

fn connection(conn: u64, ts_ns: u64) -> Connection {
    let port = 1024 + conn % 60_000;
    Connection {
        conn,
        ts_ns,
        pid: 1,
        role: Role::Client,
        local: format!("10.0.{}.1:{port}", conn / 60_000).parse().ok(),
        remote: "10.9.0.2:443".parse().ok(),
        lib: Some("/usr/lib/libssl.so.3".into()),
        sni: Some("api.example.org".into()),
        alpn: Some("h2".into()),
        ..Connection::default()
    }
}
