//! HPACK (RFC 7541), read by an observer.
//!
//! An endpoint that meets an error closes the connection, and knows the table of its peer from the
//! first byte. An observer must go on, and may have joined late or lost bytes. So there is one
//! rule above all: an entry that was not seen is unknown, and never taken for another one.
//!
//! That rule holds because indices count from the newest entry (section 2.3.3). The table of the
//! encoder is at any time the newest part of what it has ever inserted: eviction takes the oldest
//! (section 4.3), a smaller table evicts (4.3), and an entry that is too large empties the table
//! (4.4). Thus as long as all insertions since some moment were seen, every index either names one
//! of them, whatever the size of the table, or something older, which is unknown. It also means
//! that the settings of the other side are not needed to decode: a change of size comes as an
//! instruction among the fields (6.3), and only says what may be forgotten.

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
pub use error::Error;
pub use huffman::encode as encode_huffman;
