//! What is written about a capture. Outputs only read the model, and stream.

mod carried;
pub(crate) mod columns;
pub mod json;
pub mod table;

use std::io;

use crate::capture::Summary;
use crate::exchange::Item;

/// A form in which a capture is listed.
pub trait Output {
    /// One more item.
    ///
    /// # Errors
    /// If it cannot be written.
    fn item(&mut self, item: &Item) -> io::Result<()>;

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
