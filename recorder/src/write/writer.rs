//! The writer's thread: turns events into records, and writes records to the files and the screen.

use std::io::{BufWriter, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use libbpf_rs::MapHandle;
use sslrec_formats::io::Error;
use sslrec_formats::record::{Coverage, Record, Stats};
use sslrec_redact::Redactor;

use crate::clock::{Clock, boot_time_ns};
use crate::collect::batch::{Batch, Emptier};
use crate::coverage::Report;
use crate::kernel::counters::Counters;
use crate::kernel::maps::KernelMaps;
use crate::stderr::message;
use crate::tracker::{Totals, Tracker};
use crate::write::output::{self, Output};
use crate::write::stats::stats;
use crate::write::text::Text;

/// Files are flushed this often, so that a killed recorder leaves at most the last second
/// unwritten.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Everything that receives records.
pub(crate) struct Sinks {
    /// Processes every record before it is written.
    redactor: Option<Redactor>,
    files: Vec<Output>,
    text: Option<Text<BufWriter<Stdout>>>,
    failed: bool,
}

impl Sinks {
    pub(crate) fn new(files: Vec<Output>, text: Option<Text<BufWriter<Stdout>>>) -> Self {
        Self { redactor: None, files, text, failed: false }
    }

    /// Sends every record through a redactor first, if there is one.
    pub(crate) fn redacted(self, redactor: Option<Redactor>) -> Self {
        Self { redactor, ..self }
    }

    /// Writes to every output. An output that fails is given up with a message; the others
    /// continue.
    fn each(
        &mut self,
        mut file: impl FnMut(&mut Output) -> Result<(), Error>,
        text: impl FnOnce(&mut Text<BufWriter<Stdout>>) -> Result<(), Error>,
    ) {
        let Self { files, failed, .. } = self;
        files.retain_mut(|output| match file(output) {
            Ok(()) => true,
            Err(error) if output.was_left(&error) => false,
            Err(error) => {
                message(format_args!(
                    "{}: {error}; this file ends here, and can be read up to here",
                    output.name
                ));
                *failed = true;
                false
            }
        });
        if let Some(Err(error)) = self.text.as_mut().map(text) {
            if !output::is_closed_pipe(&error) {
                message(format_args!("stdout: {error}"));
                self.failed = true;
            }
            self.text = None;
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        match self.redactor.take() {
            Some(mut redactor) => {
                redactor.record(record, &mut |record| self.deliver(record));
                self.redactor = Some(redactor);
            }
            None => self.deliver(record),
        }
    }

    /// Passes on the data that the redactor held back, since no more data comes.
    fn settle(&mut self) {
        if let Some(mut redactor) = self.redactor.take() {
            redactor.finish(&mut |record| self.deliver(record));
            self.redactor = Some(redactor);
        }
    }

    fn deliver(&mut self, record: &Record<'_>) {
        self.each(|file| file.write(record), |text| text.write(record));
    }

    fn flush_files(&mut self) {
        self.each(Output::flush, |_| Ok(()));
    }

    fn flush_text(&mut self) {
        self.each(|_| Ok(()), Text::flush);
    }

    fn finish(&mut self) {
        self.each(Output::finish, Text::flush);
        let Self { files, failed, .. } = self;
        files.retain_mut(|output| {
            let misplaced = output.misplaced();
            misplaced.iter().for_each(message);
            *failed |= misplaced.is_some();
            misplaced.is_none() || output.is_series()
        });
    }

    fn is_any_full(&self) -> bool {
        self.files.iter().any(Output::is_full)
    }

    /// Continues in another file wherever a file is full.
    fn next_files(&mut self, stats: &Stats) {
        let next = |file: &mut Output| if file.is_full() { file.next_file(stats) } else { Ok(()) };
        self.each(next, |_| Ok(()));
    }

    fn all_gone(&self) -> bool {
        self.files.is_empty() && self.text.is_none()
    }
}

/// The result of the writing.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) stats: Stats,
    pub(crate) totals: Totals,
    /// Reports on each process that used TLS.
    pub(crate) coverage: Vec<Coverage>,
    /// Some output could not be written.
    pub(crate) failed: bool,
    /// Files that are complete.
    pub(crate) files: Vec<String>,
}

/// The state of the writer's thread.
pub(crate) struct Writer {
    pub(crate) queue: Emptier,
    pub(crate) tracker: Tracker<KernelMaps>,
    pub(crate) clock: Clock,
    pub(crate) sinks: Sinks,
    pub(crate) counters: MapHandle,
    pub(crate) report: Report,
    /// Set when no sink can be written any more.
    pub(crate) gave_up: Arc<AtomicBool>,
}

impl Writer {
    /// Writes the heads of the files, before anything is recorded.
    ///
    /// # Errors
    /// A head cannot be written.
    pub(crate) fn begin(&mut self) -> Result<()> {
        let mut begun = Ok(());
        self.sinks.files.retain_mut(|file| match file.flush() {
            Ok(()) => true,
            Err(error) if file.was_left(&error) => false,
            Err(error) => {
                begun = Err(anyhow!("cannot write {}: {error}", file.name));
                true
            }
        });
        begun
    }

    /// Writes until the ring's end is dropped, then completes the files.
    pub(crate) fn run(mut self) -> Result<Written> {
        let mut flushed = Instant::now();
        loop {
            let left = FLUSH_EVERY.saturating_sub(flushed.elapsed());
            match self.queue.full.recv_timeout(left) {
                Ok(batch) => self.batch(batch)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if flushed.elapsed() >= FLUSH_EVERY {
                self.next_files()?;
                self.sinks.flush_files();
                self.tracker.look_at_memory();
                flushed = Instant::now();
            }
            if self.sinks.all_gone() {
                self.gave_up.store(true, Ordering::Relaxed);
            }
        }
        self.finish()
    }

    fn batch(&mut self, batch: Batch) -> Result<()> {
        for event in batch.events() {
            if !self.report.account.takes(event) {
                self.tracker.event(event, &mut |record| {
                    self.report.observe(record);
                    self.sinks.record(record);
                });
            }
            self.next_files()?;
        }
        self.sinks.flush_text();
        self.queue.recycle(batch);
        Ok(())
    }

    fn next_files(&mut self) -> Result<()> {
        if self.sinks.is_any_full() {
            let stats = self.stats()?;
            self.sinks.next_files(&stats);
        }
        Ok(())
    }

    /// Returns the counters that close a file.
    fn stats(&self) -> Result<Stats> {
        let counters = Counters::read(&self.counters)?;
        Ok(stats(&counters, self.tracker.totals(), self.clock.now_ns(), true))
    }

    fn finish(mut self) -> Result<Written> {
        self.tracker.finish(boot_time_ns(), &mut |record| {
            self.report.observe(record);
            self.sinks.record(record);
        });
        self.sinks.settle();
        let coverage = self.report.records(self.clock.now_ns());
        for record in &coverage {
            self.sinks.record(&Record::Coverage(record.clone()));
        }
        let totals = self.tracker.totals();
        let stats = self.stats()?;
        self.sinks.record(&Record::Stats(stats.clone()));
        self.sinks.finish();
        Ok(Written {
            stats,
            totals,
            coverage,
            failed: self.sinks.failed,
            files: self.sinks.files.iter().map(Output::written).collect(),
        })
    }
}
