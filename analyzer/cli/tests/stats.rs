//! `sslanalyze stats`, compared with the listing of the same capture.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sslrec_analyzer_testing::records::{Script, raw_log};

fn analyze(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn lines(args: &[&str], dir: &Path) -> Vec<Value> {
    let output = analyze(args, dir);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes `c`: 200 users are requested, every tenth is missing, a page fails, and the last response
/// is truncated.
fn capture(dir: &Path) {
    let mut script = Script::client();
    for user in 0..200 {
        let get = format!("GET /users/{user}?fields=all HTTP/1.1\r\nHost: api:8443\r\n\r\n");
        let status = if user % 10 == 0 { "404 Not Found" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nabc");
        script = script.sent(get).received(answer);
    }
    script = script
        .sent("POST /users HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\n\r\nhello")
        .received("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        .sent("GET /users/7 HTTP/1.1\r\nHost: api\r\n\r\n")
        .received("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        .close();
    std::fs::write(dir.join("c"), raw_log(&script.records())).unwrap();
}

#[test]
fn exchanges_of_one_kind_are_counted_together() {
    let dir = tempfile::tempdir().unwrap();
    capture(dir.path());
    let all = lines(&["stats", "--json", "c"], dir.path());
    let [users, created, summary] = &all[..] else { panic!("{all:?}") };
    assert_eq!(users["key"], json!({"host": "api", "method": "GET", "path": "/users/{id}"}));
    let counts = ["count", "errors", "status_4xx", "status_5xx", "incomplete"];
    let of = |group: &Value| counts.map(|name| group[name].as_u64().unwrap());
    assert_eq!(of(users), [201, 21, 20, 0, 1]);
    assert_eq!(created["key"]["path"], "/users");
    assert_eq!(of(created), [1, 1, 0, 1, 0]);
    assert_eq!(
        (&created["request_body_bytes"], &users["response_body_bytes"]),
        (&json!(5), &json!(603))
    );
    assert_eq!((&summary["type"], &summary["exchanges"]), (&json!("summary"), &json!(202)));
    let statuses =
        lines(&["stats", "--json", "c", "--by", "status,process", "id<=200"], dir.path());
    let keys: Vec<_> = statuses[..2].iter().map(|group| group["key"].clone()).collect();
    let key = |status: u32| json!({"status": status, "comm": "prog", "pid": 42});
    assert_eq!(keys, [key(200), key(404)]);
    assert_eq!(statuses[2]["listed"], 200);
}

/// Of captures of real servers: counts, bytes and times are those of the listing.
#[test]
fn groups_agree_with_the_listing() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer");
    for name in ["http-server.pcapng", "h2-nginx.pcapng", "h2-joined.pcapng"] {
        let mut wanted: BTreeMap<String, (u64, u64, f64)> = BTreeMap::new();
        let mut exchanges = 0;
        for line in lines(&["--json", name], &data) {
            if line["type"] == "exchange" {
                let group = wanted.entry(line["response"]["status"].to_string()).or_default();
                group.0 += 1;
                group.1 += line["response"]["body_bytes"].as_u64().unwrap_or(0);
                group.2 = group.2.max(line["duration_ms"].as_f64().unwrap_or(0.0));
                exchanges += 1;
            }
        }
        let mut found = BTreeMap::new();
        for line in lines(&["stats", "--json", name, "--by", "status"], &data) {
            if line["type"] == "group" {
                let max = line["duration_ms"]["max"].as_f64().unwrap_or(0.0);
                let bytes = line["response_body_bytes"].as_u64().unwrap();
                let key = line["key"]["status"].to_string();
                found.insert(key, (line["count"].as_u64().unwrap(), bytes, max));
            }
        }
        assert_eq!(found, wanted, "{name}");
        assert!(exchanges > 0, "{name}");
    }
}

#[test]
fn what_exceeds_the_limit_of_groups_is_counted_and_said() {
    let dir = tempfile::tempdir().unwrap();
    capture(dir.path());
    let args = ["stats", "c", "--by", "url", "--max-groups", "50", "--sort", "errors"];
    let output = analyze(&args, dir.path());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let note = "note: 152 exchanges of more than 50 groups are counted together; see --max-groups";
    assert!(text.contains(note), "{text}");
    // A header, the groups, the others, the totals and the note.
    assert_eq!(text.lines().count(), 1 + 50 + 1 + 1 + 1, "{text}");
    assert!(text.lines().nth(51).unwrap().ends_with("(other groups)"), "{text}");
    let json = lines(&[&args[..], &["--json"]].concat(), dir.path());
    assert_eq!((&json[50]["type"], &json[50]["count"]), (&json!("other_groups"), &json!(152)));
}

#[test]
fn a_wrong_field_exits_2_and_says_what_is_right() {
    let output = analyze(&["stats", "c", "--by", "host,pth"], Path::new("/"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("unknown field `pth`; did you mean `path`?"), "{text}");
}
