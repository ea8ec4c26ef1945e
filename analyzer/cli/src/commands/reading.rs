//! The parts that commands share: which items of a file they get, how reading ends, and standard
//! output.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use sslrec_analyzer::capture::{Assembler, ItemSink, Options, Summary};
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::{self, Filter};

use crate::files::{Files, Read};

/// How a capture is read by every command.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// See both ends of a connection where both were recorded
    #[arg(long)]
    pub(super) both_ends: bool,

    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// Takes the items that a filter lets through.
pub(crate) trait Consumer {
    /// One more item.
    fn item(&mut self, item: Item) -> Result<()>;

    /// It wants handshakes too, where no filter says which.
    fn wants_handshakes(&self) -> bool {
        false
    }

    /// It wants no further one.
    fn is_done(&self) -> bool {
        false
    }
}

/// What was read, once all of it was.
pub(crate) struct Done {
    /// Totals of the whole capture, as far as it was read.
    pub(crate) summary: Summary,
    /// Items that the filter let through.
    pub(crate) items: u64,
    read: Read,
}

impl Done {
    /// To be called once the output is written: damage of the file is the failure that is left.
    pub(crate) fn end(self) -> Result<()> {
        self.read.end(&self.read.listed(self.items))
    }
}

/// Understands a filter, or the number of an item.
pub(crate) fn filter(text: &str) -> Result<Filter, filter::Error> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Filter::parse(&format!("id={text}"));
    }
    Filter::parse(text)
}

/// Hands the items of a file to `consumer`, with their bodies if it needs them.
pub(crate) fn read(
    file: &PathBuf,
    reading: &Reading,
    filter: Option<Filter>,
    bodies: bool,
    consumer: &mut dyn Consumer,
) -> Result<Done> {
    let files = Files::open(std::slice::from_ref(file), false, reading.quiet)?;
    let options = Options { both_ends: reading.both_ends, bodies, ..Options::default() };
    let mut capture = Assembler::new(options, Chosen { filter, consumer, items: 0, failure: None });
    let read = files.read(&mut capture)?;
    let (mut summary, chosen) = capture.finish(read.start_ns, read.is_whole());
    summary.notes.extend(read.notes.iter().cloned());
    match chosen.failure {
        Some(failure) => Err(failure),
        None => Ok(Done { summary, items: chosen.items, read }),
    }
}

/// Hands on what the filter lets through, up to the first failure.
struct Chosen<'c> {
    filter: Option<Filter>,
    consumer: &'c mut dyn Consumer,
    items: u64,
    failure: Option<anyhow::Error>,
}

impl ItemSink for Chosen<'_> {
    fn item(&mut self, item: Item) {
        let wanted = match &self.filter {
            Some(filter) => filter.matches(&item),
            None => self.consumer.wants_handshakes() || !matches!(item, Item::Handshake(_)),
        };
        if self.is_done() || !wanted {
            return;
        }
        self.items += 1;
        self.failure = self.consumer.item(item).err();
    }

    fn is_done(&self) -> bool {
        self.failure.is_some() || self.consumer.is_done()
    }
}

/// Standard output, gathered.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Everything must have been written.
pub(crate) fn flush(out: &mut impl Write) -> Result<()> {
    out.flush().context("cannot write the output")
}
