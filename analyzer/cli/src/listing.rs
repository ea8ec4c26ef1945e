//! Writes the items that match the filter to an [`Output`].

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

/// Start of the message for a failed output.
pub(crate) const CANNOT_WRITE: &str = "cannot write the listing";

/// Writes items in the order of the listing.
pub(crate) struct Listing {
    pub(crate) filter: Option<Filter>,
    /// Undo content codings.
    pub(crate) decode: bool,
    /// List handshakes if there is no filter.
    pub(crate) handshakes: bool,
    pub(crate) output: Box<dyn Output + Send>,
    /// Number of items written.
    pub(crate) listed: u64,
    /// Flush each item, because somebody may be watching through a pipe.
    pub(crate) live: bool,
}

/// An item, or its prepared line, until its turn in the listing.
#[derive(Debug)]
pub(crate) enum Held {
    /// The item.
    Item(Item),
    /// Its line, almost complete. A line takes less memory than the item. It is made while the item
    /// is still in the processor's cache, when the item ends and not when its turn comes.
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
        // Without a filter the codings were undone earlier.
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
        // The filter may use data of the connection that is still unknown.
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
