//! Events on their way from the ring to the writer: copied once, in bounded buffers.
//!
//! The thread that empties the ring does nothing but copy. When the writer falls behind, that
//! thread leaves the ring alone; then the ring fills, and the kernel counts the lost events at
//! their place. So memory is bounded and there is a single kind of loss.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::kernel::event::used_len;
use crate::kernel::skel::types;

/// A batch is passed on when it has this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Events that may be added between two checks whether a batch is full.
pub(crate) const BURST: usize = 64;
/// Capacity of a batch that is never reallocated: the last burst may begin just below
/// `BATCH_BYTES`.
const CAPACITY: usize = BATCH_BYTES + BURST * EVENT_BYTES;
/// An event is at most a whole chunk, after its length.
const EVENT_BYTES: usize = 4 + size_of::<types::event_data>() + 16384;
/// Batches on the way. With those being filled and written there are 10, created at the beginning:
/// 20 MiB, of which the kernel allocates the used part.
const BATCHES: usize = 8;

/// Events, each after its length.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(CAPACITY) }
    }

    fn push(&mut self, event: &[u8]) {
        let event = &event[..used_len(event)];
        // Ring entries are shorter than 2^30.
        self.bytes.extend_from_slice(&(event.len() as u32).to_ne_bytes());
        self.bytes.extend_from_slice(event);
    }

    /// Returns the events in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk()?;
            let (event, tail) = tail.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
            rest = tail;
            Some(event)
        })
    }
}

/// The ring's end.
#[derive(Debug)]
pub(crate) struct Filler {
    batch: Batch,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Emptier {
    /// Batches to write.
    pub(crate) full: Receiver<Batch>,
    empty: SyncSender<Batch>,
}

/// Creates both ends.
pub(crate) fn queue() -> (Filler, Emptier) {
    let (full_sender, full) = sync_channel(BATCHES);
    let (empty_sender, empty) = sync_channel(BATCHES + 2);
    let filler = Filler { batch: Batch::new(), full: full_sender, empty };
    // There is room for them.
    (0..BATCHES + 1).try_for_each(|_| empty_sender.try_send(Batch::new())).unwrap_or_default();
    (filler, Emptier { full, empty: empty_sender })
}

impl Filler {
    /// Adds an event.
    pub(crate) fn push(&mut self, event: &[u8]) {
        self.batch.push(event);
    }

    /// Returns whether it is time to pass the batch on.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.bytes.len() >= BATCH_BYTES
    }

    /// Passes on the current batch. Returns false if the writer is behind: the batch then stays.
    pub(crate) fn offer(&mut self) -> bool {
        if self.batch.bytes.is_empty() {
            return true;
        }
        match self.full.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {
                self.batch = self.empty.try_recv().unwrap_or_default();
                true
            }
            Err(TrySendError::Full(batch)) => {
                self.batch = batch;
                false
            }
            // The writer ends before this end only after a failure, which its join reports.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }

    /// Passes on the current batch, waiting for the writer if necessary.
    pub(crate) fn flush(&mut self) {
        if !self.batch.bytes.is_empty() {
            // As above.
            let _ = self.full.send(std::mem::take(&mut self.batch));
            self.batch = self.empty.try_recv().unwrap_or_default();
        }
    }
}

impl Emptier {
    /// Returns a written batch for reuse.
    pub(crate) fn recycle(&self, mut batch: Batch) {
        batch.bytes.clear();
        // There is room for every batch that exists; if not, it is freed.
        let _ = self.empty.try_send(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_as_they_went_in() {
        let (mut filler, emptier) = queue();
        let events: Vec<Vec<u8>> = (0..100).map(|i| vec![0xee; 40 + i]).collect();
        events.iter().for_each(|event| filler.push(event));
        filler.flush();
        let batch = emptier.full.recv().unwrap();
        assert!(batch.events().eq(events.iter().map(Vec::as_slice)));
    }

    #[test]
    fn a_full_queue_does_not_block() {
        let (mut filler, emptier) = queue();
        let mut handed_on = 0;
        loop {
            filler.push(&[0xee; 40]);
            if !filler.offer() {
                break;
            }
            handed_on += 1;
        }
        assert_eq!(handed_on, BATCHES);
        let batch = emptier.full.recv().unwrap();
        emptier.recycle(batch);
        assert!(filler.offer(), "there is room again, and the batch was kept");
    }

    #[test]
    fn a_large_batch_is_full() {
        let (mut filler, _emptier) = queue();
        assert!(!filler.is_full());
        filler.push(&vec![0xee; BATCH_BYTES]);
        assert!(filler.is_full());
    }

    #[test]
    fn nothing_is_handed_on_for_nothing() {
        let (mut filler, emptier) = queue();
        filler.flush();
        assert!(filler.offer());
        assert!(emptier.full.try_recv().is_err());
    }
}
