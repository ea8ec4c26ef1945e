//! Finds programs that start and libraries that are loaded during the recording.
//!
//! One thread receives every file that a process maps as executable, inspects unknown files, and
//! probes them. For a command, whose data must be complete, the kernel side stops a process that is
//! faster than this thread (`bpf/stop.h`), and this thread resumes it. Only this thread attaches
//! probes once the recording has begun, and only this thread needs the privileges for that.

mod mappings;
pub(crate) mod stopped;
mod wanted;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::mappings::Mapped;
pub(crate) use self::mappings::Mappings;
pub(crate) use self::wanted::Wanted;
use crate::attach::Attacher;
use crate::attach::probes::{Probes, lock};
use crate::attach::self_test::Source;
use crate::attach::self_test::diversion::Diversion;
use crate::clock::boot_time_ns;
use crate::coverage::Coverage;
use crate::kernel::event::{bytes_of, view};
use crate::kernel::skel::types;
use crate::plan::{Plan, Select};
use crate::proc::maps::{FileKey, Mapping, mapped_files};
use crate::proc::processes;
use crate::process::signaller::Signaller;
use crate::select::chosen;
use crate::stderr::{describe, message};
use crate::targets::stack_switchers::switcher_in;
use crate::targets::{Found, Targets};

/// Interval between checks whether the recording has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The state that this thread shares with the thread that empties the ring.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) diversion: Diversion,
    ended: AtomicBool,
    discovering: AtomicBool,
}

impl Link {
    /// Waits until nothing more is noted or attached.
    pub(crate) fn wait_for_discovery(&self) {
        while self.discovering.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Marks that the ring is no longer emptied, so that discovery can end.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.diversion.end();
    }
}

/// Marks the end of the thread, for whatever reason.
struct Discovering<'a>(&'a Link);

impl Drop for Discovering<'_> {
    fn drop(&mut self) {
        self.0.discovering.store(false, Ordering::Release);
    }
}

/// Waits for events, with the state that is needed to act on them.
pub(crate) struct Discovery<'a, 'obj> {
    probes: &'a Mutex<Probes<'obj>>,
    attacher: Attacher,
    targets: Targets,
    wanted: Wanted<'a>,
    signaller: Signaller,
    coverage: Coverage,
    link: &'a Link,
    verbose: bool,
    mappings: Mappings,
    known_files: MapHandle,
    stopped: MapHandle,
    stops: MapHandle,
}

/// The state at the beginning of the recording.
pub(crate) struct Known<'a> {
    /// The probed files.
    pub(crate) attacher: Attacher,
    /// The inspected files.
    pub(crate) targets: Targets,
    /// The processes whose files matter.
    pub(crate) wanted: Wanted<'a>,
    /// Resumes processes.
    pub(crate) signaller: Signaller,
    /// The notes for the report.
    pub(crate) coverage: Coverage,
}

impl<'a, 'obj> Discovery<'a, 'obj> {
    /// Begins to act on mappings from now on. A command's processes are stopped where necessary:
    /// its data must be complete, and the recorder is permitted to stop them.
    ///
    /// # Errors
    /// There are too many open files.
    pub(crate) fn new(
        mappings: Mappings,
        probes: &'a Mutex<Probes<'obj>>,
        Known { attacher, targets, wanted, signaller, coverage }: Known<'a>,
        link: &'a Link,
        plan: &Plan,
    ) -> Result<Self> {
        link.discovering.store(true, Ordering::Release);
        let mut loaded = lock(probes);
        loaded.stop_unknown(plan.select.has_command())?;
        let maps = &loaded.skel.maps;
        let discovery = Self {
            probes,
            attacher,
            targets,
            wanted,
            signaller,
            coverage,
            link,
            verbose: plan.talk.verbose,
            mappings,
            known_files: MapHandle::try_from(&maps.known_files)?,
            stopped: MapHandle::try_from(&maps.stopped)?,
            stops: MapHandle::try_from(&maps.stops)?,
        };
        discovery.targets.seen().for_each(|key| discovery.tell_known(key));
        discovery.note_running(&plan.select);
        Ok(discovery)
    }

