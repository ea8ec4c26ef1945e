//! The parts that commands share: selection of the items of a file, the end of reading, and
//! standard output.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use sslrec_analyzer::budget::Budget;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::{self, Filter};
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::{Assembler, ItemSink, Options, Summary};

use crate::files::{Files, Read};
use crate::flow;
use crate::limits::{self, Limits};

/// Options of every command for reading a capture.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// Show both ends of a connection if both were recorded
    #[arg(long)]
    pub(super) both_ends: bool,

    #[command(flatten)]
    pub(super) limits: Limits,

    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// The part of a capture that a command needs.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Only items that match.
    pub(crate) filter: Option<Filter>,
    /// Keep the contents of messages and streams.
    pub(crate) bodies: bool,
    /// Pass on handshakes, if there is no filter.
    pub(crate) handshakes: bool,
}

/// The result of a completed read.
pub(crate) struct Done {
    /// Totals of the capture, up to the damage if there was any.
    pub(crate) summary: Summary,
    /// Number of items that matched the filter.
    pub(crate) items: u64,
    budget: Budget,
    read: Read,
}

impl Done {
    /// Returns damage of the file as an error. Call this after the output is written.
    pub(crate) fn end(self) -> Result<()> {
        limits::report_end_of_decoding(&self.budget);
        self.read.end(&self.read.listed(self.items))
    }
}

/// Parses a filter, or the number of an item.
pub(crate) fn filter(text: &str) -> Result<Filter, filter::Error> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Filter::parse(&format!("id={text}"));
    }
    Filter::parse(text)
}

/// Passes the items of a file to `sink`.
///
/// # Errors
/// The file is unreadable from its beginning, or `sink` failed.
pub(crate) fn read(
    file: &PathBuf,
    reading: &Reading,
    wanted: Wanted,
    sink: &mut dyn ItemSink,
) -> Result<Done> {
    let files = Files::open(std::slice::from_ref(file), false, reading.quiet)?;
    let bodies = wanted.bodies;
    let limits = reading.limits.into();
    let options = Options { both_ends: reading.both_ends, bodies, limits, ..Options::default() };
    let mut capture = Assembler::new(options, Chosen { wanted, sink, items: 0 });
    let budget = capture.budget().clone();
    let read = files.with_budget(&budget).read(&mut capture)?;
    let finished = capture.finish(read.start_ns, read.is_whole());
    let (mut summary, chosen) = finished.map_err(flow::error)?;
    summary.notes.extend(read.notes.iter().cloned());
    Ok(Done { summary, items: chosen.items, budget, read })
}

/// Passes on the wanted items.
struct Chosen<'s> {
    wanted: Wanted,
    sink: &'s mut dyn ItemSink,
    items: u64,
}

impl ItemSink for Chosen<'_> {
    fn item(&mut self, item: Item) -> Flow {
        let wanted = match &self.wanted.filter {
            Some(filter) => filter.matches(&item),
            None => self.wanted.handshakes || !matches!(item, Item::Handshake(_)),
        };
        if !wanted {
            return Flow::Continue(());
        }
        self.items += 1;
        self.sink.item(item)
    }
}

/// Returns standard output with a buffer.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Flushes the output and reports a write error.
pub(crate) fn flush(out: &mut impl Write) -> Result<()> {
    out.flush().context("cannot write the output")
}
