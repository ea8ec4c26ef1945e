//! QUIC of chosen processes is not recorded, and named: by its first packets, whatever library
//! makes them.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::browser::tools;
use crate::server::certificate;
use crate::support::{Live, Recorded, Started, read_lossy, within};
use crate::unprobed::{MISSED, missed};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers/quic_both_ends.py");

/// A server that is not recorded, and its port.
fn server(live: &Live, python: &str) -> (Started, String) {
    let started = live.spawn(Command::new(python).arg(PEER).arg(live.dir()).arg("0"));
    let port = within(Duration::from_secs(20), || {
        let said = read_lossy(&started.stdout);
        said.ends_with('\n').then(|| said.trim().to_owned())
    });
    let port = port.unwrap_or_else(|| panic!("{}", read_lossy(&started.stderr)));
    (started, port)
}

fn python() -> Option<String> {
    Some(tools()?.join("venv/bin/python").to_str()?.to_owned())
}

/// The role, server, server name and transport of each connection.
fn facts(missed: &[Value]) -> Vec<[&str; 4]> {
    let mut all: Vec<_> = missed
        .iter()
        .map(|of| ["role", "server", "sni", "transport"].map(|key| of[key].as_str().unwrap_or("")))
        .collect();
    all.sort_unstable();
    all
}

#[track_caller]
fn says(recorded: &Recorded, line: &str) {
    let stderr = &recorded.output.stderr;
    assert_eq!(recorded.code(), MISSED, "{stderr}");
    assert!(stderr.contains(line), "{line}: {stderr}");
}

#[test]
fn both_ends_in_one_process() {
    let Some(live) = Live::start() else { return };
    let Some(python) = python() else { return };
    certificate(&live, live.dir());
    let command = [&python, PEER, live.dir().to_str().unwrap(), "2"];
    let recorded = live.record(&["--fail-on-missed"], &command);
    let port = recorded.output.stdout.trim().to_owned();
    says(
        &recorded,
        &format!(
            "spoke QUIC at port {port}, to name.example:{port} on 4 connections; not recorded\n"
        ),
    );
    let missed = missed(&live, &recorded);
    let server = format!("127.0.0.1:{port}");
    let of = |role| [role, server.as_str(), "name.example", "quic"];
    assert_eq!(facts(&missed), [of("client"), of("client"), of("server"), of("server")]);
    let clients: Vec<_> =
        missed.iter().filter(|of| of["role"] == "server").map(|of| of["client"].as_str()).collect();
    assert!(clients.iter().all(|of| of.is_some_and(|of| of.starts_with("127.0.0.1:"))));
    assert_ne!(clients[0], clients[1], "{missed:?}");
    assert!(missed.iter().all(|of| of["reason"] == "QUIC is not recorded"));
}

/// Its ClientHello is larger than a datagram, and in disorder.
#[test]
fn chromium() {
    let Some(live) = Live::start() else { return };
    let Some(python) = python() else { return };
    certificate(&live, live.dir());
    let (server, port) = server(&live, &python);
    let folder = live.dir().display();
    let line = format!(
        "timeout 20 chromium --headless --no-sandbox --user-data-dir={folder}/chromium \
         --host-resolver-rules='MAP name.example 127.0.0.1' --enable-quic \
         --origin-to-force-quic-on=name.example:{port} --dump-dom https://name.example:{port}/ \
         > {folder}/page 2> {folder}/errors; true"
    );
    let recorded = live.record(&["--fail-on-missed"], &["sh", "-c", &line]);
    server.end();
    says(&recorded, &format!("]: spoke QUIC to name.example:{port} on "));
    let missed = missed(&live, &recorded);
    let at = format!("127.0.0.1:{port}");
    let expected = ["client", at.as_str(), "name.example", "quic"];
    assert!(facts(&missed).iter().all(|of| *of == expected), "{missed:?}");
}

/// Several datagrams leave in one system call.
#[test]
fn curl_with_http_3() {
    let Some(live) = Live::start() else { return };
    let Some(python) = python() else { return };
    certificate(&live, live.dir());
    let (server, port) = server(&live, &python);
    let script = format!(
        "import curl_cffi\n\
         from curl_cffi import CurlHttpVersion\n\
         try:\n\
         \x20   curl_cffi.get('https://localhost:{port}/', http_version=CurlHttpVersion.V3ONLY,\n\
         \x20                 verify=False, timeout=2, impersonate='chrome')\n\
         except curl_cffi.CurlError:\n\
         \x20   pass\n"
    );
    let recorded = live.record(&["--fail-on-missed"], &[&python, "-c", &script]);
    server.end();
    says(&recorded, &format!("spoke QUIC to localhost:{port} on "));
}

#[test]
fn other_datagrams_are_none() {
    let Some(live) = Live::start() else { return };
    let script = "import socket\n\
                  a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  a.bind(('127.0.0.1', 0))\n\
                  b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  for n in range(200):\n\
                  \x20   b.sendto(bytes([0xc0, 0, 0, 0, 1]) + bytes(n), a.getsockname())\n\
                  \x20   a.recv(2000)\n";
    let recorded = live.record(&["--fail-on-missed"], &["/usr/bin/python3", "-c", script]);
    assert_eq!(recorded.code(), 0, "{}", recorded.output.stderr);
    assert!(!recorded.output.stderr.contains("QUIC"), "{}", recorded.output.stderr);
}