    /// Finds and probes files until the recording ends.
    ///
    /// # Errors
    /// The kernel's events cannot be read.
    pub(crate) fn run(mut self) -> Result<()> {
        let _discovering = Discovering(self.link);
        let ended = self.follow();
        lock(self.probes).stop_unknown(false)?;
        stopped::release_all(&self.stopped, &self.signaller);
        ended
    }

    fn follow(&mut self) -> Result<()> {
        let stops_map = MapHandle::try_from(&self.stops)?;
        let arrived = Mutex::new(Vec::new());
        let stops = ring_of(&stops_map, &arrived)?;
        while !self.link.ended.load(Ordering::Relaxed) {
            self.wait(&stops_map)?;
            for mapped in self.mappings.take() {
                self.mapped(mapped);
            }
            stops.consume().context("cannot read the ring of stopped processes")?;
            let events =
                std::mem::take(&mut *arrived.lock().unwrap_or_else(PoisonError::into_inner));
            for event in events {
                self.was_stopped(&event);
            }
        }
        // Processes that already exited can no longer be probed but still belong in the report.
        for mapped in self.mappings.take() {
            if let Mapped::File { pid, mapping, .. } = mapped
                && (self.wanted.is(pid) || self.wanted.was(pid))
            {
                self.note(pid, &mapping);
            }
        }
        Ok(())
    }

