//! What the parsers tell of the items that they build: that one began, that it is finished, that it
//! turned out to be nothing.
//!
//! Here it is written down as steps, in order. What they mean for the listing is up to
//! [`Order`](crate::pipeline::order::Order), which may follow in another thread: so nothing comes
//! back.

use std::sync::Arc;

use crate::exchange::{ConnectionInfo, Item, SharedConnection};

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

/// One thing that was told.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something began.
    Open(Ticket),
    /// It is finished. Who takes the item leaves what it does not need of it.
    Close(Ticket, Option<Item>),
    /// It is nothing that is listed.
    Cancel(Ticket),
    /// This is known of a connection from here on.
    Learn(SharedConnection, Arc<ConnectionInfo>),
    /// The capture has come to this time, and what is certain can be listed. After each record.
    Now(u64),
}

/// Collects the begins and ends of items for the listing.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    steps: Vec<Step>,
    /// Steps that were taken, with what was not needed of the items. Whenever another one is
    /// finished, one of these is let go: an allocator is at its best where memory is given back
    /// soon before it is asked for.
    taken: Vec<Step>,
    /// Memory that the items in them take.
    bytes: usize,
    serial: u64,
    now_ns: u64,
}

impl Timeline {
    /// Something began.
    pub(crate) fn open(&mut self, first_ns: u64) -> Ticket {
        self.serial += 1;
        let ticket = Ticket { first_ns, serial: self.serial };
        self.steps.push(Step::Open(ticket));
        ticket
    }

    /// It is finished.
    pub(crate) fn close(&mut self, ticket: Ticket, item: Item) {
        self.bytes += item.memory_bytes();
        self.steps.push(Step::Close(ticket, Some(item)));
        self.let_go();
    }

    /// Gives back the memory of an item that was taken.
    fn let_go(&mut self) {
        while let Some(step) = self.taken.pop() {
            if let Step::Close(_, Some(_)) = step {
                return;
            }
        }
    }

    /// It turned out to be nothing that is listed.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.steps.push(Step::Cancel(ticket));
    }

    /// More is known of a connection.
    pub(crate) fn learn(&mut self, connection: &SharedConnection, info: ConnectionInfo) {
        let info = Arc::new(info);
        connection.learn(Arc::clone(&info));
        self.steps.push(Step::Learn(connection.clone(), info));
    }

    /// The capture has come to this time.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// All that a record tells was told.
    pub(crate) fn end_record(&mut self) {
        match self.steps.last_mut() {
            // Nothing happened between the two.
            Some(Step::Now(now_ns)) => *now_ns = self.now_ns,
            _ => self.steps.push(Step::Now(self.now_ns)),
        }
    }

    /// The steps, to be taken out.
    pub(crate) fn steps(&mut self) -> &mut Vec<Step> {
        &mut self.steps
    }

    /// How many steps there are, and about how much memory they take.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.steps.len(), self.bytes)
    }

    /// Hands out all steps, for others that were taken.
    pub(crate) fn swap(&mut self, taken: Vec<Step>) -> Vec<Step> {
        self.bytes = 0;
        let mut empty = std::mem::replace(&mut self.taken, taken);
        empty.clear();
        std::mem::replace(&mut self.steps, empty)
    }
}
