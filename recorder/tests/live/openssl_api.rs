//! Every way of using the library in `tls_cases`, compared with the program's own account: nothing
//! lost, nothing doubled, the right end and the right address.

use crate::assert_truth::{
    assert_both_ends, assert_ends, assert_nothing_lost, assert_recorded_once, recorded_ends,
};
use crate::peers::{End, case, truth};
use crate::support::{Live, Recorded};

/// Records a case; `None` where it cannot run here.
fn record(live: &Live, arguments: &[&str]) -> Option<(Recorded, Vec<End>)> {
    record_with(live, &[], &case(arguments))
}

fn record_with(live: &Live, options: &[&str], command: &[String]) -> Option<(Recorded, Vec<End>)> {
    let recorded = live.record(options, command).succeeded();
    match truth(&recorded.output.stdout) {
        Ok(ends) => Some((recorded, ends)),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// The common shape: both ends in the raw log, the primaries in the pcapng, all as the truth.
fn matches_the_truth(arguments: &[&str]) {
    matches_the_truth_with(&[], arguments);
}

/// The same with options for the recorder.
pub(crate) fn matches_the_truth_with(options: &[&str], arguments: &[&str]) {
    command_matches_the_truth(options, &case(arguments));
}

/// The same of any program that prints its truth.
pub(crate) fn command_matches_the_truth(options: &[&str], command: &[String]) {
    let Some(live) = Live::start() else { return };
    let Some((recorded, truth)) = both_ends_match_the_truth(&live, options, command) else {
        return;
    };
    assert_recorded_once(&live, &recorded, &truth);
}

/// The ends in the raw log, paired or not.
pub(crate) fn both_ends_match_the_truth(
    live: &Live,
    options: &[&str],
    command: &[String],
) -> Option<(Recorded, Vec<End>)> {
    let (recorded, truth) = record_with(live, options, command)?;
    assert_both_ends(live, &recorded, &truth);
    let stderr = &recorded.output.stderr;
    assert!(!stderr.contains(" not recorded: "), "the account has a false line: {stderr}");
    Some((recorded, truth))
}

macro_rules! cases {
    ($($test:ident: $($argument:literal)+;)+) => {
        $(#[test]
        fn $test() {
            matches_the_truth(&[$($argument),+]);
        })+
    };
}

cases! {
    one_write_of_a_mebibyte: "big-write";
    the_ex_functions: "ex";
    partial_writes: "partial";
    repeated_writes_after_want_write: "want-write";
    many_want_reads: "want-read";
    handshake_inside_read_and_write: "handshake-in-read";
    early_data: "early-data";
    key_update_in_mid_stream: "key-update";
    renegotiation_in_mid_stream: "renegotiate";
    two_threads_share_one_connection: "two-threads";
    forked_workers: "prefork";
    objects_freed_and_made_anew: "reuse";
    one_object_cleared_and_used_again: "clear";
    a_peek_is_no_read: "peek";
    an_object_outlives_a_free: "up-ref";
    ipv6: "ipv6";
    many_connections_at_once: "many" "50";
}

#[test]
fn memory_bios_have_no_address() {
    let Some(live) = Live::start() else { return };
    let Some((recorded, truth)) = record(&live, &["memory-bio"]) else { return };
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_nothing_lost(&listing);
    let ends = recorded_ends(&listing);
    assert_ends(&ends, truth, "memory BIOs");
    assert!(ends.iter().all(|end| end.client.is_none() && end.server.is_none()));
    assert!(listing.streams.iter().all(|s| s["addr"] == "unknown"));
}

/// Sent data is read when the library has read it. A server's name is read when it is set: its page
/// may not be in memory then, which is counted.
#[test]
fn bytes_in_files_that_were_never_looked_at() {
    let Some(live) = Live::start() else { return };
    let (recorded, truth) = record(&live, &["untouched"]).expect("the case runs everywhere");
    assert_both_ends(&live, &recorded, &truth);
    let said = &recorded.output.stderr;
    assert!(said.contains("name_read_fault"), "{said}");
    let listing = live.list(&recorded.raw, &["--both-ends"]);
    assert!(listing.streams.iter().all(|s| s["sni"].is_null()), "{:?}", listing.streams);
}

/// Outer and inner connection on the same thread: every message of both levels.
#[test]
fn tls_inside_tls_on_one_thread() {
    let Some(live) = Live::start() else { return };
    let Some((recorded, truth)) = record(&live, &["tls-in-tls"]) else { return };
    assert_eq!(truth.len(), 4);
    let both = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_nothing_lost(&both);
    assert_ends(&recorded_ends(&both), truth.clone(), "raw log, both ends");
    // The pcapng has both levels, whether or not the inner connection has found its address.
    let pcapng = recorded_ends(&live.list(&recorded.pcapng, &["--bodies"]));
    for end in truth.iter().filter(|end| end.role == "client") {
        let same =
            |o: &&End| (&o.from_client, &o.from_server) == (&end.from_client, &end.from_server);
        assert_eq!(pcapng.iter().filter(same).filter(|o| o.role == "client").count(), 1, "{end:?}");
    }
}

/// A connection that a child inherits belongs to two processes; each has its own bytes.
#[test]
fn a_child_goes_on_with_its_parents_connection() {
    let Some(live) = Live::start() else { return };
    let Some((recorded, truth)) = record(&live, &["fork"]) else { return };
    let both = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_eq!(both.summary["lost_bytes"], 0, "{}", both.summary);
    assert_ends(&recorded_ends(&both), truth, "parent, child and server");
    let ended_whole = |s: &&serde_json::Value| s["complete"] == true;
    assert_eq!(both.streams.iter().filter(ended_whole).count(), 2, "the child came in mid-stream");
}

/// The kernel reads the file itself: the length is known, the bytes are a hole.
#[test]
fn a_file_sent_by_the_kernel_is_a_hole_of_its_length() {
    let Some(live) = Live::start() else { return };
    let Some((recorded, truth)) = record(&live, &["sendfile"]) else { return };
    let client = truth.iter().find(|end| end.role == "client").unwrap();
    let listing = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    let stream = listing.streams.iter().find(|s| s["role"] == "client").unwrap();
    assert_eq!(stream["lost_bytes"], client.from_client.0 - 1000);
    assert_eq!(stream["complete"], false);
}
