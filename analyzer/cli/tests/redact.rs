//! `sslanalyze redact`, on real files: no secret is left in any form, the listing stays, and tshark
//! finds nothing malformed.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::{Command, Output};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use sslrec_analyzer_testing::h2_peers::{Calls, Plan, Random, Setup, run};
use sslrec_analyzer_testing::records::{Script, moved, pcapng, raw_log};
use sslrec_analyzer_testing::wireshark;
use sslrec_formats::record::Record;

/// A secret of each kind; none occurs anywhere else.
const SECRETS: [&str; 11] = [
    "dXNlcjpodW50ZXIy",
    "c00kie-of-the-client",
    "c00kie-of-the-server",
    "k3y-in-a-header",
    "pr0xy-credentials",
    "t0ken-in-a-query",
    "b3arer.t0ken-in-a-body",
    "passw0rd-in-json",
    "p1n-in-a-form",
    "tok_zyxwvutsrq",
    "s3cret-of-our-own",
];

const RULES: [&str; 8] = [
    "default",
    "basic",
    "query:token",
    "json:password",
    "form:pin",
    "regex:tok_[a-z]+",
    "header:x-own",
    "cookie:unused",
];

fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        let mut value = HeaderValue::from_str(value).unwrap();
        // The encoder inserts sensitive fields into no table, and all others into its table.
        value.set_sensitive(*name == "authorization");
        (HeaderName::from_static(name), value)
    };
    pairs.iter().map(pair).collect()
}

