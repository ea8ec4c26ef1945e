//! Input that cannot be recorded is reported in a clear line, with exit status 1 and no panic.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::peers::{case, rival_tracer, text, tls_cases};
use crate::support::{Live, Output, SSLREC, read_lossy, signal, system_library, within};

/// Asserts that the run failed, and that the last line on stderr names the cause.
fn assert_refused(output: &Output, names: &[&str]) {
    let stderr = &output.stderr;
    assert_eq!(output.code(), 1, "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    assert!((1..=3).contains(&errors.len()), "one clear line and the next step: {stderr}");
    let lower = stderr.to_lowercase();
    for name in names {
        assert!(lower.contains(&name.to_lowercase()), "no {name:?} in: {stderr}");
    }
}

/// Nothing half-written stays where nothing was recorded.
fn assert_no_file(file: &Path) {
    assert!(!file.exists(), "{} was left behind", file.display());
}

#[test]
fn a_process_that_does_not_exist() {
    let Some(live) = Live::start() else { return };
    let (files, mut sslrec) = live.sslrec(&["-p", "4194303"]);
    let output = live.run(&mut sslrec);
    assert_refused(&output, &["4194303"]);
    assert_no_file(&files.pcapng);
    assert_no_file(&files.raw);
}

#[test]
fn bad_usage_is_status_2() {
    let Some(live) = Live::start() else { return };
    for arguments in [
        &["--no-such-option"][..],
        &["-p", "abc"],
        &["--ring-size", "lots", "-p", "1"],
        &["-w", "capture.txt", "--", "true"],
    ] {
        let output = live.run(Command::new(SSLREC).args(arguments).current_dir(live.dir()));
        assert_eq!(output.code(), 2, "{arguments:?}: {}", output.stderr);
        assert!(!output.stderr.contains("panicked"));
    }
}

#[test]
fn a_library_without_the_functions() {
    let Some(live) = Live::start() else { return };
    let library = text(std::fs::canonicalize(system_library("libz.so.1")).unwrap());
    let (files, mut sslrec) = live.sslrec(&["--lib", &library]);
    let output = live.run(sslrec.args(["--", "true"]));
    assert_refused(&output, &["libz"]);
    assert_no_file(&files.pcapng);
}

#[test]
fn a_library_that_is_no_program() {
    let Some(live) = Live::start() else { return };
    let file = live.path("not-elf.so");
    for contents in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01garbage"] {
        std::fs::write(&file, contents).unwrap();
        let (files, mut sslrec) = live.sslrec(&["--lib", file.to_str().unwrap()]);
        let output = live.run(sslrec.args(["--", "true"]));
        assert_refused(&output, &["not-elf.so"]);
        assert_no_file(&files.pcapng);
    }
    let (_, mut sslrec) = live.sslrec(&["--lib", "/no/such/libssl.so"]);
    assert_refused(&live.run(sslrec.args(["--", "true"])), &["/no/such/libssl.so"]);
}

#[test]
fn an_output_that_cannot_be_written() {
    let Some(live) = Live::start() else { return };
    let folder = live.path("folder.pcapng");
    std::fs::create_dir(&folder).unwrap();
    let ran = live.path("ran");
    let nowhere = live.path("no/such/folder/capture.pcapng");
    for (file, name) in [(folder, "folder.pcapng"), (nowhere, "capture.pcapng")] {
        let mut sslrec = Command::new(SSLREC);
        let output = live.run(sslrec.arg("-w").arg(file).args(["--", "touch"]).arg(&ran));
        assert_refused(&output, &[name]);
        assert!(!ran.exists(), "the output is opened before the command starts");
    }
}

/// A run that fails before anything is recorded leaves an earlier capture as it was, and no new
/// file.
#[test]
fn an_earlier_capture_survives_a_run_that_fails() {
    let Some(live) = Live::start() else { return };
    let (earlier, new) = (live.path("earlier.pcapng"), live.path("new.zst"));
    let library = text(system_library("libz.so.1"));
    let failing: [&[&str]; 3] = [
        &["--lib", &library, "--", "true"],
        &["-w", "/no/such/folder/capture.zst", "--", "true"],
        &["--", "/no/such/command"],
    ];
    for arguments in failing {
        std::fs::write(&earlier, "an earlier capture").unwrap();
        let mut sslrec = Command::new(SSLREC);
        let output = live.run(sslrec.arg("-w").arg(&earlier).args(arguments));
        assert_eq!(output.code(), 1, "{arguments:?}: {}", output.stderr);
        assert_eq!(read_lossy(&earlier), "an earlier capture", "{arguments:?}");
        if arguments[0] != "-w" {
            let output = live.run(Command::new(SSLREC).arg("-w").arg(&new).args(arguments));
            assert_eq!(output.code(), 1);
            assert_no_file(&new);
        }
    }
}

