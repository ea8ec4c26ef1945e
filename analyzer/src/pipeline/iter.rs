//! A capture as an iterator, for programs that use this library.
//!
//! Reading has a thread of its own; parsing runs in the thread that uses the iterator.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sslrec_formats::io::Error;

use super::assembler::{Assembler, ItemSink, Options, Summary};
use crate::budget::Limits;
use crate::exchange::{Exchange, Item};
use crate::input::{Ahead, Flow, Input};

/// A capture of known kind, about to be read.
///
/// See the [crate's documentation](crate) for an example.
pub struct Capture {
    input: Input<'static>,
    options: Options,
}

impl Capture {
    /// Opens a capture file: a raw log, a pcapng or a pcap, also compressed by gzip or zstd.
    ///
    /// # Errors
    /// The file cannot be read, or is of no known kind.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::from_reader(File::open(path)?)
    }

    /// Opens a capture from any reader. It is read in another thread.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn from_reader(reader: impl Read + Send + 'static) -> Result<Self, Error> {
        Ok(Self { input: Input::open(reader)?, options: Options::default() })
    }

    /// Keeps the contents of messages ([`Body::data`](crate::exchange::Body)) and streams. By
    /// default they are only counted.
    pub fn with_bodies(mut self) -> Self {
        self.options.bodies = true;
        self
    }

    /// Returns both ends of a connection if both were recorded. By default only the client's end is
    /// returned.
    pub fn with_both_ends(mut self) -> Self {
        self.options.both_ends = true;
        self
    }

    /// Limits memory and decoded output otherwise than by default.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Iterates over requests with their responses, by time of the first byte.
    pub fn exchanges(self) -> Exchanges {
        Exchanges(self.items())
    }

    /// Iterates over all items, those that are not HTTP and TLS handshakes included: the lines of
    /// the JSON listing.
    pub fn items(self) -> Items {
        let plaintext = self.input.kind().is_foreign();
        let assembler = Assembler::new(Options { plaintext, ..self.options }, Finished::default());
        let input = self.input.with_budget(assembler.budget());
        match Ahead::new(input) {
            Ok(ahead) => Items::new(Some((ahead, assembler)), None),
            Err(error) => Items::new(None, Some(error.into())),
        }
    }
}

/// Finished items that were not returned yet. They are the items that a single record finished.
#[derive(Debug, Default)]
struct Finished(VecDeque<Item>);

impl ItemSink for Finished {
    fn item(&mut self, item: Item) -> Flow {
        self.0.push_back(item);
        Flow::Continue(())
    }
}

/// Iterates over the items of a capture.
///
/// An error is the last element: the elements before it come from before the damage.
pub struct Items {
    /// The reader and the assembler, until the end.
    reading: Option<(Ahead, Assembler<Finished>)>,
    rest: VecDeque<Item>,
    failure: Option<Error>,
    summary: Option<Summary>,
}

impl Items {
    fn new(reading: Option<(Ahead, Assembler<Finished>)>, failure: Option<Error>) -> Self {
        Self { reading, rest: VecDeque::new(), failure, summary: None }
    }

    /// Returns the totals of the capture, once the iteration is complete.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref().filter(|_| self.rest.is_empty())
    }

    /// Ends the reading.
    fn end(&mut self, ahead: Ahead, assembler: Assembler<Finished>) {
        match ahead.finish() {
            Ok(outcome) => {
                let is_whole = outcome.damage.is_none();
                self.failure = outcome.damage;
                match assembler.finish(outcome.start_ns, is_whole) {
                    Ok((mut summary, finished)) => {
                        summary.notes.extend(outcome.notes);
                        self.rest = finished.0;
                        self.summary = Some(summary);
                    }
                    Err(error) => self.failure = Some(io::Error::other(error).into()),
                }
            }
            Err(error) => self.failure = Some(error),
        }
    }
}

impl Iterator for Items {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((mut ahead, mut assembler)) = self.reading.take() {
            let item = assembler.lister().and_then(|finished| finished.0.pop_front());
            if item.is_some() || ahead.step(&mut assembler).is_some() {
                self.reading = Some((ahead, assembler));
                match item {
                    Some(item) => return Some(Ok(item)),
                    None => continue,
                }
            }
            self.end(ahead, assembler);
        }
        self.rest.pop_front().map(Ok).or_else(|| self.failure.take().map(Err))
    }
}

/// Iterates over the exchanges of a capture; see [`Items`].
pub struct Exchanges(Items);

impl Exchanges {
    /// Returns the totals of the capture, once the iteration is complete.
    pub fn summary(&self) -> Option<&Summary> {
        self.0.summary()
    }
}

impl Iterator for Exchanges {
    type Item = Result<Exchange, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|item| match item {
            Ok(Item::Exchange(exchange)) => Some(Ok(*exchange)),
            Ok(Item::Stream(_) | Item::Handshake(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}
