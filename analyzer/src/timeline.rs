//! Puts what the parsers finish into the order of the listing: by time of the first byte.
//!
//! Exchanges begin and end out of order across connections, so a finished one is held while an
//! earlier one is not finished. That bounds what is held by what happens during the longest open
//! exchange or stream; bodies are not in it unless they were asked for.
//!
//! Something can still begin before what was recorded last, since a record is made when a call
//! returns and a sent message begins when it was entered. So a finished exchange is also held
//! until the capture is `SETTLE_NS` past its beginning. A call that blocks for longer than that
//! and carries the first byte of a request is listed late, and counted.

use std::collections::BTreeMap;

use crate::exchange::Item;

/// How long a call may block before its request can be listed late: 10 seconds.
const SETTLE_NS: u64 = 10_000_000_000;

/// The place of something that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    first_ns: u64,
    serial: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// What began, in order; `None` is not finished.
    entries: BTreeMap<Ticket, Option<Item>>,
    serial: u64,
    now_ns: u64,
    released_ns: u64,
    late: u64,
}

impl Timeline {
    /// Something began.
    pub(crate) fn open(&mut self, first_ns: u64) -> Ticket {
        self.serial += 1;
        let ticket = Ticket { first_ns, serial: self.serial };
        self.entries.insert(ticket, None);
        ticket
    }

    /// It is finished.
    pub(crate) fn close(&mut self, ticket: Ticket, item: Item) {
        self.entries.insert(ticket, Some(item));
    }

    /// It turned out to be nothing that is listed.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.entries.remove(&ticket);
    }

    /// The capture has come to this time.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// The next item of the listing, if it is certain which one that is. `at_end` says that
    /// nothing more will begin.
    pub(crate) fn release(&mut self, at_end: bool) -> Option<Item> {
        let first = self.entries.first_entry()?;
        let first_ns = first.key().first_ns;
        if first.get().is_none() || (!at_end && first_ns.saturating_add(SETTLE_NS) > self.now_ns) {
            return None;
        }
        self.late += u64::from(first_ns < self.released_ns);
        self.released_ns = self.released_ns.max(first_ns);
        first.remove()
    }

    /// How many items were listed after one that began later.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Stream;

    fn item(first_ns: u64) -> Item {
        Item::Stream(Box::new(Stream::new(&Default::default(), first_ns, false)))
    }

    fn released(timeline: &mut Timeline, at_end: bool) -> Vec<u64> {
        let times = std::iter::from_fn(|| timeline.release(at_end));
        times
            .map(|item| match item {
                Item::Stream(stream) => stream.first_ns,
                Item::Exchange(_) => unreachable!(),
            })
            .collect()
    }

    #[test]
    fn an_unfinished_one_holds_later_ones_back() {
        let mut timeline = Timeline::default();
        let (a, b, c) = (timeline.open(20), timeline.open(10), timeline.open(30));
        timeline.advance(1 << 60);
        timeline.close(c, item(30));
        timeline.close(a, item(20));
        assert_eq!(released(&mut timeline, false), [0u64; 0]);
        timeline.cancel(b);
        assert_eq!(released(&mut timeline, false), [20, 30]);
        assert_eq!(timeline.late(), 0);
    }

    #[test]
    fn what_began_earlier_but_was_recorded_later_is_in_order() {
        let mut timeline = Timeline::default();
        let first = timeline.open(SETTLE_NS);
        timeline.close(first, item(SETTLE_NS));
        timeline.advance(2 * SETTLE_NS - 1);
        assert_eq!(released(&mut timeline, false), [0u64; 0]);
        let blocked = timeline.open(SETTLE_NS / 2);
        timeline.close(blocked, item(SETTLE_NS / 2));
        assert_eq!(released(&mut timeline, true), [SETTLE_NS / 2, SETTLE_NS]);
        let late = timeline.open(1);
        timeline.close(late, item(1));
        assert_eq!(released(&mut timeline, true), [1]);
        assert_eq!(timeline.late(), 1);
    }
}
