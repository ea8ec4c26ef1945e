//! A thread that keeps privileges for later, when others have dropped them: it sends signals to
//! processes of another user.
//!
//! The threads that handle the bytes of recorded programs have no privileges then (see
//! [`crate::process::privileges`]). They can have this thread end the recorder's own helpers, pass
//! a signal on to the command, and resume a stopped process.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The handle for sending signals.
#[derive(Debug, Clone)]
pub(crate) struct Signaller {
    jobs: Sender<Job>,
}

#[derive(Debug)]
struct Job {
    pid: u32,
    signal: i32,
    done: Sender<()>,
}

impl Signaller {
    /// Starts the thread, with the privileges of this thread. It ends with the last handle.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start() -> Result<Self> {
        let (jobs, orders) = channel::<Job>();
        let work = move || {
            for Job { pid, signal, done } in orders {
                send(pid, signal);
                // The caller no longer waits, which does no harm.
                let _ = done.send(());
            }
        };
        thread::Builder::new()
            .name("signaller".into())
            .spawn(work)
            .context("cannot start a thread")?;
        Ok(Self { jobs })
    }

    /// Sends a signal to a process, which may have ended.
    pub(crate) fn signal(&self, pid: u32, signal: i32) {
        let (done, is_done) = channel();
        if self.jobs.send(Job { pid, signal, done }).is_ok() {
            // Fails at once if the thread has ended.
            let _ = is_done.recv();
        }
    }
}

fn send(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        // Fails if the process has ended.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_signal_arrives_before_the_call_returns() {
        let signaller = Signaller::start().unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        signaller.signal(child.id(), libc::SIGTERM);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        // 0 would be the whole process group of the recorder, and this number belongs to no
        // process.
        signaller.signal(0, libc::SIGTERM);
        signaller.signal(u32::MAX, libc::SIGTERM);
    }
}
