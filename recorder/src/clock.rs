//! Converts the kernel's clock to the wall clock.
//!
//! The kernel side takes its times from `CLOCK_BOOTTIME`, which nobody can set and which continues
//! while the machine is suspended.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::proc::own;

/// The offset from the kernel side's nanoseconds to nanoseconds since the Unix epoch.
///
/// Measured once, so that times within a capture keep their distances even if the wall clock is set
/// meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    boot_ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self::measured(boot_time_ns, unix_time_ns)
    }

    fn measured(boot_time_ns: impl Fn() -> u64, unix_time_ns: impl Fn() -> u64) -> Self {
        // The closest pair of several readings is used: this thread may be interrupted between two
        // readings.
        let offset = |_| {
            let before = boot_time_ns();
            let wall = unix_time_ns();
            let after = boot_time_ns();
            (after - before, wall.saturating_sub(before + (after - before) / 2))
        };
        let best = (0..5).map(offset).min().unwrap_or_default();
        Self { boot_ns: best.1 }
    }

    /// Translates a time of the kernel side.
    pub(crate) fn unix_ns(self, boot_time_ns: u64) -> u64 {
        self.boot_ns + boot_time_ns
    }

    /// Returns the current time on the same scale, even if the wall clock was set since.
    pub(crate) fn now_ns(self) -> u64 {
        self.unix_ns(boot_time_ns())
    }
}

/// Returns the wall clock's nanoseconds since the Unix epoch.
fn unix_time_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the current time of the kernel side's clock.
pub(crate) fn boot_time_ns() -> u64 {
    static NAMESPACE_NS: OnceLock<i128> = OnceLock::new();
    let ahead_ns = *NAMESPACE_NS.get_or_init(|| namespace_ns(&own::time_offsets()));
    let time = clock_gettime(ClockId::Boottime);
    let ours_ns = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(ours_ns - ahead_ns).unwrap_or_default()
}

/// Returns how far this process's `CLOCK_BOOTTIME` is ahead of the machine's: the clock of a
/// process is shifted by its time namespace, that of the kernel side is not. Parses the lines of
/// time_namespaces(7), each a clock with seconds and nanoseconds.
fn namespace_ns(offsets: &str) -> i128 {
    let boottime = offsets.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["boottime", seconds, nanoseconds] = words[..] else { return None };
        Some(seconds.parse::<i128>().ok()? * 1_000_000_000 + nanoseconds.parse::<i128>().ok()?)
    });
    boottime.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_kernels_now_is_the_wall_clocks() {
        let clock = Clock::new();
        assert!(clock.now_ns().abs_diff(unix_time_ns()) < 1_000_000_000);
    }

    #[test]
    fn a_wall_clock_that_is_set_back_or_forth_changes_no_distance() {
        let (boot, wall) = (Cell::new(5_000), Cell::new(1_000_000));
        let clock = Clock::measured(|| boot.get(), || wall.get());
        assert_eq!(clock.unix_ns(boot.get()), wall.get());
        // Neither is looked at again.
        for set_to in [1, u64::MAX] {
            wall.set(set_to);
            boot.set(boot.get() + 300);
            assert_eq!(clock.unix_ns(boot.get()), 1_000_000 + boot.get() - 5_000);
        }
    }

    #[test]
    fn an_interrupted_reading_is_not_believed() {
        // The second reading of five is interrupted between, before the wall clock is read.
        let times = [10, 11, 12, 20, 500, 501, 510, 511, 512, 520, 521, 522, 530, 531, 532];
        let at = Cell::new(0);
        let tick = || times[at.replace(at.get() + 1)];
        let clock = Clock::measured(tick, || tick() + 1_000);
        assert_eq!(clock.unix_ns(0), 1_000);
    }

    #[test]
    fn the_offset_of_a_time_namespace_is_that_of_its_boot_time() {
        let offsets = "monotonic           0         0\nboottime      -86400 500000000\n";
        assert_eq!(namespace_ns(offsets), -86_399_500_000_000);
        assert_eq!(namespace_ns(""), 0);
    }
}
