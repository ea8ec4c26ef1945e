//! Progress of reading large files, on a terminal.
//!
//! A single line on standard error is drawn over itself and removed at the end. It appears only if
//! the listing goes elsewhere: a scrolling listing is progress enough, and the two would break each
//! other's lines.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sslrec_cli::size::Size;

/// Time before the first line, so that short reads show none.
const DELAY: Duration = Duration::from_millis(700);

/// Time between two updates.
const INTERVAL: Duration = Duration::from_millis(100);

/// Progress of reading files of known lengths.
#[derive(Debug)]
pub(crate) struct Progress {
    total: u64,
    read: AtomicU64,
    start: Instant,
    /// Time of the last update, if any.
    drawn: Mutex<Option<Instant>>,
}

impl Progress {
    /// Returns the progress of `total` bytes, if standard error is a terminal and standard output
    /// is not.
    pub(crate) fn on_terminal(total: u64) -> Option<Arc<Self>> {
        let shown = io::stderr().is_terminal() && !io::stdout().is_terminal();
        (shown && total > 0).then(|| Arc::new(Self::new(total)))
    }

    fn new(total: u64) -> Self {
        Self { total, read: AtomicU64::new(0), start: Instant::now(), drawn: Mutex::default() }
    }

    /// Counts the bytes that are read from `reader`.
    pub(crate) fn count<R: Read>(self: &Arc<Self>, reader: R) -> Counted<R> {
        Counted { reader, progress: Arc::clone(self) }
    }

    fn add(&self, len: usize) {
        let read = self.read.fetch_add(len as u64, Ordering::Relaxed) + len as u64;
        let now = Instant::now();
        // Another thread is drawing.
        let Ok(mut drawn) = self.drawn.try_lock() else { return };
        let next = drawn.map_or(self.start + DELAY, |last| last + INTERVAL);
        if now >= next {
            *drawn = Some(now);
            draw(&line(read, self.total, now - self.start));
        }
    }

    /// Removes the line.
    pub(crate) fn finish(&self) {
        if self.drawn.lock().is_ok_and(|drawn| drawn.is_some()) {
            draw("");
        }
    }
}

/// Replaces the line. Errors are ignored: nobody watches a terminal that cannot be written to.
fn draw(line: &str) {
    let _ = write!(io::stderr().lock(), "\r\x1b[K{line}");
}

/// Returns the text of the line.
fn line(read: u64, total: u64, elapsed: Duration) -> String {
    // A file can grow while it is read.
    let total = total.max(read).max(1);
    let part = read as f64 / total as f64;
    let width = 24usize;
    let filled = (part * width as f64) as usize;
    let mut line = format!(
        "reading [{:width$}] {:3.0}% of {}",
        "#".repeat(filled.min(width)),
        (part * 100.0).floor(),
        Size(total)
    );
    let seconds = elapsed.as_secs_f64();
    let rate = (read as f64 / seconds.max(1e-3)) as u64;
    // An estimate of days is not useful.
    let left = seconds * (1.0 - part) / part;
    if left < 99_999.5 {
        // Writing to a String cannot fail.
        let _ = write!(line, ", {}/s, {left:.0} s left", Size(rate));
    }
    line
}

/// A reader that counts the bytes read.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    reader: R,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.progress.add(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_a_narrow_terminal_and_is_true() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line(512 << 20, 2 << 30, 4 * second),
            "reading [######                  ]  25% of 2.0G, 128M/s, 12 s left"
        );
        assert_eq!(
            line(10, 10, 2 * second),
            "reading [########################] 100% of 10, 5/s, 0 s left"
        );
        // More bytes than the initial total, and none yet.
        assert!(line(20, 10, second).contains("100% of 20"));
        assert_eq!(line(0, 10, second), "reading [                        ]   0% of 10");
        for read in [0, 1, 999, u64::MAX / 2, u64::MAX] {
            assert!(line(read, u64::MAX, second).len() < 79);
        }
    }

    #[test]
    fn bytes_read_are_counted() {
        let progress = Arc::new(Progress::new(6));
        let mut bytes = Vec::new();
        progress.count(&b"abcdef"[..]).read_to_end(&mut bytes).unwrap();
        assert_eq!((bytes.as_slice(), progress.read.load(Ordering::Relaxed)), (&b"abcdef"[..], 6));
    }
}
