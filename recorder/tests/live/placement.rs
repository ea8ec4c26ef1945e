//! Probes within functions: tried before anything is recorded with them, given up where they prove
//! wrong, and harmless where return probes are not.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::assert_truth::assert_both_ends;
use crate::coroutines;
use crate::openssl_api::both_ends_match_the_truth;
use crate::peers::{build, text, tls_cases, tls_cases_static, truth};
use crate::support::{Live, Recorded, within};

/// A library between a program and libssl, see `bad_tail_call.c`.
fn bad_tail_call(name: &str, defines: &[&str]) -> String {
    let libraries = ["-shared", "-fPIC", "-Wl,--no-as-needed", "-lssl"];
    build(name, &["bad_tail_call.c"], &[defines, &libraries].concat())
}

fn command_with(library: &str, case: &str) -> Vec<String> {
    let preload = format!("LD_PRELOAD={library}");
    ["env".to_owned(), preload, tls_cases(), case.to_owned()].to_vec()
}

fn assert_said(recorded: &Recorded, words: &str) {
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains(words), "sslrec did not say {words:?}: {stderr}");
}

fn assert_not_said(recorded: &Recorded, words: &str) {
    let stderr = &recorded.output.stderr;
    assert!(!stderr.contains(words), "sslrec said {words:?}: {stderr}");
}

/// The message of the self-test has the value that would have been recorded otherwise: the wrong
/// result.
#[test]
fn a_library_for_which_the_proof_is_wrong_is_recorded_by_return_probes() {
    let Some(live) = Live::start() else { return };
    let library = bad_tail_call("bad_tail_call.so", &[]);
    for options in
        [&["-v", "--lib", &library][..], &["-v", "--without", "multi", "--lib", &library]]
    {
        for case in ["exchange", "big-write", "ex"] {
            let command = command_with(&library, case);
            let (recorded, _) = both_ends_match_the_truth(&live, options, &command).unwrap();
            assert_said(&recorded, "failed the self-test: ");
            assert_said(
                &recorded,
                "expected the calls SSL_write 300,SSL_read 300, recorded SSL_write 300,SSL_read 100",
            );
            assert_said(&recorded, "SSL_read there has a return probe");
            assert_not_said(&recorded, "self-test passed");
        }
    }
}

/// It is not tested again: the result for the first file holds for it.
#[test]
fn another_file_of_the_same_build_is_recorded_by_return_probes_too() {
    let Some(live) = Live::start() else { return };
    let library = bad_tail_call("bad_tail_call.so", &[]);
    let copy = text(live.path("copy-of-bad_tail_call.so"));
    fs::copy(&library, &copy).unwrap();
    let options = ["-v", "--lib", &library, "--lib", &copy];
    let command = command_with(&copy, "exchange");
    let (recorded, _) = both_ends_match_the_truth(&live, &options, &command).unwrap();
    let stderr = &recorded.output.stderr;
    assert_eq!(stderr.matches("failed the self-test").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("SSL_read there has a return probe").count(), 2, "{stderr}");
}

/// The peer of the self-test dies in place of the program.
#[test]
fn a_library_that_dies_of_placed_probes_is_recorded_by_return_probes() {
    let Some(live) = Live::start() else { return };
    let library = bad_tail_call("brittle.so", &["-DBRITTLE"]);
    let command = command_with(&library, "exchange");
    let options = ["--lib", &library];
    let (recorded, _) = both_ends_match_the_truth(&live, &options, &command).unwrap();
    assert_said(&recorded, "failed the self-test: the peer ended");
}

/// The comparison for the tests above: nothing but the probes makes the difference.
#[test]
fn those_libraries_are_recorded_as_they_are_with_placement_off() {
    let Some(live) = Live::start() else { return };
    for library in
        [bad_tail_call("bad_tail_call.so", &[]), bad_tail_call("brittle.so", &["-DBRITTLE"])]
    {
        let options = ["-v", "--without", "placement", "--lib", &library];
        let command = command_with(&library, "exchange");
        let (recorded, _) = both_ends_match_the_truth(&live, &options, &command).unwrap();
        assert_not_said(&recorded, "self-test");
    }
}

/// Neither the conversation of the self-test nor its process is in the files or in the books.
#[test]
fn a_self_test_that_passes_leaves_no_trace() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&["-v"], &["true"]).succeeded();
    assert_said(&recorded, "self-test passed on ");
    assert_said(&recorded, " 0 connections, 0 calls, 0 bytes; lost 0 events and 0 bytes; ");
    for file in [&recorded.pcapng, &recorded.raw] {
        let listing = live.list(file, &["--both-ends"]);
        assert!(listing.exchanges.is_empty() && listing.streams.is_empty(), "{}", listing.summary);
        for field in ["connections", "processes", "lost_bytes", "dropped_events"] {
            assert_eq!(listing.summary[field], 0, "{field}");
        }
    }
    assert!(live.tshark_fields(&recorded.pcapng, "", "frame.number").is_empty());
    let recorded = live.record(&["--fail-if-empty"], &["true"]);
    assert_eq!(recorded.code(), 4, "{}", recorded.output.stderr);
}

/// Events of the self-test are not in the files, of a wrong library neither.
#[test]
fn a_self_test_that_fails_leaves_no_trace() {
    let Some(live) = Live::start() else { return };
    for library in
        [bad_tail_call("bad_tail_call.so", &[]), bad_tail_call("brittle.so", &["-DBRITTLE"])]
    {
        let recorded = live.record(&["--lib", &library], &["true"]).succeeded();
        assert_said(&recorded, "failed the self-test");
        assert_said(&recorded, " 0 connections, 0 calls, 0 bytes; lost 0 events and 0 bytes; ");
        for file in [&recorded.pcapng, &recorded.raw] {
            let listing = live.list(file, &["--both-ends"]);
            assert!(listing.streams.is_empty(), "{:?}", listing.streams);
        }
    }
}

/// A program cannot be loaded, and so cannot be tested.
#[test]
fn a_program_with_the_library_inside_is_recorded_without_a_self_test() {
    let Some(live) = Live::start() else { return };
    let program = tls_cases_static();
    let command = [program.clone(), "exchange".to_owned()];
    let options = ["-v", "--lib", &program];
    let (recorded, _) = both_ends_match_the_truth(&live, &options, &command).unwrap();
    assert_said(&recorded, &format!("no self-test on {program}: cannot be loaded: "));
    assert_not_said(&recorded, "SSL_read there has a return probe");
}

/// If the programs already run, their mapped files show it.
#[test]
fn a_running_program_that_switches_stacks_gets_no_return_probes() {
    let Some(live) = Live::start() else { return };
    let [program, mode, count] = coroutines::program("all", "20");
    let stopped = build("stopped.so", &["stopped.c"], &["-shared", "-fPIC"]);
    let mut command = Command::new(program);
    let program = live.spawn(command.args([mode, count]).env("LD_PRELOAD", stopped));
    let stat = format!("/proc/{}/stat", program.pid());
    let is_stopped = || fs::read_to_string(&stat).unwrap().contains(") T ").then_some(());
    within(Duration::from_secs(10), is_stopped).expect("the program stops before it begins");
    let running = live.attach(&["-v", "-p", &program.pid().to_string()]);
    program.signal(18);
    let output = program.wait();
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let recorded = running.wait().succeeded();
    assert_said(&recorded, " switches stacks (swapcontext): no return probes are used");
    assert_not_said(&recorded, "there has a return probe");
    assert_both_ends(&live, &recorded, &truth(&output.stdout).unwrap());
}
