//! Hostile names and contents in every output: no control character beyond line feeds, tabs and the
//! colours that were asked for, and none that reorders text.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sslrec_analyzer_testing::records::{Script, raw_log};
use sslrec_cli::text::is_special;
use sslrec_formats::record::{Handshake, Record, Stats};

/// A terminal title, a forged line, a C1 sequence, an override, a zero-width space, DEL, a tag.
const HOSTILE: &str = "h\u{1b}]0;t\u{7}\r\nforged\u{9b}31m\u{202e}x\u{200b}\u{7f}\u{e0041}";

/// As much of it as a field of a message may contain.
const VALUE: &str = "v\u{1b}]0;t\u{7}\u{9b}31m\u{202e}x\u{200b}\u{7f}\u{e0041}";

/// A capture with hostile names everywhere: exchanges, a stream, and a failed handshake.
fn capture(status: u16) -> Vec<u8> {
    let events = format!("event: {VALUE}\nid: {VALUE}\ndata: {VALUE}\n\n");
    let json = "{\"a\":\"\u{202e}\u{9b}\"}";
    let script = Script::client()
        .sent(format!("GET /{VALUE}?token={VALUE} HTTP/1.1\r\nHost: {VALUE}\r\nX-A: {VALUE}\r\n\r\n"))
        .received(format!(
            "HTTP/1.1 {status} {VALUE}\r\nContent-Type: text/plain; {VALUE}\r\nContent-Length: {}\r\n\r\n{HOSTILE}",
            HOSTILE.len()
        ))
        .sent(format!("POST /json HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}", json.len()))
        .received(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{events}",
            events.len()
        ))
        .close();
    let stream = Script::client().sent(HOSTILE.repeat(3)).received(HOSTILE).close();
    let mut records = script.records();
    let mut other = stream.records();
    records.pop();
    for record in &mut other {
        match record {
            Record::Connection(c) => c.conn = 2,
            Record::Data(d) => d.conn = 2,
            Record::Close(c) => c.conn = 2,
            _ => {}
        }
    }
    records.append(&mut other);
    for record in &mut records {
        match record {
            Record::Process(p) => (p.comm, p.exe) = (HOSTILE.into(), Some(HOSTILE.into())),
            Record::Connection(c) => {
                for name in [&mut c.lib, &mut c.sni, &mut c.version, &mut c.cipher] {
                    *name = Some(HOSTILE.into());
                }
                c.alpn = Some(HOSTILE.into()).filter(|_| c.conn == 2);
            }
            Record::Data(d) => d.func = HOSTILE,
            Record::Stats(s) => {
                *s = Stats { failures: vec![(HOSTILE.into(), 1)], dropped_events: 1, ..s.clone() };
            }
            _ => {}
        }
    }
    let handshake = Handshake {
        conn: 2,
        ts_ns: 3,
        tid: 1,
        func: HOSTILE,
        lat_ns: 5,
        ok: false,
        result: Some(-1),
    };
    let at = records.iter().position(|record| record.conn() == Some(2)).unwrap();
    records.insert(at + 1, Record::Handshake(handshake));
    raw_log(&records)
}

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn assert_safe(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let special = text.chars().find(|&c| is_special(c) && !matches!(c, '\n' | '\t'));
    let place = special.and_then(|c| text.find(c)).map(|at| text[..at].lines().last());
    assert_eq!(special, None, "{what}: after {place:?}");
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{what}: {text}");
}

#[test]
fn no_output_has_control_characters_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let name = "c\u{1b}]0;t\u{7}\u{202e}.zst";
    fs::write(dir.join(name), capture(200)).unwrap();
    fs::write(dir.join("new.zst"), capture(500)).unwrap();
    let missing = "m\u{1b}[2J\nforged\u{202e}";
    let damaged = "d\u{9b}2J\nforged.zst";
    let mut bytes = capture(200);
    bytes.truncate(bytes.len() / 2);
    fs::write(dir.join(damaged), bytes).unwrap();
    let rules = format!("method={:?}", VALUE.replace(['\u{1b}', '\u{7}', '\u{7f}'], ""));
    let cases: &[(&[&str], i32)] = &[
        (&[name], 0),
        (&[name, "type=handshake"], 0),
        (&["--json", name], 0),
        (&["--json", "--bodies", name], 0),
        (&["--json", "--bodies", "--decode", name], 0),
        (&["show", name, "1"], 0),
        (&["show", name, "2"], 0),
        (&["show", name, "type=stream"], 0),
        (&["show", name, "type=handshake"], 0),
        (&["show", "--curl", name, "1"], 0),
        (&["follow", name, "1"], 0),
        (&["follow", name, "2"], 0),
        (&["follow", "--hex", name, "2"], 0),
        (&["har", name], 0),
        (&["html", name], 0),
        (&["extract", name, "out"], 0),
        (&["stats", name], 0),
        (&["stats", "--by", "host,path,comm,lib,sni", name], 0),
        (&["stats", "--json", name], 0),
        (&["check", "--max-status", "199", "--no-secrets-in-urls", name], 1),
        (&["check", "--allowed-hosts", "x", "--forbid", &rules, name], 1),
        (&["check", "--max-status", "199", "--json", name], 1),
        (&["check", "--max-status", "199", "--no-secrets-in-urls", "--junit", "j.xml", name], 1),
        (&["diff", name, "new.zst"], 1),
        (&["diff", "--json", name, "new.zst"], 1),
        (&[missing], 1),
        (&[damaged], 1),
        (&["show", damaged, "1"], 1),
        (&["convert", missing, "x.zst"], 1),
        (&["convert", name, "no/folder\u{1b}[2J\u{202e}.zst"], 1),
        (&[name, "path~\u{1b}[2J\u{202e}("], 2),
    ];
    for (args, status) in cases {
        let output = run(dir, args);
        let what = format!("{args:?}");
        assert_safe(&format!("{what}, stderr"), &output.stderr);
        assert_safe(&format!("{what}, stdout"), &output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{what}: {stderr}");
        let said = output.stdout.len() + output.stderr.len();
        assert!(said > 0 || args.contains(&"convert"), "{what}");
    }
}

#[test]
fn junit_has_them_as_character_references() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("c.zst"), capture(200)).unwrap();
    let rule = "comm=x\u{9b}\u{202e}";
    let output = run(dir, &["check", "--require", rule, "--junit", "j.xml", "c.zst"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = fs::read(dir.join("j.xml")).unwrap();
    assert_safe("JUnit", &xml);
    let xml = String::from_utf8(xml).unwrap();
    assert!(xml.contains("comm=x&#x9b;&#x202e;"), "{xml}");
}

#[test]
fn a_pcapng_has_hostile_names_in_escaped_form_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("c.zst"), capture(200)).unwrap();
    assert_eq!(run(dir, &["convert", "c.zst", "c.pcapng"]).status.code(), Some(0));
    let bytes = fs::read(dir.join("c.pcapng")).unwrap();
    // Payloads contain the text, with other letters before it.
    let (raw, escaped) =
        (HOSTILE.as_bytes(), b"h%1B]0;t%07%0D%0Aforged%C2%9B31m%E2%80%AEx%E2%80%8B");
    let of = |needle: &[u8]| bytes.windows(needle.len()).filter(|at| *at == needle).count();
    // In the body of a message once, and in a stream four times.
    assert_eq!(of(raw), 5, "hostile names are in the pcapng as they are");
    assert!(of(escaped) > 10);
    let listed = |file| run(dir, &["--json", file]).stdout;
    assert!(listed("c.zst") == listed("c.pcapng"), "names do not survive the escapes");
}
