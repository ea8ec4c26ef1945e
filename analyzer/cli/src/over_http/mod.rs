//! Protocols on top of HTTP, as the outputs show them.
//!
//! The library reads a protocol ([`sslrec_analyzer::over_http`]); here each protocol has a file
//! that implements [`Shown`] for its model, and a row of [`PROTOCOLS`]. Outputs know the trait
//! only.

mod events;
mod grpc;
mod json;
mod websocket;

use std::any::Any;
use std::io::{self, Write};

use sslrec_analyzer::descriptors::Descriptors;
use sslrec_analyzer::exchange::carried::Carried;
use sslrec_analyzer::exchange::{Exchange, Sender};
use sslrec_analyzer::over_http as model;

pub(crate) use self::websocket::SocketMessage;
use crate::text::Duration;

/// The data of a protocol, as the outputs show it.
pub(crate) trait Shown {
    /// Returns the content type of the listing: the numbers of messages from both ends, or why the
    /// exchange failed.
    fn summary(&self) -> String;

    /// Returns the length of the listing: that of the response's body, unless the protocol counts
    /// both directions.
    fn bytes(&self, exchange: &Exchange) -> Option<u64> {
        exchange.response.as_ref().map(|response| response.message.body.bytes)
    }

    /// Writes the JSON object: type, counts, and the messages if they were kept.
    ///
    /// # Errors
    /// The object cannot be written.
    fn write_json(
        &self,
        out: &mut dyn Write,
        exchange: &Exchange,
        descriptors: Option<&Descriptors>,
    ) -> serde_json::Result<()>;

    /// Returns whether the messages of a side replace the body of its message.
    fn replaces_body(&self, from: Sender) -> bool;

    /// Writes a summary line, then a line for each message, with the time since `first_ns`.
    /// Everything from the network is escaped.
    ///
    /// # Errors
    /// The output cannot be written.
    fn show(
        &self,
        out: &mut dyn Write,
        first_ns: u64,
        descriptors: Option<&Descriptors>,
    ) -> io::Result<()>;

    /// Returns the messages for HAR, if it has a place for them.
    fn har_messages(&self) -> Option<Vec<SocketMessage<'_>>> {
        None
    }
}

/// Returns the data as that of a protocol, if it is of this type.
type As = fn(&dyn Carried) -> Option<&dyn Shown>;

/// All protocols by their names in the library, with their data.
const PROTOCOLS: [(&str, As); 3] = [
    (model::websocket::NAME, shown_as::<model::websocket::WebSocket>),
    (model::grpc::NAME, shown_as::<model::grpc::Grpc>),
    (model::events::NAME, shown_as::<model::events::Events>),
];

fn shown_as<T: Carried + Shown>(carried: &dyn Carried) -> Option<&dyn Shown> {
    let carried: &dyn Any = carried;
    carried.downcast_ref::<T>().map(|shown| shown as &dyn Shown)
}

/// Returns the protocol on top of HTTP with its name, if any was detected.
pub(crate) fn of(exchange: &Exchange) -> Option<(&'static str, &dyn Shown)> {
    let carried = exchange.carried.as_deref()?;
    let (name, shown) = PROTOCOLS.iter().find(|(name, _)| *name == carried.name())?;
    Some((name, shown(carried)?))
}

/// Returns whether the messages of a side replace the body of its message.
pub(crate) fn replaces_body(exchange: &Exchange, from: Sender) -> bool {
    of(exchange).is_some_and(|(_, shown)| shown.replaces_body(from))
}

/// Writes the messages in the format of `show`, if a protocol was detected.
///
/// # Errors
/// The output cannot be written.
pub(crate) fn show(
    out: &mut dyn Write,
    exchange: &Exchange,
    descriptors: Option<&Descriptors>,
) -> io::Result<()> {
    match of(exchange) {
        Some((_, shown)) => shown.show(out, exchange.first_ns(), descriptors),
        None => Ok(()),
    }
}

/// Writes the sender and the time of a message.
fn write_start(out: &mut dyn Write, from: Sender, time_ns: u64, first_ns: u64) -> io::Result<()> {
    let mark = match from {
        Sender::Client => '>',
        Sender::Server => '<',
    };
    write!(out, "{mark} +{} ", Duration(time_ns.saturating_sub(first_ns)))
}

/// Returns a number of messages with its unit.
fn messages(count: u64) -> String {
    format!("{count} {}", if count == 1 { "message" } else { "messages" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_of_the_library_is_shown() {
        let shown: Vec<_> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        assert_eq!(shown, model::names().collect::<Vec<_>>());
    }
}
