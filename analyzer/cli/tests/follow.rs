//! `sslanalyze follow`, on real files.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sslrec_analyzer_testing::records::{Script, pcapng, raw_log};
use sslrec_formats::record::{Direction, Record, Role};

fn analyze(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the output of `follow` for the raw log and the pcapng of these records, which must be
/// the same.
fn follow(records: &[Record<'_>], args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("raw"), raw_log(records)).unwrap();
    fs::write(dir.path().join("png"), pcapng(records)).unwrap();
    let shown = ["raw", "png"].map(|file| {
        let output = analyze(dir.path(), &[&["follow", file, "1"], args].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    });
    assert_eq!(shown[0], shown[1]);
    shown[0].clone()
}

fn script() -> Script {
    Script::client()
        .sent("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        .received("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc\x1b[2J")
        .received("de")
        .sent("bye")
        .close()
}

#[test]
fn the_conversation_is_shown_in_order() {
    let shown = follow(&script().records(), &[]);
    let expected = "\
* conversation, 1970-01-01T00:00:00.000000002Z, prog[42] as client
* connection 1 over TLS, 10.0.0.1:1000 -> 10.0.0.2:443, address exact
* 00:00:00.000 client
> GET /a HTTP/1.1
> Host: h
> 
* 00:00:00.000 server
< HTTP/1.1 200 OK
< Content-Length: 9
< 
< abc\\u{1b}[2Jde
* 00:00:00.000 client
> bye
* closed
";
    assert_eq!(shown, expected);
}

#[test]
fn a_server_s_side_has_the_client_in_front_too() {
    let script = Script::server().received("ask\n").sent("answer\n").close();
    let shown = follow(&script.records(), &[]);
    assert!(shown.contains("> ask\n") && shown.contains("< answer\n"), "{shown}");
    assert_eq!(follow(&script.records(), &["--raw", "--from", "client"]), "ask\n");
    assert_eq!(follow(&script.records(), &["--raw", "--from", "remote"]), "ask\n");
    assert_eq!(follow(&script.records(), &["--raw", "--from", "server"]), "answer\n");
}

#[test]
fn gaps_stand_at_their_place() {
    let script = script().without(Direction::Received, 5, 10);
    let shown = follow(&script.records(), &[]);
    assert!(shown.contains("server\n< HTTP/\n* 10 bytes missing"), "{shown}");
    assert!(shown.contains(": ring_full\n* 00:00:00.000 server\n< "), "{shown}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c"), raw_log(&script.records())).unwrap();
    let raw = analyze(dir.path(), &["follow", "--raw", "--from", "server", "c", "1"]);
    assert!(raw.status.success());
    let whole = follow(&self::script().records(), &["--raw", "--from", "server"]);
    assert_eq!(raw.stdout, [&whole.as_bytes()[..5], &whole.as_bytes()[15..]].concat());
    let message = text(&raw.stderr);
    assert!(message.contains("10 bytes missing from the server at 5: ring_full"), "{message}");
}

#[test]
fn hex_shows_calls_and_their_places() {
    let shown = follow(&script().records(), &["--hex", "--from", "client"]);
    assert!(
        shown.contains("> 00:00:00.000 SSL_write 28 bytes\n  00000000  47 45 54 20 "),
        "{shown}"
    );
    assert!(shown.contains("> 00:00:00.000 SSL_write 3 bytes\n  0000001c  62 79 65 "), "{shown}");
    assert!(!shown.contains("SSL_read"), "{shown}");
}

#[test]
fn colours_go_by_direction_and_only_where_wanted() {
    let shown = follow(&script().records(), &["--color", "always"]);
    assert!(shown.contains("\x1b[36m> Host: h\x1b[0m\n"), "{shown:?}");
    assert!(shown.contains("\x1b[33m< Content-Length: 9\x1b[0m\n"), "{shown:?}");
    assert!(!follow(&script().records(), &[]).contains('\x1b'));
    assert!(
        !follow(&script().records(), &["--raw", "--from", "client", "--color", "always"])
            .contains('\x1b')
    );
}

#[test]
fn what_cannot_be_shown_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let script = script();
    let mut records = script.records();
    for record in &mut records {
        if let Record::Connection(connection) = record {
            connection.role = Role::Unknown;
        }
    }
    fs::write(dir.path().join("c"), raw_log(&records)).unwrap();
    for (args, code, says) in [
        (&["follow", "c", "2"][..], 1, "has no connection 2"),
        (&["follow", "--raw", "c", "1"], 2, "--from"),
        (&["follow", "--raw", "--from", "client", "c", "1"], 1, "use --from local"),
        (&["follow", "c", "x"], 2, "invalid value"),
    ] {
        let output = analyze(dir.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
    let output = analyze(dir.path(), &["follow", "--raw", "--from", "local", "c", "1"]);
    assert!(output.status.success() && output.stdout.starts_with(b"GET /a"));
}

#[test]
fn packets_of_the_wire_can_be_followed() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer/http-server.pcapng");
    let output = analyze(Path::new("."), &["follow", file.to_str().unwrap(), "1"]);
    let shown = text(&output.stdout);
    assert!(output.status.success() && shown.contains("> GET /a.txt HTTP/1.1\n"), "{shown}");
    assert!(shown.contains(" over TCP, ") && shown.ends_with("* closed\n"), "{shown}");
}
