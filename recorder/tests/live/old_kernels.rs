//! Every method of attaching on older kernels, forced on this kernel: the captures must be the
//! same.

use crate::openssl_api::{both_ends_match_the_truth, matches_the_truth_with};
use crate::peers::case;
use crate::support::Live;

/// As kernel 5.8 is. It has no placement either, which needs cookies.
const OLDEST: &str = "multi,cookie,sock-length,fentry,kprobe,rcv-space";

/// Probes on first instructions and on returns only, as where nothing can be proven.
const UNPLACED: &str = "placement";

/// The values of `--without`, alone and all together. Single links take seconds to detach, so the
/// other cases are recorded on the oldest tier only.
#[test]
fn every_tier() {
    let sockets = ["sock-length", "sock-length,fentry,kprobe,rcv-space"];
    for tier in sockets.into_iter().chain(["multi", "cookie", UNPLACED, "multi,placement", OLDEST])
    {
        matches_the_truth_with(&["--without", tier], &["exchange"]);
    }
}

/// The library does the socket I/O, and no descriptor is passed to it. The methods that this kernel
/// leaves differ; the kernel tests have them all.
#[test]
fn sockets_that_the_library_uses_without_a_descriptor() {
    for tier in ["multi", "sock-length", "sock-length,fentry,kprobe"] {
        matches_the_truth_with(&["--without", tier], &["socket-bio"]);
    }
}

#[test]
fn sockets_that_the_program_uses_around_the_calls() {
    let Some(live) = Live::start() else { return };
    // An address that becomes known late leaves both ends in the listing.
    both_ends_match_the_truth(&live, &[], &case(&["fed-by-hand"]));
}

/// Nothing is inferred from calls that are not seen.
#[test]
fn without_a_way_to_see_sends_addresses_around_calls_are_unknown() {
    let Some(live) = Live::start() else { return };
    for tier in ["sock-length,fentry,kprobe", "sock-length,fentry,kprobe,rcv-space"] {
        let recorded = live.record(&["--without", tier], &case(&["fed-by-hand"])).succeeded();
        let listing = live.list(&recorded.raw, &["--both-ends"]);
        assert_eq!(listing.streams.len(), 4);
        assert!(listing.streams.iter().all(|s| s["addr"] == "unknown"), "{tier}");
    }
}

macro_rules! cases {
    ($($test:ident: $without:ident $case:literal;)+) => {
        $(#[test]
        fn $test() {
            matches_the_truth_with(&["--without", $without], &[$case]);
        })+
    };
}

cases! {
    the_ex_functions_on_the_oldest: OLDEST "ex";
    large_calls_on_the_oldest: OLDEST "big-write";
    objects_used_again_on_the_oldest: OLDEST "reuse";
    the_ex_functions_unplaced: UNPLACED "ex";
    large_calls_unplaced: UNPLACED "big-write";
    early_data_unplaced: UNPLACED "early-data";
    handshakes_inside_read_and_write_unplaced: UNPLACED "handshake-in-read";
    two_threads_share_one_connection_unplaced: UNPLACED "two-threads";
    forked_workers_unplaced: UNPLACED "prefork";
    repeated_writes_unplaced: UNPLACED "want-write";
    many_want_reads_unplaced: UNPLACED "want-read";
}
