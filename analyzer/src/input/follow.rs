//! Reads a file that is still being written: at its end, waits for more.
//!
//! It polls, since what a file gains is told differently on each system, and on network file
//! systems not at all. The wait ends when somebody asks for that, or when the capture says that
//! it is complete: then what is there is all.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long a line of the listing may be late for this: not to be noticed.
const INTERVAL: Duration = Duration::from_millis(50);

/// Why there is nothing more to wait for; shared with those who know.
#[derive(Debug, Clone, Default)]
pub struct Until {
    /// Somebody wants to stop.
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
    /// Reads on at the end of `reader` until one of the reasons not to.
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
                    // What closes a capture may still be on its way when it says that it is
                    // closed, so the file is looked at once more.
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
