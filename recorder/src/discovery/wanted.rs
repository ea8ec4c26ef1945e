//! Whether a process is to be recorded, as `is_wanted` of `bpf/process.h` answers it for the one
//! that calls. Here it decides only which files are looked at, so that "yes" too much is no harm.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::cgroups::Cgroup;
use crate::cli::Options;
use crate::processes;

/// The filters.
pub(crate) struct Wanted<'a> {
    options: &'a Options,
    cgroups: &'a [Cgroup],
    /// The kernel side's, which follows children.
    pids: MapHandle,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(options: &'a Options, cgroups: &'a [Cgroup], pids: MapHandle) -> Self {
        Self { options, cgroups, pids }
    }

    /// Whether this process meets them all.
    pub(crate) fn is(&self, pid: u32) -> bool {
        let Options { uids, comms, .. } = self.options;
        (!self.options.names_processes() || self.is_followed(pid))
            && (uids.is_empty() || processes::uid(pid).is_some_and(|uid| uids.contains(&uid)))
            && (comms.is_empty() || processes::comm(pid).is_some_and(|comm| comms.contains(&comm)))
            && (self.cgroups.is_empty() || self.cgroups.iter().any(|group| group.has(pid)))
    }

    fn is_followed(&self, pid: u32) -> bool {
        self.pids.lookup(&pid.to_ne_bytes(), MapFlags::ANY).is_ok_and(|value| value.is_some())
    }
}
