//! Where a recording goes: files of mode 0600, standard output, a terminal.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::peers::{case, text, tls_cases, tls_cases_static};
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

#[test]
fn pipes_and_sockets_with_a_name_are_refused() {
    let Some(live) = Live::start() else { return };
    let (pipe, socket) = (live.path("a.pcapng"), live.path("b.zst"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut reader = OpenOptions::new();
    let _reader = reader.read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    for (path, says) in [(&pipe, "a named pipe"), (&socket, "a socket")] {
        let mut sslrec = Command::new(SSLREC);
        let output = live.run(sslrec.arg("-w").arg(path).args(["--", "true"]));
        assert_eq!(output.code(), 1, "{}", output.stderr);
        assert!(output.stderr.contains(says), "{}", output.stderr);
    }
}

/// A recording of a program that runs until the test ends it, while `act` happens to the pcapng.
fn disturbed(live: &Live, act: impl FnOnce(&Path)) -> (i32, String) {
    let recording = live.attach_to_command(&case(&["pace", "2", "10000", "100"]));
    act(recording.pcapng());
    let recorded = recording.wait();
    (recorded.code(), recorded.output.stderr)
}

#[test]
fn a_file_that_is_removed_or_replaced_is_stated() {
    let Some(live) = Live::start() else { return };
    let (code, stderr) = disturbed(&live, |file| fs::remove_file(file).unwrap());
    assert!(code == 1 && stderr.contains("it was removed while it was written"), "{code} {stderr}");
    let (code, stderr) = disturbed(&live, |file| {
        fs::rename(file, live.path("elsewhere")).unwrap();
        fs::write(file, "another").unwrap();
    });
    assert!(code == 1 && stderr.contains("it was moved or replaced"), "{code} {stderr}");
    assert!(fs::metadata(live.path("elsewhere")).unwrap().len() > 1000);
}

#[test]
fn a_lack_of_descriptors_at_the_start_is_named() {
    let Some(live) = Live::start() else { return };
    for limit in [12, 24, 40] {
        let (_, sslrec) = live.sslrec(&[]);
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={limit}")).arg(SSLREC).args(sslrec.get_args());
        let output = live.run(limited.args(["--", "true"]));
        assert_eq!(output.code(), 1, "{limit}: {}", output.stderr);
        let says = format!("out of file descriptors (the limit is {limit})");
        assert!(output.stderr.contains(&says), "{limit}: {}", output.stderr);
        assert!(output.stderr.contains("ulimit -n"), "{}", output.stderr);
    }
}

#[test]
fn a_lack_of_descriptors_during_the_recording_is_named() {
    let Some(live) = Live::start() else { return };
    let (go, program) = (live.path("go"), tls_cases_static());
    let script =
        format!("until [ -e {} ]; do sleep 0.05; done; {program} exchange", text(go.clone()));
    let recording = live.attach_to_command(&["sh", "-c", &script]);
    let pid = recording.started().pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = format!("--nofile={open}:{open}");
    live.succeed("prlimit", &["--pid", &pid.to_string(), &limit]);
    fs::write(go, "").unwrap();
    let recorded = recording.wait();
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("out of file descriptors"), "{stderr}");
    assert!(stderr.contains("not recorded") || stderr.contains("without this file"), "{stderr}");
}
