//! Signals: those that end the recording, and those for the child.
//!
//! A signal that is ignored when the recorder starts stays so, in the recorder and in the child,
//! for `nohup`.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use crate::process::child::Child;

/// Signals that arrived and are not yet dealt with.
pub(crate) struct Signals {
    /// The caught signals.
    pub(crate) caught: Vec<i32>,
    pending: SignalsInfo<WithOrigin>,
}

impl Signals {
    /// Catches the signals that end programs: the recorder has files to complete.
    pub(crate) fn catch(child_mode: bool) -> Result<Self> {
        let ends = [SIGINT, SIGTERM, SIGHUP];
        let passed_on = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
        let signals: &[i32] = if child_mode { &passed_on } else { &ends };
        let caught: Vec<_> =
            signals.iter().copied().filter(|&signal| !is_ignored(signal)).collect();
        let pending = SignalsInfo::new(&caught).context("cannot catch signals")?;
        if !is_ignored(SIGXFSZ) {
            // A file that may not grow any more (RLIMIT_FSIZE) is an error of write(2), like a full
            // disk. Caught rather than ignored: the command inherits the original setting.
            flag::register(SIGXFSZ, Arc::default()).context("cannot catch signals")?;
        }
        Ok(Self { caught, pending })
    }

    /// Returns whether a signal arrived that ends the recording.
    pub(crate) fn came(&mut self) -> bool {
        self.pending.pending().next().is_some()
    }

    /// Passes all signals on to the child, which then decides. Ctrl-C on a terminal reaches the
    /// child anyway, and would arrive twice if passed on.
    pub(crate) fn pass_on(&mut self, child: &Child) {
        for origin in self.pending.pending() {
            if !matches!(origin.cause, Cause::Kernel) {
                child.signal(origin.signal);
            }
        }
    }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction(2) only writes to the structure, for which all zeroes is a value too.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_recognised() {
        // Rust's own start ignores SIGPIPE; nothing ignores SIGSEGV.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGSEGV));
    }
}
