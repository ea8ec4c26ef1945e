//! Loads the kernel side and attaches the programs that follow processes and sockets; `uprobes`
//! attaches the rest.
//!
//! All attachments end with this process, however it ends: links are file descriptors.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{ErrorKind, Link, MapCore, MapFlags, Object, OpenObject, ProgramAttachType};
use rustix::thread::{CapabilitySet, capabilities};

use crate::attach::trials::{Decision, Trials};
use crate::kernel::event::bytes_of;
use crate::kernel::features::Kernel;
use crate::kernel::maps::{KernelMaps, KernelState};
use crate::kernel::skel::types;
use crate::kernel::skel::{SslrecSkel, SslrecSkelBuilder};
use crate::plan::{Plan, Select};
use crate::proc::cgroups::Cgroup;
use crate::proc::{own, processes};
use crate::process::descriptors;

/// The ring must hold a few of the largest chunks.
const RING_SIZE_MIN: u64 = 64 << 10;
/// The kernel takes the ring's size as a `u32`.
const RING_SIZE_MAX: u64 = 2 << 30;

// SAFETY: libbpf's objects belong to no thread (libbpf-rs documents this for `Object`, of which the
// skeleton's programs and maps are parts), and the other fields are plain values.
unsafe impl Send for Probes<'_> {}

/// The loaded programs and their links.
pub(crate) struct Probes<'obj> {
    /// The skeleton; other modules use its maps.
    pub(crate) skel: SslrecSkel<'obj>,
    /// The programs for Go functions, once a Go program was found.
    pub(crate) go: Option<Object>,
    /// The features of the kernel.
    pub(crate) kernel: Kernel,
    pub(crate) links: Vec<Link>,
    /// The links of functions with a return probe, by the number of their file.
    pub(super) returning: HashMap<u16, Vec<Link>>,
    /// The number of sites in the kernel side's table; they are numbered from 1.
    pub(crate) sites: u32,
    /// Functions whose placed sites are compared with return probes.
    pub(crate) trials: Trials,
}

