//! Runs the real binary on real files.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sslrec_analyzer_testing::records;
use sslrec_analyzer_testing::records::{Script, moved, pcapng, raw_log};
use sslrec_formats::record::{AddrKind, Record, Stats};

fn analyze(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sslanalyze")).args(args).current_dir(dir).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn script() -> Script {
    Script::client()
        .sent("POST /a?b=1 HTTP/1.1\r\nHost: example.org\r\nContent-Length: 3\r\n\r\nabc")
        .received("HTTP/1.1 200 OK\r\nContent-Type: text/plain; x=y\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: é\r\n\r\n")
        .close()
}

#[test]
fn json_has_the_fields_of_the_contract_in_order() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c"), raw_log(&script().records())).unwrap();
    let output = analyze(&["--json", "--bodies", "c"], dir.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        r#"{"type":"exchange","id":1,"conn":1,"stream":1,"proto":"http/1.1","time":"1970-01-01T00:00:00.000000900Z","pid":42,"comm":"prog","role":"client","lib":"libssl.so.3","client":"10.0.0.1:1000","server":"10.0.0.2:443","addr":"exact","sni":null,"alpn":null,"request":{"method":"POST","url":"https://example.org/a?b=1","authority":"example.org","path":"/a?b=1","headers":[["Host","example.org"],["Content-Length","3"]],"body_bytes":3,"body":"YWJj"},"response":{"status":200,"reason":"OK","headers":[["Content-Type","text/plain; x=y"],["Transfer-Encoding","chunked"]],"body_bytes":5,"body":"aGVsbG8=","trailers":[["T","Ã©"]]},"ttfb_ms":0.0011,"duration_ms":0.0011,"complete":true,"lost_bytes":0,"notes":[]}"#
    );
    assert_eq!(
        lines.next().unwrap(),
        r#"{"type":"summary","exchanges":1,"streams":0,"handshakes":0,"connections":1,"processes":1,"incomplete":0,"lost_bytes":0,"dropped_events":0,"start":"1970-01-01T00:00:00.000000001Z","end":"1970-01-01T00:00:00.000003000Z","closed":true,"notes":[]}"#
    );
    assert_eq!(lines.next(), None);
}

/// Everything for people has UTF-8 as such, and ISO 8859-1 otherwise; the JSON has the octets.
#[test]
fn heads_in_utf_8_are_readable_and_keep_their_octets_in_the_json() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::client()
        .sent("GET /é?漢 HTTP/1.1\r\nHost: ü.test\r\nX-A: Zoë\u{9b}\r\n\r\n")
        .received(&b"HTTP/1.1 200 N\xe4n\r\nContent-Length: 0\r\nX-B: \xe4\xff\r\n\r\n"[..])
        .close();
    std::fs::write(dir.path().join("c"), raw_log(&script.records())).unwrap();
    let run = |args: &[&str]| {
        let output = analyze(args, dir.path());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let listing = run(&["c", "path~é and host=ü.test and header.x-a~Zoë and reason=Nän"]);
    assert!(listing.contains(" ü.test/é?漢 "), "{listing}");
    let shown = run(&["show", "c", "1"]);
    for line in ["> GET /é?漢 HTTP/1.1", "> X-A: Zoë\\u{9b}", "< HTTP/1.1 200 Nän", "< X-B: äÿ"]
    {
        assert!(shown.lines().any(|l| l == line), "{line}: {shown}");
    }
    assert!(run(&["stats", "--by", "path", "c"]).contains("/é"));
    let curl = run(&["show", "--curl", "c", "1"]);
    assert!(curl.contains("/é?漢") || curl.contains("\\303\\251"), "{curl}");
    let json = &json(&analyze(&["--json", "c"], dir.path()))[0];
    let octets = |value: &Value| -> Vec<u8> {
        value.as_str().unwrap().chars().map(|c| u8::try_from(c).unwrap()).collect()
    };
    assert_eq!(octets(&json["request"]["path"]), "/é?漢".as_bytes());
    assert_eq!(octets(&json["request"]["headers"][1][1]), "Zoë\u{9b}".as_bytes());
    assert_eq!(octets(&json["response"]["reason"]), b"N\xe4n");
    assert_eq!(octets(&json["response"]["headers"][1][1]), b"\xe4\xff");
}

