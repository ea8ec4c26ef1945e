//! The kernel side's counters.

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

use crate::kernel::skel::types::counter;

/// The kernel's counters, summed over the processors.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    values: [u64; counter::COUNTERS.0 as usize],
}

/// All possible failures, with the name that the user sees.
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
    /// Reads all counters.
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

    /// Returns the failures that happened, with their names and numbers.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = FAILURES.iter().map(|&(which, name)| (name, self.of(which)));
        counted.filter(|&(_, count)| count > 0)
    }

    /// Returns the number of failures after which bytes are missing from the capture.
    pub(crate) fn losses(&self) -> u64 {
        LOSSES.iter().map(|&which| self.of(which)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_or_is_a_total() {
        let totals =
            [counter::COUNT_CALLS, counter::COUNT_BYTES, counter::COUNT_CONN_TABLE_FULL_BYTES];
        for which in (0..counter::COUNTERS.0).map(counter) {
            let named = FAILURES.iter().any(|&(known, _)| known == which);
            assert!(named || totals.contains(&which), "{which:?}");
        }
    }
}
