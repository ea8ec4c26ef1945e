//! HAR of browsers and of sslanalyze as input, through the program.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sslrec_analyzer_testing::packets::{Pcap, ethernet, exchange};
use tempfile::TempDir;

fn analyze(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sslanalyze")).args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(args: &[&str], dir: &Path) -> Vec<Value> {
    let output = analyze(&[&["--json"], args].concat(), dir);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The output of a command that must succeed.
fn output(args: &[&str], dir: &Path) -> String {
    let output = analyze(args, dir);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn folder(har: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.har"), serde_json::to_vec_pretty(har).unwrap()).unwrap();
    dir
}

/// As Chrome exports it.
fn chrome() -> Value {
    json!({"log": {
        "version": "1.2",
        "creator": {"name": "WebInspector", "version": "537.36"},
        "pages": [{"startedDateTime": "2023-11-14T22:13:20.000Z", "id": "page_1", "title": "x",
            "pageTimings": {"onLoad": 12.5}}],
        "entries": [
            {
                "_connectionId": "42", "_initiator": {"type": "other"}, "_priority": "VeryHigh",
                "_resourceType": "document", "cache": {}, "connection": "42", "pageref": "page_1",
                "request": {
                    "method": "GET", "url": "https://shop.example/a?b=1&c=%20", "httpVersion": "http/2.0",
                    "headers": [
                        {"name": ":authority", "value": "shop.example"},
                        {"name": ":method", "value": "GET"},
                        {"name": ":path", "value": "/a?b=1&c=%20"},
                        {"name": ":scheme", "value": "https"},
                        {"name": "accept", "value": "text/html"},
                    ],
                    "queryString": [], "cookies": [], "headersSize": -1, "bodySize": 0,
                },
                "response": {
                    "status": 200, "statusText": "", "httpVersion": "http/2.0",
                    "headers": [
                        {"name": "content-encoding", "value": "gzip"},
                        {"name": "content-type", "value": "text/html; charset=utf-8"},
                        {"name": "x-name", "value": "caf\u{e9}"},
                    ],
                    "cookies": [], "redirectURL": "", "headersSize": -1, "bodySize": 30,
                    "content": {"size": 43, "mimeType": "text/html", "compression": 13,
                        "text": "<html>a page of some length: \u{4e2d}\u{6587}</html>"},
                    "_transferSize": 130, "_error": null,
                },
                "serverIPAddress": "[2001:db8::7]",
                "startedDateTime": "2023-11-14T22:13:20.004Z", "time": 61.5,
                "timings": {"blocked": 1.5, "dns": -1, "ssl": 9, "connect": 10, "send": 0.25,
                    "wait": 40.25, "receive": 9.5, "_blocked_queueing": 0.5},
            },
            {
                "cache": {}, "connection": "42",
                "request": {
                    "method": "POST", "url": "https://shop.example/login", "httpVersion": "http/2.0",
                    "headers": [{"name": "content-type", "value": "application/json"}],
                    "queryString": [], "cookies": [], "headersSize": -1, "bodySize": 14,
                    "postData": {"mimeType": "application/json", "text": "{\"user\":\"a\\u0001\"}"},
                },
                "response": {
                    "status": 500, "statusText": "", "httpVersion": "http/2.0", "headers": [],
                    "cookies": [], "redirectURL": "", "headersSize": -1, "bodySize": -1,
                    "content": {"size": 4, "mimeType": "image/png", "text": "iVBORw==",
                        "encoding": "base64"},
                },
                "serverIPAddress": "[2001:db8::7]",
                "startedDateTime": "2023-11-14T22:13:20.100+00:00", "time": 5,
                "timings": {"send": 1, "wait": 2, "receive": 2},
            },
            {
                "request": {"method": "GET", "url": "data:image/png;base64,iVBORw==",
                    "httpVersion": "data", "headers": [], "bodySize": 0},
                "response": {"status": 200, "headers": [], "content": {"size": 4}},
                "startedDateTime": "2023-11-14T22:13:20.200Z", "time": 0, "timings": {},
            },
            {
                "request": {"method": "GET", "url": "http://gone.example:8080", "httpVersion": "",
                    "headers": [], "bodySize": 0},
                "response": {"status": 0, "statusText": "", "httpVersion": "", "headers": [],
                    "content": {"size": 0, "mimeType": "x-unknown"}, "bodySize": -1,
                    "_error": "net::ERR_CONNECTION_REFUSED"},
                "startedDateTime": "2023-11-14T22:13:20.050Z", "time": 3.5,
                "timings": {"blocked": 3.5, "send": 0, "wait": 0, "receive": 0},
            },
            {
                "_fromCache": "disk", "connection": "443", "_resourceType": "websocket",
                "_webSocketMessages": [
                    {"type": "send", "time": 1700000000.4, "opcode": 1, "data": "hello"},
                    {"type": "receive", "time": 1700000000.5, "opcode": 2, "data": "iVBORw=="},
                    {"type": "receive", "time": 1700000000.6, "opcode": 1, "data": "\u{4e2d}"},
                ],
                "request": {"method": "GET", "url": "wss://live.example/s", "httpVersion": "http/1.1",
                    "headers": [{"name": "Host", "value": "live.example"}], "bodySize": 0},
                "response": {"status": 101, "statusText": "Switching Protocols",
                    "httpVersion": "http/1.1", "headers": [], "content": {"size": 0}, "bodySize": 0},
                "startedDateTime": "2023-11-14T22:13:20.300Z", "time": 1, "timings": {},
            },
        ],
    }})
}

#[test]
fn the_exchanges_of_a_browser_are_listed() {
    let dir = folder(&chrome());
    let lines = lines(&["x.har"], dir.path());
    let (summary, exchanges) = lines.split_last().unwrap();
    let urls: Vec<_> = exchanges.iter().map(|e| e["request"]["url"].as_str().unwrap()).collect();
    assert_eq!(
        urls,
        [
            "https://shop.example/a?b=1&c=%20",
            "http://gone.example:8080/",
            "https://shop.example/login",
            "wss://live.example/s",
        ]
    );
    assert_eq!((&summary["exchanges"], &summary["closed"]), (&4.into(), &true.into()));
    assert_eq!(
        summary["notes"],
        json!(["1 entries of the HAR are not HTTP (such as data: URLs), and are not listed"])
    );
    assert_eq!((&summary["connections"], &summary["incomplete"]), (&3.into(), &1.into()));
    let page = &exchanges[0];
    assert_eq!(
        (&page["proto"], &page["time"]),
        (&"h2".into(), &"2023-11-14T22:13:20.004000000Z".into())
    );
    assert_eq!(page["request"]["headers"], json!([["accept", "text/html"]]));
    assert_eq!(
        (&page["response"]["body_bytes"], &page["response"]["status"]),
        (&30.into(), &200.into())
    );
    assert_eq!(page["response"]["headers"][2], json!(["x-name", "caf\u{e9}"]));
    assert_eq!((&page["ttfb_ms"], &page["duration_ms"]), (&52.0.into(), &61.5.into()));
    assert_eq!((&page["server"], &page["client"]), (&"[2001:db8::7]:443".into(), &Value::Null));
    assert_eq!((&page["complete"], &page["role"]), (&true.into(), &"client".into()));
    let (login, gone, live) = (&exchanges[2], &exchanges[1], &exchanges[3]);
    assert_eq!(
        (&login["conn"], &login["stream"], &page["stream"]),
        (&page["conn"], &2.into(), &1.into())
    );
    assert_eq!((&gone["response"], &gone["complete"]), (&Value::Null, &false.into()));
    assert_eq!(gone["notes"], json!(["error of the browser: net::ERR_CONNECTION_REFUSED"]));
    assert_eq!(gone["request"]["authority"], "gone.example:8080");
    assert_eq!(live["notes"], json!(["from the browser's cache (disk)"]));
    assert_eq!((&live["duration_ms"], &live["proto"]), (&1.0.into(), &"websocket".into()));
    let socket = &live["websocket"];
    let counts = ["client_messages", "client_bytes", "server_messages", "server_bytes"];
    assert_eq!(counts.map(|name| socket[name].as_u64().unwrap()), [1, 5, 2, 7]);
}

#[test]
fn bodies_are_without_their_codings() {
    let dir = folder(&chrome());
    for options in [&["--bodies"][..], &["--bodies", "--decode"]] {
        let lines = lines(&[options, &["x.har"]].concat(), dir.path());
        let body = |exchange: &Value, part: &str| {
            STANDARD.decode(exchange[part]["body"].as_str().unwrap()).unwrap()
        };
        assert_eq!(
            text(&body(&lines[0], "response")),
            "<html>a page of some length: \u{4e2d}\u{6587}</html>"
        );
        assert_eq!(lines[0]["response"]["decoded_bytes"], 42);
        assert_eq!(body(&lines[2], "request"), b"{\"user\":\"a\\u0001\"}");
        assert_eq!(body(&lines[2], "response"), b"\x89PNG");
        assert_eq!(lines[2]["response"]["body_bytes"], 4);
        let messages = lines[3]["websocket"]["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0]["time"], "2023-11-14T22:13:20.400000000Z");
        assert_eq!(
            (&messages[0]["from"], &messages[0]["kind"]),
            (&"client".into(), &"text".into())
        );
        assert_eq!(
            (&messages[1]["from"], &messages[1]["kind"]),
            (&"server".into(), &"binary".into())
        );
        assert!(
            lines.iter().all(
                |line| line["type"] == "summary" || !line["notes"].to_string().contains("gzip")
            )
        );
    }
}

#[test]
fn every_command_on_exchanges_takes_a_har() {
    let dir = folder(&chrome());
    let dir = dir.path();
    let filtered = lines(&["x.har", "status>=500 and host~shop"], dir);
    assert_eq!((filtered.len(), &filtered[0]["request"]["path"]), (2, &"/login".into()));
    let show = output(&["show", "x.har", "path=/a?b=1&c=%20"], dir);
    assert!(show.contains("a page of some length: \u{4e2d}\u{6587}"), "{show}");
    let stats = output(&["stats", "x.har"], dir);
    assert!(stats.contains("shop.example") && stats.contains("/login"), "{stats}");
    let check = analyze(&["check", "x.har", "--max-status", "399"], dir);
    assert_eq!(check.status.code(), Some(1));
    assert!(
        text(&check.stdout).contains("POST shop.example/login -> 500"),
        "{}",
        text(&check.stdout)
    );
    output(&["html", "x.har", "-o", "x.html"], dir);
    assert!(std::fs::read_to_string(dir.join("x.html")).unwrap().contains("shop.example"));
    let diff = analyze(&["diff", "x.har", "x.har"], dir);
    assert_eq!(diff.status.code(), Some(0), "{}", text(&diff.stderr));
    output(&["extract", "x.har", "bodies"], dir);
    assert!(std::fs::read_dir(dir.join("bodies")).unwrap().count() > 0);
    let again: Value = serde_json::from_str(&output(&["har", "x.har"], dir)).unwrap();
    assert_eq!(again["log"]["entries"].as_array().unwrap().len(), 4);
    assert_eq!(again["log"]["entries"][0]["request"]["httpVersion"], "HTTP/2");
    let messages = &again["log"]["entries"][3]["_webSocketMessages"];
    assert_eq!(
        (&messages[1]["data"], &messages[2]["data"]),
        (&"iVBORw==".into(), &"\u{4e2d}".into())
    );
    assert_eq!(
        again["log"]["entries"][0]["response"]["content"]["text"],
        "<html>a page of some length: \u{4e2d}\u{6587}</html>"
    );
}

#[test]
fn commands_on_bytes_of_connections_refuse_a_har() {
    for har in [chrome(), json!({"log": {"entries": []}})] {
        let dir = folder(&har);
        for args in [
            &["convert", "x.har", "out.pcapng"][..],
            &["redact", "x.har", "out.pcapng", "--redact", "default"],
            &["follow", "x.har", "1"],
        ] {
            let output = analyze(args, dir.path());
            assert_eq!(output.status.code(), Some(1), "{args:?}");
            let message = text(&output.stderr);
            assert!(message.contains("no bytes of connections"), "{message}");
            assert!(!dir.path().join("out.pcapng").exists());
        }
    }
}

#[test]
fn a_har_of_sslanalyze_lists_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("c.pcap"), Pcap::usual(1).file(&ethernet(&exchange(5000)))).unwrap();
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer");
    let mut captures = vec![dir.join("c.pcap")];
    for name in ["http-server.pcapng", "h2-nginx.pcapng", "exported-http.pcapng"] {
        captures.push(testdata.join(name));
    }
    for capture in captures {
        let capture = capture.to_str().unwrap();
        std::fs::write(dir.join("x.har"), output(&["har", capture], dir)).unwrap();
        let of = |file: &str| -> Vec<Value> {
            let lines = lines(&[file], dir);
            lines.into_iter().filter(|line| line["type"] == "exchange").collect()
        };
        let (before, after) = (of(capture), of("x.har"));
        let before: Vec<_> =
            before.into_iter().filter(|e| !e["request"]["url"].is_null()).collect();
        assert_eq!(before.len(), after.len(), "{capture}");
        assert!(!before.is_empty());
        for (before, after) in before.iter().zip(&after) {
            for name in [
                "proto",
                "time",
                "pid",
                "comm",
                "role",
                "client",
                "server",
                "complete",
                "lost_bytes",
            ] {
                assert_eq!(before[name], after[name], "{capture} {name} {before}");
            }
            for name in ["method", "url", "path", "authority", "headers", "body_bytes"] {
                assert_eq!(before["request"][name], after["request"][name], "{capture} {name}");
            }
            for name in ["status", "reason", "headers", "body_bytes"] {
                assert_eq!(before["response"][name], after["response"][name], "{capture} {name}");
            }
            let close = |name: &str| {
                let ms = [before, after].map(|line| line[name].as_f64().unwrap_or(-1.0));
                (ms[0] - ms[1]).abs() < 0.001
            };
            assert!(close("ttfb_ms") && close("duration_ms"), "{before} {after}");
        }
    }
}

#[test]
fn a_har_is_read_compressed_from_a_pipe_and_beside_captures() {
    let dir = folder(&chrome());
    let dir = dir.path();
    std::fs::write(dir.join("c.pcap"), Pcap::usual(1).file(&ethernet(&exchange(5000)))).unwrap();
    let plain = lines(&["x.har"], dir);
    let status = Command::new("sh").args(["-c", "gzip -c x.har > x.gz"]).current_dir(dir).status();
    assert!(status.unwrap().success());
    assert_eq!(lines(&["x.gz"], dir), plain);
    let piped = Command::new("sh")
        .args(["-c", "cat x.har | \"$0\" --json -", env!("CARGO_BIN_EXE_sslanalyze")])
        .current_dir(dir)
        .output()
        .unwrap();
    assert_eq!(text(&piped.stdout).lines().count(), plain.len());
    let both = lines(&["x.har", "c.pcap", "x.har"], dir);
    let (summary, exchanges) = both.split_last().unwrap();
    assert_eq!((exchanges.len(), &summary["connections"]), (9, &7.into()));
    let mut conns: Vec<_> = exchanges.iter().map(|e| e["conn"].as_u64().unwrap()).collect();
    conns.sort_unstable();
    conns.dedup();
    assert_eq!(conns.len(), 7);
    let times: Vec<_> = exchanges.iter().map(|e| e["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_file_that_is_no_har_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for text in
        ["{\"a\": 1}", "{\"log\": 5}", "{\"log\": {}}", "{\"log", "{\"type\":\"exchange\"}\n{}"]
    {
        std::fs::write(dir.path().join("x.har"), text).unwrap();
        let output = analyze(&["x.har"], dir.path());
        assert_eq!(output.status.code(), Some(1), "{text}");
        let message = self::text(&output.stderr);
        assert!(message.contains("it begins like JSON, and is no HAR"), "{text} {message}");
    }
}

#[test]
fn a_har_that_is_cut_is_listed_up_to_the_cut() {
    let dir = folder(&chrome());
    let whole = std::fs::read(dir.path().join("x.har")).unwrap();
    for cut in [whole.len() / 2, whole.len() - 1, whole.len() * 3 / 4] {
        std::fs::write(dir.path().join("cut"), &whole[..cut]).unwrap();
        let output = analyze(&["--json", "cut"], dir.path());
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(
            message.contains("is damaged at byte") && message.contains("ends inside"),
            "{message}"
        );
        assert!(text(&output.stdout).lines().count() > 1);
    }
}
