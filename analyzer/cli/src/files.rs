//! Opens the files of the command line, reads them as a single capture, and reports damage.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, anyhow};
use sslrec_analyzer::budget::Budget;
use sslrec_analyzer::descriptors::Descriptors;
use sslrec_analyzer::exchange::{Exchange, Note};
use sslrec_analyzer::input::{
    self, Flow, Follow, Input, Kind, Merged, Outcome, RecordSink, Stop, Until,
};
use sslrec_formats::io::Error;
use sslrec_formats::record::{CaptureInfo, Direction, Record};

use crate::flow;
use crate::progress::Progress;
use crate::threads::Threads;

/// Files to be read.
pub(crate) struct Files<'p> {
    names: Vec<Cow<'p, str>>,
    inputs: Vec<Input<'static>>,
    /// Pass on each record at once, because somebody may be watching.
    live: bool,
    threads: Threads,
    progress: Option<Arc<Progress>>,
    /// When to stop waiting for more data.
    until: Until,
}

/// Returns whether the path is `-`, the name of standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

impl<'p> Files<'p> {
    /// Opens the files and detects their formats. With `follow`, waits for more data at the end of
    /// a file; with `quiet`, shows no progress.
    pub(crate) fn open(paths: &'p [PathBuf], follow: bool, quiet: bool) -> Result<Self> {
        let names: Vec<_> = paths.iter().map(|path| name(path)).collect();
        let mut files = Vec::new();
        for path in paths {
            files.push(if is_stdin(path) { None } else { Some(open(path)?) });
        }
        let progress = (!quiet && !follow).then(|| progress(&files)).flatten();
        let until = Until::default();
        if follow {
            stop_on_signals(&until)?;
        }
        let mut inputs = Vec::new();
        for (file, name) in files.into_iter().zip(&names) {
            let reader: Box<dyn io::Read + Send> = match (file, &progress) {
                // A pipe is complete at its end, so there is nothing to follow.
                (None, _) => Box::new(io::stdin()),
                (Some(file), _) if follow => Box::new(Follow::new(file, until.clone())),
                (Some(file), Some(progress)) => Box::new(progress.count(file)),
                (Some(file), None) => Box::new(file),
            };
            inputs.push(Input::open(reader).map_err(|error| unreadable(name, &error))?);
        }
        let live = follow || paths.iter().any(|path| is_stdin(path));
        Ok(Self { names, inputs, live, threads: Threads::of_command(), progress, until })
    }

    /// Divides the work among these threads. Each of several files is read by a thread of its own,
    /// whatever `threads` is.
    pub(crate) fn with_threads(self, threads: Threads) -> Self {
        Self { threads, ..self }
    }

    /// Counts the connections of packets towards this budget.
    pub(crate) fn with_budget(self, budget: &Budget) -> Self {
        let inputs = self.inputs.into_iter().map(|input| input.with_budget(budget)).collect();
        Self { inputs, ..self }
    }

    /// Passes the records of all files to `sink`.
    ///
    /// # Errors
    /// A single file is unreadable from its beginning, or the sink failed.
    pub(crate) fn read(self, sink: &mut dyn RecordSink) -> Result<Read> {
        let Self { names, mut inputs, live, threads, progress, until } = self;
        let several = inputs.len() > 1;
        let ahead = !several && !live && threads.reader;
        let compressed: Vec<bool> = inputs.iter().map(Input::is_compressed).collect();
        let mut sink = Watch { sink, until: &until };
        let Merged { outcomes, closed, mut stop } = match inputs.pop() {
            Some(input) if ahead => alone(input::read_ahead(input, &mut sink)),
            Some(input) if !several => alone(input.read(&mut sink)),
            last => {
                inputs.extend(last);
                input::merge(inputs, &mut sink)
            }
        };
        progress.iter().for_each(|progress| progress.finish());
        let mut read = Read { files: names.len(), closed, ..Read::default() };
        for ((outcome, name), compressed) in outcomes.into_iter().zip(names).zip(compressed) {
            let mut outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) if several => Outcome { damage: Some(error), ..Outcome::default() },
                Err(error) => return Err(unreadable(&name, &error)),
            };
            stop = stop.or(outcome.stop.take());
            read.add(&name, compressed, outcome);
        }
        if let Some(Stop::Failed(failure)) = stop {
            return Err(flow::error(failure));
        }
        if until.stopped.load(Ordering::Relaxed) {
            // A partial record at the end of a followed file is not damage: its rest is being
            // written.
            read.damages.clear();
            read.unclosed.clear();
            read.closed = false;
        }
        Ok(read)
    }
}

/// The result of reading all files.
#[derive(Default)]
pub(crate) struct Read {
    files: usize,
    /// Start of the earliest capture, in nanoseconds since the Unix epoch; 0 if unknown.
    pub(crate) start_ns: u64,
    /// No file reports that it was not closed.
    pub(crate) closed: bool,
    /// Notes on data that was left out, with the reason.
    pub(crate) notes: Vec<Note>,
    damages: Vec<Damage>,
    /// Names of the files that end between two records, but without a closing record.
    unclosed: Vec<String>,
}

/// Where a file is damaged.
struct Damage {
    name: String,
    /// The offset is an offset in the decompressed data.
    compressed: bool,
    /// No closing record was read before the damage.
    unclosed: bool,
    error: Error,
}

