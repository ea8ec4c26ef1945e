//! Small captures that make much of themselves: each command reads each of them within the memory
//! of `--max-memory`, and states the effect of the limit.
//!
//! The captures are a part of the size of the attacks that they stand for, and so is the limit. The
//! ignored test writes them in full, to be measured by hand.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use nix::sys::resource::{UsageWho, getrusage};
use sslrec_analyzer_testing::frames::{self, END_HEADERS, HEADERS, frame};
use sslrec_formats::io::RecordWriter;
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{
    CaptureInfo, Close, CloseCause, Connection, Data, Direction, Exit, Process, Record, Role, Stats,
};

/// The limit of each command.
const MAX_MEMORY: &str = "64M";

/// The memory that a command may take: the limit, and the code of the program without optimisation.
const PEAK_MIB: i64 = 80;

/// Generous: the program runs without optimisation, and beside others.
const TIME: Duration = Duration::from_secs(60);

/// Writes a raw log.
struct Log<W: Write> {
    writer: RawLogWriter<W>,
    ts_ns: u64,
    offsets: [u64; 2],
}

impl<W: Write> Log<W> {
    fn new(out: W) -> Self {
        let info = CaptureInfo { start_ns: 1, tool: "sslrec test".into(), ..Default::default() };
        Self { writer: RawLogWriter::new(out, info, 1).unwrap(), ts_ns: 1, offsets: [0; 2] }
    }

    fn connection(&mut self, conn: u64) {
        self.ts_ns += 1000;
        self.offsets = [0; 2];
        let record = Connection {
            conn,
            ts_ns: self.ts_ns,
            pid: 42,
            role: Role::Client,
            local: Some((Ipv4Addr::from_bits(conn as u32), 1000).into()),
            remote: Some(([11, 0, 0, 2], 443).into()),
            lib: Some("/usr/lib/libssl.so.3".into()),
            ..Connection::default()
        };
        self.writer.write(&Record::Connection(record)).unwrap();
    }

    fn data(&mut self, conn: u64, dir: Direction, bytes: &[u8]) {
        for payload in bytes.chunks(1 << 20) {
            self.ts_ns += 1000;
            let offset = &mut self.offsets[dir.index()];
            let data = Data {
                conn,
                ts_ns: self.ts_ns,
                tid: 42,
                dir,
                offset: *offset,
                func: if dir == Direction::Sent { "SSL_write" } else { "SSL_read" },
                lat_ns: 100,
                call_len: payload.len() as u64,
                call_offset: 0,
                payload,
            };
            *offset += payload.len() as u64;
            self.writer.write(&Record::Data(data)).unwrap();
        }
    }

    fn close(&mut self, conn: u64) {
        let [sent_bytes, received_bytes] = self.offsets;
        let (ts_ns, cause) = (self.ts_ns, CloseCause::Shutdown);
        let close = Close { conn, ts_ns, cause, sent_bytes, received_bytes };
        self.writer.write(&Record::Close(close)).unwrap();
    }

    fn finish(mut self) {
        let stats = Stats { ts_ns: self.ts_ns, last: true, ..Stats::default() };
        self.writer.write(&Record::Stats(stats)).unwrap();
        self.writer.finish().unwrap();
    }
}

use Direction::{Received, Sent};

/// A connection that is not HTTP, of so many MiB.
fn not_http(out: impl Write, mib: usize) {
    let mut log = Log::new(out);
    log.connection(1);
    let bytes = b"\x01\x02binary\xff\0".repeat(1 << 17);
    (0..mib).for_each(|_| log.data(1, Received, &bytes[..1 << 20]));
    log.close(1);
    log.finish();
}

fn zeros(mut out: impl Write, mib: usize) {
    let piece = vec![0; 1 << 20];
    (0..mib).for_each(|_| out.write_all(&piece).unwrap());
}

/// A call of gRPC with so many messages, each of which decodes to so many MiB.
fn grpc(out: impl Write, messages: usize, mib: usize) {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zeros(&mut encoder, mib);
    let packed = encoder.finish().unwrap();
    let message = [&[1][..], &(packed.len() as u32).to_be_bytes(), &packed].concat();
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "x"),
        (":path", "/a.B/C"),
        ("content-type", "application/grpc"),
        ("grpc-encoding", "zstd"),
    ];
    let mut log = Log::new(out);
    log.connection(1);
    log.data(1, Sent, &frames::client());
    log.data(1, Sent, &frame(HEADERS, END_HEADERS, 1, &frames::block(&fields)));
    log.data(1, Received, &frames::server());
    for _ in 0..messages {
        message.chunks(16_000).for_each(|part| log.data(1, Sent, &frames::data(1, part, 0)));
    }
    log.data(1, Sent, &frames::data(1, b"", frames::END_STREAM));
    log.data(1, Received, &frames::status(1, "200", frames::END_STREAM));
    log.close(1);
    log.finish();
}

