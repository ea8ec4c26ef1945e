//! Reads a file that is still being written: at its end, waits for more.
//!
//! It polls, since the notification of file changes differs between systems and does not exist on
//! network file systems. The wait ends at the user's request, or when the capture reports that it
//! is closed; then the file is complete.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Interval of polling: a delay of the listing that is too short to notice.
const INTERVAL: Duration = Duration::from_millis(50);

/// Reasons to stop waiting, shared with the threads that set them.
#[derive(Debug, Clone, Default)]
pub struct Until {
    /// The user wants to stop.
    pub stopped: Arc<AtomicBool>,
    /// The capture is complete.
    pub closed: Arc<AtomicBool>,
}

impl Until {
    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed)
    }
}

/// Reads a growing file, and waits at its end.
#[derive(Debug)]
pub struct Follow<R> {
    reader: R,
    until: Until,
}

impl<R: Read> Follow<R> {
    /// Reads `reader`, and continues at its end until there is a reason to stop.
    pub fn new(reader: R, until: Until) -> Self {
        Self { reader, until }
    }
}

impl<R: Read> Read for Follow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut over = false;
        loop {
            match self.reader.read(buffer) {
                Ok(0) if over => return Ok(0),
                Ok(0) => {
                    // The bytes that close the capture may have been written after the last read,
                    // so the file is read once more.
                    over = self.until.is_over();
                    thread::sleep(INTERVAL);
                }
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    over = self.until.is_over();
                }
                Err(error) => return Err(error),
            }
        }
    }
}
