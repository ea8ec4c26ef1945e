//! Writing records to a file and reading them from a file, in any format.

use crate::record::{CaptureInfo, Record};

/// Errors of reading and writing capture files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file is not of this format.
    #[error("not {expected}: {reason}")]
    Foreign {
        /// Format that was expected.
        expected: &'static str,
        /// A description of the bytes found instead.
        reason: String,
    },
    /// The file is truncated or contradicts itself. All records before this place were valid.
    #[error("damaged at byte {offset}: {reason}")]
    Damaged {
        /// Place in the file (not in its decompressed contents) where the damage begins.
        offset: u64,
        /// A description of the damage.
        reason: String,
    },
}

/// Writes the records of a capture to a file, in order.
pub trait RecordWriter {
    /// Adds a record, which may stay in a buffer until [`Self::flush`].
    fn write(&mut self, record: &Record<'_>) -> Result<(), Error>;

    /// Passes everything written so far to the operating system, so that it can be read even if
    /// this process is killed now.
    ///
    /// The pcapng writer keeps back connections without an event after their handshake, since the
    /// end to show is undecided. They are written with their first data, gap or close.
    fn flush(&mut self) -> Result<(), Error>;

    /// Completes the file. Nothing may be written afterwards.
    fn finish(&mut self) -> Result<(), Error>;
}

/// Returns the records of a capture, in order.
pub trait RecordReader {
    /// Returns the properties of the entire capture.
    fn info(&self) -> &CaptureInfo;

    /// Returns the next record, or `None` at the end of the file.
    ///
    /// # Errors
    /// After an error every further call returns `None`.
    fn next(&mut self) -> Result<Option<Record<'_>>, Error>;
}
