//! How records go into a file and come out of one, whichever the format.

use crate::record::{CaptureInfo, Record};

/// What can go wrong with a capture file.
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
        /// What stood there instead.
        reason: String,
    },
    /// The file breaks off or contradicts itself. All records before this place were good.
    #[error("damaged at byte {offset}: {reason}")]
    Damaged {
        /// Place in the file (not in its decompressed contents) where the damage begins.
        offset: u64,
        /// What was found.
        reason: String,
    },
}

/// Takes the records of a capture, in order, and makes a file of them.
pub trait RecordWriter {
    /// Adds one record. It may stay in a buffer until [`Self::flush`].
    fn write(&mut self, record: &Record<'_>) -> Result<(), Error>;

    /// Hands everything written so far to the operating system, so that it can be read even if
    /// this process is killed now.
    ///
    /// The pcapng writer keeps back connections that have done nothing but their handshake, since
    /// it is not settled which end of them is to be shown. They come with their first data, gap or
    /// close.
    fn flush(&mut self) -> Result<(), Error>;

    /// Completes the file. Nothing may be written afterwards.
    fn finish(&mut self) -> Result<(), Error>;
}

/// Gives the records of a capture back, in order.
pub trait RecordReader {
    /// What holds for the whole capture.
    fn info(&self) -> &CaptureInfo;

    /// The next record, or `None` at the end of the file.
    ///
    /// # Errors
    /// After an error every further call returns `None`.
    fn next(&mut self) -> Result<Option<Record<'_>>, Error>;
}