#[test]
fn both_files_list_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let lossy = script().without(sslrec_formats::record::Direction::Received, 90, 2);
    let stream = Script::server().received(b"\x00ask").sent("answer").close().without(
        sslrec_formats::record::Direction::Sent,
        2,
        3,
    );
    for (script, note) in [
        (script(), None),
        (lossy, Some("2 bytes missing from the server: ring_full")),
        (stream, Some("3 bytes missing from the server: ring_full")),
    ] {
        let [raw, png] = both(&script.records(), dir.path());
        assert_eq!(raw, png);
        assert_eq!(raw[0]["notes"].as_array().unwrap().last().and_then(Value::as_str), note);
    }
}

/// Records of the raw log alone, such as the other end of a connection and unused connections, do
/// not move the end of the capture; nor do they where the recorder was killed.
#[test]
fn both_files_say_the_same_when_both_ends_were_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let client = script();
    let server = Script::server()
        .received("POST /a?b=1 HTTP/1.1\r\nHost: example.org\r\nContent-Length: 3\r\n\r\nabc")
        .sent("HTTP/1.1 204 No Content\r\n\r\n")
        .close();
    let (client, server) = (moved(&client, 1, 0, false), moved(&server, 2, 700_000, true));
    let mut records = [&client[..2], &server[..2]].concat();
    let is_stats = |record: &Record<'_>| matches!(record, Record::Stats(_));
    records.extend(client[2..].iter().chain(&server[2..]).filter(|r| !is_stats(r)).cloned());
    let stats = Stats { ts_ns: 1_000_000, last: true, ..Stats::default() };
    let closed = [&records[..], &[Record::Stats(stats)]].concat();
    for records in [&records, &closed] {
        let [raw, png] = both(records, dir.path());
        assert_eq!(raw, png);
    }
    // A connection that was only described is in the raw log alone.
    let unused = Script::client();
    records.extend(moved(&unused, 3, 900_000, false).drain(..2));
    let [raw, png] = both(&records, dir.path());
    assert_eq!(raw.last().unwrap()["end"], png.last().unwrap()["end"]);
}

/// Returns the listings of the raw log and of the pcapng of these records.
fn both(records: &[Record<'_>], dir: &Path) -> [Vec<Value>; 2] {
    std::fs::write(dir.join("raw"), raw_log(records)).unwrap();
    std::fs::write(dir.join("png"), pcapng(records)).unwrap();
    ["raw", "png"].map(|file| json(&analyze(&["--json", "--bodies", file], dir)))
}

#[test]
fn an_address_that_is_not_known_is_said_to_be_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::client().sent(b"\x00ask").close();
    let mut records = script.records();
    for record in &mut records {
        if let Record::Connection(connection) = record {
            connection.addr = AddrKind::Unknown;
            (connection.local, connection.remote) = (None, None);
        }
    }
    std::fs::write(dir.path().join("raw"), raw_log(&records)).unwrap();
    std::fs::write(dir.path().join("png"), pcapng(&records)).unwrap();
    for file in ["raw", "png"] {
        let stream = &json(&analyze(&["--json", file], dir.path()))[0];
        assert_eq!(stream["addr"], "unknown", "{file}");
        assert!(stream["client"].is_null() && stream["server"].is_null(), "{file}: {stream}");
    }
}

#[test]
fn streams_show_what_each_side_sent() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::server().received(b"\x00ask").sent("answer").close();
    std::fs::write(dir.path().join("c"), raw_log(&script.records())).unwrap();
    let objects = json(&analyze(&["--json", "--bodies", "c"], dir.path()));
    let stream = &objects[0];
    for (key, value) in [
        ("type", Value::from("stream")),
        ("proto", "stream".into()),
        ("client_bytes", 4.into()),
        ("server_bytes", 6.into()),
        ("first_bytes", "AGFzaw==".into()),
        ("server_first_bytes", "YW5zd2Vy".into()),
        ("client_data", "AGFzaw==".into()),
        ("server_data", "YW5zd2Vy".into()),
        ("client", "10.0.0.2:443".into()),
        ("complete", true.into()),
    ] {
        assert_eq!(stream[key], value, "{key}");
    }
}

#[test]
fn standard_input_is_read_without_seeking() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&pcapng(&script().records())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.contains("POST") && text.contains("example.org/a?b=1"), "{text}");
    assert!(text.contains("1 exchange on 1 connection of 1 process in 3 us\n"), "{text}");
}