#[test]
fn without_privileges() {
    let Some(live) = Live::start() else { return };
    // Where an unprivileged user can reach it.
    let open = tempfile::Builder::new().prefix("sslrec-open").tempdir_in("/tmp").unwrap();
    let status = Command::new("chmod").arg("0777").arg(open.path()).status().unwrap();
    assert!(status.success());
    let program = open.path().join("sslrec");
    std::fs::copy(SSLREC, &program).unwrap();
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    setpriv.args(["--bounding-set=-all", "--no-new-privs"]).arg(&program);
    let file = open.path().join("capture.pcapng");
    let output = live.run(setpriv.arg("-w").arg(&file).args(["--", "true"]).current_dir("/"));
    assert_refused(&output, &["root"]);
    assert_no_file(&file);
}

/// File offset of an exported function, and a place in the library's data for a counter.
fn offsets(live: &Live, library: &str, function: &str) -> (u64, u64) {
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    let symbols = live.succeed("readelf", &["-W", "--dyn-syms", library]);
    let wanted = format!("{function}@@");
    let symbol = symbols.lines().find(|l| l.split_whitespace().any(|w| w.starts_with(&wanted)));
    let address = hex(symbol.unwrap().split_whitespace().nth(1).unwrap());
    let headers = live.succeed("readelf", &["-W", "-l", library]);
    let (mut offset, mut counter) = (None, None);
    for line in headers.lines().filter(|line| line.trim_start().starts_with("LOAD")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (file_offset, start, file_size) = (hex(words[1]), hex(words[2]), hex(words[4]));
        if (start..start + file_size).contains(&address) {
            offset = Some(address - start + file_offset);
        }
        if line.contains("RW") {
            counter = Some(file_offset + file_size - 2);
        }
    }
    (offset.unwrap(), counter.unwrap())
}

/// Another tracer's probe on a function. Dropped, it is gone.
pub(crate) struct Rival {
    process: Child,
}

impl Rival {
    pub(crate) fn start(live: &Live, library: &str, function: &str) -> Self {
        let (offset, counter) = offsets(live, library, function);
        let mut rival = Command::new(rival_tracer());
        rival.arg(library).arg(offset.to_string()).arg(counter.to_string());
        let mut process = rival.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 9];
        process.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"attached\n");
        Self { process }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It stays until its stdin ends.
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// Without placement both want the first instruction.
#[test]
fn another_tracer_on_the_same_function() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let library = text(folder.join("libssl.so.3"));
    let rival = Rival::start(&live, &library, "SSL_read");
    let (files, mut sslrec) = live.sslrec(&["--lib", &library, "--without", "placement"]);
    let output = live.run(sslrec.arg("--").arg(tls_cases()).arg("exchange"));
    drop(rival);
    assert_refused(&output, &["another", "SSL_read"]);
    assert_no_file(&files.pcapng);

    // With the rival gone the same command works.
    let mut again = Command::new(SSLREC);
    again.args(["--lib", &library, "-w"]).arg(&files.pcapng).arg("--").args(case(&["exchange"]));
    let output = live.run(again.env("LD_LIBRARY_PATH", &folder));
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert_eq!(live.list(&files.pcapng, &[]).streams.len(), 1);
}

/// The probed library is the library in use: the private copy, and no other.
#[test]
fn only_the_named_library_is_probed() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let library = text(folder.join("libssl.so.3"));
    let recorded = live.record(&["--lib", &library], &case(&["exchange"])).succeeded();
    assert!(live.list(&recorded.raw, &[]).streams.is_empty(), "the system's library was in use");
}

/// A program without TLS leaves an empty recording, and the report states that.
#[test]
fn a_command_without_tls() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &["echo", "hello"]).succeeded();
    assert_eq!(recorded.output.stdout, "hello\n");
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert!(listing.exchanges.is_empty() && listing.streams.is_empty());
}

/// The traced process ends first: the recording ends in order.
#[test]
fn the_process_ends_before_the_recording() {
    let Some(live) = Live::start() else { return };
    let sleep = live.spawn(Command::new("sleep").arg("60"));
    let running = live.attach(&["-p", &sleep.pid().to_string()]);
    signal(sleep.pid(), 15);
    sleep.wait();
    // It may end by itself, now that there is nothing to record, or wait for us.
    let pid = running.started().pid();
    let stat = format!("/proc/{pid}/stat");
    let ended = || {
        let state = std::fs::read_to_string(&stat).unwrap_or_default();
        state.contains(") Z ").then_some(())
    };
    let by_itself = within(Duration::from_secs(1), ended).is_some();
    let stderr = read_lossy(&running.started().stderr);
    let recorded = running.stop(2);
    assert_eq!(recorded.code(), 0, "by itself: {by_itself}; {stderr}");
    live.list_both(&recorded.pcapng, &recorded.raw, &[]);
}
