//! The listing: what the filter lets through of the items, to an [`Output`].

use std::io;

use sslrec_analyzer::capture::{Holding, Lister};
use sslrec_analyzer::coding;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::Filter;

use crate::output::{Output, Prepared};

/// Writes items when their turn comes.
pub(crate) struct Listing {
    pub(crate) filter: Option<Filter>,
    /// Undo content codings.
    pub(crate) decode: bool,
    /// List handshakes where no filter says which.
    pub(crate) handshakes: bool,
    pub(crate) output: Box<dyn Output + Send>,
    /// Items that were written.
    pub(crate) listed: u64,
    /// The first failure to write; nothing is written after it.
    pub(crate) failure: Option<io::Error>,
    /// Somebody may be watching what comes through a pipe.
    pub(crate) live: bool,
}

/// What waits for its turn.
#[derive(Debug)]
pub(crate) enum Held {
    /// The item.
    Item(Item),
    /// Its line, of which little is missing. It takes less memory, and what it is made of is at
    /// hand, in the processor's cache, when an item is finished and not when its turn comes.
    Line(Prepared),
}

impl Listing {
    pub(crate) fn attempt<T: Default>(
        &mut self,
        write: impl FnOnce(&mut dyn Output) -> io::Result<T>,
    ) -> T {
        if self.failure.is_some() {
            return T::default();
        }
        write(self.output.as_mut()).unwrap_or_else(|error| {
            self.failure = Some(error);
            T::default()
        })
    }

    fn wants(&self, item: &Item) -> bool {
        match &self.filter {
            Some(filter) => filter.matches(item),
            None => self.handshakes || !matches!(item, Item::Handshake(_)),
        }
    }

    fn undo_codings(&self, item: &mut Item) {
        if let Item::Exchange(exchange) = item
            && self.decode
        {
            coding::undo(exchange);
        }
    }

    fn list_item(&mut self, mut item: Item, id: u64) {
        item.refresh();
        if let Item::Exchange(exchange) = &mut item {
            exchange.id = id;
        }
        if self.wants(&item) {
            self.listed += 1;
            // Where there is no filter, they were undone before.
            if self.filter.is_some() {
                self.undo_codings(&mut item);
            }
            self.attempt(|output| output.item(&item));
        }
    }
}

impl Lister for Listing {
    type Held = Held;

    fn hold(&mut self, mut item: Item) -> Holding<Held> {
        // A filter may ask for what is not known of the connection yet.
        if self.filter.is_none() {
            self.undo_codings(&mut item);
            if let Some(line) = self.attempt(|output| output.prepare(&item)) {
                let bytes = line.memory_bytes();
                return Holding { held: Held::Line(line), bytes, rest: Some(item) };
            }
        }
        Holding { bytes: item.memory_bytes(), held: Held::Item(item), rest: None }
    }

    fn list(&mut self, held: Held, id: u64) {
        match held {
            Held::Item(item) => self.list_item(item, id),
            Held::Line(line) => {
                self.listed += 1;
                self.attempt(|output| output.prepared(line, id));
            }
        }
        if self.live {
            self.attempt(|output| output.flush());
        }
    }

    fn is_done(&self) -> bool {
        self.failure.is_some()
    }
}
