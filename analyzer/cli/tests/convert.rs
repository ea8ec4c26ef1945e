//! `sslanalyze convert`: the listing before is the listing after.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sslrec_analyzer_testing::frames::{
    END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame, get,
};
use sslrec_analyzer_testing::records::{Script, moved, pcapng, raw_log};
use sslrec_formats::record::{Direction, Handshake, Record, Stats};

fn analyze(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn listing(dir: &Path, file: &str) -> String {
    let output = analyze(dir, &["--json", "--bodies", file]);
    assert!(output.status.success(), "{file}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn convert(dir: &Path, from: &str, to: &str) {
    let output = analyze(dir, &["convert", from, to]);
    assert!(output.status.success(), "{from} to {to}: {}", text(&output.stderr));
}

fn http1() -> Script {
    Script::client()
        .sent("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        .received("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .sent("GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
        .received(format!("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n{}", "x".repeat(40_000)))
        .close()
}

fn http2() -> Script {
    let head = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200"), ("a", "b")]));
    let settings = frame(SETTINGS, 0, 0, &[]);
    Script::client()
        .sent([PREFACE, &settings, &get(1, "/one")].concat())
        .received([settings.clone(), head, frame(0, END_STREAM, 1, b"body")].concat())
        .close()
}

/// Captures of every sort, by name.
fn captures() -> Vec<(&'static str, Vec<Record<'static>>)> {
    let leak = |script: Script| &*Box::leak(Box::new(script));
    let (one, two) = (leak(http1()), leak(http2()));
    let gap = leak(http1().without(Direction::Received, 20_000, 5000));
    let opaque = leak(Script::server().received(b"\x00ask").sent("answer").close());
    let joined = leak(http1().joined());
    let mut handshake = one.records();
    let at = handshake.iter().position(|record| matches!(record, Record::Data(_))).unwrap();
    let (conn, ts_ns, tid) = (1, 500, 42);
    let done = Handshake {
        conn,
        ts_ns,
        tid,
        func: "SSL_do_handshake",
        lat_ns: 7,
        ok: true,
        result: Some(1),
    };
    handshake.insert(at, Record::Handshake(done));
    let mut ends = moved(one, 1, 0, false);
    ends.pop();
    let server = moved(leak(mirrored()), 2, 10, true);
    // Both are described before either carries anything.
    let (described, used): (Vec<_>, Vec<_>) = server
        .into_iter()
        .partition(|record| matches!(record, Record::Process(_) | Record::Connection(_)));
    ends.splice(2..2, described);
    ends.extend(used);
    let mut lossy = gap.records();
    lossy.pop();
    let failures = vec![("ring_full".to_owned(), 3)];
    let stats = Stats { ts_ns: 9000, last: true, dropped_events: 3, failures, ..Stats::default() };
    lossy.push(Record::Stats(stats));
    vec![
        ("http1", one.records()),
        ("http2", two.records()),
        ("gap", gap.records()),
        ("lossy", lossy),
        ("opaque", opaque.records()),
        ("joined", joined.records()),
        ("handshake", handshake),
        ("two ends", ends),
        ("unclosed", one.records()[..5].to_vec()),
        ("empty", vec![]),
    ]
}

/// [`http1`] as the server saw it.
fn mirrored() -> Script {
    let mut mirrored = Script::server();
    for (direction, bytes) in http1().calls() {
        mirrored = match direction {
            Direction::Sent => mirrored.received(bytes),
            Direction::Received => mirrored.sent(bytes),
        };
    }
    mirrored.close()
}

#[test]
fn the_listing_stays_both_ways_and_round() {
    for (name, records) in captures() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("raw.zst"), raw_log(&records)).unwrap();
        fs::write(dir.path().join("view.pcapng"), pcapng(&records)).unwrap();
        let expected = listing(dir.path(), "raw.zst");
        assert_eq!(listing(dir.path(), "view.pcapng"), expected, "{name}");
        convert(dir.path(), "raw.zst", "1.pcapng");
        convert(dir.path(), "1.pcapng", "2.zst");
        convert(dir.path(), "2.zst", "3.pcapng");
        convert(dir.path(), "view.pcapng", "4.zst");
        for file in ["1.pcapng", "2.zst", "3.pcapng", "4.zst"] {
            assert_eq!(listing(dir.path(), file), expected, "{name}: {file}");
        }
        // The file that the recorder would have written directly.
        let read = |file: &str| fs::read(dir.path().join(file)).unwrap();
        assert!(read("1.pcapng") == read("view.pcapng"), "{name}: the pcapng of the raw log");
    }
}

#[test]
fn two_ends_are_listed_once_before_and_after() {
    let (_, records) = captures().into_iter().find(|(name, _)| *name == "two ends").unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("raw.zst"), raw_log(&records)).unwrap();
    convert(dir.path(), "raw.zst", "view.pcapng");
    let both = |file| text(&analyze(dir.path(), &["--json", "--both-ends", file]).stdout);
    assert_eq!(listing(dir.path(), "view.pcapng").lines().count(), 3);
    assert_eq!((both("raw.zst").lines().count(), both("view.pcapng").lines().count()), (5, 3));
}

#[test]
fn damage_is_converted_up_to_and_said() {
    let script = http1();
    let records = script.records();
    for (name, whole, to) in
        [("cut.zst", raw_log(&records), "out.pcapng"), ("cut.pcapng", pcapng(&records), "out.zst")]
    {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), &whole[..whole.len() * 2 / 3]).unwrap();
        let output = analyze(dir.path(), &["convert", name, to]);
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(
            message.contains("is damaged at byte") && message.contains("were converted"),
            "{message}"
        );
        let before = text(&analyze(dir.path(), &["--json", name]).stdout);
        let after = listing(dir.path(), to).lines().count();
        assert_eq!(before.lines().count(), after, "{name}");
        assert!(text(&analyze(dir.path(), &["--json", to]).stdout).contains("\"closed\":false"));
    }
}

