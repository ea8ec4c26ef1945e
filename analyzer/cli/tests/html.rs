//! `sslanalyze html`: the page, and its display in a browser.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sslrec_analyzer_testing::records::{Script, raw_log};
use sslrec_analyzer_testing::tools;

const HOSTILE: &str = r#"</script><img src=x onerror="pwned=1">"#;

fn html(script: &Script, dir: &Path, args: &[&str]) -> Output {
    // The name is shown too.
    std::fs::write(dir.join("<b onclick=pwned=1>"), raw_log(&script.records())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(["html", "<b onclick=pwned=1>"]).args(args).current_dir(dir).output().unwrap()
}

/// Writes the page to a file and returns where it is.
fn page(script: &Script, dir: &Path, args: &[&str]) -> PathBuf {
    let output = html(script, dir, &[args, &["-o", "page.html"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    dir.join("page.html")
}

fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    [format!("HTTP/1.1 {head}\r\nContent-Length: {len}\r\n\r\n").as_bytes(), body].concat()
}

/// JSON, hostile text, a compressed body, a binary body, and a request without a response.
fn small() -> Script {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all("squeezed ".repeat(1000).as_bytes()).unwrap();
    let binary: Vec<u8> = (0..2048).map(|n| n as u8).collect();
    let hostile_body = format!("{HOSTILE}\u{2028}<!--<script>pwned=1");
    Script::client()
        .sent("POST /orders HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n{\"item\":\"teapot\",\"count\":2}")
        .received(response("201 Created\r\nContent-Type: application/json", b"{\"ok\":true}"))
        .sent(format!("GET /{HOSTILE} HTTP/1.1\r\nHost: h\r\nX-{HOSTILE}: {HOSTILE}\r\n\r\n"))
        .received(response("404 Not Found\r\nContent-Type: text/html", hostile_body.as_bytes()))
        .sent("GET /gzip HTTP/1.1\r\nHost: h\r\n\r\n")
        .received(response("200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip", &gzip.finish().unwrap()))
        .sent("GET /binary HTTP/1.1\r\nHost: h:8443\r\nX-Name: Zoë 漢\u{202e}x\r\n\r\n")
        .received(response("200 OK\r\nContent-Type: image/png", &binary))
        .sent("GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
        .close()
}

#[test]
fn a_browser_lists_filters_and_shows_exchanges_and_nothing_hostile_runs() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let page = page(&small(), dir.path(), &["--body-limit", "1K"]);
    tools::output(tools::node(&tools, "html_page.js").arg("behaviour").arg(page));
}

#[test]
fn it_is_readable_on_light_and_dark_screens() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let page = page(&small(), dir.path(), &[]);
    print!("{}", tools::output(tools::node(&tools, "html_page.js").arg("colours").arg(page)));
}

#[test]
fn thousands_of_exchanges_do_not_freeze_it() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut script = Script::client();
    for number in 0..5000 {
        let body = format!("{{\"number\":{number},\"text\":\"{}\"}}", "lorem ipsum ".repeat(150));
        script = script
            .sent(format!("GET /items/{number} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .received(response("200 OK\r\nContent-Type: application/json", body.as_bytes()));
    }
    let page = page(&script.close(), dir.path(), &[]);
    print!("{}", tools::output(tools::node(&tools, "html_page.js").arg("many").arg(page)));
}

#[test]
fn what_is_not_http_is_shown_too() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = Script::client().sent("SSH-2.0-?").received([0, 1, 2]).close();
    let page = page(&script, dir.path(), &[]);
    tools::output(tools::node(&tools, "html_page.js").arg("stream").arg(page));
}

#[test]
fn events_are_shown_one_by_one() {
    let Some(tools) = tools::installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let events = b"data: first event\n\ndata: second event\n\n";
    let script = Script::client()
        .sent("GET /events HTTP/1.1\r\nHost: h\r\n\r\n")
        .received(response("200 OK\r\nContent-Type: text/event-stream", events))
        .close();
    let page = page(&script, dir.path(), &[]);
    tools::output(tools::node(&tools, "html_page.js").arg("events").arg(page));
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let page = page(&small(), dir.path(), &[]);
    assert_eq!(page.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_filter_chooses_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = html(&small(), dir.path(), &["status<300", "--body-limit", "4"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert_eq!(text.matches("id=\"item-").count(), 3, "{text}");
    assert!(text.contains("\"totals\":\"3 listed of 5 exchanges on 1 connection"), "{text}");
    assert!(text.contains(r#""text":"{\n  ","shown_bytes":4"#), "{text}");
    assert!(!text.contains("teapot") && !text.contains("/never"), "{text}");
    for wrong in [&["--body-limit", "much"][..], &["status>>"]] {
        assert_eq!(html(&small(), dir.path(), wrong).status.code(), Some(2));
    }
}
