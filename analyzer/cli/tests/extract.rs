//! `sslanalyze extract`, on real files and hostile names.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sslrec_analyzer_testing::records;
use sslrec_analyzer_testing::records::Script;
use sslrec_formats::record::Direction;

fn extract(dir: &Path, script: &Script, args: &[&str]) -> Output {
    fs::write(dir.join("c"), records::raw_log(&script.records())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(["extract", "c"]).args(args).current_dir(dir).output().unwrap()
}

/// Names and contents of the files in a folder.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn ok(content_type: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\n\r\n{body}"
    )
}

fn two() -> Script {
    Script::client()
        .sent("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        .received(ok("text/html", "<p>"))
        .sent(get("/logo.png?v=2"))
        .received(ok("image/png", "png"))
        .close()
}

#[test]
fn bodies_become_private_files_and_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let output = extract(dir.path(), &two(), &["new/folder"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let expected = [
        ("1-request-upload.json", "{}"),
        ("1-response-upload.html", "<p>"),
        ("2-response-logo.png", "png"),
    ];
    let found = files(&dir.path().join("new/folder"));
    assert_eq!(found, expected.map(|(n, c)| (n.to_owned(), c.as_bytes().to_vec())).into());
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let first =
        "new/folder/1-request-upload.json: 2 bytes, application/json, POST https://h/upload";
    assert_eq!(lines.lines().next().unwrap(), first);
    #[cfg(unix)]
    for name in found.keys() {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.path().join("new/folder").join(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}

#[test]
fn sides_and_filters_choose() {
    let names = |args: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let output = extract(dir.path(), &two(), &[&["out"], args].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        files(&dir.path().join("out")).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(&["--requests"]), ["1-request-upload.json"]);
    assert_eq!(names(&["--responses"]), ["1-response-upload.html", "2-response-logo.png"]);
    assert_eq!(names(&["path~logo"]), ["2-response-logo.png"]);
    let dir = tempfile::tempdir().unwrap();
    let nothing = extract(dir.path(), &two(), &["out", "status=500"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("no body to extract in c"), "{}", text(&nothing.stderr));
    assert_eq!(extract(dir.path(), &two(), &["out", "status>>"]).status.code(), Some(2));
}

#[test]
fn content_codings_are_undone() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"hello hello").unwrap();
    let body = gzip.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let script =
        Script::client().sent(get("/t")).received([head.into_bytes(), body].concat()).close();
    let dir = tempfile::tempdir().unwrap();
    assert!(extract(dir.path(), &script, &["out"]).status.success());
    assert_eq!(files(&dir.path().join("out"))["1-response-t.txt"], b"hello hello");
}

#[test]
fn nothing_is_written_outside_of_the_folder_or_over_a_file() {
    let hostile = [
        "/..%2f..%2fescaped",
        "/../escaped",
        "//etc/escaped",
        "/a%00b",
        "/con.",
        "/..\\..\\escaped",
        "/-rf",
        "/\u{1b}[2J",
    ];
    let mut script = Script::client();
    for path in hostile {
        script = script.sent(get(path)).received(ok("x/y", path));
    }
    let dir = tempfile::tempdir().unwrap();
    let output = extract(dir.path(), &script.close(), &["out"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains('\u{1b}'), "{}", text(&output.stdout));
    assert_eq!(files(&dir.path().join("out")).len(), hostile.len());
    // The folder, the capture, and nothing else.
    let top = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
    let mut top: Vec<_> = top.collect();
    top.sort();
    assert_eq!(top, ["c", "out"]);
}

#[cfg(unix)]
#[test]
fn what_is_there_stays_links_included() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("1-request-upload.json"), "mine").unwrap();
    fs::write(dir.path().join("target"), "untouched").unwrap();
    std::os::unix::fs::symlink("../target", out.join("1-response-upload.html")).unwrap();
    std::os::unix::fs::symlink("../missing", out.join("2-response-logo.png")).unwrap();
    assert!(extract(dir.path(), &two(), &["out"]).status.success());
    assert_eq!(fs::read(out.join("1-request-upload.json")).unwrap(), b"mine");
    assert_eq!(fs::read(out.join("1-request-upload.2.json")).unwrap(), b"{}");
    assert_eq!(fs::read(dir.path().join("target")).unwrap(), b"untouched");
    assert_eq!(fs::read(out.join("1-response-upload.2.html")).unwrap(), b"<p>");
    assert!(!dir.path().join("missing").exists());
    assert_eq!(fs::read(out.join("2-response-logo.2.png")).unwrap(), b"png");
}

#[test]
fn what_is_missing_is_said_and_streams_are_written_by_end() {
    let script = Script::client()
        .sent(get("/big"))
        .received(ok("text/plain", &"x".repeat(1000)))
        .close()
        .without(Direction::Received, 500, 100);
    let dir = tempfile::tempdir().unwrap();
    let output = extract(dir.path(), &script, &["out"]);
    let line = text(&output.stdout);
    assert!(line.contains("900 bytes") && line.contains("100 bytes missing"), "{line}");

    let script = Script::client().sent(b"\x01\x02hello\x00").received(b"\x03\x04").close();
    let dir = tempfile::tempdir().unwrap();
    let output = extract(dir.path(), &script, &["out"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = files(&dir.path().join("out"));
    assert_eq!(found["connection-1-client.bin"], b"\x01\x02hello\x00");
    assert_eq!(found["connection-1-server.bin"], b"\x03\x04");
}