/// Secrets in every place that a plan has.
fn plant(plan: &mut Plan, at: usize) {
    let [basic, client, server, key, proxy, query, bearer, json, pin, tok, own] = SECRETS;
    let request = fields(&[
        ("authorization", &format!("Basic {basic}")),
        ("cookie", &format!("sid={client}; b=c")),
        ("x-api-key", key),
        ("proxy-authorization", proxy),
        ("x-own", own),
        ("referer", &format!("https://example.org/?a=b&token={query}#c")),
    ]);
    plan.request.headers.extend(request);
    let response = fields(&[("set-cookie", &format!("sid={server}; Path=/")), ("x-more", tok)]);
    plan.response.headers.extend(response);
    plan.path = format!("/{at}?token={query}&x=y");
    let json = format!(r#"{{"a":[1,2],"password" : "{json}","b":"{tok}"}}"#);
    let form = format!("a=b&pin={pin}&c=d");
    let text = format!("Bearer {bearer}, and Basic {basic}.");
    let body = |text: &str, cut: usize| {
        let (first, second) = text.split_at(cut.min(text.len()));
        [first, second].map(|part| Bytes::copy_from_slice(part.as_bytes())).to_vec()
    };
    if !plan.pushed {
        plan.request.body = body(if at.is_multiple_of(2) { &json } else { &form }, 5 + at);
    }
    plan.response.body = body(if at.is_multiple_of(2) { &text } else { &json }, 3 + at);
    if !plan.response.trailers.is_empty() {
        plan.response.trailers.extend(fields(&[("x-own", own)]));
    }
}

fn http2() -> Calls {
    let mut random = Random(77);
    let mut plans = random.plans(24);
    plans.iter_mut().enumerate().for_each(|(at, plan)| plant(plan, at));
    let setup = Setup {
        client_table: 4096,
        server_table: 4096,
        max_frame: 16_384,
        parallel: 3,
        pipe: 1 << 16,
    };
    run(setup, plans).0
}

fn http1() -> Script {
    let [basic, client, server, key, proxy, query, bearer, json, pin, tok, own] = SECRETS;
    let body = format!(r#"{{"password":"{json}"}}"#);
    let form = format!("pin={pin}&x={tok}");
    let answer = format!("<p>Bearer {bearer}</p>");
    let mut script = Script::client()
        .sent(format!(
            "POST /a?token={query}&b=c HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {basic}\r\n\
             Cookie: sid={client}\r\nX-Api-Key: {key}\r\nProxy-Authorization: {proxy}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .received(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: sid={server}\r\nContent-Type: text/html\r\n\
             Content-Length: {}\r\n\r\n{answer}",
            answer.len()
        ));
    let second = format!(
        "POST /b HTTP/1.1\r\nHost: h\r\nX-Own: {own}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{form}\r\n0\r\n\r\n",
        form.len()
    );
    // Cut within secrets.
    for piece in second.as_bytes().chunks(9) {
        script = script.sent(piece);
    }
    script.received("HTTP/1.1 204 No Content\r\n\r\n").close()
}

fn sslanalyze(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn redact(dir: &Path, from: &str, to: &str, rules: &[&str]) {
    let mut args = vec!["redact", from, to];
    rules.iter().for_each(|rule| args.extend(["--redact", rule]));
    let output = sslanalyze(dir, &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn list(dir: &Path, file: &str) -> (Vec<Value>, String) {
    let output = sslanalyze(dir, &["--json", "--bodies", "--decode", "--both-ends", file]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), text)
}

/// Returns the parts of a listed object that a redaction must not change.
fn kept(mut object: Value) -> Value {
    for side in ["request", "response"] {
        let Some(message) = object[side].as_object_mut() else { continue };
        message.remove("body");
        for part in ["headers", "trailers"] {
            message.get_mut(part).into_iter().for_each(lengths);
        }
        for key in ["url", "path"] {
            if let Some(text) = message.get(key).and_then(Value::as_str) {
                let short = text.split('?').next().unwrap().to_owned();
                message.insert(key.into(), short.into());
            }
        }
    }
    for interim in object["interim"].as_array_mut().into_iter().flatten() {
        lengths(&mut interim["headers"]);
    }
    if object["type"] == "summary" {
        object["notes"].take();
    }
    object
}

/// Puts lengths in place of the values of header fields.
fn lengths(fields: &mut Value) {
    for field in fields.as_array_mut().into_iter().flatten() {
        let len = field[1].as_str().unwrap().chars().count();
        field[1] = len.into();
    }
}

fn write_captures(dir: &Path) {
    let calls = http2();
    let mut h2 = Script::client();
    for (direction, bytes) in calls {
        h2 = h2.data(direction, bytes);
    }
    let h2 = h2.close();
    let http1 = http1();
    let mut records: Vec<Record<'_>> = h2.records();
    let last = records.pop().unwrap();
    records.extend(
        moved(&http1, 2, 500, false)
            .into_iter()
            .filter(|record| !matches!(record, Record::Process(_) | Record::Stats(_))),
    );
    for record in &mut records {
        if let Record::Connection(connection) = record
            && connection.conn == 2
        {
            connection.local = Some("10.0.0.1:2000".parse().unwrap());
        }
    }
    records.push(last);
    std::fs::write(dir.join("c.zst"), raw_log(&records)).unwrap();
    std::fs::write(dir.join("c.pcapng"), pcapng(&records)).unwrap();
}

/// All that is in a file.
fn contents(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().unwrap() == "zst" { zstd::decode_all(&bytes[..]).unwrap() } else { bytes }
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    memchr::memmem::find(bytes, secret.as_bytes()).is_some()
}

#[test]
fn no_secret_is_left_and_the_listing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_captures(dir);
    for (from, to) in
        [("c.zst", "r.zst"), ("c.pcapng", "r.pcapng"), ("c.zst", "s.pcapng"), ("c.pcapng", "s.zst")]
    {
        let (before, text) = list(dir, from);
        assert!(before.len() > 20, "{text}");
        redact(dir, from, to, &RULES);
        let (after, shown) = list(dir, to);
        for secret in SECRETS {
            // Bodies are in it as base64; see below.
            assert!(holds(text.as_bytes(), secret) || secret.contains("-in-"), "{secret}");
            assert!(!holds(shown.as_bytes(), secret), "{to} {secret}: {shown}");
            assert!(!holds(&contents(&dir.join(to)), secret), "{to} {secret}");
        }
        assert_eq!(before.len(), after.len());
        for (before, after) in before.into_iter().zip(after) {
            if after["type"] == "summary" {
                let notes = after["notes"].to_string();
                assert!(notes.contains("default, basic, query:token"), "{notes}");
                assert!(!notes.contains("tok_") && notes.contains("regex"), "{notes}");
            }
            assert_eq!(kept(before), kept(after));
        }
        let bodies = sslanalyze(dir, &["extract", to, &format!("{to}.bodies")]);
        assert!(bodies.status.success(), "{}", String::from_utf8_lossy(&bodies.stderr));
        let mut found = 0;
        for entry in std::fs::read_dir(dir.join(format!("{to}.bodies"))).unwrap() {
            let body = std::fs::read(entry.unwrap().path()).unwrap();
            SECRETS.iter().for_each(|secret| assert!(!holds(&body, secret), "{to} {secret}"));
            found += usize::from(holds(&body, "\"password\""));
        }
        assert!(found > 3, "bodies that hold no secret stay readable");
    }
}

#[test]
fn tshark_dissects_what_is_left() {
    if !wireshark::have(&["tshark"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_captures(dir);
    redact(dir, "c.pcapng", "r.pcapng", &RULES);
    let tshark = |file: &str, filter: &str, field: &str| {
        let args = ["-r", file, "-Y", filter, "-T", "fields", "-e", field];
        let output = Command::new("tshark").args(args).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for filter in ["_ws.malformed", "tcp.analysis.flags", "_ws.expert.severity==8388608"] {
        let (before, after) = (
            tshark("c.pcapng", filter, "frame.number"),
            tshark("r.pcapng", filter, "frame.number"),
        );
        assert_eq!((before.as_str(), after.as_str()), ("", ""), "{filter}");
    }
    for field in [
        "http2.headers.method",
        "http2.headers.status",
        "http2.type",
        "http.request.method",
        "http.response.code",
    ] {
        let before = tshark("c.pcapng", field, field);
        assert!(before.lines().count() > 1, "{field}");
        assert_eq!(before, tshark("r.pcapng", field, field), "{field}");
    }
    let all = tshark("r.pcapng", "http2 or http", "http2.header.value");
    SECRETS.iter().for_each(|secret| assert!(!all.contains(secret), "{secret}"));
    let section =
        Command::new("capinfos").args(["-k", "r.pcapng"]).current_dir(dir).output().unwrap();
    let comment = String::from_utf8_lossy(&section.stdout).into_owned();
    assert!(
        comment.contains("redacted=default") && comment.contains("redacted=regex"),
        "{comment}"
    );
}

#[test]
fn rules_that_are_none_are_bad_usage_and_damage_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_captures(dir);
    let output = sslanalyze(dir, &["redact", "c.zst", "r.zst", "--redact", "headers"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("header:NAME"));
    let bytes = std::fs::read(dir.join("c.pcapng")).unwrap();
    std::fs::write(dir.join("d.pcapng"), &bytes[..bytes.len() - 100]).unwrap();
    let output = sslanalyze(dir, &["redact", "d.pcapng", "r.zst"]);
    assert_eq!(output.status.code(), Some(1));
    let (objects, _) = list(dir, "r.zst");
    assert!(objects.len() > 10);
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["c.pcapng", "c.zst", "d.pcapng", "r.zst"]);
}

#[test]
fn a_capture_that_was_redacted_can_be_redacted_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_captures(dir);
    redact(dir, "c.zst", "a.zst", &["default"]);
    redact(dir, "a.zst", "b.zst", &["json:password"]);
    redact(dir, "c.zst", "d.zst", &["default", "json:password"]);
    assert_eq!(contents(&dir.join("b.zst")), contents(&dir.join("d.zst")));
}

/// A pcap of raw IPv4 packets with a single connection: the client's bytes, and the server's.
fn pcap(sent: &[u8], received: &[u8]) -> Vec<u8> {
    let mut file = vec![];
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    let mut packet = |from: u8, seq: u32, ack: u32, flags: u8, payload: &[u8]| {
        let len = 40 + payload.len() as u16;
        let (src, dst) = ([10, 0, 0, from], [10, 0, 0, 3 - from]);
        let ports: [u16; 2] = if from == 1 { [40_000, 80] } else { [80, 40_000] };
        let mut bytes = vec![0x45, 0];
        bytes.extend(len.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        bytes.extend([src, dst].concat());
        ports.iter().for_each(|port| bytes.extend(port.to_be_bytes()));
        bytes.extend(seq.to_be_bytes());
        bytes.extend(ack.to_be_bytes());
        bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        for word in [1_700_000_000, 0, bytes.len() as u32, bytes.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(bytes);
    };
    let (sent_end, received_end) = (101 + sent.len() as u32, 501 + received.len() as u32);
    packet(1, 100, 0, 0x02, b"");
    packet(2, 500, 101, 0x12, b"");
    packet(1, 101, 501, 0x18, sent);
    packet(2, 501, sent_end, 0x18, received);
    packet(1, sent_end, received_end, 0x11, b"");
    packet(2, received_end, sent_end + 1, 0x11, b"");
    file
}

#[test]
fn captures_of_other_programs_are_redacted_and_counts_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let sent = b"POST /a?token=s3cret-q HTTP/1.1\r\nHost: h\r\nX-Vault-Token: s3cret-h\r\n\
                 Content-Length: 20\r\n\r\na=b&password=s3cretf";
    let received = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    std::fs::write(dir.join("in.pcap"), pcap(sent, received)).unwrap();
    for out in ["out.pcapng", "out.zst"] {
        let output = sslanalyze(dir, &["redact", "in.pcap", out]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        for line in [
            "blanked 1 values, 8 bytes, in start lines by query\n",
            "blanked 1 values, 8 bytes, in header fields by header\n",
            "blanked 1 values, 7 bytes, in bodies by query\n",
        ] {
            assert!(said.contains(line), "{said}");
        }
        assert!(!holds(&contents(&dir.join(out)), "s3cret"));
        let (before, _) = list(dir, "in.pcap");
        let (after, text) = list(dir, out);
        assert_eq!(before.len(), after.len(), "{text}");
        let (request, response) = (&after[0]["request"], &after[0]["response"]);
        assert_eq!(request["path"], "/a?token=********", "{text}");
        assert_eq!(response["status"], 200, "{text}");
        assert_eq!(before[0]["ts"], after[0]["ts"]);
        assert_eq!(after.last().unwrap()["closed"], before.last().unwrap()["closed"], "{text}");
    }
    let output = sslanalyze(dir, &["redact", "-q", "in.pcap", "quiet.zst"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let output = sslanalyze(dir, &["convert", "in.pcap", "no.zst"]);
    assert!(!output.status.success() && !dir.join("no.zst").exists(), "{output:?}");
}
