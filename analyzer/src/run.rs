//! Does what the command line says: input to listing, and failures to messages.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sslrec_formats::io::Error;

use crate::capture::{Capture, ItemSink, Options};
use crate::cli::{Cli, Color};
use crate::coding;
use crate::exchange::Item;
use crate::filter::{self, Filter};
use crate::input::Input;
use crate::output::Output;
use crate::output::json::Json;
use crate::output::table::Table;

/// Bytes that are gathered before they are written.
const OUT_BUFFER: usize = 64 << 10;

/// Lists a capture.
///
/// # Errors
/// If the filter is none (a [`filter::Error`]), before anything is read. If the capture cannot be read, or is damaged: then what stands before the damage was listed.
/// That nobody reads the output any more is no error.
pub fn run(cli: &Cli) -> Result<()> {
    let filter = cli.filter.as_deref().map(Filter::parse).transpose()?;
    let name =
        if is_stdin(&cli.file) { "standard input".into() } else { cli.file.to_string_lossy() };
    let input = Input::open(open(&cli.file)?).map_err(|error| unreadable(&name, &error))?;
    let options = Options {
        both_ends: cli.both_ends,
        bodies: cli.bodies,
        plaintext: input.kind().is_foreign(),
    };
    let live = is_stdin(&cli.file);
    let decode = cli.decode;
    let listing = Listing { filter, decode, output: output(cli), listed: 0, failure: None, live };
    let mut capture = Capture::new(options, listing);
    let outcome = input.read(&mut capture).map_err(|error| unreadable(&name, &error))?;
    let (mut summary, mut listing) = capture.finish(outcome.start_ns, outcome.damage.is_none());
    summary.notes.extend(outcome.notes);
    summary.listed = listing.filter.is_some().then_some(listing.listed);
    listing.attempt(|output| output.summary(&summary));
    listing.attempt(|output| output.flush());
    match listing.failure {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Some(error) => return Err(error).context("cannot write the listing"),
        None => {}
    }
    outcome.damage.map_or(Ok(()), |damage| Err(cut_short(&name, listing.listed, &damage)))
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn open(file: &Path) -> Result<Box<dyn Read>> {
    if is_stdin(file) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let name = file.display();
    let opened = File::open(file).with_context(|| format!("cannot open {name}"))?;
    if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(anyhow!("cannot read {name}: it is a directory; name a capture file"));
    }
    Ok(Box::new(opened))
}

fn unreadable(name: &str, error: &Error) -> anyhow::Error {
    match error {
        Error::Foreign { expected, reason } => anyhow!(
            "cannot read {name}: not {expected}: {reason}; give a file that `sslrec -w` or a packet capture program wrote"
        ),
        error => anyhow!("cannot read {name}: {error}"),
    }
}

fn cut_short(name: &str, listed: u64, error: &Error) -> anyhow::Error {
    match error {
        Error::Damaged { offset, reason } => anyhow!(
            "{name} is damaged at byte {offset}: {reason}; what was listed ({listed}) stands before that; if the file was copied, copy it again"
        ),
        error => {
            anyhow!("reading {name} failed: {error}; what was listed ({listed}) stands before that")
        }
    }
}

fn output(cli: &Cli) -> Box<dyn Output> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let out = BufWriter::with_capacity(OUT_BUFFER, stdout.lock());
    if cli.json {
        return Box::new(Json::new(out));
    }
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = match cli.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && !no_color,
    };
    let size = terminal_size::terminal_size_of(io::stdout()).filter(|_| is_terminal);
    Box::new(Table::new(out, color, size.map(|(width, _)| usize::from(width.0))))
}

/// Writes items as they come.
struct Listing {
    filter: Option<Filter>,
    /// Undo content codings.
    decode: bool,
    output: Box<dyn Output>,
    /// Items that were written.
    listed: u64,
    /// The first failure to write; nothing is written after it.
    failure: Option<io::Error>,
    /// Somebody may be watching what comes through a pipe.
    live: bool,
}

impl Listing {
    fn attempt(&mut self, write: impl FnOnce(&mut dyn Output) -> io::Result<()>) {
        if self.failure.is_none() {
            self.failure = write(self.output.as_mut()).err();
        }
    }
}

impl ItemSink for Listing {
    fn item(&mut self, mut item: Item) {
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(&item)) {
            return;
        }
        self.listed += 1;
        if let Item::Exchange(exchange) = &mut item
            && self.decode
        {
            coding::undo(exchange);
        }
        self.attempt(|output| output.item(&item));
        if self.live {
            self.attempt(|output| output.flush());
        }
    }

    fn is_done(&self) -> bool {
        self.failure.is_some()
    }
}

/// Exit status of a failure.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    if error.is::<filter::Error>() { 2 } else { 1 }
}

/// Writes a failure on standard error: one line, but for a filter, which is shown.
pub fn report(error: &anyhow::Error) {
    // If standard error is closed, there is nowhere left to say so.
    let _ = writeln!(io::stderr(), "sslanalyze: {error:#}");
}
