//! Puts what the parsers finish into the order of the listing: by time of the first byte.
//!
//! Exchanges begin and end out of order across connections, so a finished one is held while an
//! earlier one is not finished. What is held is bounded: beyond `MAX_WAITING` bytes, the earliest
//! finished ones are listed although something earlier is still open, or can still turn up; that
//! is then listed late, and counted. One idle connection can last as long as the capture, and a
//! busy server finishes a million exchanges in ten seconds; neither must hold all in memory.
//!
//! Something can still begin before what was recorded last, since a record is made when a call
//! returns and a sent message begins when it was entered. So a finished exchange is also held
//! until the capture is `SETTLE_NS` past its beginning. A call that blocks for longer than that
//! and carries the first byte of a request is listed late, and counted. So is the handshake of a
//! connection that is not used for longer than that (see [`crate::handshakes`]).
//!
//! What moves the time on is what both of sslrec's files hold at the same place: not descriptions
//! and handshakes, which a pcapng has later. So either file gives the same order.

use std::collections::{BTreeMap, BTreeSet};

use crate::exchange::{Exchange, Handshake, Interim, Item, Message, Stream};

/// How long a call may block before its request can be listed late: 10 seconds.
const SETTLE_NS: u64 = 10_000_000_000;

/// How many bytes of finished items are held, about: some ten thousand exchanges without bodies.
pub(crate) const MAX_WAITING: usize = 48 << 20;

/// The place of something that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    first_ns: u64,
    serial: u64,
}

impl Ticket {
    /// When it began.
    pub(crate) fn first_ns(self) -> u64 {
        self.first_ns
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// What began and is not finished.
    open: BTreeSet<Ticket>,
    /// What is finished and not listed, with its size.
    waiting: BTreeMap<Ticket, (Item, usize)>,
    waiting_bytes: usize,
    serial: u64,
    now_ns: u64,
    released_ns: u64,
    /// Nothing waits for what is not finished.
    as_finished: bool,
    late: u64,
    overflowed: bool,
}

impl Timeline {
    /// One that lists by time of the first byte, or `as_finished`.
    pub(crate) fn new(as_finished: bool) -> Self {
        Self { as_finished, ..Self::default() }
    }

    /// Something began.
    pub(crate) fn open(&mut self, first_ns: u64) -> Ticket {
        self.serial += 1;
        let ticket = Ticket { first_ns, serial: self.serial };
        self.open.insert(ticket);
        ticket
    }

    /// It is finished.
    pub(crate) fn close(&mut self, ticket: Ticket, item: Item) {
        self.open.remove(&ticket);
        let len = memory_bytes(&item);
        self.waiting_bytes = self.waiting_bytes.saturating_add(len);
        self.waiting.insert(ticket, (item, len));
    }

    /// It turned out to be nothing that is listed.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }

    /// The capture has come to this time.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// The next item of the listing, if it is certain which one that is or too much waits.
    /// `at_end` says that nothing more will begin.
    pub(crate) fn release(&mut self, at_end: bool) -> Option<Item> {
        let first = self.waiting.first_entry()?;
        let first_ns = first.key().first_ns;
        let settled = at_end || first_ns.saturating_add(SETTLE_NS) <= self.now_ns;
        let is_next = self.open.first().is_none_or(|open| open > first.key());
        if !(self.as_finished || settled && is_next) {
            if self.waiting_bytes <= MAX_WAITING {
                return None;
            }
            self.overflowed |= !is_next;
        }
        let (item, len) = first.remove();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(len);
        self.late += u64::from(!self.as_finished && first_ns < self.released_ns);
        self.released_ns = self.released_ns.max(first_ns);
        Some(item)
    }

    /// How many items were listed after one that began later.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// Items were listed before one that was known to be earlier and was not finished.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }
}

/// About how much memory an item takes.
fn memory_bytes(item: &Item) -> usize {
    let held = |data: &Option<Vec<u8>>| data.as_ref().map_or(0, Vec::capacity);
    let message = |message: &Message| {
        let fields = message.headers.memory_bytes() + message.trailers.memory_bytes();
        fields + held(&message.body.data)
    };
    match item {
        Item::Exchange(exchange) => {
            let request = exchange.request.as_ref();
            let interim = exchange.interim.iter();
            size_of::<Exchange>()
                + request
                    .map_or(0, |r| r.target.as_ref().map_or(0, Vec::capacity) + message(&r.message))
                + interim.map(|i| size_of::<Interim>() + i.headers.memory_bytes()).sum::<usize>()
                + exchange.response.as_ref().map_or(0, |r| message(&r.message))
                + exchange.carried.as_ref().map_or(0, |carried| carried.memory_bytes())
        }
        Item::Stream(stream) => {
            size_of::<Stream>() + held(&stream.sent.data) + held(&stream.received.data)
        }
        Item::Handshake(handshake) => size_of::<Handshake>() + handshake.func.len(),
    }
}

#[cfg(test)]
mod tests {
    use sslrec_formats::record::Direction;

    use super::*;

    fn item(first_ns: u64) -> Item {
        Item::Stream(Box::new(Stream::new(&Default::default(), first_ns, false)))
    }

    fn released(timeline: &mut Timeline, at_end: bool) -> Vec<u64> {
        let times = std::iter::from_fn(|| timeline.release(at_end));
        times
            .map(|item| match item {
                Item::Stream(stream) => stream.first_ns,
                other => unreachable!("{other:?}"),
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
    fn as_finished_nothing_waits_and_nothing_is_late() {
        let mut timeline = Timeline::new(true);
        let (early, late) = (timeline.open(10), timeline.open(20));
        timeline.close(late, item(20));
        assert_eq!(released(&mut timeline, false), [20]);
        timeline.close(early, item(10));
        assert_eq!(released(&mut timeline, false), [10]);
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

    #[test]
    fn what_waits_for_an_open_connection_is_bounded() {
        let mut timeline = Timeline::default();
        let open = timeline.open(1);
        let large = |first_ns| {
            let mut stream = Stream::new(&Default::default(), first_ns, true);
            stream.push(Direction::Sent, &vec![0; 1 << 20], first_ns);
            Item::Stream(Box::new(stream))
        };
        let mut seen = Vec::new();
        for first_ns in 2..600 {
            let ticket = timeline.open(first_ns);
            timeline.close(ticket, large(first_ns));
            seen.extend(released(&mut timeline, false));
        }
        assert!(!timeline.waiting.is_empty() && timeline.waiting_bytes <= MAX_WAITING);
        assert!(timeline.overflowed() && seen[0] == 2, "{seen:?}");
        assert_eq!(timeline.late(), 0);
        timeline.close(open, item(1));
        seen.extend(released(&mut timeline, true));
        assert_eq!(timeline.late(), 1);
        assert_eq!((seen.len(), timeline.waiting_bytes), (599, 0));
    }
}
