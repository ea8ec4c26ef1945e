//! `html`: writes the exchanges as a page that needs only a browser.
//!
//! The page is written exchange by exchange. It contains the exchanges as data, and its script
//! shows the selected ones. Everything in a capture comes from the network, so none of it ever
//! becomes markup: see [`page`].

mod body;
mod contents;
mod missed;
mod page;
mod row;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use sslrec_analyzer::exchange::{Item, Note};
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::{ItemSink, Summary};
use sslrec_cli::size;

use self::contents::Contents;
use self::page::Page;
use super::new_file::NewFile;
use super::reading::{Reading, Wanted, filter, read};
use crate::files::is_stdin;
use crate::flow;
use crate::output::Output;
use crate::output::json::Json;
use crate::output::table::Table;

/// Write the exchanges as a page for a browser, with a waterfall and a filter
///
/// The page has a waterfall, a filter, and the headers and decoded bodies of each exchange. It is a
/// single file without references to others, and works without a network. It contains the secrets
/// of the capture: share it with the same care. OUT has mode 0600.
///
/// Example: `sslanalyze html capture.pcapng 'host~api' -o api.html`
#[derive(Debug, Args)]
pub(crate) struct Html {
    /// The capture; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Use only items that match, as in the listing
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    /// Write this file instead of standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Show this much of each body [default: 64K]
    ///
    /// Counts decoded bytes, with JSON formatted; a truncated body is marked. Messages of gRPC,
    /// WebSocket and server-sent events count as a single body. K, M or G are units of 1024; 0
    /// means no limit. A body that is not text is shown as a dump of its first 512 bytes. A body is
    /// completely in memory while its exchange lasts.
    #[arg(long, value_name = "SIZE", default_value = "64K", hide_default_value = true)]
    #[arg(value_parser = size::parse)]
    body_limit: u64,

    #[command(flatten)]
    reading: Reading,
}

/// Runs `sslanalyze html`.
pub(super) fn run(html: &Html) -> Result<()> {
    let chosen = html.filter.as_deref().map(filter).transpose()?;
    let filtered = chosen.is_some();
    let out = match html.output.as_deref() {
        Some(path) if path != Path::new("-") => NewFile::create(path, &html.file)?,
        _ => NewFile::stdout(),
    };
    let name = match html.file.file_name() {
        Some(name) if !is_stdin(&html.file) => name.to_string_lossy(),
        _ => "standard input".into(),
    };
    let limit = if html.body_limit == 0 { u64::MAX } else { html.body_limit };
    let page = Page::begin(BufWriter::with_capacity(64 << 10, out), &name)?;
    let mut pages = Pages { page, limit: usize::try_from(limit).unwrap_or(usize::MAX) };
    let wanted = Wanted { filter: chosen, bodies: true, ..Wanted::default() };
    let done = read(&html.file, &html.reading, wanted, &mut pages)?;
    let mut summary = done.summary.clone();
    summary.listed = filtered.then_some(done.items);
    let out = pages.page.finish(&summary_data(&summary)?)?;
    let out = out.into_inner().map_err(std::io::IntoInnerError::into_error);
    out.and_then(NewFile::finish).context("cannot write the page")?;
    done.end()
}

/// Writes items into a page.
struct Pages<W: Write> {
    page: Page<W>,
    /// Maximum number of bytes shown of a body.
    limit: usize,
}

impl<W: Write> ItemSink for Pages<W> {
    fn item(&mut self, item: Item) -> Flow {
        flow::of(self.take(item))
    }
}

impl<W: Write> Pages<W> {
    fn take(&mut self, mut item: Item) -> Result<()> {
        let (contents, row) = match &mut item {
            Item::Exchange(exchange) => {
                (Contents::take_of_exchange(exchange, self.limit)?, row::of_exchange(exchange))
            }
            Item::Stream(stream) => {
                (Contents::take_of_stream(stream, self.limit), row::of_stream(stream))
            }
            // The TLS parameters are shown with each exchange.
            Item::Handshake(_) => return Ok(()),
        };
        let mut line = Vec::new();
        Json::new(&mut line).item(&item)?;
        self.page.item(&row, &line, &contents).context("cannot write the page")
    }
}

/// The totals, as in the listing.
#[derive(Serialize)]
struct SummaryData {
    totals: String,
    notes: Vec<String>,
}

fn summary_data(summary: &Summary) -> Result<SummaryData> {
    let mut text = Vec::new();
    let without_notes = Summary { notes: Vec::new(), ..summary.clone() };
    Table::new(&mut text, false, None).summary(&without_notes)?;
    let totals = String::from_utf8_lossy(&text).trim_end().to_owned();
    let notes = summary.notes.iter().map(Note::to_string);
    Ok(SummaryData { totals, notes: notes.chain(missed::lines(summary)).collect() })
}
