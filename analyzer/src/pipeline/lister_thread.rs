//! Lists in a thread of its own what is assembled in this one.
//!
//! Steps go over in batches, and come back once they were taken: with them what was not needed of
//! the items, which is freed where they were made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::order::{Lister, Order, Totals};
use crate::sink::{Failure, Flow, Stop};
use crate::timeline::{Step, Timeline};

/// Batches that wait. A few, since assembling and listing are not even from one to the next.
const QUEUE: usize = 4;

/// When a batch is full: enough that handing it over costs little, and little enough that what is
/// in it is still in the processor's cache.
const MAX_STEPS: usize = 512;
const MAX_BYTES: usize = 256 << 10;

/// The thread that lists, and the batches on their way to it.
#[derive(Debug)]
pub(crate) struct ListerThread<L> {
    full: SyncSender<Vec<Step>>,
    /// Never more than there are batches on the way.
    taken: Receiver<Vec<Step>>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<(Totals, L), Failure>>,
}

impl<L: Lister> ListerThread<L> {
    /// Has `order` follow.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub(crate) fn new(mut order: Order<L>) -> io::Result<Self>
    where
        L: Send + 'static,
        L::Held: Send,
    {
        let (full, filled) = sync_channel::<Vec<Step>>(QUEUE);
        let (back, taken) = channel();
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let list = move || {
            let mut failure = None;
            for mut steps in filled {
                if let Flow::Break(stop) = order.steps(&mut steps) {
                    is_done.store(true, Ordering::Relaxed);
                    failure = stop.into_result().err();
                }
                // After the last batch the other side is gone.
                let _ = back.send(steps);
            }
            failure.map_or_else(|| order.finish(), Err)
        };
        let thread = thread::Builder::new().name("lister".into()).spawn(list)?;
        Ok(Self { full, taken, done, thread })
    }

    /// Takes over the steps, if they are enough. An error of the lister is returned at the end.
    pub(crate) fn take(&mut self, timeline: &mut Timeline) -> Flow {
        let (steps, bytes) = timeline.len();
        if steps >= MAX_STEPS || bytes >= MAX_BYTES {
            self.send(timeline);
        }
        match self.done.load(Ordering::Relaxed) {
            true => Flow::Break(Stop::Done),
            false => Flow::Continue(()),
        }
    }

    fn send(&mut self, timeline: &mut Timeline) {
        let taken = self.taken.try_recv().unwrap_or_default();
        if self.full.send(timeline.swap(taken)).is_err() {
            // The other side panicked, which shows at the end.
            self.done.store(true, Ordering::Relaxed);
        }
    }

    /// Nothing follows: the rest is listed.
    ///
    /// # Errors
    /// If the lister failed.
    pub(crate) fn finish(mut self, timeline: &mut Timeline) -> Result<(Totals, L), Failure> {
        self.send(timeline);
        drop(self.full);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
