//! The help of the program and of each command, and a JSON line of each type, as golden files.
//!
//! `UPDATE_GOLDEN=1 cargo test -p sslanalyze golden` writes them after an intended change.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sslrec_analyzer::item_fields;
use sslrec_analyzer_testing::frames::{
    END_HEADERS, END_STREAM, HEADERS, block, client, data, frame, server,
};
use sslrec_analyzer_testing::records::{Script, moved, raw_log};
use sslrec_analyzer_testing::{golden, manual};
use sslrec_formats::record::{GapCause, Handshake, Record, Role};

/// Path of a golden file.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn output(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env("COLUMNS", "100");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the commands, from the help.
fn commands(help: &str) -> Vec<&str> {
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn the_help_is_that_of_the_golden_files() {
    let here = Path::new(".");
    let short = output(here, &["-h"]);
    golden::check(&file("help/sslanalyze.txt"), &output(here, &["--help"]));
    golden::check(&file("help/sslanalyze-short.txt"), &short);
    let commands = commands(&short);
    assert!(commands.contains(&"show") && commands.len() >= 10, "{commands:?}");
    for command in commands {
        let help = output(here, &[command, "--help"]);
        golden::check(&file(&format!("help/{command}.txt")), &help);
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let help = output(Path::new("."), &["-h"]);
    let page = manual::check(Path::new(env!("CARGO_BIN_EXE_sslanalyze")), &commands(&help));
    // The lines of a table are not filled.
    let line = "  status>=500            = != < <= > >= on numbers, sizes and times\n";
    assert!(page.is_empty() || page.contains(line), "{page}");
}

/// A request whose response has a trailer, and a request without a response.
fn http1() -> Script {
    Script::client()
        .sent("GET /a?b=1 HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n")
        .received("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        .received(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: v\r\n\r\n",
        )
        .sent("PUT /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\r\n\r\n")
        .received("HTTP/1.1 204 No Content\r\n\r\n")
        .sent("POST /cut HTTP/1.1\r\nHost: example.org\r\nContent-Length: 9\r\n\r\nabc")
        .close()
}

fn grpc() -> Script {
    let fields = |path: &'static str| {
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "x"),
            (":path", path),
            ("content-type", "application/grpc"),
        ]
    };
    let head = [(":status", "200"), ("content-type", "application/grpc")];
    let end = [("grpc-status", "0"), ("grpc-message", "fine")];
    Script::client()
        .sent(client())
        .received(server())
        .sent(frame(HEADERS, END_HEADERS, 1, &block(&fields("/shop.Orders/Get"))))
        .sent(data(1, b"\0\0\0\0\x02\x08\x01", END_STREAM))
        .received(frame(HEADERS, END_HEADERS, 1, &block(&head)))
        .received(data(1, b"\0\0\0\0\x04\x0a\x02hi", 0))
        .received(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&end)))
        .close()
}

fn websocket() -> Script {
    Script::client()
        .sent("GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .received(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .sent(b"\x81\x82\0\0\0\0hi")
        .received(b"\x82\x01\xff")
        .received(b"\x88\x05\x03\xe8bye")
        .close()
}

/// A malformed request in a tunnel, behind a proxy.
fn routed() -> Script {
    Script::client()
        .sent("PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n")
        .sent(b"\x05\x01\0")
        .received(b"\x05\0")
        .sent(b"\x05\x01\0\x03\x01h\0\x50")
        .received(b"\x05\0\0\x01\0\0\0\0\0\0")
        .sent("GET /a HTTP/1.\r\nHost: h\r\n\r\n")
        .received("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .close()
}

fn events() -> Script {
    Script::client()
        .sent("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        .received(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 22\r\n\r\n",
        )
        .received("id: 1\ndata: one\n\n:end\n")
        .close()
}

fn records<'a>(scripts: &'a [Script]) -> Vec<Record<'a>> {
    let mut all = Vec::new();
    for (number, script) in scripts.iter().enumerate() {
        let mut records = moved(script, number as u64 + 1, number as u64 * 1_000_000, false);
        // A single closing record, at the end.
        let stats = records.pop().unwrap();
        all.extend(records);
        if number + 1 == scripts.len() {
            all.push(stats);
        }
    }
    all
}

#[test]
fn each_type_of_json_line_is_that_of_the_golden_file() {
    let lost = (sslrec_formats::record::Direction::Received, 10, 4);
    let stream = Script::client().sent(b"\0binary\xff").received([7; 40]).close();
    let unknown = Script::client().sent(b"\0\xff").received(b"\x01").close();
    let stream = stream.without(lost.0, lost.1, lost.2);
    let scripts = [http1(), grpc(), websocket(), events(), stream, unknown, routed()];
    let mut records = records(&scripts);
    for record in &mut records {
        if let Record::Connection(connection) = record
            && connection.conn == 6
        {
            connection.role = Role::Unknown;
        }
    }
    let handshake = Record::Handshake(Handshake {
        conn: 1,
        ts_ns: 500,
        tid: 42,
        func: "SSL_connect",
        lat_ns: 300,
        ok: false,
        result: Some(-1),
    });
    records.insert(2, handshake);
    assert!(
        records
            .iter()
            .any(|record| matches!(record, Record::Gap(gap) if gap.cause == GapCause::RingFull))
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c"), raw_log(&records)).unwrap();
    let bodies = output(dir.path(), &["--json", "--bodies", "--decode", "c"]);
    golden::check(&file("json/bodies.jsonl"), &bodies);
    golden::check(&file("json/listing.jsonl"), &output(dir.path(), &["--json", "c"]));
    golden::check(&file("json/stats.jsonl"), &output(dir.path(), &["stats", "--json", "c"]));
    golden::check(&file("listing.txt"), &output(dir.path(), &["c", "type"]));
}

/// Adds the places of all fields of an object, with a dot for each level but those of protocols in
/// `--filter`, whose parts are listed under a single name.
fn places(prefix: &str, object: &Value, all: &mut BTreeSet<String>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let place = format!("{prefix}{key}");
        if !["websocket", "events"].contains(&place.as_str()) {
            places(&format!("{place}."), value, all);
        }
        all.insert(place);
    }
}

#[test]
fn the_table_of_fields_is_that_of_the_json() {
    let lines = std::fs::read_to_string(file("json/bodies.jsonl")).unwrap();
    let mut all = BTreeSet::new();
    for line in lines.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        if object["type"] != "summary" {
            places("", &object, &mut all);
        }
    }
    let table: BTreeSet<String> = item_fields::all()
        .filter(|field| !field.json.is_empty())
        .map(|field| field.json.join("."))
        .collect();
    for place in &all {
        let known = table.contains(place) || item_fields::json_only().any(|only| only == place);
        assert!(known, "{place} is in the JSON and not in the table of fields");
    }
    for place in &table {
        assert!(all.contains(place), "{place} is in the table of fields and not in the JSON");
    }
    for place in item_fields::json_only() {
        assert!(!table.contains(place), "{place} is in the table, and in JSON_ONLY");
        assert!(all.contains(place), "{place} is in JSON_ONLY and not in the JSON");
    }
    let help = output(Path::new("."), &["--help"]);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/filters.md");
    let document = std::fs::read_to_string(document).unwrap();
    for name in item_fields::all().map(|field| field.name()) {
        assert!(help.contains(name), "{name} is not in the help");
        assert!(document.contains(&format!("`{name}`")), "{name} is not in docs/filters.md");
    }
}
