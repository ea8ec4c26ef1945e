//! The line of an exchange before its turn: everything but the number.
//!
//! The data of its connection may still change, though rarely; that part is then rewritten.

use std::io::{self, Write};
use std::ops::Range;

use sslrec_analyzer::descriptors::Descriptors;
use sslrec_analyzer::exchange::{Exchange, SharedConnection};
use sslrec_formats::record::Direction;

use super::object::Object;
use super::{USUAL_LINE, exchange_fields, identity};

/// The JSON line of an exchange without its number.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Everything after the number, up to the end of the line.
    rest: Box<[u8]>,
    /// Range of the connection's data in `rest`.
    identity: Range<usize>,
    shared: SharedConnection,
    /// Version of the connection's data in `rest`.
    version: u64,
    client: Direction,
}

impl Prepared {
    /// Builds the line in the buffer `line`, which is empty and reused for its memory.
    pub(super) fn new(
        line: &mut Vec<u8>,
        exchange: &Exchange,
        descriptors: Option<&Descriptors>,
    ) -> serde_json::Result<Self> {
        let mut object = Object::go_on(line);
        let identity = exchange_fields(&mut object, exchange, descriptors)?;
        object.end();
        line.push(b'\n');
        let prepared = Self {
            rest: line.as_slice().into(),
            identity,
            shared: exchange.shared_connection().clone(),
            version: exchange.shared_connection().listed_version(),
            client: exchange.request_direction,
        };
        line.clear();
        line.shrink_to(USUAL_LINE);
        Ok(prepared)
    }

    /// Returns about how much memory the line takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.rest.len()
    }

    /// Writes the number and the line. `line` is a buffer as in [`Self::new`].
    pub(super) fn write(self, out: &mut impl Write, line: &mut Vec<u8>) -> io::Result<()> {
        if self.shared.listed_version() == self.version {
            return out.write_all(&self.rest);
        }
        identity(&mut Object::go_on(line), &self.shared.listed(), Some(self.client));
        out.write_all(&self.rest[..self.identity.start])?;
        out.write_all(line)?;
        line.clear();
        out.write_all(&self.rest[self.identity.end..])
    }
}
