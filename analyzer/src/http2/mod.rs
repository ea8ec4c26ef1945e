//! HTTP/2 (RFC 9113): both directions of a connection into exchanges.
//!
//! ```text
//! bytes -> search -> splitter -> half (hpack, head) -> connection -> exchanges
//! ```

mod connection;
mod exchanges;
mod half;
mod head;
mod message;
mod open;
mod splitter;

pub(crate) use connection::{Connection, Place};
pub(crate) use sslrec_wire::http2::search::find;
use sslrec_wire::http2::{frame, hpack, search};
