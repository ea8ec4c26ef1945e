//! The memory and the decoded output that the analysis of one capture may take.
//!
//! A peer can send little that takes much: a head of references, a bomb, a million connections. So
//! everything that grows with what a peer sends is counted towards one [`Budget`], by a [`Charge`]
//! beside the thing itself, which gives the bytes back when the thing is dropped. A charge that is
//! refused means that the holder cuts, lists or forgets something, and adds a note.
//!
//! Each [`Share`] has its own part of the memory, so that none starves another and none depends on
//! how far another thread has come. What is left (3/16) is for what has a constant bound: finished
//! items that wait for their turn, batches between threads, buffers of outputs.
//!
//! Counting is approximate: lengths, and a flat price for what has a fixed size.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The most that waits for its turn.
const MAX_WAITING: usize = 48 << 20;

/// Limits of the analysis of one capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, about. Contents beyond the limit are cut, which a note states.
    pub max_memory: u64,
    /// Bytes that contents are decoded to, all items together. Contents beyond the limit stay as
    /// they were sent, which a note states.
    pub max_decoded: u64,
}

impl Limits {
    /// 512 MiB of memory, 4 GiB of decoded contents.
    pub const DEFAULT: Self = Self { max_memory: 512 << 20, max_decoded: 4 << 30 };

    /// How many bytes of finished items wait for their turn, about: 3/32 of the memory, and no more
    /// than some ten thousand exchanges without bodies take.
    pub(crate) fn max_waiting(self) -> usize {
        let part = usize::try_from(self.max_memory / 32 * 3).unwrap_or(usize::MAX);
        part.min(MAX_WAITING)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What bytes are held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Contents and heads of messages, and segments that wait for others: 6/16 of the memory.
    Contents,
    /// Open connections: 4/16.
    Connections,
    /// Contents that are decoded for an output: 3/16.
    Decoded,
}

impl Share {
    const ALL: usize = 3;

    fn sixteenths(self) -> usize {
        match self {
            Share::Contents => 6,
            Share::Connections => 4,
            Share::Decoded => 3,
        }
    }
}

/// The place where decoding ended, since the budget for decoded output was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodingEnded {
    /// Connection of the first exchange that was not decoded completely.
    pub conn: u64,
    /// Number of the exchange on the connection.
    pub stream: u64,
    /// The limit.
    pub max_decoded: u64,
}

/// An account of the memory and the decoded output of one capture. Clones share the account.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    max_memory: usize,
    max_decoded: u64,
    /// By share.
    held: [AtomicUsize; Share::ALL],
    decoded: AtomicU64,
    ended: OnceLock<DecodingEnded>,
}

impl Budget {
    /// An account on which nothing is held.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Account {
            max_memory: usize::try_from(limits.max_memory).unwrap_or(usize::MAX),
            max_decoded: limits.max_decoded,
            held: Default::default(),
            decoded: AtomicU64::new(0),
            ended: OnceLock::new(),
        }))
    }

    /// Where decoding ended; `None` if the budget was enough.
    pub fn decoding_ended(&self) -> Option<DecodingEnded> {
        self.0.ended.get().copied()
    }

    /// A charge of no bytes yet.
    pub(crate) fn charge(&self, share: Share) -> Charge {
        Charge { account: Some((self.clone(), share)), bytes: 0 }
    }

    /// The longest part of the contents that is processed as a whole where an output can make
    /// several times as much of it: an event, a message, a text in another character set.
    pub(crate) fn max_part(&self) -> usize {
        self.0.max_memory / 16
    }

    /// How many more bytes may be decoded.
    pub(crate) fn decoded_left(&self) -> u64 {
        self.0.max_decoded.saturating_sub(self.0.decoded.load(Ordering::Relaxed))
    }

    /// The limit of decoded output.
    pub(crate) fn max_decoded(&self) -> u64 {
        self.0.max_decoded
    }

    /// So many bytes were decoded.
    pub(crate) fn count_decoded(&self, bytes: usize) {
        self.0.decoded.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The exchange was not decoded completely, since nothing was left. The first call counts.
    pub(crate) fn end_decoding(&self, conn: u64, stream: u64) {
        let max_decoded = self.0.max_decoded;
        self.0.ended.get_or_init(|| DecodingEnded { conn, stream, max_decoded });
    }

    fn limit(&self, share: Share) -> usize {
        self.0.max_memory / 16 * share.sixteenths()
    }

    fn held(&self, share: Share) -> &AtomicUsize {
        &self.0.held[share as usize]
    }
}