    /// Waits for an event, or for a limited time.
    fn wait(&self, stops: &MapHandle) -> Result<()> {
        let descriptors =
            self.mappings.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut descriptors: Vec<_> =
            descriptors.chain([PollFd::new(stops, PollFlags::IN)]).collect();
        let most = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        match poll(&mut descriptors, Some(&most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for new mappings"),
        }
    }

    fn mapped(&mut self, mapped: Mapped) {
        match mapped {
            Mapped::File { pid, ts_ns, mapping } => {
                let wanted = self.wanted.is(pid);
                if wanted && !self.targets.has_seen(mapping.key) {
                    self.look_at(pid, &mapping, ts_ns);
                }
                if wanted && self.has_switchers() {
                    self.protect(pid, &mapped_files(pid).unwrap_or_default());
                }
                if wanted || self.wanted.was(pid) {
                    self.note(pid, &mapping);
                }
            }
            Mapped::Anything => {
                let pids = processes::all().into_iter().filter(|&pid| self.wanted.is(pid));
                pids.collect::<Vec<_>>().into_iter().for_each(|pid| self.look_through(pid));
            }
        }
    }

    /// Handles a process that is stopped until its files are known.
    fn was_stopped(&mut self, event: &types::event_stop) {
        let pid = event.pid;
        self.look_through(pid);
        // Uses the kernel side's key of the file, in case it differs from that of the mappings.
        self.tell_known(FileKey { dev: event.file.dev, inode: event.file.inode });
        stopped::release(&self.stopped, pid, &self.signaller);
        if self.verbose {
            let comm = processes::describe(pid, 0).comm;
            let held_ms = milliseconds_since(event.ts_ns);
            message(format_args!(
                "{comm}[{pid}] was stopped for {held_ms:.1} ms, until its files were known"
            ));
        }
    }

    /// Inspects all mappings of a process, which may have exited.
    fn look_through(&mut self, pid: u32) {
        let now_ns = boot_time_ns();
        let mappings = mapped_files(pid).unwrap_or_else(|error| {
            let file = format!("/proc/{pid}/maps");
            self.targets.is_short_of_descriptors(&error.into(), Path::new(&file));
            Vec::new()
        });
        self.state_notes();
        for mapping in &mappings {
            if !self.targets.has_seen(mapping.key) {
                self.look_at(pid, mapping, now_ns);
            }
            self.note(pid, mapping);
        }
        self.protect(pid, &mappings);
    }

    fn has_switchers(&self) -> bool {
        self.attacher.switchers.as_ref().is_some_and(|switchers| !switchers.is_empty())
    }

    /// Removes the return probes that a process would hit, if it switches stacks.
    fn protect(&mut self, pid: u32, mappings: &[Mapping]) {
        let switchers = self.attacher.switchers.as_ref();
        let Some(switcher) = switchers.and_then(|switchers| switchers.among(mappings)) else {
            return;
        };
        let switcher = switcher.to_owned();
        for Mapping { key, path, .. } in mappings {
            if !self.attacher.has_returns(*key) {
                continue;
            }
            if let Err(error) = self.attacher.remove_returns(self.probes, *key, &switcher) {
                let (path, error) = (path.display(), describe(&error));
                message(format_args!("{path} of process {pid} is recorded in part: {error}"));
            }
            self.tell_known(*key);
        }
    }

    /// Takes a note of a file that switches stacks. From the first on, each process that maps a
    /// file with return probes is stopped before it uses the network: it may be a switcher.
    fn judge(&mut self, pid: u32, mapping: &Mapping) {
        let Some(switchers) = &mut self.attacher.switchers else { return };
        let is_first = switchers.is_empty();
        if switchers.consider(pid, mapping) && is_first {
            for key in self.attacher.with_returns() {
                // If it is unknown already, its processes are stopped anyway.
                let _ = self.known_files.delete(bytes_of(&kernel_key(key)));
            }
        }
    }

    fn note(&self, pid: u32, mapping: &Mapping) {
        self.coverage.is_mapped(pid, mapping, self.attacher.number(mapping.key));
    }

    /// Notes the mappings of the processes that already run.
    fn note_running(&self, select: &Select) {
        for pid in chosen(select, self.wanted.filters()) {
            for mapping in mapped_files(pid).unwrap_or_default() {
                self.note(pid, &mapping);
            }
        }
    }

    /// Inspects a file, and probes it if it contains functions to probe.
    fn look_at(&mut self, pid: u32, mapping: &Mapping, since_ns: u64) {
        self.targets.forget_but(|key| self.attacher.number(key).is_some());
        self.judge(pid, mapping);
        self.targets.consider_mapping(pid, mapping, Found::Later);
        self.state_notes();
        for target in std::mem::take(&mut self.targets.files) {
            let path = target.path.display().to_string();
            let switcher = switcher_in(pid);
            let source = Source::Recording(&self.link.diversion);
            let mut probes = lock(self.probes);
            match self.attacher.attach(&mut probes, target, switcher.as_ref(), &source) {
                Ok(()) if self.verbose => {
                    let ms = milliseconds_since(since_ns);
                    message(format_args!(
                        "{path} was probed {ms:.1} ms after process {pid} mapped it"
                    ));
                }
                Ok(()) => {}
                Err(error) => {
                    message(format_args!("{}; recording without this file", describe(&error)))
                }
            }
        }
        self.tell_known(mapping.key);
    }

    fn state_notes(&mut self) {
        self.targets.notes.drain(..).for_each(message);
    }

    /// Prevents the kernel side from stopping processes for this file.
    fn tell_known(&self, key: FileKey) {
        if self.has_switchers() && self.attacher.has_returns(key) {
            return;
        }
        let key = kernel_key(key);
        // If the map is full, processes are stopped for this file again: slower, but complete.
        let _ = self.known_files.update(bytes_of(&key), &[1], MapFlags::ANY);
    }
}

fn kernel_key(key: FileKey) -> types::file_key {
    types::file_key { inode: key.inode, dev: key.dev, ..types::file_key::default() }
}

fn milliseconds_since(boot_ns: u64) -> f64 {
    boot_time_ns().saturating_sub(boot_ns) as f64 / 1e6
}

/// Returns the ring of stopped processes, whose events are stored in `arrived`.
fn ring_of<'a>(
    map: &'a MapHandle,
    arrived: &'a Mutex<Vec<types::event_stop>>,
) -> Result<RingBuffer<'a>> {
    let mut ring = RingBufferBuilder::new();
    ring.add(map, |event| {
        arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(view::<types::event_stop>(event));
        0
    })?;
    Ok(ring.build()?)
}
