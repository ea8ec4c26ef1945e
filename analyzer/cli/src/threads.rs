//! Which parts of the work have a thread of their own.
//!
//! ```text
//!   read: files -> records  |  assemble: records -> items  |  list: items -> lines, in order
//! ```
//!
//! The bars are where the work can be cut: what goes over them goes one way, in order, and in
//! batches, so that the listing is the same however many threads there are.

use std::num::NonZeroUsize;
use std::thread;

/// See the module. Assembling is done in the thread that asks for the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Threads {
    pub(crate) reader: bool,
    pub(crate) lister: bool,
}

impl Threads {
    /// For a listing: so many, but no more than there are parts. Without a wish, as many as there
    /// are processors: were there one more, two would share a processor while another one is idle.
    ///
    /// Listing is nearly half of the work. So it is what the second one does.
    pub(crate) fn of_listing(wish: Option<NonZeroUsize>) -> Self {
        let count = wish.map_or_else(processors, usize::from);
        Self { reader: count > 2, lister: count > 1 }
    }

    /// For what works on the items where they are assembled.
    pub(crate) fn of_command() -> Self {
        Self { reader: processors() > 1, lister: false }
    }

    /// All is done in one, record by record: for somebody who waits for each.
    pub(crate) fn one() -> Self {
        Self { reader: false, lister: false }
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
