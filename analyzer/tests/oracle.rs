//! Real programs on loopback, captured by a real capture program, and read by tshark as well.
//!
//! The tools that this needs may be missing on a developer's machine: then it says so and passes.
//! In CI (`CI` is set) they must be there.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn have_tools() -> bool {
    let missing: Vec<_> = ["tshark", "dumpcap", "curl", "python3"]
        .into_iter()
        .filter(|tool| Command::new(tool).arg("--version").output().is_err())
        .collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "missing in CI: {missing:?}");
    if !missing.is_empty() {
        println!("skipped: {missing:?} not installed");
    }
    missing.is_empty()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

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
    let file = dir.join("c.pcapng");
    let filter = format!("tcp port {port}");
    let capture = Command::new("dumpcap")
        .args(["-q", "-i", "lo", "-f", &filter, "-a", "duration:60", "-w"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut capture = Ended(capture);
    // It is ready once a connection made for the purpose shows in the file.
    let size = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    wait_for("dumpcap", || {
        drop(TcpStream::connect(("127.0.0.1", port)));
        size() > 600
    });
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
    // What the kernel holds for dumpcap must reach the file: it is there once the size rests.
    let mut last = 0;
    wait_for("the file to rest", || {
        std::thread::sleep(Duration::from_millis(700));
        std::mem::replace(&mut last, size()) == size()
    });
    Command::new("kill").args(["-INT", &capture.0.id().to_string()]).status().unwrap();
    capture.0.wait().unwrap();
    port
}

fn tshark(dir: &Path, port: u16, filter: &str, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args([
        "-r",
        "c.pcapng",
        "-d",
        &format!("tcp.port=={port},http"),
        "-Y",
        filter,
        "-T",
        "fields",
    ]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut lines: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn tshark_sees_the_same_requests_and_responses() {
    if !have_tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = capture(dir.path());
    let output = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
        .args(["--json", "c.pcapng"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exchanges: Vec<&Value> = objects.iter().filter(|o| o["type"] == "exchange").collect();
    let mut requests: Vec<String> = exchanges
        .iter()
        .map(|e| {
            let request = &e["request"];
            format!(
                "{}\t{}",
                request["method"].as_str().unwrap(),
                request["path"].as_str().unwrap()
            )
        })
        .collect();
    requests.sort();
    assert_eq!(requests.len(), 8);
    assert_eq!(
        requests,
        tshark(dir.path(), port, "http.request", &["http.request.method", "http.request.uri"])
    );
    let mut responses: Vec<String> = exchanges
        .iter()
        .map(|e| format!("{}\t{}", e["response"]["status"], e["request"]["path"].as_str().unwrap()))
        .collect();
    responses.sort();
    let fields = ["http.response.code", "http.response_for.uri"];
    let mut seen = tshark(dir.path(), port, "http.response", &fields);
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
