//! Content codings on the command line.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::Write;
use std::process::Command;

use serde_json::Value;
use sslrec_analyzer_testing::records::Script;
use sslrec_formats::io::RecordWriter;
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::CaptureInfo;

/// Lists an exchange with this response.
fn listed(response: &[u8], args: &[&str]) -> Value {
    let script = Script::client().sent("GET / HTTP/1.1\r\nHost: x\r\n\r\n").received(response);
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let mut writer = RawLogWriter::new(&mut bytes, CaptureInfo::default(), 1).unwrap();
    let script = script.close();
    script.records().iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    drop(writer);
    std::fs::write(dir.path().join("c"), bytes).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
        .args(args)
        .arg("c")
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(output.stdout.split(|&byte| byte == b'\n').next().unwrap()).unwrap()
}

/// Compressed by the gzip program, so that not only our own library is believed.
fn gzip_program(bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("body");
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    Command::new("gzip").arg("-c").arg(path).output().unwrap().stdout
}

#[test]
fn decode_shows_the_body_without_its_coding_and_both_lengths() {
    let body = gzip_program(b"hello hello hello hello hello hello hello\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let response = [head.as_bytes(), &body].concat();
    let sent = listed(&response, &["--json", "--bodies"]);
    assert_eq!(sent["response"]["body_bytes"], body.len());
    assert!(sent["response"]["body"].as_str().unwrap().starts_with("H4sI"), "{sent}");
    assert!(sent["response"].get("decoded_bytes").is_none());
    let decoded = listed(&response, &["--json", "--bodies", "--decode"]);
    assert_eq!(decoded["response"]["body_bytes"], body.len());
    assert_eq!(decoded["response"]["decoded_bytes"], 42);
    let text = "aGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8K";
    assert_eq!(decoded["response"]["body"], text);
    assert_eq!((&decoded["complete"], &decoded["notes"]), (&sent["complete"], &sent["notes"]));
    assert_eq!(decoded["request"]["decoded_bytes"], 0);
}

#[test]
fn decode_undoes_transfer_codings_too() {
    let body = gzip_program(b"hello world");
    let chunk = format!("{:040x};a=b\r\n", body.len());
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    let response = [head.as_bytes(), chunk.as_bytes(), &body, b"\r\n000\r\n\r\n"].concat();
    let exchange = listed(&response, &["--json", "--bodies", "--decode"]);
    assert_eq!(exchange["response"]["body"], "aGVsbG8gd29ybGQ=");
    assert_eq!(exchange["response"]["body_bytes"], body.len());
    assert_eq!((&exchange["complete"], &exchange["notes"]), (&true.into(), &Value::Array(vec![])));
    let sent = listed(&response, &["--json", "--bodies"]);
    assert!(sent["response"]["body"].as_str().unwrap().starts_with("H4sI"), "{sent}");
}

#[test]
fn a_damaged_body_is_decoded_up_to_the_damage_with_a_note() {
    let mut body = gzip_program(&[b"hello\n".repeat(9), (0..=255).collect()].concat());
    let at = body.len() - 6;
    body[at] ^= 1;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let response = [head.as_bytes(), &body].concat();
    let exchange = listed(&response, &["--json", "--bodies", "--decode"]);
    assert_eq!(exchange["response"]["decoded_bytes"], 54 + 256);
    let note = exchange["notes"][0].as_str().unwrap();
    assert!(note.starts_with("response body: gzip is damaged after 310 decoded bytes"), "{note}");
}