/// Heads of so many streams that refer to the same entry of the table again and again.
fn hpack(out: impl Write, streams: u32, references: usize) {
    let mut log = Log::new(out);
    log.connection(1);
    log.data(1, Sent, &frames::client());
    log.data(1, Received, &frames::server());
    let mut large = vec![0x82, 0x84, 0x87, 0x40, 1, b'n', 0x7f, 0xa1, 0x1e];
    large.extend([b'v'; 4000]);
    log.data(1, Sent, &frame(HEADERS, END_HEADERS, 1, &large));
    let block = [&[0x82, 0x84, 0x87][..], &vec![0xbe; references]].concat();
    for stream in 1..streams {
        log.data(1, Sent, &frame(HEADERS, END_HEADERS, 2 * stream + 1, &block));
    }
    log.finish();
}

/// So many connections that are open at the end.
fn open_connections(out: impl Write, count: u64) {
    let mut log = Log::new(out);
    for conn in 1..=count {
        log.connection(conn);
        log.data(conn, Sent, b"G");
    }
    log.finish();
}

/// So many open connections whose first bytes, so many KiB, could become a request.
fn beginnings(out: impl Write, count: u64, kib: usize) {
    let mut log = Log::new(out);
    let line = [b"FETCH ".as_slice(), &vec![b'x'; kib << 10]].concat();
    for conn in 1..=count {
        log.connection(conn);
        log.data(conn, Sent, &line);
    }
    log.finish();
}

/// So many responses, each of which decodes to so many MiB.
fn bombs(out: impl Write, count: usize, mib: usize) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zeros(&mut encoder, mib);
    let body = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let response = [head.as_bytes(), &body].concat();
    let mut log = Log::new(out);
    log.connection(1);
    for _ in 0..count {
        log.data(1, Sent, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        log.data(1, Received, &response);
    }
    log.close(1);
    log.finish();
}

/// A packet capture of so many SYN.
fn half_open(mut out: impl Write, count: u32) {
    let mut head = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
    head.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    out.write_all(&head).unwrap();
    for at in 0..count {
        let [_, a, b, c] = at.to_be_bytes();
        let builder =
            PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, a, b, c], [11, 0, 0, 2], 64);
        let mut packet = Vec::new();
        builder.tcp(4000, 80, 1, 65_535).syn().write(&mut packet, &[]).unwrap();
        for number in [at, 0, packet.len() as u32, packet.len() as u32] {
            out.write_all(&number.to_le_bytes()).unwrap();
        }
        out.write_all(&packet).unwrap();
    }
}

/// Requests for so many paths of so many KiB, each answered with a field of such a name.
fn long_paths(out: impl Write, count: usize, kib: usize) {
    let mut log = Log::new(out);
    log.connection(1);
    for at in 0..count {
        let mut long = format!("a{at:x}/").repeat(kib << 9);
        long.truncate(kib << 10);
        let request = format!("GET /{long} HTTP/1.1\r\nHost: {at:x}.{}\r\n\r\n", &long[..200]);
        log.data(1, Sent, request.as_bytes());
        let body = format!("{{\"b c {long}\":{{\"d\":1,\"e\":[{{}}]}}}}");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        log.data(1, Received, (head + &body).as_bytes());
    }
    log.close(1);
    log.finish();
}

/// The names of so many processes, of so many bytes each.
fn processes(out: impl Write, count: u32, len: usize) {
    let mut log = Log::new(out);
    let comm = "p".repeat(len);
    for pid in 1..=count {
        let process = Process { ts_ns: 1, pid, uid: 0, comm: comm.clone(), exe: None };
        log.writer.write(&Record::Process(process)).unwrap();
        // The writer forgets it, so that this test does not take the memory.
        log.writer.write(&Record::Exit(Exit { ts_ns: 1, pid })).unwrap();
    }
    log.connection(1);
    log.data(1, Sent, b"G");
    log.finish();
}

