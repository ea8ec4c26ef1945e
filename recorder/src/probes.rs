//! Loads the kernel side and attaches it.
//!
//! What is attached goes with this process, however it ends: links are file descriptors.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{
    ErrorKind, Link, MapCore, MapFlags, OpenObject, ProgramAttachType, ProgramMut, UprobeMultiOpts,
    UprobeOpts,
};

use crate::cli::Options;
use crate::functions::{OPENSSL, site};
use crate::kernel::Kernel;
use crate::messages::say;
use crate::processes;
use crate::skel::types;
use crate::skel::{SslrecSkel, SslrecSkelBuilder};
use crate::targets::Target;

/// Attach for all processes; the kernel side filters.
const ANY_PID: i32 = -1;
/// The ring must hold a few of the largest chunks.
const RING_SIZE_MIN: u64 = 64 << 10;
/// The kernel takes the ring's size as a `u32`.
const RING_SIZE_MAX: u64 = 2 << 30;

/// The loaded programs and what is attached.
pub(crate) struct Probes<'obj> {
    /// The skeleton; its maps are used by others.
    pub(crate) skel: SslrecSkel<'obj>,
    kernel: Kernel,
    links: Vec<Link>,
}

impl<'obj> Probes<'obj> {
    /// Loads the programs, with the filters that the options ask for.
    ///
    /// # Errors
    /// The kernel refuses, most often for want of privilege.
    pub(crate) fn load(
        storage: &'obj mut MaybeUninit<OpenObject>,
        options: &Options,
        kernel: Kernel,
        several_files: bool,
    ) -> Result<Self> {
        let mut open = SslrecSkelBuilder::default().open(storage).map_err(refusal)?;
        let ring_size = ring_size(options.ring_size)?;
        open.maps.ring.set_max_entries(ring_size)?;
        let rodata =
            open.maps.rodata_data.as_deref_mut().context("the skeleton has no read-only data")?;
        let settings = &mut rodata.settings;
        settings.snaplen = options.snaplen;
        settings.ring_size = u64::from(ring_size);
        settings.ring_headroom = u64::from(ring_size / 8);
        settings.pid_ns_ino = pid_namespace()?;
        settings.filter_pids = (!options.pids.is_empty() || !options.command.is_empty()).into();
        settings.filter_uids = (!options.uids.is_empty()).into();
        settings.filter_comms = (!options.comms.is_empty()).into();
        settings.follow_children = (!options.no_children).into();
        settings.have_cookie = kernel.cookie.into();
        settings.have_sock_length = kernel.sock_length.into();
        settings.several_files = several_files.into();
        if kernel.multi {
            for program in
                [&mut open.progs.call_enter, &mut open.progs.call_exit, &mut open.progs.note_enter]
            {
                program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
            }
        }
        let skel = open.load().map_err(refusal)?;
        let probes = Self { skel, kernel, links: Vec::new() };
        for uid in &options.uids {
            probes.skel.maps.uids.update(&uid.to_ne_bytes(), &[1], MapFlags::ANY)?;
        }
        for comm in &options.comms {
            let mut key = [0; size_of::<types::comm_key>()];
            key[..comm.len()].copy_from_slice(comm.as_bytes());
            probes.skel.maps.comms.update(&key, &[1], MapFlags::ANY)?;
        }
        Ok(probes)
    }

