//! Divides the work among threads.
//!
//! ```text
//!   read: files -> records  |  assemble: records -> items  |  list: items -> lines, in order
//! ```
//!
//! The bars mark where the work can be divided. Data crosses a bar in one direction, in order and
//! in batches, so that the listing does not depend on the number of threads.

use std::num::NonZeroUsize;
use std::thread;

/// Threads beside the calling thread, which always assembles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Threads {
    pub(crate) reader: bool,
    pub(crate) lister: bool,
}

impl Threads {
    /// Divides the work of a listing among `wish` threads, but no more than there are parts.
    /// Without a wish the number of processors is used: with one thread more, two would share a
    /// processor while another processor is idle.
    ///
    /// Listing is nearly half of the work, so the second thread does that.
    pub(crate) fn of_listing(wish: Option<NonZeroUsize>) -> Self {
        let count = wish.map_or_else(processors, usize::from);
        Self { reader: count > 2, lister: count > 1 }
    }

    /// Divides the work of a command that uses items in the thread that assembles them.
    pub(crate) fn of_command() -> Self {
        Self { reader: processors() > 1, lister: false }
    }

    /// Does all work in one thread, record by record, for a reader waiting for each record.
    pub(crate) fn one() -> Self {
        Self { reader: false, lister: false }
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
