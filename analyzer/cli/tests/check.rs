//! `sslanalyze check`, on real files, and its JUnit XML read by a reader that is not ours.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sslrec_analyzer_testing::records::{Script, raw_log};

/// Two exchanges with `api.example.org`, the second of which fails, and an exchange with another
/// host that has no response.
fn write_capture(dir: &Path) {
    let script = Script::client()
        .sent("GET /orders?token=hunter2 HTTP/1.1\r\nHost: api.example.org\r\nX-Id: 1\r\n\r\n")
        .received("HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n")
        .sent("GET /<b>&\"x'? HTTP/1.1\r\nHost: API.example.org:8443\r\n\r\n")
        .received("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        .sent("GET /c HTTP/1.1\r\nHost: other.test\r\n\r\n")
        .close();
    std::fs::write(dir.join("c.zst"), raw_log(&script.records())).unwrap();
}

fn check(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(["check", "c.zst"]).args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn each_rule_holds_or_does_not_and_the_exit_status_tells() {
    let dir = tempfile::tempdir().unwrap();
    write_capture(dir.path());
    for (rule, holds) in [
        (&["--allowed-hosts", "*.example.org,other.test"][..], true),
        (&["--allowed-hosts", "api.example.org"], false),
        (&["--allowed-hosts", "*"], true),
        (&["--max-status", "500"], true),
        (&["--max-status", "499"], false),
        (&["--max-duration", "1s"], true),
        (&["--max-duration", "0.5us"], false),
        (&["--max-requests", "api.example.org=2"], true),
        (&["--max-requests", "api.example.org=1"], false),
        (&["--max-requests", "*=2"], false),
        (&["--no-secrets-in-urls"], false),
        (&["--no-incomplete"], false),
        (&["--required-headers", "host"], true),
        (&["--required-headers", "request.x-id"], false),
        (&["--forbidden-headers", "request.server,cookie"], true),
        (&["--forbidden-headers", "response.server"], false),
        (&["--forbid", "method=POST"], true),
        (&["--forbid", "path~orders"], false),
        (&["--require", "method=GET"], true),
        (&["--require", "status"], false),
    ] {
        let output = check(dir.path(), rule);
        let expected = if holds { Some(0) } else { Some(1) };
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), expected, "{rule:?}: {out}{err}");
        assert_eq!(out.contains("\nFAIL") || out.starts_with("FAIL"), !holds, "{out}");
        assert_eq!(err.contains("do not hold"), !holds, "{err}");
        assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{out}{err}");
    }
}

#[test]
fn a_file_of_rules_says_the_same_as_the_options_and_both_count() {
    let dir = tempfile::tempdir().unwrap();
    write_capture(dir.path());
    let rules = "allowed_hosts = ['*.example.org']\nmax_status = 399\nmax_duration = '2s'\n\
        max_requests = ['api.example.org=10']\nno_secrets_in_urls = true\n\
        required_headers = ['host']\n[[rule]]\nname = 'no deletes'\nforbid = 'method=DELETE'\n\
        [[rule]]\nname = 'answered'\nrequire = 'response'\n";
    std::fs::write(dir.path().join("rules.toml"), rules).unwrap();
    let output = check(dir.path(), &["--rules", "rules.toml", "--json", "--max-status", "500"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    let lines: Vec<Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (summary, rules) = lines.split_last().unwrap();
    let outcomes: Vec<_> = rules
        .iter()
        .map(|rule| (rule["name"].as_str().unwrap(), rule["ok"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("maximum status 500", true),
            ("allowed hosts *.example.org", false),
            ("maximum status 399", false),
            ("maximum duration 2s", true),
            ("maximum requests api.example.org=10", true),
            ("no secrets in URLs", false),
            ("required header host", true),
            ("no deletes", true),
            ("answered", false),
        ]
    );
    assert_eq!(rules[2]["findings"][0]["id"], 2);
    assert_eq!((&summary["exchanges"], &summary["failed_rules"]), (&3.into(), &4.into()));
}

#[test]
fn a_bad_rule_is_shown_with_its_place_and_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    write_capture(dir.path());
    for (toml, words) in [
        ("max_stat = 3", &["line 1", "max_stat", "max_status"][..]),
        ("max_status = 'x'", &["line 1", "u16"]),
        ("max_status = 9", &["rules.toml: max_status", "three digits"]),
        ("max_duration = '2 weeks'", &["max_duration", "250ms"]),
        ("allowed_hosts = ['http://x/']", &["allowed_hosts", "http://x/", "without scheme"]),
        ("max_requests = ['x']", &["max_requests", "HOST=N"]),
        ("required_headers = ['a b']", &["required_headers", "response.NAME"]),
        ("forbid = ['statsu>3']", &["forbid", "^^^^^^", "allowed here"]),
        ("[[rule]]\nname = 'n'", &["rule \"n\"", "`forbid` or `require`"]),
        ("[[rule]]\nforbid = 'id'", &["rule", "`name`"]),
        ("", &["no rule is given", "--rules"]),
    ] {
        std::fs::write(dir.path().join("rules.toml"), toml).unwrap();
        let output = check(dir.path(), &["--rules", "rules.toml"]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{toml}: {err}");
        words.iter().for_each(|word| assert!(err.contains(word), "{toml}: {word}: {err}"));
    }
    let flag = check(dir.path(), &["--max-duration", "soon"]);
    assert_eq!(flag.status.code(), Some(2));
    assert!(text(&flag.stderr).contains("--max-duration"), "{}", text(&flag.stderr));
}

#[test]
fn a_damaged_file_fails_even_where_all_rules_hold() {
    let dir = tempfile::tempdir().unwrap();
    write_capture(dir.path());
    let path = dir.path().join("c.zst");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let output = check(dir.path(), &["--max-status", "599", "--junit", "c.xml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("damaged"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("ok "), "{}", text(&output.stdout));
    let xml = std::fs::read_to_string(dir.path().join("c.xml")).unwrap();
    assert!(xml.contains(r#"failures="0" errors="1""#) && xml.contains("<error"), "{xml}");
}

#[test]
fn a_reader_that_is_not_ours_reads_the_junit_file() {
    let dir = tempfile::tempdir().unwrap();
    write_capture(dir.path());
    let args = ["--max-status", "399", "--forbid", "path~'<c>\u{1}'", "--junit", "c.xml"];
    let output = check(dir.path(), &args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let script = "import junitparser\n\
        for suite in junitparser.JUnitXml.fromfile('c.xml'):\n \
        print(suite.name, suite.tests, suite.failures, suite.errors)\n \
        for case in suite:\n  \
        print(case.name, [(type(r).__name__, r.message, r.text) for r in case.result])";
    let python =
        Command::new("/usr/bin/python3").args(["-c", script]).current_dir(dir.path()).output();
    let python = python.unwrap();
    let (out, err) = (text(&python.stdout), text(&python.stderr));
    assert!(python.status.success(), "install python3-junitparser: {err}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "sslanalyze check c.zst 3 1 0");
    assert_eq!(lines[1], "the capture is whole []");
    assert!(
        lines[2].starts_with("maximum status 399 [('Failure', '1 of 3 checked', 'exchange 2: GET API.example.org:8443/<b>&\"x\\' -> 500 in"),
        "{out}"
    );
    assert_eq!(lines[3], "forbid path~'<c>\u{fffd}' []");
}
