//! Diverts a self-test's events during a recording: the thread that empties the ring passes them
//! here instead of to the writer.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::kernel::event::pid_of;

/// The collector empties the ring every few milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Interval between checks whether the ring has been emptied.
const LOOK: Duration = Duration::from_millis(1);

/// Number of times the ring must be emptied before every event from before the wait has arrived:
/// one emptying may have been under way.
const EMPTYINGS: u64 = 2;

/// Shared by the thread that empties the ring and the thread that runs the test.
#[derive(Debug, Default)]
pub(crate) struct Diversion {
    /// The process whose events are diverted; 0: no process.
    pid: AtomicU32,
    emptied: AtomicU64,
    /// The ring is no longer emptied.
    ended: AtomicBool,
    events: Mutex<Vec<Vec<u8>>>,
}

impl Diversion {
    /// Takes an event if it is the self-test's.
    pub(crate) fn takes(&self, event: &[u8]) -> bool {
        let pid = self.pid.load(Ordering::Relaxed);
        if pid == 0 || pid_of(event) != Some(pid) {
            return false;
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.to_vec());
        true
    }

    /// Counts an emptying of the ring.
    pub(crate) fn ring_was_emptied(&self) {
        self.emptied.fetch_add(1, Ordering::Release);
    }

    /// Marks that the ring will not be emptied again.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn divert(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Takes the events that were sent before this call.
    ///
    /// # Errors
    /// The ring is no longer emptied.
    pub(super) fn take(&self) -> Result<Vec<Vec<u8>>, String> {
        let (start, target) =
            (Instant::now(), self.emptied.load(Ordering::Acquire).wrapping_add(EMPTYINGS));
        while self.emptied.load(Ordering::Acquire) < target {
            if self.ended.load(Ordering::Acquire) || start.elapsed() > PATIENCE {
                return Err("the recording ended meanwhile".into());
            }
            thread::sleep(LOOK);
        }
        Ok(std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::event::exit_event;

    #[test]
    fn only_the_self_tests_events_are_taken() {
        let diversion = Diversion::default();
        assert!(!diversion.takes(&exit_event(7, 1)), "nothing is wanted yet");
        diversion.divert(7);
        assert!(diversion.takes(&exit_event(7, 1)));
        assert!(!diversion.takes(&exit_event(8, 1)));
        assert!(!diversion.takes(&[]));
    }

    #[test]
    fn events_come_once_the_ring_was_emptied() {
        let diversion = Diversion::default();
        diversion.divert(7);
        thread::scope(|scope| {
            let taken = scope.spawn(|| diversion.take());
            while !taken.is_finished() {
                diversion.takes(&exit_event(7, 1));
                diversion.ring_was_emptied();
                thread::sleep(LOOK);
            }
            assert!(!taken.join().unwrap().unwrap().is_empty());
        });
    }

    #[test]
    fn take_does_not_wait_for_a_recording_that_has_ended() {
        let diversion = Diversion::default();
        diversion.end();
        assert!(diversion.take().is_err());
    }
}
