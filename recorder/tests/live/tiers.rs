//! Every way of attaching that older kernels leave, forced on this one: the captures must be the
//! same.

use crate::cases::matches_the_truth_with;

/// As kernel 5.8 is. It has no placement either, which needs cookies.
const OLDEST: &str = "multi,cookie,sock-length";

/// Probes on first instructions and on returns only, as where nothing can be proven.
const UNPLACED: &str = "placement";

/// What `--without` takes, alone and all together. Single links take seconds to detach, so the
/// other cases are recorded on the oldest tier only.
#[test]
fn every_tier() {
    for tier in ["multi", "cookie", "sock-length", UNPLACED, "multi,placement", OLDEST] {
        matches_the_truth_with(&["--without", tier], &["exchange"]);
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
