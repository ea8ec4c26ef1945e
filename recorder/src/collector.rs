//! The thread that empties the ring: decides when the recording ends, and does nothing with the
//! events but hand them on.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};
use rustix::event::{Timespec, epoll};

use crate::batch::Filler;
use crate::child::Child;
use crate::cli::Options;
use crate::probes::Probes;
use crate::signals::Signals;
use crate::skel::types::counter;
use crate::stats::Counters;

/// How long events may wait in the ring: the kernel side wakes the recorder only when the ring
/// fills, since a wake-up costs more than an event.
const POLL: Duration = Duration::from_millis(10);

/// Between looks at whether the recorded processes still live.
const CHECK_PIDS: Duration = Duration::from_millis(200);

/// Empties the ring until something ends the recording, and then to its end. Gives the child's
/// end, if that is what it was.
pub(crate) fn collect(
    probes: &mut Probes<'_>,
    filler: Filler,
    gave_up: &AtomicBool,
    options: &Options,
    signals: &mut Signals,
    child: Option<&Child>,
) -> Result<Option<ExitStatus>> {
    let filler = RefCell::new(filler);
    let ring_map = MapHandle::try_from(&probes.skel.maps.ring)?;
    let mut ring = RingBufferBuilder::new();
    ring.add(&ring_map, |event| {
        filler.borrow_mut().push(event);
        0
    })?;
    let collector = Collector {
        ring: ring.build()?,
        wakeups: Wakeups::of(&ring_map).context("cannot watch the ring")?,
        filler: &filler,
        late_closes: MapHandle::try_from(&probes.skel.maps.late_closes)?,
        counters: MapHandle::try_from(&probes.skel.maps.counters)?,
        pids: MapHandle::try_from(&probes.skel.maps.pids)?,
    };
    let ended = collector.until_end(gave_up, options, signals, child);
    probes.detach();
    collector.drain()?;
    ended
}

/// The thread that empties the ring.
struct Collector<'a> {
    ring: RingBuffer<'a>,
    wakeups: Wakeups,
    filler: &'a RefCell<Filler>,
    late_closes: MapHandle,
    counters: MapHandle,
    pids: MapHandle,
}

impl Collector<'_> {
    fn until_end(
        &self,
        gave_up: &AtomicBool,
        options: &Options,
        signals: &mut Signals,
        child: Option<&Child>,
    ) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        let mut pids_checked = start;
        loop {
            self.poll()?;
            if let Some(child) = child {
                signals.pass_on(child);
                if let Some(status) = child.try_wait()? {
                    return Ok(Some(status));
                }
            } else if signals.came() {
                return Ok(None);
            }
            let enough = match options.count {
                Some(count) => Counters::read(&self.counters)?.of(counter::COUNT_CALLS) >= count,
                None => false,
            };
            let late = options.duration.is_some_and(|duration| start.elapsed() >= duration);
            if enough || late || gave_up.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if !options.pids.is_empty() && pids_checked.elapsed() >= CHECK_PIDS {
                pids_checked = Instant::now();
                // The kernel side takes each process out when it ends.
                if self.pids.keys().next().is_none() {
                    return Ok(None);
                }
            }
        }
    }

    /// Waits a moment, or until the ring asks for attention, and hands on what there is.
    fn poll(&self) -> Result<()> {
        match self.wakeups.wait(POLL) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot wait for events"),
        }
        self.drain()
    }

    /// Hands on everything that is in the ring. Closes that found no room there come after all
    /// that was in it before them.
    fn drain(&self) -> Result<()> {
        let late = self.take_late_closes()?;
        self.ring.consume().context("cannot read the ring")?;
        let mut filler = self.filler.borrow_mut();
        late.iter().for_each(|event| filler.push(event));
        filler.flush();
        Ok(())
    }

    fn take_late_closes(&self) -> Result<Vec<Vec<u8>>> {
        let keys: Vec<_> = self.late_closes.keys().collect();
        let mut events = Vec::new();
        for key in keys {
            if let Some(event) = self.late_closes.lookup(&key, MapFlags::ANY)? {
                self.late_closes.delete(&key)?;
                events.push(event);
            }
        }
        Ok(events)
    }
}

/// The ring's wake-ups. Edge-triggered: a ring is readable as long as anything is in it, and
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

    fn wait(&self, most: Duration) -> io::Result<()> {
        let most = Timespec { tv_sec: 0, tv_nsec: most.subsec_nanos().into() };
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        epoll::wait(&self.epoll, &mut events, Some(&most))?;
        Ok(())
    }
}
