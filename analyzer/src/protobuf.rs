//! Protocol Buffers messages without their schema: the information in the wire format alone.
//!
//! Numbers are shown unsigned and without interpretation. The wire format does not mark the type of
//! a length-prefixed field: text, bytes and messages look alike, so this decoding is a guess.

use std::borrow::Cow;

/// Maximum depth of nested messages.
const MAX_DEPTH: usize = 32;

/// Maximum number of fields read of a message, with the fields of nested messages.
const MAX_FIELDS: usize = 20_000;

/// A field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<'a> {
    /// Field number.
    pub number: u32,
    /// Value.
    pub value: Value<'a>,
}

/// The value of a field, by its wire type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Any integer, a boolean, or a number of an enumeration.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// A group: a message between two marks.
    Group(Vec<Field<'a>>),
    /// Length-prefixed, and probably a message.
    Message(Vec<Field<'a>>),
    /// Length-prefixed, and probably text.
    Text(Cow<'a, str>),
    /// Length-prefixed data of unknown type.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// Returns the name of the wire type.
    pub fn wire(&self) -> &'static str {
        match self {
            Value::Varint(_) => "varint",
            Value::Fixed64(_) => "i64",
            Value::Fixed32(_) => "i32",
            Value::Group(_) => "group",
            Value::Message(_) | Value::Text(_) | Value::Bytes(_) => "len",
        }
    }
}

/// Returns the fields of a message; `None` if the bytes are not a message, or it has more than
/// 20,000 fields.
pub fn fields(bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut reader = Reader { bytes, fields_left: MAX_FIELDS };
    reader.message(None, 0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// Number of fields that may still be read, counting fields of data that turns out not to be a
    /// message.
    fields_left: usize,
}

impl<'a> Reader<'a> {
    /// Reads fields up to the end of the bytes, or of the group of this number.
    fn message(&mut self, group: Option<u32>, depth: usize) -> Option<Vec<Field<'a>>> {
        let mut fields = Vec::new();
        while !self.bytes.is_empty() {
            let tag = u32::try_from(self.varint()?).ok()?;
            let number = tag >> 3;
            if number == 0 {
                return None;
            }
            if tag & 7 == 4 {
                return (group == Some(number)).then_some(fields);
            }
            self.fields_left = self.fields_left.checked_sub(1)?;
            let value = self.value(tag & 7, number, depth)?;
            fields.push(Field { number, value });
        }
        group.is_none().then_some(fields)
    }

    fn value(&mut self, wire: u32, number: u32, depth: usize) -> Option<Value<'a>> {
        Some(match wire {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.array()?)),
            5 => Value::Fixed32(u32::from_le_bytes(*self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.bytes.split_at_checked(len)?;
                self.bytes = rest;
                self.prefixed(bytes, depth)
            }
            3 if depth < MAX_DEPTH => Value::Group(self.message(Some(number), depth + 1)?),
            _ => return None,
        })
    }

    /// Interprets a length-prefixed value. Text has no control characters other than line breaks
    /// and tabs. Short messages can consist of exactly these and letters, so a value that contains
    /// them is a message if it can be parsed as a message.
    fn prefixed(&mut self, bytes: &'a [u8], depth: usize) -> Value<'a> {
        let text = std::str::from_utf8(bytes).ok();
        let text =
            text.filter(|text| !text.contains(|c: char| c.is_control() && !"\t\n\r".contains(c)));
        match text {
            Some(text) if !text.contains(['\t', '\n', '\r']) => return Value::Text(text.into()),
            _ if depth >= MAX_DEPTH => {}
            _ => {
                let mut inner = Reader { bytes, fields_left: self.fields_left };
                let fields = inner.message(None, depth + 1);
                self.fields_left = inner.fields_left;
                if let Some(fields) = fields {
                    return Value::Message(fields);
                }
            }
        }
        text.map_or(Value::Bytes(bytes), |text| Value::Text(text.into()))
    }

    /// Reads at most ten bytes; the last byte holds the highest bit.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(array)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    fn one(bytes: &[u8]) -> Value<'_> {
        let mut fields = fields(bytes).unwrap();
        assert_eq!((fields.len(), fields[0].number), (1, 1));
        fields.remove(0).value
    }

    #[test]
    fn each_wire_type_is_read() {
        assert_eq!(one(b"\x08\x96\x01"), Value::Varint(150));
        assert_eq!(one(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Value::Varint(u64::MAX));
        assert_eq!(one(b"\x09\x01\0\0\0\0\0\0\x80"), Value::Fixed64(0x8000_0000_0000_0001));
        assert_eq!(one(b"\x0d\x01\0\0\0"), Value::Fixed32(1));
        assert_eq!(one(b"\x0a\x07testing"), Value::Text("testing".into()));
        assert_eq!(one(b"\x0a\0"), Value::Text("".into()));
        assert_eq!(one(b"\x0a\x02\xff\xfe"), Value::Bytes(b"\xff\xfe"));
        let inner = vec![Field { number: 1, value: Value::Varint(150) }];
        assert_eq!(one(b"\x0a\x03\x08\x96\x01"), Value::Message(inner.clone()));
        assert_eq!(one(b"\x0b\x08\x96\x01\x0c"), Value::Group(inner));
        let text = Field { number: 1, value: Value::Text("abcdefghi".into()) };
        assert_eq!(one(b"\x0a\x0b\x0a\x09abcdefghi"), Value::Message(vec![text]));
        assert_eq!(one(b"\x0a\x04a\nbc"), Value::Text("a\nbc".into()));
        assert_eq!(fields(b""), Some(vec![]));
    }

    #[test]
    fn invalid_messages_are_not_decoded() {
        let none: [&[u8]; 8] = [
            b"\x08",
            b"\x00\x01",
            b"\x0a\x05abc",
            b"\x0b\x08\x01",
            b"\x0b\x14",
            b"\x0e\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\xff\xff\xff\xff\xff\x01\x01",
        ];
        for bytes in none {
            assert_eq!(fields(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let mut deep = b"\x08\x01".to_vec();
        for _ in 0..60 {
            let len = deep.len() as u8;
            deep = [&[0x0a, len][..], &deep].concat();
        }
        let mut depth = 0;
        let mut view = fields(&deep).unwrap();
        while let Value::Message(inner) = view.remove(0).value {
            depth += 1;
            view = inner;
        }
        assert_eq!(depth, MAX_DEPTH);
        assert!(fields(&b"\x08\x01".repeat(MAX_FIELDS)).is_some());
        assert!(fields(&b"\x08\x01".repeat(MAX_FIELDS + 1)).is_none());
        assert!(fields(&b"\x0b".repeat(100_000)).is_none());
    }
}
