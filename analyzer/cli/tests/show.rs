//! `sslanalyze show`, on real files.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use sslrec_analyzer_testing::records::{Script, raw_log};

fn show(script: &Script, dir: &Path, args: &[&str]) -> Output {
    std::fs::write(dir.join("c"), raw_log(&script.records())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.arg("show").args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn both_heads_and_bodies_are_shown_and_control_characters_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::client()
        .sent("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{\"a\":1}")
        .received("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\x1b[2Jb\n")
        .sent("GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        .received("HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\n\0\x01\x02")
        .close();
    let output = show(&script, dir.path(), &["c", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let first = text(&output.stdout);
    assert!(first.contains("> POST /a HTTP/1.1\n> Host: x\n"), "{first}");
    assert!(first.contains(">\n{\n  \"a\": 1\n}\n< HTTP/1.1 200 OK\n"), "{first}");
    assert!(first.ends_with("<\n\\u{1b}[2Jb\n"), "{first}");
    assert!(first.contains("10.0.0.1:1000 -> 10.0.0.2:443, address exact"), "{first}");
    let second = text(&show(&script, dir.path(), &["c", "status>=400"]).stdout);
    assert!(second.contains("* 3 bytes of no stated type\n  00000000  00 01 02 "), "{second}");
    let none = show(&script, dir.path(), &["c", "3"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("it has 2 exchanges"), "{}", text(&none.stderr));
    assert_eq!(show(&script, dir.path(), &["c", "status>>"]).status.code(), Some(2));
}

#[test]
fn bodies_are_shown_in_their_character_set() {
    let dir = tempfile::tempdir().unwrap();
    let body = b"<meta charset=windows-1251>\xe4\xe0\n";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let script = Script::client()
        .sent("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        .received([head.as_bytes(), body].concat())
        .close();
    let shown = text(&show(&script, dir.path(), &["c", "1"]).stdout);
    assert!(shown.ends_with("<\n<meta charset=windows-1251>да\n"), "{shown}");
}

/// curl sends the recorded request, byte for byte, with characters that are special to the shell.
#[test]
fn the_curl_command_repeats_the_request() {
    let hostile = "'; touch pwned; ' $(touch pwned) `touch pwned` %s \\ \"";
    let bodies: [&[u8]; 3] = [b"@/etc/hostname it's\n\n", b"\0\xff%s\n", &[b'x'; 40_000]];
    for body in bodies {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap();
        let head = format!(
            "PUT /a/../b?[1-3]={{x,y}}&c='d HTTP/1.1\r\nHost: {host}\r\nX-Hostile: {hostile}\r\n\
             X-Empty:\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let script = Script::client()
            .sent([head.as_bytes(), body].concat())
            .received("HTTP/1.1 204 No Content\r\n\r\n")
            .close();
        let output = show(&script, dir.path(), &["--curl", "c", "1"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        // The capture is of TLS; this server is not.
        let line = text(&output.stdout).replace("https://", "http://");
        let server = std::thread::spawn(move || serve(&listener));
        let mut sh = Command::new("sh");
        sh.args(["-c", &line]).current_dir(dir.path());
        let status = sh.env("NO_PROXY", "*").env("HOME", dir.path()).status().unwrap();
        assert!(status.success(), "{line}");
        let received = server.join().unwrap();
        let sorted = |head: &str| {
            let mut lines: Vec<_> = head.lines().map(str::trim_end).map(str::to_owned).collect();
            lines[1..].sort();
            lines
        };
        let at = received.len() - body.len();
        let (got, got_body) = received.split_at(at);
        assert_eq!(sorted(&text(got)), sorted(&head), "{line}");
        assert_eq!(got_body, body);
        assert!(!dir.path().join("pwned").exists());
    }
}

/// Reads a request and answers it.
fn serve(listener: &TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..len]);
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(head) = head.map(|at| at + 4) else { continue };
        let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().trim().parse().unwrap();
        if len == 0 || request.len() >= head + length {
            break;
        }
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    request
}