#[test]
fn what_is_no_capture_exits_1_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty"), b"").unwrap();
    std::fs::write(dir.path().join("text"), b"GET / HTTP/1.1\r\n\r\n, and more of it").unwrap();
    std::fs::write(dir.path().join("gz"), b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00").unwrap();
    for (file, says) in [
        ("empty", "it is empty"),
        ("text", "begins like none of these"),
        ("gz", "gzip"),
        (".", "directory"),
        ("absent", "No such file"),
    ] {
        let output = analyze(&[file], dir.path());
        assert_eq!(output.status.code(), Some(1), "{file}");
        let message = stderr(&output);
        assert!(message.contains(says) && message.lines().count() == 1, "{message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn bad_usage_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["--bodies", "f"][..], &["--nonsense", "f"], &[], &["--color", "blue", "f"]] {
        assert_eq!(analyze(args, dir.path()).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_file_cut_anywhere_is_listed_up_to_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    for (own, whole) in [
        (true, raw_log(&script().records())),
        (true, pcapng(&script().records())),
        (false, foreign()),
    ] {
        let mut listed = 0;
        let step = (whole.len() / 60).max(1);
        for cut in (1..whole.len()).step_by(step) {
            std::fs::write(dir.path().join("c"), &whole[..cut]).unwrap();
            let output = analyze(&["--json", "c"], dir.path());
            let message = stderr(&output);
            match output.status.code() {
                // A cut between two blocks or frames is not visible in all formats.
                Some(0) => assert!(!output.stdout.is_empty(), "{cut}"),
                Some(1) => assert_eq!(message.lines().count(), 1, "{cut} {message}"),
                other => panic!("{cut} {other:?} {message}"),
            }
            let closed = stdout(&output).contains("\"closed\":true");
            let unclosed = message.contains("not closed");
            assert!(!unclosed || own && !closed, "{cut} {message}");
            // The bytes after the closing record are few; the test does not distinguish them.
            if own && cut < whole.len() * 2 / 3 && !output.stdout.is_empty() {
                assert!(unclosed, "{cut} {message}");
            }
            listed += usize::from(stdout(&output).contains("\"exchange\""));
        }
        assert!(listed > 0 || whole.len() < 2000);
    }
}

/// Returns the file of a recorder that is killed after so many records.
#[test]
fn a_file_without_its_closing_record_is_said_to_be_not_closed() {
    let script = script();
    let records = script.records();
    for kind in [records::unfinished_raw_log, records::unfinished_pcapng] {
        for count in 0..=records.len() {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("c"), kind(&records[..count])).unwrap();
            let closed = count == records.len();
            for args in [&["--json", "c"][..], &["stats", "--json", "c"]] {
                let output = analyze(args, dir.path());
                let message = stderr(&output);
                assert!(output.status.success(), "{count}: {message}");
                assert_eq!(json(&output).last().unwrap()["closed"], closed, "{count}");
                assert_eq!(
                    message.starts_with("sslanalyze: c is not closed: "),
                    !closed,
                    "{message}"
                );
                assert_eq!(message.lines().count(), usize::from(!closed), "{message}");
            }
        }
    }
}

#[test]
fn one_file_of_several_that_is_not_closed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let script = script();
    std::fs::write(dir.path().join("whole"), raw_log(&script.records())).unwrap();
    let cut = records::unfinished_raw_log(&script.records()[..4]);
    std::fs::write(dir.path().join("killed"), cut).unwrap();
    let output = analyze(&["--json", "whole", "killed"], dir.path());
    let message = stderr(&output);
    assert!(output.status.success() && message.starts_with("sslanalyze: killed is not closed: "));
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_closed_pipe_is_success() {
    let dir = tempfile::tempdir().unwrap();
    let mut script = Script::client();
    for i in 0..20_000 {
        script = script
            .sent(format!("GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .received("HTTP/1.1 204 No Content\r\n\r\n");
    }
    std::fs::write(dir.path().join("c"), raw_log(&script.records())).unwrap();
    for args in [&["--json", "c"][..], &["c"], &["c", "c", "c", "path~1"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
    }
}

/// A terminal that the test makes, of 72 columns.
#[test]
fn on_a_terminal_lines_fit_and_are_coloured() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c"), raw_log(&script().records())).unwrap();
    if Command::new("script").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "missing in CI: script");
        println!("skipped: script is not installed");
        return;
    }
    let run = |environment: &str| {
        let binary = env!("CARGO_BIN_EXE_sslanalyze");
        let command = format!("stty cols 72 rows 24; {environment} {binary} c");
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        stdout(&output)
    };
    assert!(run("").contains("\x1b[32m200 \x1b[0m"));
    for environment in ["NO_COLOR=1", "TERM=dumb"] {
        let text = run(environment);
        assert!(!text.contains('\x1b') && text.contains("example.org/a"), "{text:?}");
        let widths = text.lines().map(|line| line.trim_end().chars().count());
        assert!(widths.max().unwrap() <= 72, "{text}");
    }
}

#[test]
fn nothing_in_the_table_controls_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::client()
        .sent(b"GET /\x1b[2J\x07 HTTP/1.1\r\nHost: \x9bx\r\n\r\n")
        .received("HTTP/1.1 200 OK\r\nContent-Type: a\u{1b}b\r\nContent-Length: 0\r\n\r\n")
        .close();
    std::fs::write(dir.path().join("c"), raw_log(&script.records())).unwrap();
    let text = stdout(&analyze(&["c"], dir.path()));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    let colored = stdout(&analyze(&["--color", "always", "c"], dir.path()));
    assert!(colored.contains("\u{1b}[32m200 "), "{colored:?}");
}

/// A pcap of a single exchange, as a packet capture program writes it.
fn foreign() -> Vec<u8> {
    foreign_pcap(false, false)
}

fn foreign_pcap(big_endian: bool, nanoseconds: bool) -> Vec<u8> {
    let u32_bytes = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let u16_bytes = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut file = Vec::new();
    file.extend(u32_bytes(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }));
    file.extend([u16_bytes(2), u16_bytes(4)].concat());
    for n in [0, 0, 65535, 101] {
        file.extend(u32_bytes(n));
    }
    let request = b"GET /pcap HTTP/1.1\r\nHost: h\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let client = |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, payload: &[u8]| {
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).unwrap();
        bytes
    };
    let ip =
        |from: u8, to: u8| etherparse::PacketBuilder::ipv4([10, 0, 0, from], [10, 0, 0, to], 64);
    let after = 101 + request.len() as u32;
    let packets = [
        client(ip(1, 2).tcp(4000, 80, 100, 99).syn(), b""),
        client(ip(2, 1).tcp(80, 4000, 500, 99).syn().ack(101), b""),
        client(ip(1, 2).tcp(4000, 80, 101, 99).ack(501), request),
        client(ip(2, 1).tcp(80, 4000, 501, 99).ack(after).fin(), response),
        client(ip(1, 2).tcp(4000, 80, after, 99).ack(502 + response.len() as u32).fin(), b""),
    ];
    for (i, packet) in packets.iter().enumerate() {
        let fraction = i as u32 * if nanoseconds { 1_000_000 } else { 1000 };
        let len = packet.len() as u32;
        for n in [1_000_000_000, fraction, len, len] {
            file.extend(u32_bytes(n));
        }
        file.extend(packet);
    }
    file
}

