//! Words within the texts of notes.

use std::fmt::{self, Display, Formatter};

use sslrec_formats::record::{Direction, GapCause, Role};
use sslrec_wire::http2::frame;

/// `connection`, or `connections` unless there is a single one.
pub(super) fn connection_or_connections(count: u64) -> &'static str {
    if count == 1 { "connection" } else { "connections" }
}

/// The names of servers in brackets, after a blank; nothing without names.
pub(super) fn server_names(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => format!(" (server name {name})"),
        names => format!(" (server names {})", names.join(", ")),
    }
}

/// The end of a connection that sent bytes, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client.
    Client,
    /// The server.
    Server,
    /// The recorded process; the client is unknown.
    Local,
    /// The peer of the recorded process.
    Remote,
}

impl End {
    /// Returns the end that sends in this direction. Without a `client`, the ends are named after
    /// the recorded process, as in `local_bytes`.
    pub(crate) fn of(direction: Direction, client: Option<Direction>) -> Self {
        match client {
            Some(client) if client == direction => End::Client,
            Some(_) => End::Server,
            None if direction == Direction::Sent => End::Local,
            None => End::Remote,
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Client => Role::Client.as_str(),
            End::Server => Role::Server.as_str(),
            End::Local => "local end",
            End::Remote => "remote end",
        })
    }
}

/// A message of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The request.
    Request,
    /// The response.
    Response,
}

impl Part {
    /// Returns the request or the response.
    pub(crate) fn of(is_request: bool) -> Self {
        if is_request { Part::Request } else { Part::Response }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Request => "request",
            Part::Response => "response",
        })
    }
}

/// The end of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The connection was closed.
    Connection,
    /// The recording ended first.
    Recording,
}

impl Ended {
    /// Returns the end of a connection that is closed, or of a recording.
    pub(crate) fn of(closed: bool) -> Self {
        if closed { Ended::Connection } else { Ended::Recording }
    }
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Connection => "connection",
            Ended::Recording => "recording",
        })
    }
}

/// An error code of HTTP/2, displayed by its name if it has a name (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl Display for ErrorCode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match frame::error_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {:#x}", self.0),
        }
    }
}

/// The cause of missing bytes, if it is known.
pub(super) struct Cause(pub(super) GapCause);

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            GapCause::Unknown => Ok(()),
            cause => write!(f, ": {cause}"),
        }
    }
}

/// Returns the unit of a number of bytes.
pub(super) fn bytes_unit(bytes: u64) -> &'static str {
    if bytes == 1 { "byte" } else { "bytes" }
}

/// Returns the subject and verb of a number of fields.
pub(super) fn fields_are(fields: u64) -> &'static str {
    if fields == 1 { "field is" } else { "fields are" }
}
