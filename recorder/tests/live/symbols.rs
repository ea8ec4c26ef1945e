//! A program with OpenSSL linked into it and stripped, as Fedora ships programs: the functions
//! stand in its MiniDebugInfo and nowhere else.

use crate::openssl_api::both_ends_match_the_truth;
use crate::peers::{text, tls_cases_static};
use crate::support::Live;

/// As rpm's find-debuginfo does it, but for the symbols of the dynamic table, which are kept here:
/// there are none of interest.
const ADD_MINI_DEBUG_INFO: &str = "
    nm --format=sysv --defined-only \"$1\" | awk -F '|' '$4 ~ /FUNC/ { print $1 }' | sort -u > functions
    objcopy --only-keep-debug \"$1\" debug
    objcopy -S --remove-section .gdb_index --remove-section .comment --keep-symbols=functions debug mini
    rm -f mini.xz && xz mini
    objcopy --strip-all \"$1\" stripped
    objcopy --add-section .gnu_debugdata=mini.xz stripped with_mini_debug_info
";

#[test]
fn a_stripped_program_is_recorded_by_its_mini_debug_info() {
    let Some(live) = Live::start() else { return };
    let script = format!("set -e; cd {}; {ADD_MINI_DEBUG_INFO}", live.dir().display());
    live.succeed("sh", &["-c", &script, "sh", &tls_cases_static()]);

    // Without it nothing is found.
    let stripped = text(live.path("stripped"));
    let recorded = live.record(&[], &[&stripped, "exchange"]).succeeded();
    assert_eq!(live.list(&recorded.raw, &[]).summary["connections"], 0);

    let command = [text(live.path("with_mini_debug_info")), "exchange".to_owned()];
    assert!(both_ends_match_the_truth(&live, &[], &command).is_some());
}
