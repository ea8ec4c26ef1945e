//! `sslanalyze har`, on real files, read back by a HAR reader and checked by
//! a validator that are not ours.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sslrec_analyzer_testing::records::{Script, raw_log};
use sslrec_analyzer_testing::tools;

/// Writes `c.har` from three exchanges; the last has no response.
fn har(dir: &Path) -> Value {
    let script = Script::client()
        .sent("POST /a b?x=1&y HTTP/1.1\r\nHost: h\r\nCookie: k=v; l=w\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc")
        .received("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: s=t; Path=/\r\nContent-Length: 17\r\n\r\n</script>é \x01\"\\\r\n")
        .sent("GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
        .received([&b"HTTP/1.1 302 Found\r\nLocation: /c\r\nContent-Length: 2\r\n\r\n"[..], b"\xff\0"].concat())
        .sent("GET /c HTTP/1.1\r\nHost: h\r\n\r\n")
        .close();
    std::fs::write(dir.join("c"), raw_log(&script.records())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    let output = command.args(["har", "c"]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(dir.join("c.har"), &output.stdout).unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn entries_have_what_is_known_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let har = har(dir.path());
    assert_eq!(har["log"]["version"], "1.2");
    let entries = har["log"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    let [first, second, third] = [&entries[0], &entries[1], &entries[2]];
    assert_eq!(first["request"]["url"], "https://h/a%20b?x=1&y");
    let query = json!([{"name": "x", "value": "1"}, {"name": "y", "value": ""}]);
    assert_eq!(first["request"]["queryString"], query);
    assert_eq!(first["request"]["postData"]["text"], "abc");
    assert_eq!(first["request"]["cookies"][1], json!({"name": "l", "value": "w"}));
    assert_eq!(first["response"]["cookies"], json!([{"name": "s", "value": "t"}]));
    assert_eq!(first["response"]["content"]["text"], "</script>é \u{1}\"\\\r\n");
    assert_eq!(first["serverIPAddress"], "10.0.0.2");
    assert_eq!(first["_pid"], 42);
    let content = &second["response"]["content"];
    assert_eq!((&content["text"], &content["encoding"]), (&json!("/wA="), &json!("base64")));
    assert_eq!(second["response"]["redirectURL"], "/c");
    assert_eq!(third["response"]["status"], 0);
    assert_eq!(third["timings"]["wait"], -1.0);
    for entry in entries {
        let timings = entry["timings"].as_object().unwrap().values();
        let sum: f64 = timings.filter_map(Value::as_f64).filter(|ms| *ms > 0.0).sum();
        assert!((entry["time"].as_f64().unwrap() - sum).abs() < 1e-9, "{entry}");
        for (object, keys) in [
            (&entry["request"], &["method", "httpVersion", "cookies", "headers", "bodySize"][..]),
            (&entry["response"], &["statusText", "httpVersion", "content", "headersSize"]),
            (entry, &["startedDateTime", "cache", "connection"]),
        ] {
            keys.iter().for_each(|key| assert!(!object[key].is_null(), "{key}: {entry}"));
        }
    }
}

#[test]
fn a_reader_that_is_not_ours_reads_it() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    har(dir.path());
    let script = "import haralyzer, json\n\
        parser = haralyzer.HarParser(json.load(open('c.har')))\n\
        for page in parser.pages:\n for e in page.entries: print(e.request.method, e.request.url, e.response.status)";
    let read = tools::output(tools::python(&tools).args(["-c", script]).current_dir(dir.path()));
    assert_eq!(read, "POST https://h/a%20b?x=1&y 200\nGET https://h/b 302\nGET https://h/c 0\n");
}

/// Captures made by hand, and captures of real servers.
#[test]
fn it_is_valid_against_the_schema() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    har(dir.path());
    let mut files = vec![dir.path().join("c.har")];
    for name in ["http-server", "h2-nginx", "exported-http", "exported-http2"] {
        let capture = tools.join(format!("../analyzer/{name}.pcapng"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
        let har = tools::output(command.arg("har").arg(capture));
        files.push(dir.path().join(name).with_extension("har"));
        std::fs::write(files.last().unwrap(), har).unwrap();
    }
    let entries = tools::output(tools::node(&tools, "validate_har.js").args(&files));
    let entries: Vec<u32> = entries.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(entries.len(), files.len());
    assert!(entries[0] == 3 && entries[1..].iter().all(|&count| count > 0), "{entries:?}");
}

/// A validator that passes everything would prove nothing.
#[test]
fn the_schema_refuses_what_is_no_har() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = har(dir.path());
    wrong["log"]["entries"][0]["timings"]["wait"] = Value::Null;
    let file = dir.path().join("wrong.har");
    std::fs::write(&file, wrong.to_string()).unwrap();
    let output = tools::node(&tools, "validate_har.js").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("wait"), "{output:?}");
}
