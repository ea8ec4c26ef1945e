//! Coroutines that stop inside a call of the library and go on in another order, each on a stack of
//! its own. Only without return probes do they live, so these tests want placed probes.

use crate::cases::command_matches_the_truth;
use crate::peers::build;

fn survive_and_are_recorded_whole(mode: &str, count: &str) {
    let program = build("coroutines", &["coroutines.c", "peer.c"], &["-lssl", "-lcrypto"]);
    command_matches_the_truth(&[], &[program, mode.to_owned(), count.to_owned()]);
}

#[test]
fn one_alone() {
    survive_and_are_recorded_whole("data", "1");
}

#[test]
fn reads_go_on_out_of_order() {
    survive_and_are_recorded_whole("read", "20");
}

#[test]
fn reads_and_writes_go_on_out_of_order() {
    survive_and_are_recorded_whole("data", "20");
}

/// The return happens on another thread than the entry.
#[test]
fn another_thread_goes_on() {
    survive_and_are_recorded_whole("threads", "20");
}
