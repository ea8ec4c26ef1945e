//! How many threads share the work of a listing.
//!
//! ```text
//!   read: files -> records  |  assemble: records -> items  |  list: items -> lines, in order
//! ```
//!
//! The bars are where the work can be cut: what goes over them goes one way, in order, and in
//! batches, so that the listing is the same however many threads there are. Each part is about a
//! third of the work.

use std::num::NonZeroUsize;
use std::thread;

/// As many as there are parts.
const MOST: usize = 3;

/// How many threads there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Threads(usize);

impl Threads {
    /// So many, but no more than there are parts. Without a wish, one for each part where there is
    /// more than one processor: the system has them take turns.
    pub(crate) fn new(wish: Option<NonZeroUsize>) -> Self {
        let usual =
            || if thread::available_parallelism().map_or(1, usize::from) > 1 { MOST } else { 1 };
        Self(wish.map_or_else(usual, |wish| usize::from(wish).min(MOST)))
    }

    /// All is done in one, record by record: for somebody who waits for each.
    pub(crate) fn one() -> Self {
        Self(1)
    }

    /// Reading has a thread.
    pub(crate) fn reader(self) -> bool {
        self.0 > 1
    }

    /// Listing has a thread.
    pub(crate) fn lister(self) -> bool {
        self.0 > 2
    }
}
