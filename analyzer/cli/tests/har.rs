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
    let cookie =
        json!({"name": "s", "value": "t", "path": "/", "httpOnly": false, "secure": false});
    assert_eq!(first["response"]["cookies"], json!([cookie]));
    assert_eq!(first["response"]["content"]["text"], "</script>é \u{1}\"\\\r\n");
    assert_eq!(first["serverIPAddress"], "10.0.0.2");
    assert_eq!(first["_pid"], 42);
    let content = &second["response"]["content"];
    assert_eq!((&content["text"], &content["encoding"]), (&json!("/wA="), &json!("base64")));
    assert_eq!(second["response"]["redirectURL"], "/c");
    assert_eq!(third["response"]["status"], 0);
    assert_eq!(third["timings"]["wait"], 0.0);
    for entry in entries {
        let timings = entry["timings"].as_object().unwrap().values();
        assert!(timings.clone().all(|ms| ms.as_f64().unwrap() >= 0.0), "{entry}");
        let sum: f64 = timings.filter_map(Value::as_f64).sum();
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

/// A tunnel, forms, cookies, and texts in several character sets.
fn rich() -> Script {
    let post = |content_type: &str, body: &[u8]| {
        let head = format!(
            "POST /f\u{e9} HTTP/1.1\r\nHost: h\r\nCookie: a=1; b\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let answer = |fields: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let parts = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\n\
        Content-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n\0\xff\r\n--B--\r\n";
    let cookies = "Set-Cookie: s=1; Domain=h; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure\r\n\
        Set-Cookie: t=2; Max-Age=60; HttpOnly; SameSite=Lax\r\n\
        Content-Type: text/plain; charset=utf-16le\r\nX-Name: Zo\u{eb}\r\n";
    Script::client()
        .sent(post("application/x-www-form-urlencoded", b"k=v+1&e=%C3%A9&x="))
        .received(answer(cookies, b"h\0i\0"))
        .sent(post("multipart/form-data; boundary=B", parts))
        .received(answer("Content-Type: text/html; charset=shift_jis\r\n", b"\x93\xfa\x96{"))
        .sent(post("application/x-www-form-urlencoded", b""))
        .received(answer("Content-Type: application/json\r\n", b"\"\xff\""))
        .sent("CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n")
        .received("HTTP/1.1 200 OK\r\n\r\n")
        .close()
}

#[test]
fn forms_cookies_tunnels_and_texts_have_their_fields() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("c"), raw_log(&rich().records())).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
        tools::output(command.args(args).current_dir(dir))
    };
    let text = run(&["har", "c"]);
    let har: Value = serde_json::from_str(&text).unwrap();
    let entries = har["log"]["entries"].as_array().unwrap();
    assert_eq!(
        entries[0]["request"]["postData"]["params"],
        json!([{"name": "k", "value": "v 1"}, {"name": "e", "value": "\u{e9}"}, {"name": "x", "value": ""}])
    );
    assert_eq!(entries[0]["request"]["postData"]["text"], "k=v+1&e=%C3%A9&x=");
    assert_eq!(entries[0]["request"]["url"], "https://h/f%C3%A9");
    assert_eq!(
        entries[0]["request"]["cookies"],
        json!([{"name": "a", "value": "1"}, {"name": "", "value": "b"}])
    );
    assert_eq!(
        entries[0]["response"]["cookies"],
        json!([
            {"name": "s", "value": "1", "domain": "h", "expires": "2026-10-21T07:28:00Z",
             "httpOnly": false, "secure": true},
            {"name": "t", "value": "2", "expires": "1970-01-01T00:01:00.000002000Z",
             "httpOnly": true, "secure": false, "sameSite": "Lax"},
        ])
    );
    let fields = entries[0]["response"]["headers"].as_array().unwrap();
    assert!(fields.contains(&json!({"name": "X-Name", "value": "Zo\u{eb}"})), "{fields:?}");
    assert_eq!(
        entries[1]["request"]["postData"]["params"],
        json!([
            {"name": "a", "value": "1"},
            {"name": "f", "fileName": "x.bin", "contentType": "application/octet-stream"},
        ])
    );
    let text_of = |entry: &Value| entry["response"]["content"]["text"].clone();
    assert_eq!(
        (text_of(&entries[0]), text_of(&entries[1])),
        (json!("hi"), json!("\u{65e5}\u{672c}"))
    );
    assert_eq!(entries[1]["response"]["content"]["size"], 4);
    assert_eq!(entries[2]["response"]["content"]["encoding"], "base64");
    assert_eq!(entries[3]["request"]["url"], "https://h.test:443");
    // It reads its own: the same texts and targets.
    std::fs::write(dir.join("c.har"), &text).unwrap();
    for number in ["1", "2", "3", "4"] {
        let shown = |file| {
            let text = run(&["show", file, number]);
            let lines = text.lines().filter(|line| !line.starts_with('*'));
            // A URL has escapes for octets that a target has as they are.
            lines.map(|line| line.replace("/f\u{e9}", "/f%C3%A9")).collect::<Vec<_>>()
        };
        assert_eq!(shown("c.har"), shown("c"), "{number}");
    }
}

/// Captures made by hand, and all captures of real servers.
#[test]
fn it_is_valid_for_two_readers() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    har(dir);
    std::fs::write(dir.join("rich.pcapng"), raw_log(&rich().records())).unwrap();
    let captures = std::fs::read_dir(tools.join("../analyzer")).unwrap();
    let captures = captures.map(|entry| entry.unwrap().path());
    let is_capture = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "pcapng");
    let mut files = vec![dir.join("c.har")];
    for capture in captures.filter(is_capture).chain([dir.join("rich.pcapng")]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
        let har = tools::output(command.arg("har").arg(&capture));
        files.push(dir.join(capture.file_name().unwrap()).with_extension("har"));
        std::fs::write(files.last().unwrap(), har).unwrap();
    }
    let counts =
        |output: String| -> Vec<u32> { output.lines().map(|line| line.parse().unwrap()).collect() };
    let valid = counts(tools::output(tools::node(&tools, "validate_har.js").args(&files)));
    let read_har = tools.join("read_har.py");
    let read = counts(tools::output(tools::python(&tools).arg(read_har).args(&files)));
    assert_eq!(valid, read);
    assert!(files.len() > 6 && valid[0] == 3 && valid.iter().sum::<u32>() > 25, "{valid:?}");
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