/// So many open streams of events, each of which decodes to so many MiB.
fn coded_events(out: impl Write, streams: u32, mib: usize) {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zeros(&mut encoder, mib);
    let packed = encoder.finish().unwrap();
    let fields =
        [(":status", "200"), ("content-type", "text/event-stream"), ("content-encoding", "zstd")];
    let mut log = Log::new(out);
    log.connection(1);
    log.data(1, Sent, &frames::client());
    log.data(1, Received, &frames::server());
    for stream in (1..2 * streams).step_by(2) {
        let request =
            [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")];
        log.data(1, Sent, &frame(HEADERS, END_HEADERS | 1, stream, &frames::block(&request)));
        log.data(1, Received, &frame(HEADERS, END_HEADERS, stream, &frames::block(&fields)));
        log.data(1, Received, &frames::data(stream, &packed, 0));
    }
    log.finish();
}

/// Runs a command on the capture within memory and time. The output is in the file `stdout`: memory
/// that this process takes counts as that of the next child, until it has executed the program.
#[track_caller]
fn run(dir: &Path, args: &[&str]) -> String {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
        .args(args)
        .args(["--max-memory", MAX_MEMORY])
        .current_dir(dir)
        .stdout(File::create(dir.join("stdout")).unwrap())
        .output()
        .unwrap();
    let took = start.elapsed();
    // The largest of all children so far, in KiB.
    let peak_mib = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() >> 10;
    if std::env::var_os("BOUNDS_SHOW").is_some() {
        eprintln!("{args:?}: {peak_mib} MiB at most so far, {took:?}");
    }
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code().is_some(), "{args:?}: {}: {errors}", output.status);
    assert!(peak_mib <= PEAK_MIB, "{args:?}: {peak_mib} MiB");
    assert!(took < TIME, "{args:?}: {took:?}");
    errors
}

/// How many times the output of the last command has a text.
fn count(dir: &Path, text: &str) -> usize {
    let mut file = File::open(dir.join("stdout")).unwrap();
    let (mut held, mut found) = (Vec::new(), 0);
    while Read::by_ref(&mut file).take(1 << 20).read_to_end(&mut held).unwrap() > 0 {
        found += memchr::memmem::find_iter(&held, text).count();
        // A text that begins here is not whole yet.
        let keep = held.len().saturating_sub(text.len() - 1);
        held.drain(..keep);
    }
    found
}

const LIST: &[&str] = &["c"];
const BODIES: &[&str] = &["--json", "--bodies", "--decode", "c"];
const SHOW: &[&str] = &["show", "c", "conn>0"];
const HAR: &[&str] = &["har", "c"];
const HTML: &[&str] = &["html", "c"];
const EXTRACT: &[&str] = &["extract", "c", "out"];
const DIFF: &[&str] = &["diff", "c", "c"];
const STATS: &[&str] = &["stats", "c"];
const FOLLOW: &[&str] = &["follow", "c", "1"];

/// Runs commands on a capture. The output of the first command has the note.
#[track_caller]
fn check(make: impl FnOnce(&mut BufWriter<File>), commands: &[&[&str]], note: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut out = BufWriter::new(File::create(dir.path().join("c")).unwrap());
    make(&mut out);
    out.into_inner().unwrap();
    for (at, args) in commands.iter().enumerate() {
        run(dir.path(), args);
        assert!(at > 0 || count(dir.path(), note) > 0, "{args:?}: no {note:?}");
    }
}

#[test]
fn a_connection_that_is_not_http_is_cut() {
    let commands = &[SHOW, BODIES, HAR, HTML, EXTRACT, DIFF, LIST, STATS];
    check(|out| not_http(out, 200), commands, "bytes are kept (memory limit)");
}

#[test]
fn messages_of_grpc_are_decoded_as_far_as_there_is_memory() {
    let commands = &[BODIES, SHOW, HAR, HTML, EXTRACT, DIFF, LIST, STATS];
    check(|out| grpc(out, 20, 40), commands, "more than 4.0M of zstd");
}

#[test]
fn header_fields_are_left_out_where_there_is_no_memory() {
    let commands = &[&["--json", "c"], LIST, BODIES, DIFF, STATS];
    check(|out| hpack(out, 150, 15_000), commands, "header fields are left out (memory limit)");
}

#[test]
fn idle_connections_are_given_up() {
    let commands = &[LIST, BODIES, HAR, DIFF, STATS, FOLLOW];
    check(|out| open_connections(out, 30_000), commands, "not followed further");
}

#[test]
fn first_bytes_of_many_connections_are_held_as_far_as_there_is_memory() {
    let dir = tempfile::tempdir().unwrap();
    beginnings(File::create(dir.path().join("c")).unwrap(), 20_000, 60);
    for command in [LIST, STATS] {
        run(dir.path(), command);
    }
}