    /// Records this process from now on. Comes after the tracepoints: they take it out when it
    /// ends.
    pub(crate) fn add_pid(&self, pid: u32) -> Result<()> {
        let pids = &self.skel.maps.pids;
        let key = pid.to_ne_bytes();
        pids.update(&key, &[1], MapFlags::ANY).context("cannot follow more processes")?;
        // One that ended before will not end again.
        if !processes::is_alive(pid)
            && let Err(error) = pids.delete(&key)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error).context("cannot leave out a process that has ended");
        }
        Ok(())
    }

    /// Attaches what follows processes and sockets. Comes before any uprobe, so that no child is
    /// missed.
    pub(crate) fn attach_tracepoints(&mut self) -> Result<()> {
        let progs = &self.skel.progs;
        let mut all = vec![
            ("sched_process_fork", &progs.sched_process_fork),
            ("sched_process_exec", &progs.sched_process_exec),
            ("sched_process_exit", &progs.sched_process_exit),
        ];
        if self.kernel.sock_length {
            all.push(("sock_send_length", &progs.sock_send_length));
            all.push(("sock_recv_length", &progs.sock_recv_length));
        }
        for (name, program) in all {
            let link = program
                .attach_raw_tracepoint(name)
                .map_err(|error| anyhow!("cannot attach to the tracepoint {name}: {error}"))?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Attaches to the functions of a file and gives their number. `lib` is what events will
    /// name the file by.
    ///
    /// Probes belong to the file, so that children need no attaching of their own; processes
    /// that are not recorded run into them too, and are turned away by the first instructions of
    /// the kernel side.
    ///
    /// # Errors
    /// The kernel refuses a function without which bytes would be missing.
    pub(crate) fn attach(&mut self, target: &Target, lib: u16) -> Result<usize> {
        let sites = &target.symbols.offsets;
        if self.kernel.multi
            && let Ok(links) = self.multi_links(target, sites, lib)
        {
            self.links.extend(links);
            return Ok(sites.len());
        }
        // A refused link of many does not tell which function it was: one by one does.
        let mut links = Vec::new();
        let mut functions = 0;
        for &(index, offset) in sites {
            match self.links_of_one(target, index, offset, lib) {
                Ok(more) => {
                    links.extend(more);
                    functions += 1;
                }
                Err(error) if OPENSSL[usize::from(index)].carries_data() => return Err(error),
                Err(error) => say(format_args!("{error:#}; recording without it")),
            }
        }
        self.links.extend(links);
        Ok(functions)
    }

    /// Links of many functions each.
    fn multi_links(
        &self,
        target: &Target,
        sites: &[(u16, u64)],
        lib: u16,
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        let (calls, notes): (Vec<_>, Vec<_>) =
            sites.iter().partition(|(index, _)| OPENSSL[usize::from(*index)].needs_return());
        let progs = &self.skel.progs;
        let mut links = Vec::new();
        // Returns first: a call whose entry was seen must not lack its return.
        for (program, sites, retprobe) in [
            (&progs.call_exit, &calls, true),
            (&progs.call_enter, &calls, false),
            (&progs.note_enter, &notes, false),
        ] {
            if sites.is_empty() {
                continue;
            }
            let opts = UprobeMultiOpts {
                offsets: sites.iter().map(|&(_, offset)| offset as usize).collect(),
                cookies: sites.iter().map(|&(index, _)| site(index, lib)).collect(),
                retprobe,
                ..UprobeMultiOpts::default()
            };
            let path = target.open_path();
            links.push(program.attach_uprobe_multi_with_opts(ANY_PID, &path, "", opts)?);
        }
        Ok(links)
    }

    /// The links of one function. Programs that were loaded for links of many accept no other.
    fn links_of_one(
        &self,
        target: &Target,
        index: u16,
        offset: u64,
        lib: u16,
    ) -> Result<Vec<Link>> {
        let name = OPENSSL[usize::from(index)].name;
        let links = if self.kernel.multi {
            self.multi_links(target, &[(index, offset)], lib)
        } else {
            if !self.kernel.cookie {
                self.register_site(target, offset, site(index, lib), name)?;
            }
            self.single_links(target, index, offset, lib)
        };
        links.map_err(|error| attach_refusal(&error, name, &target.path))
    }

    fn single_links(
        &self,
        target: &Target,
        index: u16,
        offset: u64,
        lib: u16,
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        let progs = &self.skel.progs;
        let programs: &[(&ProgramMut<'_>, bool)] = if OPENSSL[usize::from(index)].needs_return() {
            &[(&progs.call_exit, true), (&progs.call_enter, false)]
        } else {
            &[(&progs.note_enter, false)]
        };
        let attach = |&(program, retprobe): &(&ProgramMut<'_>, bool)| {
            let cookie = if self.kernel.cookie { site(index, lib) } else { 0 };
            let opts = UprobeOpts { cookie, retprobe, ..UprobeOpts::default() };
            let path = target.open_path();
            program.attach_uprobe_with_opts(ANY_PID, path, offset as usize, opts)
        };
        programs.iter().map(attach).collect()
    }

    /// Without cookies a site is known by its code; see `struct site_key`.
    fn register_site(&self, target: &Target, offset: u64, site: u64, name: &str) -> Result<()> {
        let mut code = [0; 8];
        target
            .file
            .read_exact_at(&mut code, offset + 8)
            .with_context(|| format!("cannot read {}", target.path.display()))?;
        let mut key = [0; size_of::<types::site_key>()];
        key[..8].copy_from_slice(&code);
        key[8..12].copy_from_slice(&((offset & 0xfff) as u32).to_ne_bytes());
        let sites = &self.skel.maps.sites;
        let known = sites.lookup(&key, MapFlags::ANY)?;
        if known.is_some_and(|known| known != site.to_ne_bytes()) {
            bail!(
                "{name} in {} cannot be told from another probed function, for which this \
                 kernel is too old (before 5.15); probe fewer files with --lib",
                target.path.display()
            );
        }
        sites.update(&key, &site.to_ne_bytes(), MapFlags::ANY)?;
        Ok(())
    }

    /// Turns the recording on or off, for all functions at once: attaching and detaching them one
    /// by one takes time.
    pub(crate) fn record(&mut self, on: bool) -> Result<()> {
        let bss = self.skel.maps.bss_data.as_deref_mut();
        bss.context("the skeleton has no writable data")?.recording = on;
        Ok(())
    }

    /// Takes all probes out: after this no event is added.
    pub(crate) fn detach(&mut self) {
        self.links.clear();
    }
}

/// The inode of this process's pid namespace; 0 for the first one, where the kernel's own numbers
/// serve.
fn pid_namespace() -> Result<u32> {
    /// `PROC_PID_INIT_INO` of the kernel's `linux/proc_ns.h`.
    const FIRST: u32 = 0xefff_fffc;
    let meta = fs::metadata("/proc/self/ns/pid").context("cannot read /proc/self/ns/pid")?;
    let inode = u32::try_from(meta.ino())?;
    Ok(if inode == FIRST { 0 } else { inode })
}

fn ring_size(wanted: u64) -> Result<u32> {
    if wanted > RING_SIZE_MAX {
        bail!("--ring-size is too large; the most is 2G");
    }
    Ok(u32::try_from(wanted.max(RING_SIZE_MIN).next_power_of_two())?)
}

/// Turns the kernel's refusal to load into what to do about it.
fn refusal(error: libbpf_rs::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::PermissionDenied => anyhow!(
            "the kernel does not let this user load BPF programs; \
             run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
        ),
        _ => anyhow!(
            "this kernel refuses the BPF programs: {error}; \
             sslrec needs Linux 5.8 or later with BTF, -v shows the kernel's own words"
        ),
    }
}

fn attach_refusal(error: &libbpf_rs::Error, name: &str, path: &Path) -> anyhow::Error {
    let at = format!("cannot probe {name} in {}", path.display());
    match error.kind() {
        ErrorKind::InvalidInput => anyhow!(
            "{at}: the kernel says EINVAL; another tracer (bcc, bpftrace, perf) may hold a probe \
             there with another reference counter (`dmesg | grep ref_ctr_offset`): end it, and \
             try again"
        ),
        ErrorKind::PermissionDenied => anyhow!("{at}: not permitted; run as root"),
        _ => anyhow!("{at}: {error}"),
    }
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
