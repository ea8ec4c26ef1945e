//! Counters: what the kernel side counted, and the lines that tell the user.

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};
use sslrec_formats::record::Stats;

use crate::kernel::skel::types::counter;
use crate::tracker::Totals;

/// The kernel's counters, summed over the processors.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    values: [u64; counter::COUNTERS.0 as usize],
}

/// Everything that can fail, with the name that the user sees.
const FAILURES: &[(counter, &str)] = &[
    (counter::COUNT_RING_FULL, "ring_full"),
    (counter::COUNT_CONTROL_RING_FULL, "control_ring_full"),
    (counter::COUNT_CALL_TABLE_FULL, "call_table_full"),
    (counter::COUNT_CONN_TABLE_FULL, "conn_table_full"),
    (counter::COUNT_DATA_READ_FAULT, "data_read_fault"),
    (counter::COUNT_LENGTH_READ_FAULT, "length_read_fault"),
    (counter::COUNT_NAME_READ_FAULT, "name_read_fault"),
    (counter::COUNT_OBJECT_READ_FAULT, "object_read_fault"),
    (counter::COUNT_LAYER_READ_FAULT, "layer_read_fault"),
    (counter::COUNT_SOCKET_READ_FAULT, "socket_read_fault"),
    (counter::COUNT_THREAD_TABLE_FULL, "thread_table_full"),
    (counter::COUNT_PID_TABLE_FULL, "pid_table_full"),
    (counter::COUNT_TLS_PID_TABLE_FULL, "tls_pid_table_full"),
    (counter::COUNT_CLOSE_TABLE_FULL, "close_table_full"),
    (counter::COUNT_UNKNOWN_SITE, "unknown_site"),
    (counter::COUNT_IMPOSSIBLE_RESULT, "impossible_result"),
    (counter::COUNT_NOT_LOOKED_THROUGH, "not_looked_through"),
    (counter::COUNT_GOROUTINE_READ_FAULT, "goroutine_read_fault"),
    (counter::COUNT_READ_AFTER_CLOSE, "read_after_close"),
];

/// Failures after which bytes are missing from the capture, at a known place or not.
const LOSSES: &[counter] = &[
    counter::COUNT_RING_FULL,
    counter::COUNT_CALL_TABLE_FULL,
    counter::COUNT_CONN_TABLE_FULL,
    counter::COUNT_DATA_READ_FAULT,
    counter::COUNT_LENGTH_READ_FAULT,
    counter::COUNT_PID_TABLE_FULL,
    counter::COUNT_CLOSE_TABLE_FULL,
    counter::COUNT_UNKNOWN_SITE,
    counter::COUNT_IMPOSSIBLE_RESULT,
    counter::COUNT_GOROUTINE_READ_FAULT,
    counter::COUNT_READ_AFTER_CLOSE,
];

impl Counters {
    /// Reads them all.
    pub(crate) fn read(map: &impl MapCore) -> Result<Self> {
        let mut counters = Self::default();
        for (index, value) in counters.values.iter_mut().enumerate() {
            let key = (index as u32).to_ne_bytes();
            let cpus = map
                .lookup_percpu(&key, MapFlags::ANY)
                .context("cannot read the kernel's counters")?
                .unwrap_or_default();
            *value = cpus
                .iter()
                .filter_map(|bytes| Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?)))
                .sum();
        }
        Ok(counters)
    }

    pub(crate) fn of(&self, which: counter) -> u64 {
        self.values[which.0 as usize]
    }

    /// The record that states them in a file.
    pub(crate) fn stats(&self, totals: Totals, ts_ns: u64, last: bool) -> Stats {
        let mut failures: Vec<_> = FAILURES
            .iter()
            .map(|&(which, name)| (name.to_owned(), self.of(which)))
            .filter(|&(_, count)| count > 0)
            .collect();
        if totals.no_memory > 0 {
            failures.push(("memory".into(), totals.no_memory));
        }
        if totals.bad_events > 0 {
            failures.push(("bad_events".into(), totals.bad_events));
        }
        Stats {
            ts_ns,
            last,
            calls: self.of(counter::COUNT_CALLS),
            bytes: self.of(counter::COUNT_BYTES),
            dropped_events: LOSSES.iter().map(|&which| self.of(which)).sum(),
            lost_bytes: totals.lost_bytes
                + totals.cut_bytes
                + self.of(counter::COUNT_CONN_TABLE_FULL_BYTES),
            failures,
        }
    }
}

/// Whether anything is missing that the user did not ask to leave out.
pub(crate) fn is_lossy(stats: &Stats, totals: Totals) -> bool {
    stats.dropped_events > 0 || stats.lost_bytes > totals.cut_bytes
}

/// The one line at the end of a run.
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
    fn every_counter_is_told_or_is_a_total() {
        let totals =
            [counter::COUNT_CALLS, counter::COUNT_BYTES, counter::COUNT_CONN_TABLE_FULL_BYTES];
        for which in (0..counter::COUNTERS.0).map(counter) {
            let told = FAILURES.iter().any(|&(known, _)| known == which);
            assert!(told || totals.contains(&which), "{which:?}");
        }
    }

    #[test]
    fn what_the_user_cut_off_is_no_loss() {
        let totals = Totals { cut_bytes: 10, ..Totals::default() };
        let stats = Counters::default().stats(totals, 0, true);
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
