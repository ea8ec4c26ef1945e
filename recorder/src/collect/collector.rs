//! The thread that empties the ring. It decides when the recording ends, and passes the events on
//! without processing them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};
use rustix::event::{Timespec, epoll};

use crate::attach::probes::{Probes, lock};
use crate::attach::self_test::diversion::Diversion;
use crate::attach::trials::{Decision, Verdict};
use crate::collect::batch::{BURST, Filler};
use crate::discovery::Link;
use crate::kernel::counters::Counters;
use crate::kernel::event::exit_event;
use crate::kernel::skel::types::counter;
use crate::plan::Plan;
use crate::process::child::Child;
use crate::process::signals::Signals;
use crate::stderr::message;

/// The longest time that events wait in the ring: the kernel side wakes the recorder only when the
/// ring fills, since a wake-up costs more than an event.
const POLL: Duration = Duration::from_millis(10);

/// The longest time for which events are moved before other checks.
const TURN: Duration = Duration::from_millis(20);

/// Wait for the writer when it is behind.
const WRITER_WAIT: Duration = Duration::from_millis(1);

/// Interval between searches for ends of processes that found no room in the ring.
const SEEK_EXITS: Duration = Duration::from_secs(1);

/// Interval between checks whether the recorded processes are alive.
const CHECK_PIDS: Duration = Duration::from_millis(200);

/// Empties the ring until an event ends the recording, and then to its end. Returns the child's
/// end, if that was the reason.
pub(crate) fn collect(
    probes: &Mutex<Probes<'_>>,
    link: &Link,
    filler: Filler,
    gave_up: &AtomicBool,
    plan: &Plan,
    signals: &mut Signals,
    child: Option<&Child>,
) -> Result<Option<ExitStatus>> {
    let filler = RefCell::new(filler);
    let loaded = lock(probes);
    let maps = &loaded.skel.maps;
    let ring_map = MapHandle::try_from(&maps.ring)?;
    let counters = MapHandle::try_from(&maps.counters)?;
    let pids = MapHandle::try_from(&maps.pids)?;
    let mut stragglers = Stragglers::of(&loaded)?;
    drop(loaded);
    let mut ring = RingBufferBuilder::new();
    ring.add(&ring_map, |event| {
        if !link.diversion.takes(event) {
            filler.borrow_mut().push(event);
        }
        0
    })?;
    let collector = Collector {
        probes,
        ring: ring.build()?,
        wakeups: Wakeups::of(&ring_map).context("cannot watch the ring")?,
        filler: &filler,
        diversion: &link.diversion,
        counters,
        pids,
    };
    let ended = collector.until_end(&mut stragglers, gave_up, plan, signals, child);
    link.end();
    // Detaching the probes takes time, during which the ring is not emptied.
    lock(probes).record(false)?;
    collector.drain()?;
    // Its last notes belong in the report, which is created after the filler is dropped.
    link.wait_for_discovery();
    lock(probes).detach();
    collector.drain()?;
    stragglers.find()?;
    stragglers.hand_over(&mut filler.borrow_mut());
    filler.borrow_mut().flush();
    ended
}

/// The thread that empties the ring.
struct Collector<'a, 'obj> {
    probes: &'a Mutex<Probes<'obj>>,
    ring: RingBuffer<'a>,
    wakeups: Wakeups,
    filler: &'a RefCell<Filler>,
    diversion: &'a Diversion,
    counters: MapHandle,
    pids: MapHandle,
}

impl Collector<'_, '_> {
    fn until_end(
        &self,
        stragglers: &mut Stragglers,
        gave_up: &AtomicBool,
        plan: &Plan,
        signals: &mut Signals,
        child: Option<&Child>,
    ) -> Result<Option<ExitStatus>> {
        let until = plan.until;
        let start = Instant::now();
        let mut pids_checked = start;
        loop {
            self.turn(stragglers)?;
            self.settle_trials(plan.talk.verbose);
            if let Some(child) = child {
                signals.pass_on(child);
                if let Some(status) = child.try_wait()? {
                    return Ok(Some(status));
                }
            } else if signals.came() {
                return Ok(None);
            }
            let enough = match until.count {
                Some(count) => Counters::read(&self.counters)?.of(counter::COUNT_CALLS) >= count,
                None => false,
            };
            let late = until.duration.is_some_and(|duration| start.elapsed() >= duration);
            if enough || late || gave_up.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if until.all_ended && pids_checked.elapsed() >= CHECK_PIDS {
                pids_checked = Instant::now();
                // The kernel side removes each process when it ends.
                if self.pids.keys().next().is_none() {
                    return Ok(None);
                }
            }
        }
    }

