//! Does what the command line says: input to listing, and failures to messages.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sslrec_formats::io::Error;

use crate::capture::{Capture, ItemSink, Options};
use crate::cli::{Cli, Color, is_stdin};
use crate::coding;
use crate::exchange::Item;
use crate::filter::{self, Filter};
use crate::input::{self, Input, Outcome, RecordSink};
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
    let (files, filter) = cli.files_and_filter()?;
    let stdins = files.iter().filter(|file| is_stdin(file)).count();
    if stdins > 1 {
        return Err(anyhow!("cannot read standard input {stdins} times; name `-` once"));
    }
    let names: Vec<_> = files.iter().map(|file| name(file)).collect();
    let inputs = files
        .iter()
        .zip(&names)
        .map(|(file, name)| Input::open(open(file)?).map_err(|error| unreadable(name, &error)));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let listing = Listing {
        filter,
        decode: cli.decode,
        output: output(cli),
        listed: 0,
        failure: None,
        live: stdins > 0,
    };
    let options = Options { both_ends: cli.both_ends, bodies: cli.bodies, plaintext: false };
    let mut capture = Capture::new(options, listing);
    let read = Read::all(inputs, &names, &mut capture)?;
    let (mut summary, mut listing) = capture.finish(read.start_ns, read.damages.is_empty());
    summary.closed = summary.closed && read.closed;
    summary.notes.extend(read.notes);
    summary.listed = listing.filter.is_some().then_some(listing.listed);
    listing.attempt(|output| output.summary(&summary));
    listing.attempt(|output| output.flush());
    match listing.failure {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Some(error) => return Err(error).context("cannot write the listing"),
        None => {}
    }
    let listed = listing.listed;
    let mut errors = read.damages.iter().map(|damage| damage.error(names.len(), listed));
    let last = errors.next_back();
    errors.for_each(|error| report(&error));
    last.map_or(Ok(()), Err)
}

/// What was read of all files.
#[derive(Default)]
struct Read {
    start_ns: u64,
    /// None of them says that it was not.
    closed: bool,
    notes: Vec<String>,
    damages: Vec<Damage>,
}

impl Read {
    /// Hands the records of all files to `sink`.
    fn all(
        mut inputs: Vec<Input<'_>>,
        names: &[Cow<'_, str>],
        sink: &mut dyn RecordSink,
    ) -> Result<Self> {
        let compressed: Vec<bool> = inputs.iter().map(Input::is_compressed).collect();
        let (outcomes, closed) = match inputs.pop() {
            Some(input) if inputs.is_empty() => (vec![input.read(sink)], true),
            last => {
                inputs.extend(last);
                let merged = input::merge(inputs, sink);
                (merged.outcomes, merged.closed)
            }
        };
        let mut read = Self { closed, ..Self::default() };
        let several = names.len() > 1;
        for ((outcome, name), compressed) in outcomes.into_iter().zip(names).zip(compressed) {
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) if several => Outcome { damage: Some(error), ..Outcome::default() },
                Err(error) => return Err(unreadable(name, &error)),
            };
            if outcome.start_ns > 0 {
                let earliest = Some(read.start_ns).filter(|&ns| ns > 0);
                read.start_ns = earliest.map_or(outcome.start_ns, |ns| ns.min(outcome.start_ns));
            }
            let prefix = if several { format!("{name}: ") } else { String::new() };
            read.notes.extend(outcome.notes.into_iter().map(|note| format!("{prefix}{note}")));
            let name = name.to_string();
            read.damages.extend(outcome.damage.map(|error| Damage { name, compressed, error }));
        }
        Ok(read)
    }
}

/// Where a file broke off.
struct Damage {
    name: String,
    /// The place is one in what the file decompresses to.
    compressed: bool,
    error: Error,
}

impl Damage {
    /// What is said of it, after so many items of so many files were listed.
    fn error(&self, files: usize, listed: u64) -> anyhow::Error {
        let listed = match files {
            1 => format!("what was listed ({listed}) stands before that"),
            _ => "it was listed up to that".into(),
        };
        let name = &self.name;
        let of = if self.compressed { " of its decompressed contents" } else { "" };
        match &self.error {
            Error::Damaged { offset, reason } => anyhow!(
                "{name} is damaged at byte {offset}{of}: {reason}; {listed}; if the file was copied, copy it again"
            ),
            error => anyhow!("reading {name} failed: {error}; {listed}"),
        }
    }
}

fn name(file: &Path) -> Cow<'_, str> {
    if is_stdin(file) { "standard input".into() } else { file.to_string_lossy() }
}

fn open(file: &Path) -> Result<Box<dyn io::Read + Send>> {
    if is_stdin(file) {
        return Ok(Box::new(io::stdin()));
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
