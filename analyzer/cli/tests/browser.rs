//! A browser on a site of several pages, over HTTP/1.1 and over HTTP/2: the site's own log, tshark
//! and the listing agree.
//!
//! The traffic is captured on the wire, and where it is encrypted, tshark decrypts it with the keys
//! that the browser writes down. Recording the browser itself is not possible: Chromium is linked
//! with a BoringSSL that has no symbols. The recorder's view of its traffic, at the server, is
//! tested in `recorder/tests/live/browser.rs`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sslrec_analyzer_testing::tools;
use sslrec_analyzer_testing::wireshark::{Dumpcap, Ended, exchanges, have, tshark_lines, wait_for};
use tempfile::TempDir;

/// The site, in a network of its own, where all ports are free and all traffic is its.
struct Site {
    process: Ended,
    log: PathBuf,
}

impl Site {
    fn start(tools: &Path, dir: &Path, kind: &str) -> Self {
        let log = dir.join("log");
        // unshare and sh become node, so that the process id is the server's.
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", "node"]);
        command.arg(tools.join("site.js")).arg(kind).arg(dir);
        let process = Ended(command.stdout(File::create(&log).unwrap()).spawn().unwrap());
        wait_for("the site", || std::fs::read_to_string(&log).unwrap().contains("listening"));
        Self { process, log }
    }

    /// A program in the site's network.
    fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.process.0.id().to_string(), program]);
        command
    }

    /// A line for each request: method, URL and status, sorted.
    fn answered(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let mut lines: Vec<String> = log
            .lines()
            .skip_while(|line| *line == "listening")
            .map(|line| {
                let request: Value = serde_json::from_str(line).unwrap();
                brief([&request["method"], &request["url"], &request["status"]])
            })
            .collect();
        lines.sort();
        lines
    }
}

fn brief(values: [&Value; 3]) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    values.map(text).join(" ")
}

/// The results of a version of HTTP.
struct Visited {
    dir: TempDir,
    /// The server's log of its responses.
    log: Vec<String>,
}

