//! Real-time priority for the two threads that must keep up with the recorded programs.
//!
//! A program that writes a gigabyte a second fills the ring in some 15 ms, and the scheduler may
//! leave a thread that shares its processor waiting for as long; niceness does not change that. At
//! the lowest priorities of `SCHED_RR` the two threads get the time they need, and a program that
//! outruns them is slowed instead of being recorded with holes. They use no more time than the
//! recorded data requires, and the kernel leaves other programs a share of each second in any case
//! (`/proc/sys/kernel/sched_rt_runtime_us`).

use std::io;

use crate::stderr::message;

/// The task of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Writes; data that it cannot write at once waits in bounded buffers.
    Write = 1,
    /// Empties the ring, which has precedence, also on a single processor.
    Collect = 2,
}

/// Raises the priority of this thread, if wanted and allowed; not of the threads and processes that
/// it starts.
pub(crate) fn raise(duty: Duty, wanted: bool, verbose: bool) {
    if !wanted {
        return;
    }
    if let Err(error) = set(duty)
        && verbose
    {
        message(format_args!(
            "no real-time priority: {error}; bytes may be missing on a busy machine"
        ));
    }
}

fn set(duty: Duty) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: duty as i32 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads `param`, which outlives it; 0 is this thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::thread;

    /// Returns fields 40 and 41 of `/proc/PID/stat`: priority and policy.
    fn scheduling(stat: &str) -> (u32, u32) {
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[37].parse().unwrap(), fields[38].parse().unwrap())
    }

    #[test]
    fn a_raised_thread_is_raised_and_its_children_are_not() {
        let raised = || {
            let before = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let outcome = set(Duty::Collect);
            let after = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let child = Command::new("cat").arg("/proc/self/stat").output().unwrap();
            (outcome, before, after, String::from_utf8(child.stdout).unwrap())
        };
        let (outcome, before, after, child) = thread::spawn(raised).join().unwrap();
        let ours = scheduling(&before);
        match outcome {
            Ok(()) => assert_eq!(scheduling(&after), (2, libc::SCHED_RR as u32)),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                assert_eq!(scheduling(&after), ours);
            }
        }
        assert_eq!(scheduling(&child), (0, libc::SCHED_OTHER as u32));
    }
}