impl Read {
    fn add(&mut self, name: &str, compressed: bool, outcome: Outcome) {
        if outcome.start_ns > 0 {
            let earliest = Some(self.start_ns).filter(|&ns| ns > 0);
            self.start_ns = earliest.map_or(outcome.start_ns, |ns| ns.min(outcome.start_ns));
        }
        let several = self.files > 1;
        self.notes.extend(outcome.notes.into_iter().map(|note| match several {
            true => Note::OfFile(name.into(), Box::new(note)),
            false => note,
        }));
        let (name, unclosed) = (name.to_owned(), outcome.unclosed);
        match outcome.damage {
            Some(error) => self.damages.push(Damage { name, compressed, unclosed, error }),
            None => self.unclosed.extend(unclosed.then_some(name)),
        }
    }

    /// Returns whether no file was truncated by damage.
    pub(crate) fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    /// Returns the text for the message about damage, after `items` items were listed.
    pub(crate) fn listed(&self, items: u64) -> String {
        match self.files {
            1 => format!("{items} items before the damage were listed"),
            _ => "everything before the damage was listed".into(),
        }
    }

    /// Reports damage and missing closing records. Call this after the output is written. `so_far`
    /// describes the processing of the data before the damage. The last damage becomes the error,
    /// the others are printed here. A missing closing record is printed too, but is not an error: a
    /// killed recorder leaves such files.
    pub(crate) fn end(&self, so_far: &str) -> Result<()> {
        for name in &self.unclosed {
            crate::stderr::report(&anyhow!(
                "{name} is not closed: it has no closing record, as the recorder was killed or still runs, or the file was truncated; its end may be missing"
            ));
        }
        let mut errors = self.damages.iter().map(|damage| damage.error(so_far));
        let last = errors.next_back();
        errors.for_each(|error| crate::stderr::report(&error));
        last.map_or(Ok(()), Err)
    }
}

impl Damage {
    fn error(&self, so_far: &str) -> anyhow::Error {
        let name = &self.name;
        let of = if self.compressed { " of its decompressed contents" } else { "" };
        let closed = if self.unclosed { "; it is not closed: its end is missing" } else { "" };
        match &self.error {
            Error::Damaged { offset, reason } => anyhow!(
                "{name} is damaged at byte {offset}{of}: {reason}; {so_far}{closed}; if the file was copied, copy it again"
            ),
            error => anyhow!("reading {name} failed: {error}; {so_far}{closed}"),
        }
    }
}

/// Reads the descriptor set that `--proto` names.
pub(crate) fn descriptors(path: &Path) -> Result<Descriptors> {
    let file = path.display();
    let set = std::fs::read(path).with_context(|| format!("cannot read {file}"))?;
    Descriptors::decode(&set).with_context(|| {
        format!("{file} is not a complete descriptor set; use protoc --include_imports -o FILE")
    })
}

/// Converts the result of a single file to the form of several files.
fn alone(outcome: Result<Outcome, Error>) -> Merged {
    Merged { outcomes: vec![outcome], closed: true, stop: None }
}

fn name(path: &Path) -> Cow<'_, str> {
    if is_stdin(path) { "standard input".into() } else { path.to_string_lossy() }
}

fn open(path: &Path) -> Result<File> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(anyhow!("cannot read {name}: it is a directory; give a capture file"));
    }
    Ok(file)
}

fn unreadable(name: &str, error: &Error) -> anyhow::Error {
    match error {
        Error::Foreign { expected, reason } => anyhow!(
            "cannot read {name}: not {expected}: {reason}; give a file that `sslrec -w` or a packet capture program wrote"
        ),
        error => anyhow!("cannot read {name}: {error}"),
    }
}

/// Returns the progress through all files, if the length of each is known.
fn progress(files: &[Option<File>]) -> Option<Arc<Progress>> {
    let lengths = files.iter().map(|file| {
        let metadata = file.as_ref()?.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    });
    Progress::on_terminal(lengths.sum::<Option<u64>>()?)
}

/// Makes Ctrl-C end the wait for more data, after which the summary follows; a second Ctrl-C ends
/// the program.
#[cfg(unix)]
fn stop_on_signals(until: &Until) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM] {
        let status = 128 + signal;
        let second = signal_hook::flag::register_conditional_shutdown(
            signal,
            status,
            Arc::clone(&until.stopped),
        );
        second
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&until.stopped)))
            .context("cannot wait for Ctrl-C")?;
    }
    Ok(())
}

/// Does nothing: Ctrl-C ends the program.
#[cfg(not(unix))]
fn stop_on_signals(_: &Until) -> Result<()> {
    Ok(())
}

/// Passes all records on, and notes whether the capture reports that it is closed.
struct Watch<'a> {
    sink: &'a mut dyn RecordSink,
    until: &'a Until,
}

impl RecordSink for Watch<'_> {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        if matches!(record, Record::Stats(stats) if stats.last) {
            self.until.closed.store(true, Ordering::Relaxed);
        }
        self.sink.record(record)
    }

    fn info(&mut self, info: &CaptureInfo) -> Flow {
        self.sink.info(info)
    }

    fn source(&mut self, kind: Kind) -> Flow {
        self.sink.source(kind)
    }

    fn exchange(&mut self, exchange: Box<Exchange>, is_new: bool) -> Flow {
        self.sink.exchange(exchange, is_new)
    }

    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        self.sink.note(conn, note)
    }

    fn received(&mut self, conn: u64, dir: Direction, offset: u64) -> Flow {
        self.sink.received(conn, dir, offset)
    }

    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        self.sink.reset(conn, dir)
    }
}
