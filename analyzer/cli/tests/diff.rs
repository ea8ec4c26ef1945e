//! `sslanalyze diff`, on captures of two versions of a service.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sslrec_analyzer_testing::records::{Script, moved, pcapng, raw_log};

/// An exchange: request line and fields, request body, status and fields, response body.
type Said<'a> = (&'a str, &'a str, &'a str, &'a str);

fn script(exchanges: &[Said<'_>]) -> Script {
    let mut script = Script::client();
    for (request, asked, response, answered) in exchanges {
        let (asked_len, answered_len) = (asked.len(), answered.len());
        script = script
            .sent(format!("{request}\r\nContent-Length: {asked_len}\r\n\r\n{asked}"))
            .received(format!("{response}\r\nContent-Length: {answered_len}\r\n\r\n{answered}"));
    }
    script.close()
}

const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: now";

fn old() -> Script {
    script(&[
        (
            "GET /users/4711?page=2 HTTP/1.1\r\nHost: api.test:8443",
            "",
            JSON,
            r#"{"id":1,"name":"x"}"#,
        ),
        (
            "GET /users/12?page=1 HTTP/1.1\r\nHost: api.test:8443",
            "",
            JSON,
            r#"{"id":2,"name":"y"}"#,
        ),
        ("GET /old HTTP/1.1\r\nHost: api.test:8443", "", "HTTP/1.1 200 OK", "text"),
        ("POST /orders HTTP/1.1\r\nHost: api.test:8443", r#"{"n":1}"#, "HTTP/1.1 201 Created", ""),
    ])
}

/// The same in another order, on another port, with other ids, values and tokens.
fn again() -> Script {
    script(&[
        ("POST /orders HTTP/1.1\r\nHost: api.test:1234", r#"{"n":99}"#, "HTTP/1.1 201 Created", ""),
        ("GET /old HTTP/1.1\r\nHost: API.test:1234", "", "HTTP/1.1 200 OK", "other text"),
        (
            "GET /users/9b2d6c1e-0f3a-4a51-9a61-0d1f4f1c7b10?page=7 HTTP/1.1\r\nHost: api.test:1234",
            "",
            JSON,
            r#"{"id":3,"name":"zzz"}"#,
        ),
    ])
}

fn new() -> Script {
    script(&[
        (
            "GET /users/9?page=2&sort=up HTTP/1.1\r\nHost: api.test:8443\r\nX-Trace: t",
            "",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json",
            r#"{"id":"1","name":"x","tags":["a"]}"#,
        ),
        ("POST /orders HTTP/1.1\r\nHost: api.test:8443", r#"{"n":1}"#, "HTTP/1.1 202 Accepted", ""),
        ("DELETE /orders/77 HTTP/1.1\r\nHost: api.test:8443", "", "HTTP/1.1 204 Gone", ""),
    ])
}

fn diff(dir: &Path, args: &[&str]) -> Output {
    std::fs::write(dir.join("old.zst"), raw_log(&old().records())).unwrap();
    std::fs::write(dir.join("again.pcapng"), pcapng(&moved(&again(), 7, 12_345, true))).unwrap();
    std::fs::write(dir.join("new.zst"), raw_log(&new().records())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.arg("diff").args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn runs_of_one_version_do_not_differ() {
    let dir = tempfile::tempdir().unwrap();
    for args in [["old.zst", "old.zst"], ["old.zst", "again.pcapng"], ["again.pcapng", "old.zst"]] {
        let output = diff(dir.path(), &args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        assert_eq!(text(&output.stdout), "0 appeared, 0 vanished, 0 changed, 3 are the same\n");
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn what_a_new_version_does_is_shown_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let output = diff(dir.path(), &["old.zst", "new.zst"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "- GET api.test/old  (once)\n\
         + DELETE api.test/orders/{id}  (once)\n\
         ~ POST api.test/orders\n    \
             status  - 201\n    \
             status  + 202\n\
         ~ GET api.test/users/{id}\n    \
             query  + sort\n    \
             request_headers  + x-trace\n    \
             response_headers  - date\n    \
             response_body  - id: number\n    \
             response_body  + id: text\n    \
             response_body  + tags[]\n    \
             response_body  + tags[]: text\n\
         1 appeared, 1 vanished, 2 changed, 0 are the same\n"
    );
    assert!(text(&output.stderr).contains("the captures differ"));
}

#[test]
fn what_a_new_version_does_is_told_to_programs() {
    let dir = tempfile::tempdir().unwrap();
    let output = diff(dir.path(), &["--json", "old.zst", "new.zst", "path!~users"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kind = |method: &str, path: &str| (method.to_owned(), path.to_owned());
    let of = |line: &Value| kind(line["method"].as_str().unwrap(), line["path"].as_str().unwrap());
    assert_eq!((&lines[0]["type"], of(&lines[0])), (&json!("vanished"), kind("GET", "/old")));
    assert_eq!(
        (&lines[1]["type"], of(&lines[1])),
        (&json!("appeared"), kind("DELETE", "/orders/{id}"))
    );
    assert_eq!(lines[2]["changes"], json!({"status": {"added": ["202"], "removed": ["201"]}}));
    let summary = json!({"type": "summary", "appeared": 1, "vanished": 1, "changed": 1, "same": 0});
    assert_eq!(lines[3], summary);
}

#[test]
fn what_is_ignored_makes_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let ignore = "status,query,response_body,header:x-trace,header:Date";
    let output = diff(
        dir.path(),
        &["old.zst", "new.zst", "path!~old and method!=DELETE", "--ignore", ignore],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let output = diff(dir.path(), &["old.zst", "new.zst", "--ignore", "stat"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("response_body or header:NAME"));
}

#[test]
fn damage_is_no_sameness() {
    let dir = tempfile::tempdir().unwrap();
    diff(dir.path(), &["old.zst", "old.zst"]);
    let bytes = std::fs::read(dir.path().join("again.pcapng")).unwrap();
    std::fs::write(dir.path().join("cut.pcapng"), &bytes[..bytes.len() - 10]).unwrap();
    let output = diff(dir.path(), &["again.pcapng", "cut.pcapng"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cut.pcapng is damaged"), "{}", text(&output.stderr));
}

#[test]
fn trouble_has_another_exit_code_than_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    let code = |files: &[&str]| diff(dir.path(), files).status.code();
    assert_eq!(code(&["old.zst", "new.zst"]), Some(1));
    assert_eq!(code(&["old.zst", "missing.zst"]), Some(2));
    std::fs::write(dir.path().join("no_capture"), "text").unwrap();
    assert_eq!(code(&["no_capture", "new.zst"]), Some(2));
}