#[test]
fn standard_output_and_an_older_file_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let records = http1();
    let log = raw_log(&records.records());
    fs::write(dir.path().join("c.zst"), &log).unwrap();
    let output = analyze(dir.path(), &["convert", "c.zst", "-"]);
    assert_eq!(output.stdout, pcapng(&records.records()));
    let expected = listing(dir.path(), "c.zst");
    fs::write(dir.path().join("d.zst"), "older").unwrap();
    convert(dir.path(), "c.zst", "d.zst");
    assert_eq!(listing(dir.path(), "d.zst"), expected);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.path().join("d.zst")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(analyze(dir.path(), &["convert", "c.zst", "c.pcap"]).status.code(), Some(2));
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["c.zst", "d.zst"]);
}

#[test]
fn packets_of_the_wire_are_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let foreign =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer/http-server.pcapng");
    let output = analyze(dir.path(), &["convert", foreign.to_str().unwrap(), "out.zst"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("contains network packets"), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Wireshark and zstd accept the converted files.
#[test]
fn other_programs_read_what_was_converted() {
    let dir = tempfile::tempdir().unwrap();
    let script = http2();
    fs::write(dir.path().join("raw.zst"), raw_log(&script.records())).unwrap();
    convert(dir.path(), "raw.zst", "view.pcapng");
    convert(dir.path(), "view.pcapng", "again.zst");
    let run = |program: &str, args: &[&str]| match Command::new(program)
        .args(args)
        .current_dir(dir.path())
        .output()
    {
        Ok(output) => {
            assert!(output.status.success(), "{}", text(&output.stderr));
            Some(text(&output.stdout))
        }
        Err(_) if std::env::var_os("CI").is_none() => {
            println!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    };
    run("zstd", &["-t", "-q", "again.zst"]);
    let fields = ["-r", "view.pcapng", "-Y", "http2", "-T", "fields", "-e", "http2.headers.path"];
    if let Some(paths) = run("tshark", &fields) {
        assert!(paths.contains("/one"), "{paths}");
    }
}
