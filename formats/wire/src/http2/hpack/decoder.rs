//! Decodes field blocks into fields (RFC 7541 sections 3 and 6).

use super::error::{Defect, Error};
use super::static_table::{self, ENTRIES};
use super::table::{Lookup, Table};
use super::{huffman, integer};

/// The largest size of the fields of a block: octets of names and values, and 32 for each field
/// (RFC 9113 section 6.5.2). Browsers accept 256 KiB, servers less.
const MAX_LIST: usize = 1 << 20;

/// The largest ratio between the fields of a connection and their blocks: a single octet can refer
/// to the largest entry of the table. Real connections stay below a tenth of this ratio.
const MAX_EXPANSION: u64 = 1000;

/// Octets of fields that are exempt from the ratio.
const FREE_EXPANSION: u64 = 16 << 20;

/// The encoded form of a string in a block (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// Number of its bytes, without its length.
    pub len_bytes: usize,
    /// Number of bytes of the block after it.
    pub left_bytes: usize,
    /// The string has a Huffman code.
    pub huffman: bool,
}

/// Receives the contents of a block.
pub trait Sink {
    /// Announces that the next field has a literal value, in this form.
    fn literal(&mut self, value: Encoded) {
        let _ = value;
    }

    /// Receives a field; `None` is an unknown part of it.
    fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>);

    /// Receives a defect of the block.
    fn defect(&mut self, defect: Defect);

    /// Receives a change of the size of the encoder's table.
    fn table_size(&mut self, len_bytes: usize);
}

/// The origin of a name.
#[derive(Debug, Clone, Copy)]
enum Name {
    Static(&'static str),
    /// Age of an entry of the table.
    Dynamic(usize),
    Literal,
}

/// Decodes the blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The current name and value, if they are Huffman strings.
    name: Vec<u8>,
    value: Vec<u8>,
    /// Octets that fields may still count, for all blocks so far.
    allowance: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Returns a decoder for a connection that is seen from its beginning.
    pub fn new() -> Self {
        Self::with(Table::new())
    }

    /// Returns a decoder for a connection that was joined later.
    pub fn joining() -> Self {
        Self::with(Table::unknown())
    }

    fn with(table: Table) -> Self {
        Self { table, name: Vec::new(), value: Vec::new(), allowance: FREE_EXPANSION }
    }

    /// Processes the loss of a block, or of a part of a block.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// Decodes a complete block.
    ///
    /// # Errors
    /// If the block cannot be decoded to its end; the contents of the table are then unknown.
    pub fn decode(&mut self, block: &[u8], sink: &mut impl Sink) -> Result<(), Error> {
        let earned = (block.len() as u64).saturating_mul(MAX_EXPANSION);
        self.allowance = self.allowance.saturating_add(earned);
        let mut rest = block;
        let mut room = MAX_LIST;
        let mut first = true;
        while let Some(&octet) = rest.first() {
            let outcome = match octet {
                0x20..=0x3f => self.resize(&mut rest, first, sink).map(|()| 0),
                _ => {
                    first = false;
                    self.one(octet, &mut rest, room, sink)
                }
            };
            let len = outcome.inspect_err(|_| self.table.forget())?;
            room -= len;
            self.allowance -= len as u64;
        }
        Ok(())
    }

    /// Decodes a field. Returns its size, which is never more than `room` and the allowance.
    fn one(
        &mut self,
        octet: u8,
        rest: &mut &[u8],
        room: usize,
        sink: &mut impl Sink,
    ) -> Result<usize, Error> {
        match octet {
            0x80.. => {
                let index = integer::read(rest, 7)?;
                self.indexed(index, room, sink)
            }
            0x40..=0x7f => self.literal(rest, 6, true, room, sink),
            // The prohibition of indexing (section 6.2.3) has no effect here.
            _ => self.literal(rest, 4, false, room, sink),
        }
    }

    fn indexed(&self, index: usize, room: usize, sink: &mut impl Sink) -> Result<usize, Error> {
        let at = index.checked_sub(1).ok_or(Error::IndexZero)?;
        if let Some((name, value)) = ENTRIES.get(at) {
            let len = self.count(name.len() + value.len(), room)?;
            sink.field(Some(name.as_bytes()), Some(value.as_bytes()));
            return Ok(len);
        }
        match self.table.get(at - static_table::LEN) {
            Lookup::Known((name, value)) => {
                let len = self.count(name.map_or(0, <[u8]>::len) + value.len(), room)?;
                sink.field(name, Some(value));
                return Ok(len);
            }
            Lookup::Unknown => {}
            Lookup::Invalid => sink.defect(Defect::InvalidIndex),
        }
        let len = self.count(0, room)?;
        sink.field(None, None);
        Ok(len)
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        prefix: u8,
        insert: bool,
        room: usize,
        sink: &mut impl Sink,
    ) -> Result<usize, Error> {
        let index = integer::read(rest, prefix)?;
        let name = match index.checked_sub(1) {
            None => Name::Literal,
            Some(at) => match ENTRIES.get(at) {
                Some((name, _)) => Name::Static(name),
                None => Name::Dynamic(at - static_table::LEN),
            },
        };
        let mut literal_name: &[u8] = &[];
        if let Name::Literal = name {
            let (text, huffman) = string(rest, &mut self.name)?;
            literal_name = if huffman { &self.name } else { text };
        }
        let (text, huffman) = string(rest, &mut self.value)?;
        let value = if huffman { &self.value } else { text };
        let encoded = Encoded { len_bytes: text.len(), left_bytes: rest.len(), huffman };
        let known = match name {
            Name::Static(name) => Some(name.as_bytes()),
            Name::Literal => Some(literal_name),
            Name::Dynamic(age) => match self.table.get(age) {
                Lookup::Known((name, _)) => name,
                Lookup::Unknown => None,
                Lookup::Invalid => {
                    sink.defect(Defect::InvalidIndex);
                    None
                }
            },
        };
        let len = self.count(known.map_or(0, <[u8]>::len) + value.len(), room)?;
        sink.literal(encoded);
        sink.field(known, Some(value));
        match name {
            _ if !insert => {}
            Name::Dynamic(age) => self.table.insert_like(age, value),
            Name::Static(name) => self.table.insert(Some(name.as_bytes()), value),
            Name::Literal => self.table.insert(Some(literal_name), value),
        }
        Ok(len)
    }

    /// Processes a change of the table's size.
    fn resize(&mut self, rest: &mut &[u8], first: bool, sink: &mut impl Sink) -> Result<(), Error> {
        let limit = integer::read(rest, 5)?;
        if !first {
            sink.defect(Defect::LateTableSize);
        }
        self.table.resize(limit);
        sink.table_size(limit);
        Ok(())
    }

    /// Returns the size of a field with this number of octets, if there is room for it.
    fn count(&self, octets: usize, room: usize) -> Result<usize, Error> {
        let len = octets + 32;
        if len > room {
            return Err(Error::ListTooLong);
        }
        if len as u64 > self.allowance {
            return Err(Error::Expansion);
        }
        Ok(len)
    }
}

/// Takes a string off `bytes` (section 5.2). Returns its encoded form, and whether it is a Huffman
/// string; then `decoded` contains the decoded string.
fn string<'b>(bytes: &mut &'b [u8], decoded: &mut Vec<u8>) -> Result<(&'b [u8], bool), Error> {
    let huffman = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer::read(bytes, 7)?;
    let (text, rest) = bytes.split_at_checked(len).ok_or(Error::Truncated)?;
    *bytes = rest;
    if huffman {
        decoded.clear();
        huffman::decode(text, decoded)?;
    }
    Ok((text, huffman))
}
