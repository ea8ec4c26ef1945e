//! Processes that the kernel side stopped. The recorder resumes them once it has inspected their
//! files. If the recorder dies or is stopped itself, a small watchdog process resumes them.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapHandle, libbpf_sys};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::boot_time_ns;
use crate::proc::own;
use crate::process::signaller::Signaller;

/// The longest time for which a process is stopped, in any case.
const PATIENCE: Duration = Duration::from_secs(5);

/// Interval between checks of the watchdog.
const LOOK: Duration = Duration::from_secs(1);

/// After the recorder's death its probes may still stop a process, until the kernel has removed
/// them.
const AFTERMATH: Duration = Duration::from_secs(2);
const LOOK_IN_AFTERMATH: Duration = Duration::from_millis(20);

/// Resumes a process, if it was stopped here.
pub(super) fn release(stopped: &MapHandle, pid: u32, signaller: &Signaller) {
    // The entry is deleted first: otherwise the watchdog would resume the process again, after its
    // user may have stopped it.
    if stopped.delete(&pid.to_ne_bytes()).is_ok() {
        signaller.signal(pid, libc::SIGCONT);
    }
}

/// Resumes all stopped processes.
pub(crate) fn release_all(stopped: &MapHandle, signaller: &Signaller) {
    for key in stopped.keys().collect::<Vec<_>>() {
        if let Ok(pid) = key.as_slice().try_into() {
            release(stopped, u32::from_ne_bytes(pid), signaller);
        }
    }
}

/// The process may have exited.
fn wake(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::CONT);
    }
}

/// The process that waits for the recorder's death. It ends by itself soon after the recorder, and
/// when this value is dropped.
pub(crate) struct Watchdog {
    process: Child,
    signaller: Signaller,
    /// Closed by the recorder's end.
    alive: Option<io::PipeWriter>,
}

impl Watchdog {
    /// Starts the watchdog.
    ///
    /// # Errors
    /// No process can be started.
    pub(crate) fn start(stopped: &impl AsFd, signaller: Signaller) -> Result<Self> {
        let (ours, alive) = io::pipe().context("cannot make a pipe")?;
        let mut command = Command::new(own::EXECUTABLE);
        // Ctrl-C is for the recorder, and so is the end of its session.
        command.arg("--watchdog").env_clear().current_dir("/").process_group(0);
        command.stdin(ours).stderr(Stdio::null());
        command.stdout(stopped.as_fd().try_clone_to_owned()?);
        let process = command.spawn().context("cannot start the watchdog")?;
        Ok(Self { process, signaller, alive: Some(alive) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // No process is stopped any more, so the watchdog can end.
        self.alive.take();
        self.signaller.signal(self.process.id(), libc::SIGKILL);
        let _ = self.process.wait();
    }
}

/// Runs the watchdog. Its standard input ends with the recorder, and its standard output is the
/// table of stopped processes.
///
/// # Errors
/// One of the two descriptors is not as expected.
pub(crate) fn watch() -> Result<u8> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: ignoring a signal accesses no memory.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let stopped = Stopped { map: io::stdout().as_fd().try_clone_to_owned()? };
    let mut recorder = io::stdin().lock();
    while is_alive(&mut recorder)? {
        let now_ns = boot_time_ns();
        let old = |since_ns: u64| Duration::from_nanos(now_ns.saturating_sub(since_ns)) > PATIENCE;
        stopped.release_if(old);
    }
    let end = Instant::now() + AFTERMATH;
    while Instant::now() < end {
        stopped.release_if(|_| true);
        std::thread::sleep(LOOK_IN_AFTERMATH);
    }
    Ok(0)
}

/// Waits a while for the recorder's death, and returns whether it lives.
fn is_alive(recorder: &mut (impl Read + AsFd)) -> Result<bool> {
    let most = Timespec { tv_sec: LOOK.as_secs().cast_signed(), tv_nsec: 0 };
    let mut descriptors = [PollFd::new(recorder, PollFlags::IN)];
    match poll(&mut descriptors, Some(&most)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(true),
        // The recorder never writes.
        Ok(_) => Ok(recorder.read(&mut [0])? > 0),
        Err(error) => Err(error).context("cannot wait for the recorder"),
    }
}

/// The kernel side's table `stopped`, by its descriptor alone: libbpf-rs creates a `MapHandle` only
/// from a map's number, for which the kernel requires CAP_SYS_ADMIN.
struct Stopped {
    map: OwnedFd,
}

impl Stopped {
    fn release_if(&self, wanted: impl Fn(u64) -> bool) {
        for pid in self.pids() {
            if self.since_ns(pid).is_some_and(&wanted) && self.remove(pid) {
                wake(pid);
            }
        }
    }

    fn descriptor(&self) -> i32 {
        BorrowedFd::as_raw_fd(&self.map.as_fd())
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = Vec::new();
        loop {
            let last = pids.last().map_or(std::ptr::null(), std::ptr::from_ref);
            let mut next = 0_u32;
            // SAFETY: both pointers lead to four bytes, the size of the table's keys; a null
            // pointer requests the first key.
            let result = unsafe {
                let next = std::ptr::from_mut(&mut next).cast();
                libbpf_sys::bpf_map_get_next_key(self.descriptor(), last.cast(), next)
            };
            // If a key is removed meanwhile, the iteration begins again, which must not go on for
            // ever.
            if result != 0 || pids.contains(&next) {
                return pids;
            }
            pids.push(next);
        }
    }

    fn since_ns(&self, pid: u32) -> Option<u64> {
        let mut since_ns = 0_u64;
        // SAFETY: keys of the table are four bytes and its values eight, as these are.
        let result = unsafe {
            let (key, value) =
                (std::ptr::from_ref(&pid).cast(), std::ptr::from_mut(&mut since_ns).cast());
            libbpf_sys::bpf_map_lookup_elem(self.descriptor(), key, value)
        };
        (result == 0).then_some(since_ns)
    }

    /// Deletes an entry, and returns whether it existed.
    fn remove(&self, pid: u32) -> bool {
        let key = std::ptr::from_ref(&pid).cast();
        // SAFETY: keys of the table are four bytes, as this is.
        unsafe { libbpf_sys::bpf_map_delete_elem(self.descriptor(), key) == 0 }
    }
}
