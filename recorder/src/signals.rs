//! Signals: which end the recording, and which are the child's.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use crate::child::Child;

/// Signals that arrived and are not yet dealt with.
pub(crate) struct Signals {
    pending: SignalsInfo<WithOrigin>,
}

impl Signals {
    /// From here on the recorder is not ended by these signals: it has files to finish.
    pub(crate) fn catch(child_mode: bool) -> Result<Self> {
        let ends = [SIGINT, SIGTERM, SIGHUP];
        let passed_on = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
        let signals: &[i32] = if child_mode { &passed_on } else { &ends };
        Ok(Self { pending: SignalsInfo::new(signals).context("cannot catch signals")? })
    }

    /// Whether one came that ends the recording.
    pub(crate) fn came(&mut self) -> bool {
        self.pending.pending().next().is_some()
    }

    /// Passes all on to the child, which then decides. Ctrl-C on a terminal goes to the child
    /// without our help, and would arrive twice with it.
    pub(crate) fn pass_on(&mut self, child: &Child) {
        for origin in self.pending.pending() {
            if !matches!(origin.cause, Cause::Kernel) {
                child.signal(origin.signal);
            }
        }
    }
}