#[test]
fn bombs_are_decoded_up_to_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    bombs(File::create(dir.path().join("c")).unwrap(), 12, 64);
    for command in [BODIES, HAR, HTML, EXTRACT, DIFF, SHOW] {
        let errors = run(dir.path(), &[command, &["--max-decoded", "30M"]].concat());
        let ended = "decoding ended at connection 1, exchange 3 on it: 30M are decoded";
        // `diff` reads two captures.
        let captures = if command == DIFF { 2 } else { 1 };
        assert_eq!(errors.matches(ended).count(), captures, "{command:?}: {errors}");
        if command == BODIES {
            let note = "not all is decoded: the limit of 30M is reached";
            assert_eq!(count(dir.path(), note), 10);
        }
    }
}

#[test]
fn decoders_of_many_open_streams_are_given_up() {
    let commands = &[&["--json", "c"], SHOW, BODIES, HAR, DIFF, STATS];
    check(|out| coded_events(out, 30, 15), commands, "of zstd; the rest is not decoded");
}

#[test]
fn half_open_flows_are_given_up() {
    let commands = &[LIST, BODIES, HAR, DIFF, STATS, FOLLOW];
    check(|out| half_open(out, 30_000), commands, "not followed further");
}

#[test]
fn kinds_of_requests_are_compared_as_far_as_there_is_memory() {
    let dir = tempfile::tempdir().unwrap();
    long_paths(File::create(dir.path().join("c")).unwrap(), 2200, 1);
    let errors = run(dir.path(), DIFF);
    let note = "c: not all kinds and parts are compared, the rest as `(more)`";
    assert_eq!(errors.matches(note).count(), 2, "{errors}");
    // All that is known of both captures is the same.
    assert_eq!(count(dir.path(), "0 appeared, 0 vanished, 0 changed"), 1);
}

#[test]
fn names_of_processes_are_kept_as_far_as_there_is_memory() {
    let commands = &[LIST, STATS];
    check(|out| processes(out, 30_000, 4000), commands, "processes were not kept (memory limit)");
}

#[test]
fn open_connections_of_a_pcapng_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    open_connections(File::create(dir.path().join("raw")).unwrap(), 30_000);
    run(dir.path(), &["convert", "raw", "c.pcapng"]);
    for command in [&["c.pcapng"][..], &["--json", "--bodies", "c.pcapng"]] {
        run(dir.path(), command);
    }
}

#[test]
fn copies_end_connections_early_that_are_idle_for_longest() {
    for (foreign, outputs) in [(false, &["o.pcapng", "o.zst"][..]), (true, &["o.pcapng"])] {
        let dir = tempfile::tempdir().unwrap();
        let mut out = BufWriter::new(File::create(dir.path().join("c")).unwrap());
        if foreign {
            half_open(&mut out, 60_000);
        } else {
            open_connections(&mut out, 60_000);
        }
        out.into_inner().unwrap();
        for output in outputs {
            for command in ["redact", "convert"] {
                if command == "convert" && foreign {
                    continue;
                }
                let errors = run(dir.path(), &[command, "c", output]);
                assert!(errors.contains(&format!(" end early in {output}: more")), "{errors}");
                // Every connection is in the output, and its bytes are, too.
                let errors = run(dir.path(), &["stats", "--json", output]);
                assert_eq!(errors, "");
                let expected = "\"connections\":60000";
                assert!(foreign || count(dir.path(), expected) == 1, "{command} {output}");
            }
        }
    }
}

#[test]
fn later_bytes_of_a_connection_that_ended_early_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(File::create(dir.path().join("c")).unwrap());
    for conn in 1..=30_000 {
        log.connection(conn);
        log.data(conn, Sent, b"G");
    }
    log.data(1, Sent, b"later bytes");
    log.finish();
    for output in ["o.pcapng", "o.zst"] {
        let errors = run(dir.path(), &["convert", "c", output]);
        assert!(errors.contains(" end early in "), "{errors}");
        run(dir.path(), &["--json", "--bodies", output]);
        let base64 = "bGF0ZXIgYnl0ZXM";
        assert!(count(dir.path(), base64) > 0, "{output}");
    }
}

/// Writes the captures in full into the folder `BOUNDS_DIR`.
#[test]
#[ignore = "writes files to measure by hand"]
fn write_all_in_full() {
    let dir = std::env::var("BOUNDS_DIR").unwrap();
    let file = |name: &str| BufWriter::new(File::create(Path::new(&dir).join(name)).unwrap());
    not_http(file("not-http"), 2100);
    grpc(file("grpc"), 20, 300);
    hpack(file("hpack"), 4000, 15_000);
    open_connections(file("open"), 400_000);
    bombs(file("bombs"), 60, 1024);
    half_open(file("half-open"), 300_000);
    coded_events(file("events"), 4000, 15);
}
