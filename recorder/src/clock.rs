//! From the kernel's clock to the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What to add to `CLOCK_BOOTTIME` nanoseconds to get nanoseconds since the Unix epoch.
///
/// Measured once, so that times within a capture keep their distances even if the wall clock is
/// set meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    boot_ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        // The closest pair of readings of a few counts: this thread may be interrupted between.
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
}

/// Nanoseconds since the Unix epoch, now.
pub(crate) fn unix_time_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The kernel side's clock, now.
pub(crate) fn boot_time_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_now_is_the_wall_clocks() {
        let now = Clock::new().unix_ns(boot_time_ns());
        assert!(now.abs_diff(unix_time_ns()) < 1_000_000_000);
    }
}