/// Locks the probes for one thread. A panic elsewhere leaves them as they are, to be detached.
pub(crate) fn lock<'a, 'obj>(probes: &'a Mutex<Probes<'obj>>) -> MutexGuard<'a, Probes<'obj>> {
    probes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'obj> Probes<'obj> {
    /// Loads the programs, with the filters of the plan.
    ///
    /// # Errors
    /// The kernel refuses, most often because of missing privileges.
    pub(crate) fn load(
        storage: &'obj mut MaybeUninit<OpenObject>,
        plan: &Plan,
        cgroups: &[Cgroup],
        kernel: Kernel,
    ) -> Result<Self> {
        let mut open = SslrecSkelBuilder::default().open(storage).map_err(refusal)?;
        let ring_size = ring_size(plan.limits.ring_size)?;
        open.maps.ring.set_max_entries(ring_size)?;
        let rodata =
            open.maps.rodata_data.as_deref_mut().context("the skeleton has no read-only data")?;
        rodata.settings = settings(plan, cgroups, kernel, ring_size)?;
        if kernel.multi {
            let progs = &mut open.progs;
            for program in [
                &mut progs.call_enter,
                &mut progs.call_exit,
                &mut progs.call_return,
                &mut progs.entry_only,
            ] {
                program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
            }
        }
        // They use features that the kernel has since 5.15.
        open.progs.sock_send_length.set_autoload(kernel.sock_length);
        open.progs.sock_recv_length.set_autoload(kernel.sock_length);
        let skel = open.load().map_err(refusal)?;
        let probes = Self {
            skel,
            go: None,
            kernel,
            links: Vec::new(),
            returning: HashMap::new(),
            sites: 0,
            trials: Trials::default(),
        };
        probes.fill_filters(&plan.select, cgroups)?;
        Ok(probes)
    }

    fn fill_filters(&self, select: &Select, cgroups: &[Cgroup]) -> Result<()> {
        let maps = &self.skel.maps;
        for uid in &select.uids {
            maps.uids.update(&uid.to_ne_bytes(), &[1], MapFlags::ANY)?;
        }
        for comm in &select.comms {
            let mut key = types::comm_key::default();
            let bytes = comm.bytes().map(u8::cast_signed);
            key.comm.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            maps.comms.update(bytes_of(&key), &[1], MapFlags::ANY)?;
        }
        for (index, cgroup) in (0_u32..).zip(cgroups) {
            let descriptor = cgroup.folder.as_raw_fd().to_ne_bytes();
            maps.cgroups.update(&index.to_ne_bytes(), &descriptor, MapFlags::ANY)?;
        }
        Ok(())
    }

    /// Records this process from now on. Call this after attaching the tracepoints: they remove the
    /// process when it ends.
    pub(crate) fn add_pid(&self, pid: u32) -> Result<()> {
        let pids = &self.skel.maps.pids;
        let key = pid.to_ne_bytes();
        pids.update(&key, &[1], MapFlags::ANY).context("cannot follow more processes")?;
        // A process that has already ended does not report its end again.
        if !processes::is_alive(pid)
            && let Err(error) = pids.delete(&key)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error).context("cannot leave out a process that has ended");
        }
        Ok(())
    }

    /// Attaches the programs that follow processes. Call this before attaching any uprobe, so that
    /// no child is missed.
    pub(crate) fn attach_tracepoints(&mut self) -> Result<()> {
        let progs = &self.skel.progs;
        let all = [
            ("sched_process_fork", &progs.sched_process_fork),
            ("sched_process_exec", &progs.sched_process_exec),
            ("sched_process_exit", &progs.sched_process_exit),
            ("inet_sock_set_state", &progs.inet_sock_set_state),
        ];
        for (name, program) in all {
            let link = program
                .attach_raw_tracepoint(name)
                .map_err(|error| anyhow!("cannot attach to the tracepoint {name}: {error:#}"))?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Turns the recording on or off, for all functions at once: attaching and detaching them one
    /// by one takes time.
    pub(crate) fn record(&mut self, on: bool) -> Result<()> {
        let bss = self.skel.maps.bss_data.as_deref_mut();
        bss.context("the skeleton has no writable data")?.recording = on;
        Ok(())
    }

    /// Turns on or off the stopping of recorded processes that use the network before their files
    /// are known.
    pub(crate) fn stop_unknown(&mut self, on: bool) -> Result<()> {
        let bss = self.skel.maps.bss_data.as_deref_mut();
        bss.context("the skeleton has no writable data")?.stopping = on;
        Ok(())
    }

    /// Records only one process of the recorder, apart from all others, or none again with 0.
    pub(crate) fn record_self_test(&mut self, pid: u32) -> Result<()> {
        let bss = self.skel.maps.bss_data.as_deref_mut();
        bss.context("the skeleton has no writable data")?.self_test_pid = pid;
        Ok(())
    }

    /// Ends the trials that the kernel side has decided.
    pub(crate) fn settle_trials(&mut self) -> Vec<Decision> {
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return Vec::new() };
        self.trials.settle(&bss.trials, bss.trials_decided)
    }

    /// Deletes all entries of a process on the kernel side.
    pub(crate) fn forget(&self, pid: u32) -> Result<()> {
        KernelMaps::of(&self.skel.maps)?.forget(pid, u64::MAX);
        Ok(())
    }

    /// Detaches all probes: no event is added afterwards.
    pub(crate) fn detach(&mut self) {
        // The kernel waits some 50 ms for each link's readers. To wait for all at once, each link's
        // last descriptor is closed on a thread of its own. If there are too many, they are closed
        // one after another.
        self.links.extend(self.trials.take_links());
        self.links.extend(std::mem::take(&mut self.returning).into_values().flatten());
        let last = self.links.iter().map_while(|link| link.as_fd().try_clone_to_owned().ok());
        let last: Vec<OwnedFd> = last.collect();
        self.links.clear();
        let threads: Vec<_> = last.into_iter().map(|fd| thread::spawn(move || drop(fd))).collect();
        // Closing a descriptor does not panic.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// Returns the settings that the programs read before anything else.
fn settings(
    plan: &Plan,
    cgroups: &[Cgroup],
    kernel: Kernel,
    ring_size: u32,
) -> Result<types::settings> {
    let select = &plan.select;
    Ok(types::settings {
        snaplen: plan.limits.snaplen,
        ring_size: u64::from(ring_size),
        ring_headroom: u64::from(ring_size / 8),
        pid_ns_ino: pid_namespace()?,
        filter_pids: select.names_processes().into(),
        filter_uids: (!select.uids.is_empty()).into(),
        filter_comms: (!select.comms.is_empty()).into(),
        filter_cgroups: u8::try_from(cgroups.len())?,
        have_task_vma: kernel.task_vma.into(),
        follow_children: select.children.into(),
        have_cookie: kernel.cookie.into(),
        ..types::settings::default()
    })
}

/// Returns the inode of this process's pid namespace; 0 for the first namespace, where the kernel's
/// own numbers apply.
fn pid_namespace() -> Result<u32> {
    /// `PROC_PID_INIT_INO` of the kernel's `linux/proc_ns.h`.
    const FIRST: u32 = 0xefff_fffc;
    let inode = own::namespace_inode("pid").context("cannot read the pid namespace from /proc")?;
    let inode = u32::try_from(inode)?;
    Ok(if inode == FIRST { 0 } else { inode })
}

fn ring_size(wanted: u64) -> Result<u32> {
    if wanted > RING_SIZE_MAX {
        bail!("--ring-size is too large; the most is 2G");
    }
    Ok(u32::try_from(wanted.max(RING_SIZE_MIN).next_power_of_two())?)
}

/// Turns the kernel's refusal to load into advice. "Permission denied" is also the verifier's error
/// for a rejected program, even with all permissions.
fn refusal(error: libbpf_rs::Error) -> anyhow::Error {
    let kind = error.kind();
    let error = anyhow::Error::from(error);
    match kind {
        ErrorKind::PermissionDenied if !may_load() => anyhow!(
            "the kernel does not let this user load BPF programs; \
             run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
        ),
        _ if descriptors::shortage(&error).is_some() => {
            error.context("cannot load the BPF programs")
        }
        _ => anyhow!(
            "this kernel refuses the BPF programs: {error}; \
             sslrec needs Linux 5.8 or later with BTF, -v shows the kernel's messages"
        ),
    }
}

/// Returns whether this thread has the privileges for loading BPF programs for tracing (kernel
/// 5.8).
fn may_load() -> bool {
    let needed = CapabilitySet::BPF | CapabilitySet::PERFMON;
    capabilities(None).is_ok_and(|sets| {
        sets.effective.contains(CapabilitySet::SYS_ADMIN) || sets.effective.contains(needed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_are_powers_of_two_within_bounds() {
        assert_eq!(ring_size(0).unwrap(), 64 << 10);
        assert_eq!(ring_size(100_000).unwrap(), 128 << 10);
        assert_eq!(ring_size(2 << 30).unwrap(), 2 << 30);
        assert!(ring_size((2 << 30) + 1).is_err());
    }
}