#[test]
fn every_kind_of_pcap_lists_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for big_endian in [false, true] {
        for nanoseconds in [false, true] {
            std::fs::write(dir.path().join("c"), foreign_pcap(big_endian, nanoseconds)).unwrap();
            let output = analyze(&["--json", "c"], dir.path());
            assert!(output.status.success(), "{}", stderr(&output));
            all.push(stdout(&output));
        }
    }
    assert!(all.iter().all(|one| *one == all[0]), "{all:#?}");
    let first: Value = serde_json::from_str(all[0].lines().next().unwrap()).unwrap();
    assert_eq!(first["request"]["url"], "http://h/pcap");
    assert_eq!(first["time"], "2001-09-09T01:46:40.002000000Z");
    assert_eq!((&first["ttfb_ms"], &first["pid"]), (&Value::from(1.0), &Value::Null));
    assert_eq!((&first["role"], &first["complete"]), (&Value::from("client"), &Value::from(true)));
    assert_eq!(first["server"], "10.0.0.2:80");
}

#[test]
fn kept_captures_list_as_they_did() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer");
    for name in ["http-server", "h2-nginx", "h2-joined"] {
        let output = analyze(&["--json", "--bodies", &format!("{name}.pcapng")], &dir);
        assert!(output.status.success(), "{}", stderr(&output));
        let expected = std::fs::read_to_string(dir.join(format!("{name}.json"))).unwrap();
        assert_eq!(stdout(&output), expected);
    }
}
