//! The listing: what the filter lets through of the items, to an [`Output`].

use std::io;
use std::ops::ControlFlow;

use anyhow::Context;
use sslrec_analyzer::coding;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::Filter;
use sslrec_analyzer::input::{Flow, Stop};
use sslrec_analyzer::pipeline::{Holding, Lister};

use crate::flow;
use crate::output::{Output, Prepared};

/// Begins the message if the output fails.
pub(crate) const CANNOT_WRITE: &str = "cannot write the listing";

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

    fn list_item(&mut self, mut item: Item, id: u64) -> io::Result<()> {
        item.refresh();
        if let Item::Exchange(exchange) = &mut item {
            exchange.id = id;
        }
        if !self.wants(&item) {
            return Ok(());
        }
        self.listed += 1;
        // Without a filter they were undone before.
        if self.filter.is_some() {
            self.undo_codings(&mut item);
        }
        self.output.item(&item)
    }

    fn write(&mut self, held: Held, id: u64) -> io::Result<()> {
        match held {
            Held::Item(item) => self.list_item(item, id)?,
            Held::Line(line) => {
                self.listed += 1;
                self.output.prepared(line, id)?;
            }
        }
        if self.live { self.output.flush() } else { Ok(()) }
    }
}

impl Lister for Listing {
    type Held = Held;

    fn hold(&mut self, mut item: Item) -> ControlFlow<Stop, Holding<Held>> {
        // A filter may ask for what is not known of the connection yet.
        if self.filter.is_none() {
            self.undo_codings(&mut item);
            match self.output.prepare(&item) {
                Ok(Some(line)) => {
                    let bytes = line.memory_bytes();
                    let holding = Holding { held: Held::Line(line), bytes, rest: Some(item) };
                    return ControlFlow::Continue(holding);
                }
                Ok(None) => {}
                Err(error) => {
                    return ControlFlow::Break(flow::fail(
                        anyhow::Error::new(error).context(CANNOT_WRITE),
                    ));
                }
            }
        }
        let bytes = item.memory_bytes();
        ControlFlow::Continue(Holding { bytes, held: Held::Item(item), rest: None })
    }

    fn list(&mut self, held: Held, id: u64) -> Flow {
        flow::of(self.write(held, id).context(CANNOT_WRITE))
    }
}