/// Bytes that are held, counted towards a budget until this is dropped. Without a budget nothing is
/// counted, and nothing refused.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    account: Option<(Budget, Share)>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn budget(&self) -> Option<&Budget> {
        self.account.as_ref().map(|(budget, _)| budget)
    }

    /// Counts so many bytes more. Returns whether they may be held; if not, none are counted.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Some((budget, share)) = &self.account else { return true };
        let limit = budget.limit(*share);
        let more = |held: usize| held.checked_add(bytes).filter(|&sum| sum <= limit);
        let held = budget.held(*share);
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }

    /// How many bytes are counted.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts up to so many bytes more, as many as there is room for. Returns how many.
    pub(crate) fn grow_up_to(&mut self, bytes: usize) -> usize {
        if self.grow(bytes) {
            return bytes;
        }
        let Some((budget, share)) = &self.account else { return bytes };
        let held = budget.held(*share).load(Ordering::Relaxed);
        let room = budget.limit(*share).saturating_sub(held).min(bytes);
        // Another thread may have been faster; then there is no room.
        if self.grow(room) { room } else { 0 }
    }

    /// Counts so many bytes whether or not there is room: they are held already.
    pub(crate) fn force(&mut self, bytes: usize) {
        let Some((budget, share)) = &self.account else { return };
        budget.held(*share).fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    /// Counts so many bytes in place of those so far: they are held already.
    pub(crate) fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.force(more),
            None => self.shrink(self.bytes - bytes),
        }
    }

    /// So many bytes are not held any more.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let Some((budget, share)) = &self.account else { return };
        let bytes = bytes.min(self.bytes);
        budget.held(*share).fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Clone for Charge {
    /// The copy of a thing is held as well.
    fn clone(&self) -> Self {
        let mut charge = Self { account: self.account.clone(), bytes: 0 };
        charge.force(self.bytes);
        charge
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// Whether contents are kept, or counted only, and what they count towards.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    pub(crate) contents: bool,
    pub(crate) budget: Budget,
}

impl Keep {
    /// A charge for contents; `None` if they are not kept.
    pub(crate) fn charge(&self) -> Option<Charge> {
        self.contents.then(|| self.budget.charge(Share::Contents))
    }
}

#[cfg(test)]
impl Keep {
    /// Contents are kept or not, within the default limits.
    pub(crate) fn of(contents: bool) -> Self {
        Self { contents, budget: Budget::new(Limits::DEFAULT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max_memory: u64) -> Budget {
        Budget::new(Limits { max_memory, max_decoded: 100 })
    }

    #[test]
    fn each_share_ends_at_its_part_of_the_memory() {
        let budget = budget(1600);
        for (share, limit) in
            [(Share::Contents, 600), (Share::Connections, 400), (Share::Decoded, 300)]
        {
            let mut charge = budget.charge(share);
            assert!(charge.grow(limit - 1) && !charge.grow(2) && charge.grow(1));
            assert!(!charge.grow(1) && !charge.grow(usize::MAX));
            charge.shrink(40);
            assert!(!charge.grow(41) && charge.grow(40));
            assert_eq!(charge.bytes, limit);
            // The next share is empty while this one is full.
            std::mem::forget(charge);
        }
        assert_eq!(budget.max_part(), 100);
    }

    #[test]
    fn what_waits_is_a_part_of_the_memory_up_to_a_constant() {
        let waiting = |max_memory| Limits { max_memory, max_decoded: 0 }.max_waiting();
        assert_eq!(waiting(320), 30);
        assert_eq!(waiting(512 << 20), 48 << 20);
        assert_eq!(waiting(u64::MAX), 48 << 20);
        assert_eq!(Limits::default(), Limits { max_memory: 1 << 29, max_decoded: 1 << 32 });
    }

    #[test]
    fn a_dropped_charge_gives_its_bytes_back_once() {
        let budget = budget(1600);
        let held = || budget.held(Share::Contents).load(Ordering::Relaxed);
        let mut charge = budget.charge(Share::Contents);
        assert!(charge.grow(100));
        let copy = charge.clone();
        assert_eq!((held(), copy.bytes), (200, 100));
        drop(copy);
        assert_eq!(held(), 100);
        charge.shrink(1000);
        assert_eq!((held(), charge.bytes), (0, 0));
        charge.force(1000);
        assert_eq!((held(), charge.bytes), (1000, 1000));
        for bytes in [7, 7, 900, 1000] {
            charge.set(bytes);
            assert_eq!((held(), charge.bytes), (bytes, bytes));
        }
        drop(charge);
        assert_eq!(held(), 0);
    }

    #[test]
    fn a_part_is_counted_where_not_all_fits() {
        let budget = budget(1600);
        let mut charge = budget.charge(Share::Contents);
        assert_eq!(charge.grow_up_to(450), 450);
        assert_eq!(charge.grow_up_to(450), 150);
        assert_eq!(charge.grow_up_to(450), 0);
        assert_eq!(charge.bytes, 600);
    }

    #[test]
    fn without_a_budget_nothing_is_refused() {
        let mut charge = Charge::default();
        assert!(charge.grow(usize::MAX) && charge.budget().is_none());
        assert_eq!(charge.grow_up_to(7), 7);
        charge.force(5);
        charge.shrink(1);
        assert_eq!(charge.bytes, 0);
        assert!(budget(400).charge(Share::Decoded).budget().is_some());
    }

    #[test]
    fn decoding_ends_once_and_where_it_ended_first() {
        let budget = budget(400);
        budget.count_decoded(99);
        assert_eq!((budget.decoded_left(), budget.decoding_ended()), (1, None));
        budget.count_decoded(9);
        assert_eq!(budget.decoded_left(), 0);
        budget.end_decoding(3, 5);
        budget.end_decoding(4, 1);
        let ended = DecodingEnded { conn: 3, stream: 5, max_decoded: 100 };
        assert_eq!(budget.decoding_ended(), Some(ended));
        assert_eq!(budget.max_decoded(), 100);
    }

    #[test]
    fn only_contents_that_are_kept_have_a_charge() {
        let keep = |contents| Keep { contents, budget: budget(400) };
        assert!(keep(true).charge().is_some());
        assert!(keep(false).charge().is_none());
    }
}