/// Has the browser visit the site while dumpcap writes `wire.pcapng`.
fn visit(kind: &str, origin: &str) -> Option<Visited> {
    let tools = tools::installed()?;
    if !have(&["tshark", "dumpcap", "node", "openssl"]) {
        return None;
    }
    if !Command::new("unshare").args(["--net", "true"]).status().unwrap().success() {
        assert!(std::env::var_os("CI").is_none(), "no network namespace can be had in CI");
        println!("skipped: a network namespace wants root");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let site = Site::start(&tools, dir.path(), kind);
    let capture = Dumpcap::start(site.beside("dumpcap"), "tcp", &dir.path().join("wire.pcapng"));
    let mut browse = site.beside("node");
    browse.arg(tools.join("browse.js")).arg(origin).arg(dir.path().join("keys.log"));
    tools::output(&mut browse);
    capture.stop();
    let log = site.answered();
    Some(Visited { dir, log })
}

/// Makes `key.pem` and `cert.pem`.
fn certificate(dir: &Path) {
    let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 \
                -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem";
    let mut openssl = Command::new("openssl");
    tools::output(openssl.args(args.split_whitespace()).current_dir(dir));
}

/// The listing of `sslanalyze`: method, URL and status, sorted; and each of the three.
fn listed(exchanges: &[Value]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let sorted = |line: &dyn Fn(&Value) -> String| {
        let mut lines: Vec<String> = exchanges.iter().map(line).collect();
        lines.sort();
        lines
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        sorted(&|e| {
            brief([&e["request"]["method"], &e["request"]["url"], &e["response"]["status"]])
        }),
        sorted(&|e| text(&e["request"]["method"]) + " " + &text(&e["request"]["url"])),
        sorted(&|e| e["response"]["status"].to_string()),
    )
}

/// The kinds of requests and responses that make a browser of it.
fn assert_varied(log: &[String], kinds: &[&str]) {
    for kind in kinds {
        assert!(log.iter().any(|line| line == kind), "{kind} is not in {log:#?}");
    }
    let parallel = log.iter().filter(|line| line.contains("/api/parallel/")).count();
    assert_eq!(parallel, 21);
}

/// The web socket and the server-sent events, compared with the site's record of sent messages.
fn assert_messages(exchanges: &[Value], http: &str) {
    let of = |path: &str| exchanges.iter().find(|e| e["request"]["path"] == path).unwrap();
    let socket = &of("/socket?room=1")["websocket"];
    for side in ["client", "server"] {
        assert_eq!(socket[&format!("{side}_messages")], 3, "{socket}");
        assert_eq!(socket[&format!("{side}_bytes")], 70_006, "{socket}");
    }
    assert_eq!(socket["http"], http);
    assert_eq!(socket["close"]["reason"], "enough");
    assert_eq!(of("/events")["events"]["count"], 3);
    assert_eq!(of("/api/upload")["request"]["body_bytes"], 300_000);
}

#[test]
fn a_browser_over_http_1_is_listed_as_tshark_lists_it() {
    let Some(Visited { dir, log }) = visit("plain", "http://127.0.0.1") else { return };
    assert_varied(
        &log,
        &[
            "GET http://127.0.0.1/?from=nowhere 200",
            "GET http://127.0.0.1/missing.png 404",
            "GET http://127.0.0.1/api/tagged 304",
            "GET http://127.0.0.1/socket?room=1 101",
            "GET http://127.0.0.1/redirected/twice 302",
            "POST http://127.0.0.1/api/orders?page=2&q=a%20b 201",
            "HEAD http://127.0.0.1/api/large 200",
        ],
    );
    let wire = dir.path().join("wire.pcapng");
    let exchanges = exchanges(env!("CARGO_BIN_EXE_sslanalyze"), &wire);
    let (lines, requests, _) = listed(&exchanges);
    assert_eq!(lines, log);
    let method_and_url = ["http.request.method", "http.request.full_uri"];
    assert_eq!(requests, tshark_lines(&wire, &[], "http.request", &method_and_url));
    let mut responses: Vec<String> = exchanges
        .iter()
        .map(|e| format!("{} {}", e["response"]["status"], e["request"]["url"].as_str().unwrap()))
        .collect();
    responses.sort();
    let status_and_url = ["http.response.code", "http.response_for.uri"];
    assert_eq!(responses, tshark_lines(&wire, &[], "http.response", &status_and_url));
    assert!(exchanges.iter().all(|e| e["complete"] == true && e["proto"] != "h2"));
    assert_messages(&exchanges, "http/1.1");
}

/// tshark exports the traffic that it decrypts, and `sslanalyze` reads the export.
#[test]
fn a_browser_over_http_2_is_listed_as_tshark_decrypts_it() {
    let Some(Visited { dir, log }) = visit("tls", "https://127.0.0.1") else { return };
    assert_varied(
        &log,
        &[
            "GET https://127.0.0.1/?from=nowhere 200",
            "GET https://127.0.0.1/missing.png 404",
            "CONNECT https://127.0.0.1/socket?room=1 200",
            "PUT https://127.0.0.1/api/upload 201",
            "DELETE https://127.0.0.1/api/orders/7 204",
            "GET https://127.0.0.1/fails 503",
        ],
    );
    let wire = dir.path().join("wire.pcapng");
    let keys = format!("tls.keylog_file:{}", dir.path().join("keys.log").display());
    let decrypt = ["-o", &keys];
    let exported = dir.path().join("exported.pcapng");
    let mut export = Command::new("tshark");
    export.arg("-r").arg(&wire).args(decrypt).args(["-U", "OSI layer 7", "-w"]).arg(&exported);
    tools::output(&mut export);
    let exchanges = exchanges(env!("CARGO_BIN_EXE_sslanalyze"), &exported);
    let (lines, requests, statuses) = listed(&exchanges);
    assert_eq!(lines, log);
    // tshark's own URL of an extended CONNECT (RFC 8441) is that of a CONNECT, without a path.
    let parts = ["method", "scheme", "authority", "path"].map(|n| format!("http2.headers.{n}"));
    let parts = parts.each_ref().map(String::as_str);
    let mut seen: Vec<String> = tshark_lines(&wire, &decrypt, parts[0], &parts)
        .iter()
        .map(|line| {
            let [method, scheme, authority, path] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            format!("{method} {scheme}://{authority}{path}")
        })
        .collect();
    seen.sort();
    assert_eq!(requests, seen);
    let status = "http2.headers.status";
    assert_eq!(statuses, tshark_lines(&wire, &decrypt, status, &[status]));
    let http2 = |e: &Value| e["proto"] == "h2" || e["websocket"]["http"] == "h2";
    assert!(exchanges.iter().all(|e| e["lost_bytes"] == 0 && http2(e)), "{exchanges:#?}");
    assert_messages(&exchanges, "h2");
}
