//! Whether a process is to be recorded, as `is_wanted` of `bpf/process.h` decides for the caller.
//! Here the decision only selects the files to inspect, so a false positive does no harm.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::kernel::skel::SslrecMaps;
use crate::select::Filters;

/// The filters, with the kernel side's table of processes.
pub(crate) struct Wanted<'a> {
    names_processes: bool,
    filters: Filters<'a>,
    /// The kernel side's table, which includes children.
    pids: MapHandle,
    /// Likewise; processes that used TCP stay in it.
    tcp_users: MapHandle,
}

impl<'a> Wanted<'a> {
    /// # Errors
    /// There are too many open files.
    pub(crate) fn new(
        names_processes: bool,
        filters: Filters<'a>,
        maps: &SslrecMaps<'_>,
    ) -> libbpf_rs::Result<Self> {
        let pids = MapHandle::try_from(&maps.pids)?;
        let tcp_users = MapHandle::try_from(&maps.tcp_users)?;
        Ok(Self { names_processes, filters, pids, tcp_users })
    }

    pub(crate) fn filters(&self) -> Filters<'a> {
        self.filters
    }

    /// Returns whether this process meets all filters.
    pub(crate) fn is(&self, pid: u32) -> bool {
        (!self.names_processes || has(&self.pids, pid)) && self.filters.are_met_by(pid)
    }

    /// Returns whether a process, which may have ended, was to be recorded and used TCP.
    pub(crate) fn was(&self, pid: u32) -> bool {
        has(&self.tcp_users, pid)
    }
}

fn has(map: &MapHandle, pid: u32) -> bool {
    map.lookup(&pid.to_ne_bytes(), MapFlags::ANY).is_ok_and(|value| value.is_some())
}
