//! Puts finished items into the order of the listing: by time of the first byte.
//!
//! Exchanges begin and end out of order across connections, so a finished exchange is held while an
//! earlier exchange is unfinished. The memory of held items is bounded: beyond `max_waiting` bytes,
//! the earliest finished items are listed although an earlier item is unfinished, or can still
//! appear. The earlier item is then listed late, and counted. An idle connection can last as long
//! as the capture, and a busy server finishes a million exchanges in ten seconds; neither may hold
//! all items in memory.
//!
//! An item can still begin before the last record, since a record is made when a call returns,
//! while a sent message begins when the call was entered. So a finished exchange is also held until
//! the capture is `SETTLE_NS` past its beginning. A call that blocks for longer and carries the
//! first byte of a request is listed late, and counted. So is the handshake of a connection that
//! stays unused for longer (see `handshakes`).
//!
//! The time advances only with records that both files of sslrec contain at the same place.
//! Descriptions and handshakes, which a pcapng contains later, do not count. So either file has the
//! same order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::ControlFlow;

use crate::exchange::Item;
use crate::sink::{Failure, Flow, Stop};
use crate::timeline::{Step, Ticket};

/// How long a call may block before its request can be listed late: 10 seconds.
const SETTLE_NS: u64 = 10_000_000_000;

/// Lists items. After a method has returned `Break`, none is called again.
pub trait Lister {
    /// The part of an item that is held until its turn.
    type Held: Debug;

    /// Processes a finished item.
    fn hold(&mut self, item: Item) -> ControlFlow<Stop, Holding<Self::Held>>;

    /// Lists an item at its turn. An exchange has the number `id`.
    fn list(&mut self, held: Self::Held, id: u64) -> Flow;
}

/// The result of holding a finished item.
#[derive(Debug)]
pub struct Holding<H> {
    /// The part that is held.
    pub held: H,
    /// Its approximate memory in bytes.
    pub bytes: usize,
    /// The parts of the item that are no longer needed.
    pub rest: Option<Item>,
}

/// Numbers of listed items.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) exchanges: u64,
    pub(crate) streams: u64,
    pub(crate) handshakes: u64,
    /// Exchanges and streams that are not complete.
    pub(crate) incomplete: u64,
    /// Items listed after an item that began later.
    pub(crate) late: u64,
    /// Items were listed although a known earlier item was unfinished.
    pub(crate) overflowed: bool,
}

/// A finished item that is not listed yet.
#[derive(Debug)]
struct Waiting<H> {
    held: H,
    bytes: usize,
    is_exchange: bool,
}

/// Passes finished items on in the order of their first byte.
#[derive(Debug)]
pub(crate) struct Order<L: Lister> {
    /// Items that began and are unfinished.
    open: BTreeSet<Ticket>,
    waiting: BTreeMap<Ticket, Waiting<L::Held>>,
    waiting_bytes: usize,
    now_ns: u64,
    released_ns: u64,
    /// How many bytes of finished items are held, about.
    max_waiting: usize,
    /// Items are listed as they finish, and do not wait for others.
    as_finished: bool,
    totals: Totals,
    lister: L,
    /// The lister has stopped.
    stopped: bool,
}

impl<L: Lister> Order<L> {
    /// Creates an order by time of the first byte, or `as_finished`.
    pub(crate) fn new(as_finished: bool, max_waiting: usize, lister: L) -> Self {
        Self {
            open: BTreeSet::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            now_ns: 0,
            released_ns: 0,
            max_waiting,
            as_finished,
            totals: Totals::default(),
            lister,
            stopped: false,
        }
    }

    /// Returns the lister.
    pub(crate) fn lister(&mut self) -> &mut L {
        &mut self.lister
    }

    /// Processes steps. Unneeded parts of an item stay in its step. Does nothing once the lister
    /// has stopped.
    pub(crate) fn steps(&mut self, steps: &mut [Step]) -> Flow {
        if self.stopped {
            return Flow::Continue(());
        }
        let flow = steps.iter_mut().try_for_each(|step| self.step(step));
        self.stopped = flow.is_break();
        flow
    }

    fn step(&mut self, step: &mut Step) -> Flow {
        match step {
            Step::Open(ticket) => {
                self.open.insert(*ticket);
            }
            Step::Close(ticket, item) => {
                if let Some(closed) = item.take() {
                    *item = self.close(*ticket, closed)?;
                }
            }
            Step::Cancel(ticket) => {
                self.open.remove(ticket);
            }
            Step::Learn(connection, info) => connection.list(info.clone()),
            Step::Now(now_ns) => {
                self.now_ns = *now_ns;
                while self.release(false)? {}
            }
        }
        Flow::Continue(())
    }

    /// Lists the remaining items.
    ///
    /// # Errors
    /// The lister fails.
    pub(crate) fn finish(mut self) -> Result<(Totals, L), Failure> {
        while !self.stopped {
            match self.release(true) {
                ControlFlow::Continue(more) => self.stopped = !more,
                ControlFlow::Break(stop) => {
                    self.stopped = true;
                    stop.into_result()?;
                }
            }
        }
        Ok((self.totals, self.lister))
    }

