//! The commands other than the listing: each one reads a capture and makes something else of it.
//!
//! What they have in common stands here: which file, which items of it, and how reading ends.
//! A command only sees the model; it takes items one by one and keeps no more than it needs.

mod charset;
mod check;
mod convert;
mod curl;
mod diff;
mod extract;
mod file_name;
mod follow;
mod har;
mod hexdump;
mod html;
mod messages;
mod new_file;
mod pretty;
mod redact;
mod shell;
mod show;
mod stats;
mod transcript;

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use sslrec_analyzer::capture::{Assembler, ItemSink, Options, Summary};
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::{self, Filter};

pub(crate) use self::check::BadRule;
use crate::files::{Files, Read};

/// What to do with a capture instead of listing it. The help of each command is the documentation of
/// its arguments; one of a variant would stand in its place.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "see above")]
pub(crate) enum Command {
    Show(show::Show),
    Check(Box<check::Check>),
    Har(har::Har),
    Html(html::Html),
    Stats(stats::Stats),
    Extract(extract::Extract),
    Follow(follow::Follow),
    Convert(convert::Convert),
    Diff(Box<diff::Diff>),
    Redact(Box<redact::Redact>),
}

/// Does what a command says.
///
/// # Errors
/// As for [`crate::run::run`].
pub(crate) fn run(command: &Command) -> Result<()> {
    let done = match command {
        Command::Show(show) => show::run(show),
        Command::Check(check) => check::run(check),
        Command::Har(har) => har::run(har),
        Command::Html(html) => html::run(html),
        Command::Stats(stats) => stats::run(stats),
        Command::Extract(extract) => extract::run(extract),
        Command::Follow(follow) => follow::run(follow),
        Command::Convert(convert) => convert::run(convert),
        Command::Diff(diff) => diff::run(diff),
        Command::Redact(redact) => redact::run(redact),
    };
    match done {
        // Nobody reads on: that is how a pager ends.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// How a capture is read by every command.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// See both ends of a connection where both were recorded
    #[arg(long)]
    both_ends: bool,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
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
