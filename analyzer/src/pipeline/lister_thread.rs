//! Lists, in a thread of its own, the items assembled in the calling thread.
//!
//! Steps are passed in batches, and return after they were consumed. With them return the unneeded
//! parts of the items, which are freed in the thread that allocated them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::order::{Lister, Order, Totals};
use crate::sink::{Failure, Flow, Stop};
use crate::timeline::{Step, Timeline};

/// Number of batches that may wait. Several are useful, because assembling and listing take
/// different times for each batch.
const QUEUE: usize = 4;

/// Size of a full batch. It is large enough for a low cost of the hand-over, and small enough for
/// its data to be still in the processor's cache.
const MAX_STEPS: usize = 512;
const MAX_BYTES: usize = 256 << 10;

/// The listing thread, and the batches on their way to it.
#[derive(Debug)]
pub(crate) struct ListerThread<L> {
    full: SyncSender<Vec<Step>>,
    /// Consumed batches; never more than there are batches in the channel.
    taken: Receiver<Vec<Step>>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<(Totals, L), Failure>>,
}

impl<L: Lister> ListerThread<L> {
    /// Starts the thread, which passes all steps to `order`.
    ///
    /// # Errors
    /// The system cannot create a thread.
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
                // After the last batch the receiver is gone.
                let _ = back.send(steps);
            }
            failure.map_or_else(|| order.finish(), Err)
        };
        let thread = thread::Builder::new().name("lister".into()).spawn(list)?;
        Ok(Self { full, taken, done, thread })
    }

    /// Passes the steps on, if they fill a batch. An error of the lister is returned at the end.
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
            // The thread panicked, which is reported at the end.
            self.done.store(true, Ordering::Relaxed);
        }
    }

    /// Lists the remaining items and ends the thread.
    ///
    /// # Errors
    /// The lister failed.
    pub(crate) fn finish(mut self, timeline: &mut Timeline) -> Result<(Totals, L), Failure> {
        self.send(timeline);
        drop(self.full);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
