//! HTTP/2 (RFC 9113): both directions of a connection into exchanges.
//!
//! ```text
//! bytes -> search -> splitter -> half (hpack, head) -> connection -> exchanges
//! ```

mod connection;
mod exchanges;
mod frame;
mod half;
mod head;
mod hpack;
mod message;
mod open;
mod search;
mod splitter;

pub(crate) use connection::{Connection, Place};
pub(crate) use search::find;
