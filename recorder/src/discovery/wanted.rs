//! Whether a process is to be recorded, as `is_wanted` of `bpf/process.h` answers it for the one
//! that calls. Here it decides only which files are looked at, so that "yes" too much is no harm.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::cli::Options;
use crate::kernel::skel::SslrecMaps;
use crate::proc::cgroups::Cgroup;
use crate::proc::processes;

/// The filters.
pub(crate) struct Wanted<'a> {
    options: &'a Options,
    cgroups: &'a [Cgroup],
    /// The kernel side's, which follows children.
    pids: MapHandle,
    /// Likewise; those that used TCP stay in it.
    tcp_users: MapHandle,
}

impl<'a> Wanted<'a> {
    /// # Errors
    /// There are too many open files.
    pub(crate) fn new(
        options: &'a Options,
        cgroups: &'a [Cgroup],
        maps: &SslrecMaps<'_>,
    ) -> libbpf_rs::Result<Self> {
        let pids = MapHandle::try_from(&maps.pids)?;
        let tcp_users = MapHandle::try_from(&maps.tcp_users)?;
        Ok(Self { options, cgroups, pids, tcp_users })
    }

    /// Whether this process meets them all.
    pub(crate) fn is(&self, pid: u32) -> bool {
        let Options { uids, comms, .. } = self.options;
        (!self.options.names_processes() || has(&self.pids, pid))
            && (uids.is_empty() || processes::uid(pid).is_some_and(|uid| uids.contains(&uid)))
            && (comms.is_empty() || processes::comm(pid).is_some_and(|comm| comms.contains(&comm)))
            && (self.cgroups.is_empty() || self.cgroups.iter().any(|group| group.has(pid)))
    }

    /// Whether a process that may have ended was one to be recorded, and used TCP.
    pub(crate) fn was(&self, pid: u32) -> bool {
        has(&self.tcp_users, pid)
    }
}

fn has(map: &MapHandle, pid: u32) -> bool {
    map.lookup(&pid.to_ne_bytes(), MapFlags::ANY).is_ok_and(|value| value.is_some())
}
