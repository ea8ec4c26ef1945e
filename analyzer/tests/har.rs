//! `sslanalyze har`, on real files, and read back by a HAR reader that is not ours.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod records;

use std::path::Path;
use std::process::Command;

use records::Script;
use serde_json::{Value, json};
use sslrec_formats::io::RecordWriter;
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::CaptureInfo;

/// Writes `c.har` from three exchanges, of which the last one has no response.
fn har(dir: &Path) -> Value {
    let script = Script::client()
        .sent("POST /a b?x=1&y HTTP/1.1\r\nHost: h\r\nCookie: k=v; l=w\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc")
        .received("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: s=t; Path=/\r\nContent-Length: 17\r\n\r\n</script>é \x01\"\\\r\n")
        .sent("GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
        .received([&b"HTTP/1.1 302 Found\r\nLocation: /c\r\nContent-Length: 2\r\n\r\n"[..], b"\xff\0"].concat())
        .sent("GET /c HTTP/1.1\r\nHost: h\r\n\r\n")
        .close();
    let mut bytes = Vec::new();
    let info = CaptureInfo { start_ns: 1, ..CaptureInfo::default() };
    let mut writer = RawLogWriter::new(&mut bytes, info, 1).unwrap();
    script.records().iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    drop(writer);
    std::fs::write(dir.join("c"), bytes).unwrap();
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

/// `HAR_PYTHON` is a Python that has the package haralyzer; `python3` where it is not set.
#[test]
fn a_reader_that_is_not_ours_reads_it() {
    let python = std::env::var("HAR_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import haralyzer"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no haralyzer; pip install it, or set HAR_PYTHON");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    har(dir.path());
    let script = "import haralyzer, json\n\
        parser = haralyzer.HarParser(json.load(open('c.har')))\n\
        for page in parser.pages:\n for e in page.entries: print(e.request.method, e.request.url, e.response.status)";
    let output = Command::new(&python).args(["-c", script]).current_dir(dir.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "POST https://h/a%20b?x=1&y 200\nGET https://h/b 302\nGET https://h/c 0\n"
    );
}
