//! Outputs of a listing. They only read the model, and write as they go.

pub(crate) mod columns;
pub(crate) mod json;
pub(crate) mod table;

use std::io;

use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::pipeline::Summary;

pub(crate) use self::json::Prepared;

/// A format of the listing.
pub(crate) trait Output {
    /// Writes an item.
    ///
    /// # Errors
    /// The item cannot be written.
    fn item(&mut self, item: &Item) -> io::Result<()>;

    /// Prepares the line of an item before its turn, if this output saves work by it.
    ///
    /// # Errors
    /// The item cannot be written.
    fn prepare(&mut self, item: &Item) -> io::Result<Option<Prepared>> {
        let _ = item;
        Ok(None)
    }

    /// Writes a prepared line at its turn, as exchange number `id`.
    ///
    /// # Errors
    /// The line cannot be written, or this output prepares no lines.
    fn prepared(&mut self, prepared: Prepared, id: u64) -> io::Result<()> {
        let _ = (prepared, id);
        Err(io::Error::other("this output does not support prepared lines"))
    }

    /// Writes the summary, after all items.
    ///
    /// # Errors
    /// The summary cannot be written.
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;

    /// Flushes everything written so far to the reader.
    ///
    /// # Errors
    /// The output cannot be written.
    fn flush(&mut self) -> io::Result<()>;
}
