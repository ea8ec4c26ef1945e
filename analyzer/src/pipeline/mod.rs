//! The pipeline from the records of a capture to the items of a listing.
//!
//! ```text
//! records -> assembler -> connection -> timeline -> order -> lister
//! ```
//!
//! [`Assembler`] runs all of it. `order` may run in a thread of its own (`lister_thread`), and
//! `iter` makes an iterator of the pipeline.

mod assembler;
mod iter;
mod lister_thread;
mod order;

pub use self::assembler::{Assembler, ItemSink, Missed, Options, Summary};
pub use self::iter::{Capture, Exchanges, Items};
pub use self::order::{Holding, Lister};
