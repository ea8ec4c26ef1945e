//! TLS handshakes in the listing: the same handshakes in either file, at their place, and absent
//! for users who ask for exchanges.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sslrec_analyzer_testing::records::{Script, moved, pcapng, raw_log};
use sslrec_formats::record::{Connection, Direction, Handshake, Record, Role};

/// Seconds in nanoseconds.
const S: u64 = 1_000_000_000;

fn analyze(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the output of a command for the raw log of these records.
fn of_raw_log(records: &[Record<'_>], args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FILE"), raw_log(records)).unwrap();
    said(dir.path(), args)
}

/// The same, which must equal the output for the pcapng.
fn both(records: &[Record<'_>], args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FILE"), pcapng(records)).unwrap();
    let raw = of_raw_log(records, args);
    assert_eq!(raw, said(dir.path(), args));
    raw
}

fn said(dir: &Path, args: &[&str]) -> String {
    let output = analyze(dir, args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn objects(records: &[Record<'_>], filter: &[&str]) -> Vec<Value> {
    let listing = both(records, &[&["--json", "FILE"], filter].concat());
    listing.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Type and connection of each line but the last.
fn kinds(records: &[Record<'_>], filter: &[&str]) -> Vec<String> {
    let mut objects = objects(records, filter);
    assert_eq!(objects.pop().unwrap()["type"], "summary");
    let kind = |object: &Value| format!("{} {}", object["type"].as_str().unwrap(), object["conn"]);
    objects.iter().map(kind).collect()
}

fn handshake(conn: u64, ts_ns: u64, ok: bool) -> Record<'static> {
    let (lat_ns, result) = (200, if ok { 1 } else { -1 });
    let func = "SSL_do_handshake";
    Record::Handshake(Handshake { conn, ts_ns, tid: 42, func, lat_ns, ok, result: Some(result) })
}

fn http() -> Script {
    Script::client()
        .sent("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        .received("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .close()
}

/// A connection with its handshake before its first byte, and the negotiated parameters after the
/// handshake, as the recorder reads them.
fn with_handshake<'a>(mut records: Vec<Record<'a>>, handshake: Record<'a>) -> Vec<Record<'a>> {
    let at = records.iter().position(|record| matches!(record, Record::Connection(_))).unwrap();
    let Record::Connection(described) = &records[at] else { unreachable!() };
    let settled = Connection {
        sni: Some("example.org".into()),
        alpn: Some("http/1.1".into()),
        version: Some("TLSv1.3".into()),
        cipher: Some("TLS_AES_256_GCM_SHA384".into()),
        ..described.clone()
    };
    records.splice(at + 1..at + 1, [handshake, Record::Connection(settled)]);
    records
}

/// An exchange on connection 1, and its handshake.
fn one(script: &Script) -> Vec<Record<'_>> {
    with_handshake(script.records(), handshake(1, 500, true))
}

/// A connection that is closed as its handshake failed.
fn failed(script: &Script) -> Vec<Record<'_>> {
    let mut records = script.records();
    records.insert(2, handshake(1, 500, false));
    records
}

/// Several captures joined, with the counters of the last capture only.
fn joined<'a>(parts: Vec<Vec<Record<'a>>>) -> Vec<Record<'a>> {
    let mut records: Vec<_> = parts.into_iter().flatten().collect();
    let stats = records.pop();
    records.retain(|record| !matches!(record, Record::Stats(_)));
    records.sort_by_key(Record::ts_ns);
    records.extend(stats);
    records
}

#[test]
fn a_handshake_stands_before_what_its_connection_carried() {
    let script = http();
    let lines = both(&one(&script), &["--json", "FILE"]);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"type":"handshake","conn":1,"time":"1970-01-01T00:00:00.000000300Z","pid":42,"comm":"prog","role":"client","lib":"libssl.so.3","client":"10.0.0.1:1000","server":"10.0.0.2:443","addr":"exact","sni":"example.org","alpn":"http/1.1","version":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384","ok":true,"result":1,"fn":"SSL_do_handshake","latency_ms":0.0002}"#
    );
    assert!(lines[1].starts_with(r#"{"type":"exchange","id":1,"#), "{}", lines[1]);
    let summary: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!((&summary["handshakes"], &summary["exchanges"]), (&json!(1), &json!(1)));
    assert_eq!(summary["incomplete"], 0);
}

#[test]
fn the_two_files_of_one_recording_have_it_once() {
    let script = http();
    let mut records = one(&script);
    records.insert(5, handshake(1, 1500, true));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("raw"), raw_log(&records)).unwrap();
    fs::write(dir.path().join("png"), pcapng(&records)).unwrap();
    let alone = said(dir.path(), &["--json", "raw"]);
    assert_eq!(alone.matches(r#""type":"handshake""#).count(), 2);
    for order in [["raw", "png"], ["png", "raw"]] {
        assert_eq!(said(dir.path(), &["--json", order[0], order[1]]), alone, "{order:?}");
    }
}

#[test]
fn a_failed_handshake_is_listed_beside_its_connection() {
    let script = Script::client().close();
    let listed = objects(&failed(&script), &[]);
    // The stream is listed where the connection was made.
    let [stream, handshake, _] = &listed[..] else { panic!("{listed:#?}") };
    assert_eq!((&stream["type"], &handshake["type"]), (&json!("stream"), &json!("handshake")));
    let result = [&handshake["ok"], &handshake["result"], &handshake["version"]];
    assert_eq!(result, [&json!(false), &json!(-1), &Value::Null]);
    let note = "the TLS handshake failed (SSL_do_handshake returned -1)";
    assert!(stream["notes"].as_array().unwrap().contains(&json!(note)), "{stream}");
}

#[test]
fn two_ends_of_a_connection_give_one_handshake_from_the_client() {
    let (client, server) = (http(), mirrored());
    let server = with_handshake(moved(&server, 2, 10, true), handshake(2, 505, true));
    let records = joined(vec![one(&client), server]);
    assert_eq!(kinds(&records, &[]), ["handshake 1", "exchange 1"]);
    let listing = of_raw_log(&records, &["--json", "--both-ends", "FILE"]);
    let ends = listing.lines().map(|line| serde_json::from_str(line).unwrap());
    let ends: Vec<Value> = ends.filter(|object: &Value| object["type"] == "handshake").collect();
    let [client, server] = &ends[..] else { panic!("{listing}") };
    assert_eq!((&client["role"], &server["role"]), (&json!("client"), &json!("server")));
    assert_eq!((&client["client"], &client["server"]), (&server["client"], &server["server"]));
}

/// [`http`] as the server saw it.
fn mirrored() -> Script {
    let mut mirrored = Script::server();
    for (direction, bytes) in http().calls() {
        mirrored = match direction {
            Direction::Sent => mirrored.received(bytes),
            Direction::Received => mirrored.sent(bytes),
        };
    }
    mirrored.close()
}

#[test]
fn handshakes_before_the_first_byte_and_after_it_are_listed_by_both_files() {
    for before in [0, 1, 2, 8, 9, 30] {
        let script = http();
        let mut records = script.records();
        let early = (0..before).map(|n| handshake(1, 300 + n, n % 2 == 0));
        records.splice(2..2, early);
        // A further handshake once the connection is in use.
        let at = records.iter().position(|record| matches!(record, Record::Data(_))).unwrap();
        records.insert(at + 1, handshake(1, 1500, true));
        let listed = objects(&records, &["type=handshake"]);
        let times: Vec<_> = listed.iter().filter_map(|object| object["time"].as_str()).collect();
        assert_eq!(times.len() as u64, before.min(8) + 1, "{before} before: {times:?}");
        assert!(times.is_sorted() && times.last().unwrap().contains(".000001300"), "{times:?}");
    }
}

/// A pcapng has the handshake of such a connection only where the connection is used.
#[test]
fn a_connection_that_waits_long_is_listed_alike() {
    for idle in [S, 9 * S, 11 * S, 40 * S] {
        for used in [false, true] {
            let busy: Vec<Script> = (0..60).map(|_| http()).collect();
            let parts = busy.iter().zip(1..).map(|(script, n)| {
                with_handshake(
                    moved(script, n + 1, n * S, false),
                    handshake(n + 1, n * S + 500, true),
                )
            });
            let waiting = if used { http() } else { Script::client().close() };
            // It is described and shakes hands in the second second, and goes on when it is due.
            let mut idling = moved(&waiting, 1, idle + 2 * S, false);
            for record in &mut idling {
                if let Record::Connection(connection) = record {
                    connection.ts_ns = 2 * S + 10;
                }
            }
            idling.insert(2, handshake(1, 2 * S + 300, true));
            let records = joined(std::iter::once(idling).chain(parts).collect());
            let listed = kinds(&records, &[]);
            let expected = if used { "exchange 1" } else { "stream 1" };
            assert!(listed.contains(&"handshake 1".to_owned()), "{idle} {used}");
            assert!(listed.contains(&expected.to_owned()), "{idle} {used}");
            assert_eq!(listed.len(), 2 * 60 + 2, "{idle} {used}");
        }
    }
}

#[test]
fn filters_that_do_not_name_handshakes_are_about_the_rest() {
    let (script, broken) = (http(), Script::client().close());
    let records = joined(vec![one(&script), with_conn(&failed(&broken), 2)]);
    let all = ["exchange 1", "stream 2"];
    for (filter, listed) in [
        ("not status=200", &["stream 2"][..]),
        ("pid=42", &all),
        ("not complete", &[]),
        ("version=TLSv1.3", &["exchange 1"]),
        ("cipher~AES_256 and status=200", &["exchange 1"]),
        ("type=handshake", &["handshake 1", "handshake 2"]),
        ("type=handshake and version=TLSv1.3", &["handshake 1"]),
        ("type!=handshake", &["stream 2", "exchange 1"]),
        ("ok", &["handshake 1"]),
        ("ok=false", &["handshake 2"]),
        ("result=-1 and fn~handshake$", &["handshake 2"]),
        ("latency>0us", &["handshake 1", "handshake 2"]),
        ("latency_ms>0.0001 and sni=example.org", &["handshake 1"]),
        ("time<1970-01-01T00:00:01 and ok", &["handshake 1"]),
    ] {
        let mut found = kinds(&records, &[filter]);
        let mut wanted: Vec<String> = listed.iter().map(|kind| (*kind).to_owned()).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{filter}");
    }
}

fn with_conn<'a>(records: &[Record<'a>], conn: u64) -> Vec<Record<'a>> {
    let mut records = records.to_vec();
    for record in &mut records {
        match record {
            Record::Connection(c) => c.conn = conn,
            Record::Handshake(h) => h.conn = conn,
            Record::Close(c) => c.conn = conn,
            _ => {}
        }
    }
    records
}

#[test]
fn the_text_lists_handshakes_only_if_asked_for_them() {
    let script = http();
    let (records, broken) = (one(&script), Script::client().close());
    let plain = both(&records, &["FILE"]);
    assert_eq!(plain.lines().count(), 3, "{plain}");
    assert!(plain.ends_with("1 exchange on 1 connection of 1 process in 3 us\n"), "{plain}");
    let asked = both(&records, &["FILE", "type=handshake"]);
    let cells: Vec<_> = asked.lines().nth(1).unwrap().split_whitespace().collect();
    let expected = "00:00:00.000 42 prog - - example.org handshake TLSv1.3 - 0us";
    assert_eq!(cells.join(" "), expected);
    assert!(asked.contains("\n1 listed of 1 exchange, 1 handshake on 1 connection"), "{asked}");
    let failed = both(&failed(&broken), &["FILE", "ok=false"]);
    assert!(failed.contains(" -!   10.0.0.2:443"), "{failed}");
}

#[test]
fn commands_say_what_was_settled_on() {
    let script = http();
    let records = one(&script);
    let settled = "* TLSv1.3, TLS_AES_256_GCM_SHA384\n";
    let shown = both(&records, &["show", "FILE", "1"]);
    assert!(shown.contains(&format!("address exact\n{settled}* took ")), "{shown}");
    let shown = both(&records, &["show", "FILE", "type=handshake"]);
    let how = "* server name example.org\n* it succeeded (SSL_do_handshake) after 0 us\n";
    assert!(shown.contains(&format!("{settled}{how}")), "{shown}");
    let followed = of_raw_log(&records, &["follow", "FILE", "1"]);
    let told = format!("* handshake took 0 us (SSL_do_handshake)\n{settled}* 00:00:00.000 client");
    assert!(followed.contains(&told), "{followed}");
    let har: Value = serde_json::from_str(&both(&records, &["har", "FILE"])).unwrap();
    let entries = har["log"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["_version"], "TLSv1.3");
    assert_eq!(entries[0]["_cipher"], "TLS_AES_256_GCM_SHA384");
    let page = both(&records, &["html", "FILE"]);
    assert!(page.contains(r#""tls":"TLSv1.3, TLS_AES_256_GCM_SHA384""#), "{page}");
    assert!(!page.contains(r#""type":"handshake""#), "a handshake is no row of the page");
    let groups = both(&records, &["stats", "FILE", "--by", "version", "--json"]);
    assert!(groups.contains(r#""key":{"version":"TLSv1.3"},"count":1"#), "{groups}");
}

#[test]
fn failures_are_counted_and_can_be_forbidden() {
    let (script, broken) = (http(), Script::client().close());
    let good = one(&script);
    let bad = joined(vec![one(&script), with_conn(&failed(&broken), 2)]);
    assert!(!both(&good, &["stats", "FILE"]).contains("handshake"));
    let counted = both(&bad, &["stats", "FILE"]);
    assert!(counted.contains("note: 1 of 2 TLS handshakes failed\n"), "{counted}");
    let forbid = |records: &[Record<'_>], filter: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("c"), raw_log(records)).unwrap();
        let output = analyze(dir.path(), &["check", "c", "--forbid", filter]);
        (output.status.code().unwrap(), text(&output.stdout))
    };
    assert_eq!(forbid(&good, "ok=false").0, 0);
    let (code, report) = forbid(&bad, "ok=false");
    assert_eq!(code, 1);
    let finding = "TLS handshake of connection 2 with 10.0.0.2, which failed";
    assert!(report.contains(finding), "{report}");
    // A rule about something else is not held against handshakes.
    assert!(forbid(&bad, "status=500").1.contains("(2 checked)"), "{report}");
}

#[test]
fn a_role_that_is_not_known_leaves_the_ends_open() {
    let script = http();
    let mut records = one(&script);
    for record in &mut records {
        if let Record::Connection(connection) = record {
            connection.role = Role::Unknown;
        }
    }
    let listed = objects(&records, &["type=handshake"]);
    let end = |name: &str| listed[0][name].clone();
    assert_eq!(["role", "client", "server"].map(end), [Value::Null, Value::Null, Value::Null]);
    assert_eq!(end("local"), "10.0.0.1:1000");
}
