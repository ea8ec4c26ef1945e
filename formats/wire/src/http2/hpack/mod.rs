//! HPACK (RFC 7541), read by an observer.
//!
//! An endpoint closes the connection at an error, and has the table of its peer from the first
//! byte. An observer must continue, and may have joined late or lost bytes. The rule above all: an
//! unseen entry is unknown, and is never taken for another entry.
//!
//! That rule holds because indices count from the newest entry (section 2.3.3). The table of the
//! encoder is at any time the newest part of all entries it has ever inserted: eviction removes the
//! oldest (section 4.3), a smaller table evicts (4.3), and an entry that is too large empties the
//! table (4.4). Thus as long as all insertions since some moment were seen, every index either
//! refers to an entry among them, whatever the size of the table, or to an older entry, which is
//! unknown. Decoding therefore does not need the settings of the other side: a change of size comes
//! as an instruction among the fields (6.3), and only determines the entries that may be forgotten.

mod blank;
mod decoder;
mod error;
mod huffman;
mod integer;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use blank::blank;
pub use decoder::{Decoder, Encoded, Sink};
pub use error::{Defect, Error};
pub use huffman::encode as encode_huffman;
