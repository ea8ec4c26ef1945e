//! A capture as an iterator, for programs that use this library.
//!
//! Reading happens in a thread of its own; parsing happens where the iterator is asked.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sslrec_formats::io::Error;

use super::assembler::{Assembler, ItemSink, Options, Summary};
use crate::exchange::{Exchange, Item};
use crate::input::{Ahead, Flow, Input};

/// A capture whose kind is known, about to be read.
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
    /// If it cannot be read, or is of no kind that is known.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::from_reader(File::open(path)?)
    }

    /// The same, of anything that gives bytes. They are read in another thread.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn from_reader(reader: impl Read + Send + 'static) -> Result<Self, Error> {
        Ok(Self { input: Input::open(reader)?, options: Options::default() })
    }

    /// Keeps the contents of messages ([`Body::data`](crate::exchange::Body)) and streams. By
    /// default they are counted only.
    pub fn with_bodies(mut self) -> Self {
        self.options.bodies = true;
        self
    }

    /// Gives both ends of a connection where both were recorded. By default the client's is given.
    pub fn with_both_ends(mut self) -> Self {
        self.options.both_ends = true;
        self
    }

    /// Requests with their responses, by time of the first byte.
    pub fn exchanges(self) -> Exchanges {
        Exchanges(self.items())
    }

    /// The same, and what is not HTTP, and TLS handshakes: the lines of the listing as JSON.
    pub fn items(self) -> Items {
        let plaintext = self.input.kind().is_foreign();
        let assembler = Assembler::new(Options { plaintext, ..self.options }, Finished::default());
        match Ahead::new(self.input) {
            Ok(ahead) => Items::new(Some((ahead, assembler)), None),
            Err(error) => Items::new(None, Some(error.into())),
        }
    }
}

/// Items that nobody asked for yet. No more than one record finishes.
#[derive(Debug, Default)]
struct Finished(VecDeque<Item>);

impl ItemSink for Finished {
    fn item(&mut self, item: Item) -> Flow {
        self.0.push_back(item);
        Flow::Continue(())
    }
}

/// Iterates over all that is listed of a capture.
///
/// An error is the last thing that it gives: what comes before it stands before the damage.
pub struct Items {
    /// Until the end was reached.
    reading: Option<(Ahead, Assembler<Finished>)>,
    rest: VecDeque<Item>,
    failure: Option<Error>,
    summary: Option<Summary>,
}

impl Items {
    fn new(reading: Option<(Ahead, Assembler<Finished>)>, failure: Option<Error>) -> Self {
        Self { reading, rest: VecDeque::new(), failure, summary: None }
    }

    /// Totals of the capture, once all of it was iterated over.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref().filter(|_| self.rest.is_empty())
    }

    /// All was read.
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
    /// Totals of the capture, once all of it was iterated over.
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
