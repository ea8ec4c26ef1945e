//! Coroutines that stop inside a call of the library and go on in another order, each on a stack of
//! its own. Return probes would kill them, so none are used.

use crate::assert_truth::assert_recorded_once;
use crate::openssl_api::{both_ends_match_the_truth, command_matches_the_truth};
use crate::peers::coroutines;
use crate::support::Live;

pub(crate) fn program(mode: &str, count: &str) -> [String; 3] {
    [coroutines(), mode.to_owned(), count.to_owned()]
}

/// With every method of observing sockets. The end of a handshake is not seen without a return
/// probe, so the client's address comes from its first call, before its server can answer.
fn each_connection_is_listed_once(mode: &str, count: &str) {
    for options in [&[][..], &["--without", "sock-length"], &["--without", "sock-length,fentry"]] {
        let Some(live) = Live::start() else { return };
        let ran = both_ends_match_the_truth(&live, options, &program(mode, count));
        let (recorded, truth) = ran.expect("the program runs everywhere");
        assert!(recorded.output.stderr.contains("switches stacks"), "{}", recorded.output.stderr);
        assert_recorded_once(&live, &recorded, &truth);
    }
}

#[test]
fn reads_that_are_suspended_and_go_on_out_of_order() {
    command_matches_the_truth(&[], &program("read", "20"));
}

#[test]
fn every_call_suspended_and_gone_on_with_out_of_order() {
    each_connection_is_listed_once("all", "20");
}

#[test]
fn one_coroutine_alone() {
    each_connection_is_listed_once("all", "1");
}

/// The return happens on another thread than the entry.
#[test]
fn calls_that_another_thread_goes_on_with() {
    each_connection_is_listed_once("threads", "20");
}
