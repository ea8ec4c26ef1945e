//! Collects the parsers' reports on items: begun, finished, or cancelled.
//!
//! Reports are stored as steps, in order. [`Order`](crate::pipeline::order::Order) interprets them
//! for the listing, perhaps in another thread: so no result is returned to the parsers.

use std::sync::Arc;

use crate::exchange::{ConnectionInfo, Item, SharedConnection};

/// The place of a begun item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    first_ns: u64,
    serial: u64,
}

impl Ticket {
    /// Returns the start time.
    pub(crate) fn first_ns(self) -> u64 {
        self.first_ns
    }
}

/// A report.
#[derive(Debug)]
pub(crate) enum Step {
    /// An item began.
    Open(Ticket),
    /// The item is finished. The receiver leaves the parts of the item that it does not need.
    Close(Ticket, Option<Item>),
    /// The item will not be listed.
    Cancel(Ticket),
    /// New facts about a connection, valid for the following steps.
    Learn(SharedConnection, Arc<ConnectionInfo>),
    /// The time that the capture has reached; items that are certain can be listed. It follows each
    /// record.
    Now(u64),
}

/// Collects the begins and ends of items for the listing.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    steps: Vec<Step>,
    /// Consumed steps, with the unneeded parts of their items. Each finished item frees one of
    /// them: an allocator is fastest if memory is freed shortly before it is allocated again.
    taken: Vec<Step>,
    /// Memory of the items in `taken`.
    bytes: usize,
    serial: u64,
    now_ns: u64,
}

impl Timeline {
    /// Adds the begin of an item.
    pub(crate) fn open(&mut self, first_ns: u64) -> Ticket {
        self.serial += 1;
        let ticket = Ticket { first_ns, serial: self.serial };
        self.steps.push(Step::Open(ticket));
        ticket
    }

    /// Adds the end of an item.
    pub(crate) fn close(&mut self, ticket: Ticket, item: Item) {
        self.bytes += item.memory_bytes();
        self.steps.push(Step::Close(ticket, Some(item)));
        self.let_go();
    }

    /// Frees the memory of a consumed item.
    fn let_go(&mut self) {
        while let Some(step) = self.taken.pop() {
            if let Step::Close(_, Some(_)) = step {
                return;
            }
        }
    }

    /// Cancels an item that will not be listed.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.steps.push(Step::Cancel(ticket));
    }

    /// Adds new facts about a connection.
    pub(crate) fn learn(&mut self, connection: &SharedConnection, info: ConnectionInfo) {
        let info = Arc::new(info);
        connection.learn(Arc::clone(&info));
        self.steps.push(Step::Learn(connection.clone(), info));
    }

    /// Sets the time that the capture has reached.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Ends the steps of a record.
    pub(crate) fn end_record(&mut self) {
        match self.steps.last_mut() {
            // No step lies between the two times.
            Some(Step::Now(now_ns)) => *now_ns = self.now_ns,
            _ => self.steps.push(Step::Now(self.now_ns)),
        }
    }

    /// Returns the steps, to be consumed.
    pub(crate) fn steps(&mut self) -> &mut Vec<Step> {
        &mut self.steps
    }

    /// Returns the number of steps, and the approximate memory of their items.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.steps.len(), self.bytes)
    }

    /// Returns all steps, in exchange for consumed steps.
    pub(crate) fn swap(&mut self, taken: Vec<Step>) -> Vec<Step> {
        self.bytes = 0;
        let mut empty = std::mem::replace(&mut self.taken, taken);
        empty.clear();
        std::mem::replace(&mut self.steps, empty)
    }
}