    fn close(&mut self, ticket: Ticket, mut item: Item) -> ControlFlow<Stop, Option<Item>> {
        self.open.remove(&ticket);
        let complete = match &item {
            Item::Exchange(exchange) => exchange.complete,
            Item::Stream(stream) => {
                self.totals.streams += 1;
                stream.complete
            }
            Item::Handshake(_) => {
                self.totals.handshakes += 1;
                true
            }
        };
        self.totals.incomplete += u64::from(!complete);
        let is_exchange = matches!(item, Item::Exchange(_));
        item.refresh();
        let Holding { held, bytes, rest } = self.lister.hold(item)?;
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        self.waiting.insert(ticket, Waiting { held, bytes, is_exchange });
        ControlFlow::Continue(rest)
    }

    /// Lists the next item, if it is certain to be the next or if too many bytes wait. `at_end` is
    /// set if no more items will begin.
    fn release(&mut self, at_end: bool) -> ControlFlow<Stop, bool> {
        let Some(first) = self.waiting.first_entry() else {
            return ControlFlow::Continue(false);
        };
        let first_ns = first.key().first_ns();
        let settled = at_end || first_ns.saturating_add(SETTLE_NS) <= self.now_ns;
        let is_next = self.open.first().is_none_or(|open| open > first.key());
        if !(self.as_finished || settled && is_next) {
            if self.waiting_bytes <= self.max_waiting {
                return ControlFlow::Continue(false);
            }
            self.totals.overflowed |= !is_next;
        }
        let Waiting { held, bytes, is_exchange } = first.remove();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        self.totals.late += u64::from(!self.as_finished && first_ns < self.released_ns);
        self.released_ns = self.released_ns.max(first_ns);
        self.totals.exchanges += u64::from(is_exchange);
        self.lister.list(held, self.totals.exchanges)?;
        ControlFlow::Continue(true)
    }
}

#[cfg(test)]
mod tests {
    use sslrec_formats::record::Direction;

    use super::*;
    use crate::exchange::Stream;
    use crate::pipeline::assembler::ItemSink;
    use crate::timeline::Timeline;

    const MAX_WAITING: usize = 48 << 20;

    /// Start times of the listed items.
    #[derive(Default)]
    struct Seen(Vec<u64>);

    impl ItemSink for Seen {
        fn item(&mut self, item: Item) -> Flow {
            match item {
                Item::Stream(stream) => self.0.push(stream.first_ns),
                other => unreachable!("{other:?}"),
            }
            Flow::Continue(())
        }
    }

    fn order(as_finished: bool) -> (Timeline, Order<Seen>) {
        (Timeline::default(), Order::new(as_finished, MAX_WAITING, Seen::default()))
    }

    fn item(first_ns: u64) -> Item {
        Item::Stream(Box::new(Stream::new(&Default::default(), first_ns, false)))
    }

    /// Returns the items that are listed after all steps.
    fn listed(timeline: &mut Timeline, order: &mut Order<Seen>, at_end: bool) -> Vec<u64> {
        timeline.end_record();
        assert!(order.steps(&mut timeline.swap(Vec::new())).is_continue());
        while at_end && matches!(order.release(true), ControlFlow::Continue(true)) {}
        std::mem::take(&mut order.lister().0)
    }

    #[test]
    fn an_unfinished_item_delays_later_items() {
        let (mut timeline, mut order) = order(false);
        let (a, b, c) = (timeline.open(20), timeline.open(10), timeline.open(30));
        timeline.advance(1 << 60);
        timeline.close(c, item(30));
        timeline.close(a, item(20));
        assert_eq!(listed(&mut timeline, &mut order, false), [0u64; 0]);
        timeline.cancel(b);
        assert_eq!(listed(&mut timeline, &mut order, false), [20, 30]);
        assert_eq!(order.totals.late, 0);
    }

    #[test]
    fn as_finished_no_item_waits_or_is_late() {
        let (mut timeline, mut order) = order(true);
        let (early, late) = (timeline.open(10), timeline.open(20));
        timeline.close(late, item(20));
        assert_eq!(listed(&mut timeline, &mut order, false), [20]);
        timeline.close(early, item(10));
        assert_eq!(listed(&mut timeline, &mut order, false), [10]);
        assert_eq!(order.totals.late, 0);
    }

    #[test]
    fn items_recorded_late_are_in_order() {
        let (mut timeline, mut order) = order(false);
        let first = timeline.open(SETTLE_NS);
        timeline.close(first, item(SETTLE_NS));
        timeline.advance(2 * SETTLE_NS - 1);
        assert_eq!(listed(&mut timeline, &mut order, false), [0u64; 0]);
        let blocked = timeline.open(SETTLE_NS / 2);
        timeline.close(blocked, item(SETTLE_NS / 2));
        assert_eq!(listed(&mut timeline, &mut order, true), [SETTLE_NS / 2, SETTLE_NS]);
        let late = timeline.open(1);
        timeline.close(late, item(1));
        assert_eq!(listed(&mut timeline, &mut order, true), [1]);
        assert_eq!(order.totals.late, 1);
    }

    #[test]
    fn waiting_for_an_open_connection_is_bounded() {
        let (mut timeline, mut order) = order(false);
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
            seen.extend(listed(&mut timeline, &mut order, false));
        }
        assert!(!order.waiting.is_empty() && order.waiting_bytes <= MAX_WAITING);
        assert!(order.totals.overflowed && seen[0] == 2, "{seen:?}");
        assert_eq!(order.totals.late, 0);
        timeline.close(open, item(1));
        seen.extend(listed(&mut timeline, &mut order, true));
        assert_eq!(order.totals.late, 1);
        assert_eq!((seen.len(), order.waiting_bytes), (599, 0));
    }
}
