//! The counters of a recording: the record in the files, and the summary for the user.

use sslrec_formats::record::Stats;

use crate::kernel::counters::Counters;
use crate::kernel::skel::types::counter;
use crate::tracker::Totals;

/// Returns the record that reports the counters in a file.
pub(crate) fn stats(counters: &Counters, totals: Totals, ts_ns: u64, last: bool) -> Stats {
    let mut failures: Vec<_> =
        counters.failures().map(|(name, count)| (name.to_owned(), count)).collect();
    if totals.no_memory > 0 {
        failures.push(("memory".into(), totals.no_memory));
    }
    if totals.bad_events > 0 {
        failures.push(("bad_events".into(), totals.bad_events));
    }
    Stats {
        ts_ns,
        last,
        calls: counters.of(counter::COUNT_CALLS),
        bytes: counters.of(counter::COUNT_BYTES),
        dropped_events: counters.losses(),
        lost_bytes: totals.lost_bytes
            + totals.cut_bytes
            + counters.of(counter::COUNT_CONN_TABLE_FULL_BYTES),
        failures,
    }
}

/// Returns whether anything is missing that the user did not choose to leave out.
pub(crate) fn is_lossy(stats: &Stats, totals: Totals) -> bool {
    stats.dropped_events > 0 || stats.lost_bytes > totals.cut_bytes
}

/// Returns the one line at the end of a run.
pub(crate) fn summary(stats: &Stats, totals: Totals, files: &[String]) -> String {
    let mut line = format!(
        "{}, {}, {}, {}; lost {} and {}",
        counted(totals.processes, "process", "processes"),
        counted(totals.connections, "connection", "connections"),
        counted(stats.calls, "call", "calls"),
        counted(stats.bytes, "byte", "bytes"),
        counted(stats.dropped_events, "event", "events"),
        counted(stats.lost_bytes, "byte", "bytes"),
    );
    if !stats.failures.is_empty() {
        let failures: Vec<_> =
            stats.failures.iter().map(|(name, count)| format!("{name} {count}")).collect();
        line += &format!(" ({})", failures.join(", "));
    }
    if !files.is_empty() {
        line += &format!("; wrote {}", files.join(" and "));
    }
    line
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_beyond_the_snaplen_are_not_a_loss() {
        let totals = Totals { cut_bytes: 10, ..Totals::default() };
        let stats = stats(&Counters::default(), totals, 0, true);
        assert_eq!(stats.lost_bytes, 10);
        assert!(!is_lossy(&stats, totals));
    }

    #[test]
    fn the_summary_is_one_line() {
        let totals = Totals { connections: 1, processes: 2, ..Totals::default() };
        let stats = Stats { calls: 3, bytes: 1, ..Stats::default() };
        assert_eq!(
            summary(&stats, totals, &["a.pcapng".into()]),
            "2 processes, 1 connection, 3 calls, 1 byte; lost 0 events and 0 bytes; \
             wrote a.pcapng"
        );
    }
}
