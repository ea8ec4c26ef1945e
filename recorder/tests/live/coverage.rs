//! The report on programs that were not recorded, or not completely, and the reasons.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sslrec_formats::io::RecordReader;
use sslrec_formats::rawlog::RawLogReader;
use sslrec_formats::record::{Coverage, Record};

use crate::peers::{case, text};
use crate::support::{Live, Recorded, SSLREC, within};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers/unrecorded.c");

/// The report in the raw log.
fn report(recorded: &Recorded) -> Vec<Coverage> {
    let mut reader = RawLogReader::new(File::open(&recorded.raw).unwrap()).unwrap();
    let mut report = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        if let Record::Coverage(coverage) = record {
            report.push(coverage);
        }
    }
    report
}

fn gcc(folder: &Path, output: &str, args: &[&str]) -> PathBuf {
    let output = folder.join(output);
    let mut gcc = Command::new("gcc");
    gcc.arg("-o").arg(&output).args(args).current_dir(folder);
    assert!(gcc.status().unwrap().success(), "{gcc:?}");
    output
}

/// Records a program that connects, and returns its part of the report, on stderr too.
fn missed(live: &Live, program: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let recorded = live.record(&[], &[text(program.into()), port.clone()]).succeeded();
    let name = program.file_name().unwrap().to_str().unwrap();
    let report = report(&recorded);
    let mut of_program = report.iter().filter(|coverage| coverage.comm == name);
    let coverage = of_program.next().unwrap_or_else(|| panic!("{report:?}"));
    assert_eq!(coverage.exe.as_deref(), program.to_str());
    assert!(coverage.libs.is_empty(), "{coverage:?}");
    let reason = coverage.missed.clone().unwrap();
    let stderr = &recorded.output.stderr;
    let line = format!(
        "{name}[{}]: 1 TLS connection to 127.0.0.1:{port} not recorded: {reason}",
        coverage.pid
    );
    assert!(stderr.contains(&line), "{stderr}");
    reason
}

#[test]
fn a_program_with_rustls_inside() {
    let Some(live) = Live::start() else { return };
    let sign = "-DSIGN=\"received unexpected handshake message: got \"";
    let program = gcc(live.dir(), "rusty", &[sign, "-s", SOURCE]);
    assert!(missed(&live, &program).contains("rustls (no functions"));
}

#[test]
fn a_java_program() {
    let Some(live) = Live::start() else { return };
    fs::write(live.path("machine.c"), "int machine(void) { return 0; }\n").unwrap();
    gcc(live.dir(), "libjvm.so", &["-shared", "-fPIC", "machine.c"]);
    let args = ["-DMACHINE", SOURCE, "-L.", "-ljvm", "-Wl,-rpath,$ORIGIN"];
    let program = gcc(live.dir(), "javac-like", &args);
    assert!(missed(&live, &program).contains("JSSE"));
}

#[test]
fn a_program_without_tls_is_not_worth_a_word() {
    let Some(live) = Live::start() else { return };
    let program = gcc(live.dir(), "plain", &["-DPLAIN", SOURCE]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let recorded = live.record(&[], &[text(program), port]).succeeded();
    assert!(!recorded.output.stderr.contains("nothing recorded"), "{}", recorded.output.stderr);
    assert_eq!(report(&recorded), []);
}

#[test]
fn what_was_recorded_is_told_with_its_library() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&["-v"], &case(&["exchange"])).succeeded();
    let report = report(&recorded);
    let coverage = report.iter().find(|coverage| coverage.comm == "tls_cases").unwrap();
    assert_eq!(coverage.missed, None);
    let lib = coverage.libs.iter().find(|lib| lib.path.contains("libssl.so")).unwrap();
    assert_eq!(lib.found, "needed by the command");
    assert!(lib.functions >= 15, "{lib:?}");
    // Both ends sent 1000 and 3000 bytes and received them.
    assert_eq!(lib.bytes, 8000);
    let mut called = lib.called.clone();
    called.sort();
    assert_eq!(called, ["SSL_read", "SSL_write"]);
    let stderr = &recorded.output.stderr;
    assert!(
        stderr.contains("SSL_read called, 8000 bytes")
            || stderr.contains("SSL_write called, 8000 bytes"),
        "{stderr}"
    );
}

#[test]
fn the_doctor_says_what_could_be_recorded() {
    let Some(live) = Live::start() else { return };
    let pace = live.spawn(Command::new(case(&[])[0].as_str()).args(["pace", "5", "2000", "100"]));
    let mapped = || {
        let maps = fs::read_to_string(format!("/proc/{}/maps", pace.pid())).unwrap_or_default();
        maps.contains("libssl").then_some(())
    };
    within(Duration::from_secs(10), mapped).unwrap();
    let said = live.succeed(SSLREC, &["doctor"]);
    for line in
        ["recording     possible", "privileges    enough", "one link per file", "tracepoints"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    let of_pace = said.lines().find(|line| line.trim_start().starts_with(&pace.pid().to_string()));
    let of_pace = of_pace.unwrap_or_else(|| panic!("{said}"));
    assert!(of_pace.contains("tls_cases") && of_pace.contains("libssl.so.3, "), "{of_pace}");
    let oldest = "multi,sock-length,fentry,kprobe,rcv-space,task-vma";
    let older = live.succeed(SSLREC, &["--without", oldest, "doctor"]);
    for line in ["a link each", "descriptors given to the library only", "do not wait"] {
        assert!(older.contains(line), "{line}: {older}");
    }
    let received = live.succeed(SSLREC, &["--without", "sock-length,fentry,kprobe", "doctor"]);
    assert!(received.contains("by TCP's receive tracepoint"), "{received}");
}
