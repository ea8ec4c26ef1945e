//! Lists in a thread of its own what is assembled in this one.
//!
//! Steps go over in batches, and come back once they were taken: with them what was not needed of
//! the items, which is freed where they were made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use crate::order::{Lister, Order, Totals};
use crate::timeline::{Step, Timeline};

/// Batches that wait. A few, since assembling and listing are not even from one to the next.
const QUEUE: usize = 4;

/// When a batch is full: enough that handing it over costs little, and little enough that what is in
/// it is still in the processor's cache.
const MAX_STEPS: usize = 512;
const MAX_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Apart<L> {
    full: SyncSender<Vec<Step>>,
    /// Never more than there are batches on the way.
    taken: Receiver<Vec<Step>>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<(Totals, L)>,
}

impl<L: Lister> Apart<L> {
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
            for mut steps in filled {
                steps.iter_mut().for_each(|step| order.step(step));
                is_done.store(order.is_done(), Ordering::Relaxed);
                // Nobody takes back what comes after the last batch.
                let _ = back.send(steps);
            }
            order.finish()
        };
        let thread = thread::Builder::new().name("lister".into()).spawn(list)?;
        Ok(Self { full, taken, done, thread })
    }

    /// Takes over what was told, if it is enough.
    pub(crate) fn take(&mut self, timeline: &mut Timeline) {
        let (steps, bytes) = timeline.len();
        if steps >= MAX_STEPS || bytes >= MAX_BYTES {
            self.send(timeline);
        }
    }

    fn send(&mut self, timeline: &mut Timeline) {
        let taken = self.taken.try_recv().unwrap_or_default();
        if self.full.send(timeline.swap(taken)).is_err() {
            // The other side panicked, which shows at the end.
            self.done.store(true, Ordering::Relaxed);
        }
    }

    /// Nobody wants what would follow.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Nothing follows: the rest is listed.
    pub(crate) fn finish(mut self, timeline: &mut Timeline) -> (Totals, L) {
        self.send(timeline);
        drop(self.full);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
