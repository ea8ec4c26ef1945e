//! Every way of attaching that older kernels leave, forced on this one: the captures must be the
//! same.

use crate::cases::matches_the_truth_with;

/// As kernel 5.8 is.
const OLDEST: &str = "multi,cookie,sock-length";

/// What `--without` takes, alone and all together. Single links take seconds to detach, so the
/// other cases are recorded on the oldest tier only.
#[test]
fn every_tier() {
    for tier in ["multi", "cookie", "sock-length", OLDEST] {
        matches_the_truth_with(&["--without", tier], &["exchange"]);
    }
}

#[test]
fn the_ex_functions_on_the_oldest() {
    matches_the_truth_with(&["--without", OLDEST], &["ex"]);
}

#[test]
fn large_calls_on_the_oldest() {
    matches_the_truth_with(&["--without", OLDEST], &["big-write"]);
}

#[test]
fn objects_used_again_on_the_oldest() {
    matches_the_truth_with(&["--without", OLDEST], &["reuse"]);
}
