//! Where a recording goes: files of mode 0600, standard output, a terminal.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::peers::{case, tls_cases};
use crate::server::Nginx;
use crate::support::{Live, SSLREC};

#[test]
fn files_are_for_their_owner_only() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &case(&["exchange"])).succeeded();
    for file in [&recorded.pcapng, &recorded.raw] {
        let mode = std::fs::metadata(file).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

#[test]
fn pcapng_goes_to_standard_output() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("page", b"page");
    let page = live.path("page");
    let file = live.path("stdout.pcapng");
    let mut sslrec = Command::new(SSLREC);
    sslrec.args(["-w", "-", "--", "curl", "--http1.1", "-sS", "--cacert", &nginx.ca(), "-o"]);
    let output = sslrec.arg(&page).arg(nginx.url("/page")).stderr(std::process::Stdio::null());
    let output = output.output().unwrap();
    assert!(output.status.success());
    std::fs::write(&file, output.stdout).unwrap();
    assert_eq!(live.tshark_fields(&file, "http.request", "http.request.uri"), ["/page"]);
    assert_eq!(live.tshark_fields(&file, "http.response", "http.response.code"), ["200"]);
}

#[test]
fn without_a_file_the_exchange_is_printed() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("page", b"the-page-itself\x1b[31m\n");
    let mut sslrec = Command::new(SSLREC);
    sslrec.args(["--", "curl", "--http1.1", "-sS", "--cacert", &nginx.ca(), "-o", "/dev/null"]);
    let output = live.run(sslrec.arg(nginx.url("/page")));
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let text = &output.stdout;
    for column in ["FUNC", "TIME", "COMM", "PID", "LEN"] {
        assert!(text.lines().any(|line| line.contains(column)), "no column {column}: {text}");
    }
    for part in ["SSL_write", "SSL_read", "curl", "GET /page HTTP/1.1", "the-page-itself"] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    assert!(!text.contains('\x1b'), "bytes from the network do not drive the terminal: {text:?}");
}

#[test]
fn hexdump_latency_and_handshakes_on_request() {
    let Some(live) = Live::start() else { return };
    let mut sslrec = Command::new(SSLREC);
    sslrec.args(["-l", "-x", "--hexdump", "--handshake", "--"]).arg(tls_cases()).arg("exchange");
    let output = live.run(&mut sslrec);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let text = &output.stdout;
    for part in ["LAT", "UID", "TID", "HANDSHAKE"] {
        assert!(text.to_uppercase().contains(part), "no {part}: {text}");
    }
    // "<request 1" in hexadecimal.
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(dense.contains("3c726571756573742031"), "no hexadecimal bytes: {text}");
}

#[test]
fn one_summary_line_ends_the_run() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &case(&["exchange"])).succeeded();
    let last = recorded.output.stderr.lines().last().unwrap_or("").to_owned();
    for part in ["1 process", "2 connections", "8000 bytes", "lost 0 events and 0 bytes"] {
        assert!(last.contains(part), "no {part:?}: {last}");
    }
}
