//! What is written about a capture. Outputs only read the model, and stream.

mod carried;
pub(crate) mod columns;
pub(crate) mod json;
pub(crate) mod table;

use std::io;

use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::pipeline::Summary;

pub(crate) use self::json::Prepared;

/// A form in which a capture is listed.
pub(crate) trait Output {
    /// One more item.
    ///
    /// # Errors
    /// If it cannot be written.
    fn item(&mut self, item: &Item) -> io::Result<()>;

    /// An item whose turn has not come: what can be written of it ahead, if that saves something.
    ///
    /// # Errors
    /// If it cannot be written.
    fn prepare(&mut self, item: &Item) -> io::Result<Option<Prepared>> {
        let _ = item;
        Ok(None)
    }

    /// The turn of what was prepared: it is the `id`th exchange.
    ///
    /// # Errors
    /// If it cannot be written, or this form prepares nothing.
    fn prepared(&mut self, prepared: Prepared, id: u64) -> io::Result<()> {
        let _ = (prepared, id);
        Err(io::Error::other("a line of another form"))
    }

    /// All items were written.
    ///
    /// # Errors
    /// If it cannot be written.
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;

    /// Everything so far must reach the reader now.
    ///
    /// # Errors
    /// If it cannot be written.
    fn flush(&mut self) -> io::Result<()>;
}
