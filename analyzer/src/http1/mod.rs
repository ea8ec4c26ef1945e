//! HTTP/1.0 and HTTP/1.1 (RFC 9112): both directions of a connection into exchanges.
//!
//! [`parser`] reads one direction, and [`waiting`] pairs responses with requests: by order, as the
//! protocol requires, as long as it is certain that no message is missing between them.

mod became;
mod changes;
mod connection;
mod evidence;
mod head;
mod open;
mod parser;
mod requests;
mod responses;
mod tunnelled;
mod waiting;

pub(crate) use connection::Connection;
pub(crate) use evidence::View;
pub(crate) use open::Chunk;
use sslrec_formats::record::Direction;
use sslrec_wire::http1::Framing;
pub(crate) use sslrec_wire::http1::{Kind, first, start};
pub(crate) use tunnelled::{OpenTunnel, Tunnelled};

/// How the bytes of a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection was closed.
    Closed,
    /// The connection was reset before the sender closed its direction.
    Reset,
    /// The connection was still open at the end of its recording.
    Open,
}

/// Returns the other direction.
pub(crate) fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Sent => Direction::Received,
        Direction::Received => Direction::Sent,
    }
}