    /// Passes on the events in the ring, or waits a moment for events. The wait is short: a flood
    /// must not keep the recording from ending.
    fn turn(&self, stragglers: &mut Stragglers) -> Result<()> {
        let end = Instant::now() + TURN;
        while Instant::now() < end {
            if self.filler.borrow().is_full() && !self.filler.borrow_mut().offer() {
                thread::sleep(WRITER_WAIT);
            } else if self.burst()? < BURST {
                self.diversion.ring_was_emptied();
                // The events from before the search for the stragglers, which was in an earlier
                // turn, have been passed on.
                stragglers.hand_over(&mut self.filler.borrow_mut());
                stragglers.find()?;
                self.filler.borrow_mut().offer();
                return match self.wakeups.wait() {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                        Err(error).context("cannot wait for events")
                    }
                    _ => Ok(()),
                };
            }
        }
        Ok(())
    }

    /// Ends the trials of placed sites that the kernel side has decided. If another thread is
    /// probing a file, the next turn does this.
    fn settle_trials(&self, verbose: bool) {
        let decisions = match self.probes.try_lock() {
            Ok(mut probes) => probes.settle_trials(),
            Err(_) => return,
        };
        for Decision { name, path, verdict } in decisions {
            let path = path.display();
            match verdict {
                Verdict::Passed if verbose => {
                    message(format_args!(
                        "{name} in {path} passed its trial: its return probe is removed"
                    ));
                }
                Verdict::Passed => {}
                Verdict::Failed => message(format_args!(
                    "{name} in {path} keeps its return probe: the probes within the function disagreed"
                )),
            }
        }
    }

    /// Copies some events out of the ring, and returns their number.
    fn burst(&self) -> Result<usize> {
        let count = self.ring.consume_raw_n(BURST);
        usize::try_from(count).with_context(|| format!("cannot read the ring: error {count}"))
    }

    /// Passes on everything in the ring.
    fn drain(&self) -> Result<()> {
        while self.burst()? > 0 {
            self.filler.borrow_mut().flush();
        }
        Ok(())
    }
}

/// Events that found no room in the ring and wait in tables instead.
struct Stragglers {
    late_closes: MapHandle,
    tls_pids: MapHandle,
    /// Found, to be passed on once all earlier events have left the ring.
    found: Vec<Vec<u8>>,
    /// Closes that were found, and that the tracker has not yet removed.
    known: HashSet<Vec<u8>>,
    exits_sought: Instant,
}

impl Stragglers {
    fn of(probes: &Probes<'_>) -> Result<Self> {
        Ok(Self {
            late_closes: MapHandle::try_from(&probes.skel.maps.late_closes)?,
            tls_pids: MapHandle::try_from(&probes.skel.maps.tls_pids)?,
            found: Vec::new(),
            known: HashSet::new(),
            exits_sought: Instant::now(),
        })
    }

    fn hand_over(&mut self, filler: &mut Filler) {
        for event in self.found.drain(..) {
            if filler.is_full() {
                filler.flush();
            }
            filler.push(&event);
        }
    }

    fn find(&mut self) -> Result<()> {
        let keys: HashSet<Vec<u8>> = self.late_closes.keys().collect();
        self.known.retain(|key| keys.contains(key));
        for key in keys {
            if self.known.contains(&key) {
                continue;
            }
            if let Some(event) = self.late_closes.lookup(&key, MapFlags::ANY)? {
                self.found.push(event);
                self.known.insert(key);
            }
        }
        if self.exits_sought.elapsed() >= SEEK_EXITS {
            self.exits_sought = Instant::now();
            self.find_exits()?;
        }
        Ok(())
    }

    /// Finds processes whose end found no room: their entries contain its time.
    fn find_exits(&mut self) -> Result<()> {
        for key in self.tls_pids.keys().collect::<Vec<_>>() {
            let time = self.tls_pids.lookup(&key, MapFlags::ANY)?.unwrap_or_default();
            let (Ok(pid), Ok(ts_ns)) = (key.as_slice().try_into(), time.as_slice().try_into())
            else {
                continue;
            };
            if ts_ns != [0; 8] {
                self.tls_pids.delete(&key)?;
                let (pid, ts_ns) = (u32::from_ne_bytes(pid), u64::from_ne_bytes(ts_ns));
                self.found.push(exit_event(pid, ts_ns));
            }
        }
        Ok(())
    }
}

/// The ring's wake-ups. Edge-triggered: a ring is readable as long as it contains anything, and
/// waiting for that would be waiting for each event.
struct Wakeups {
    epoll: OwnedFd,
}

impl Wakeups {
    fn of(ring: &MapHandle) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, ring, epoll::EventData::new_u64(0), flags)?;
        Ok(Self { epoll })
    }

    /// Waits for the next wake-up, or for as long as events may wait.
    fn wait(&self) -> io::Result<()> {
        let most = Timespec { tv_sec: 0, tv_nsec: POLL.subsec_nanos().into() };
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        epoll::wait(&self.epoll, &mut events, Some(&most))?;
        Ok(())
    }
}
