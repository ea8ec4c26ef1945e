//! Real programs on loopback, captured by a real capture program, and read by tshark as well.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use sslrec_analyzer_testing::wireshark::{Dumpcap, Ended, exchanges, have, tshark_lines, wait_for};

/// Answers with and without length, chunked, and with nothing; keeps connections alive.
const SERVER: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/chunked"):
            self.send_response(200); self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
            for _ in range(50): self.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif self.path.startswith("/close"):
            self.send_response(200); self.send_header("Connection", "close"); self.end_headers()
            self.wfile.write(b"y" * 5000); self.close_connection = True
        elif self.path.startswith("/none"):
            self.send_response(204); self.end_headers()
        else:
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", "300000"); self.end_headers(); self.wfile.write(b"z" * 300000)
    def do_HEAD(self):
        self.send_response(200); self.send_header("Content-Length", "300000"); self.end_headers()
    def do_POST(self):
        n = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

fn capture(dir: &Path) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new("python3").args(["-c", SERVER, &port.to_string()]).spawn().unwrap();
    let _server = Ended(server);
    wait_for("the server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let filter = format!("tcp port {port}");
    let capture = Dumpcap::start(Command::new("dumpcap"), &filter, &dir.join("c.pcapng"));
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let curl = |args: &[&str]| {
        let done =
            Command::new("curl").args(["-sS", "--max-time", "20"]).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    };
    curl(&[&url("/a"), &url("/chunked?q=1"), &url("/missing"), &url("/none"), &url("/close")]);
    curl(&["-I", &url("/head")]);
    curl(&["--data-binary", &"d".repeat(100_000), &url("/post")]);
    curl(&["--http1.0", &url("/close/old")]);
    capture.stop();
    port
}

#[test]
fn tshark_sees_the_same_requests_and_responses() {
    if !have(&["tshark", "dumpcap", "curl", "python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = capture(dir.path());
    let file = dir.path().join("c.pcapng");
    let exchanges = exchanges(env!("CARGO_BIN_EXE_sslanalyze"), &file);
    let as_http = ["-d", &format!("tcp.port=={port},http")];
    let tshark = |filter: &str, fields: &[&str]| tshark_lines(&file, &as_http, filter, fields);
    let mut requests: Vec<String> = exchanges
        .iter()
        .map(|e| {
            let request = &e["request"];
            format!("{} {}", request["method"].as_str().unwrap(), request["path"].as_str().unwrap())
        })
        .collect();
    requests.sort();
    assert_eq!(requests.len(), 8);
    assert_eq!(requests, tshark("http.request", &["http.request.method", "http.request.uri"]));
    let mut responses: Vec<String> = exchanges
        .iter()
        .map(|e| format!("{} {}", e["response"]["status"], e["request"]["path"].as_str().unwrap()))
        .collect();
    responses.sort();
    let fields = ["http.response.code", "http.response_for.uri"];
    let mut seen = tshark("http.response", &fields);
    for line in &mut seen {
        // tshark gives the whole URI here.
        *line = line.replace(&format!("http://127.0.0.1:{port}"), "");
    }
    seen.sort();
    assert_eq!(responses, seen);
    let sizes: Vec<_> =
        exchanges.iter().map(|e| e["response"]["body_bytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [300_000, 51_200, 300_000, 0, 5_000, 0, 2, 5_000]);
    assert!(exchanges.iter().all(|e| e["complete"] == true), "{exchanges:#?}");
}

/// Runs a TLS server and a client of it, which writes its keys; captures both.
fn encrypted(dir: &Path) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(dir);
        command
    };
    let subject = ["-subj", "/CN=shop.example", "-keyout", "key", "-out", "cert"];
    let output = openssl(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(subject)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let accept = port.to_string();
    let server = openssl(&["s_server", "-quiet", "-www", "-cert", "cert", "-key", "key"])
        .args(["-accept", &accept])
        .spawn()
        .unwrap();
    let _server = Ended(server);
    wait_for("the server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let filter = format!("tcp port {port}");
    let capture = Dumpcap::start(Command::new("dumpcap"), &filter, &dir.join("c.pcapng"));
    for path in ["a", "b"] {
        let done = Command::new("curl")
            .args(["-sSk", "--http1.1", "--max-time", "20", "--resolve"])
            .args([format!("shop.example:{port}:127.0.0.1")])
            .arg(format!("https://shop.example:{port}/{path}"))
            .env("SSLKEYLOGFILE", dir.join("keys"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    capture.stop();
}

#[test]
fn an_encrypted_capture_is_named_and_wireshark_exports_what_the_keys_open() {
    if !have(&["tshark", "dumpcap", "curl", "openssl", "editcap"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    encrypted(dir);
    let notes = |file: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
            .args(["--json", file])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let summary: serde_json::Value =
            serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!(summary["exchanges"], 0);
        summary["notes"].as_array().unwrap().clone()
    };
    let beginning = "TLS records on 2 connections (server name shop.example); this file holds no \
                     plaintext";
    let note = notes("c.pcapng");
    assert_eq!(note.len(), 1, "{note:?}");
    let note = note[0].as_str().unwrap();
    assert!(note.starts_with(beginning) && note.contains("SSLKEYLOGFILE"), "{note}");
    let editcap = |args: &[&str]| {
        let status = Command::new("editcap").args(args).current_dir(dir).status().unwrap();
        assert!(status.success());
    };
    editcap(&["--inject-secrets", "tls,keys", "c.pcapng", "with-keys.pcapng"]);
    let note = notes("with-keys.pcapng");
    let note = note[0].as_str().unwrap();
    assert!(note.starts_with(beginning), "{note}");
    // The command of the note does as it states.
    let (_, command) = note.split_once('`').unwrap();
    let (command, _) = command.split_once('`').unwrap();
    let command = command.replace("IN", "with-keys.pcapng").replace("OUT", "exported.pcapng");
    let status = Command::new("sh").args(["-c", &command]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{command}");
    let found = exchanges(env!("CARGO_BIN_EXE_sslanalyze"), &dir.join("exported.pcapng"));
    let paths: Vec<_> = found.iter().map(|e| e["request"]["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/a", "/b"]);
    assert!(found.iter().all(|exchange| exchange["response"]["status"] == 200));
}
