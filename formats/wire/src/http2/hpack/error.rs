//! Errors in field blocks (RFC 7541).

/// The reason why decoding of a block stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The block ends inside a field.
    Truncated,
    /// An integer is too large or too long.
    Integer,
    /// A Huffman string contains the end-of-string symbol.
    EndOfString,
    /// The padding of a Huffman string is not one to seven one-bits.
    Padding,
    /// Index 0.
    IndexZero,
    /// The fields of one block exceed the limit.
    ListTooLong,
    /// The fields are far larger than the blocks that encode them.
    Expansion,
}

impl Error {
    /// A description for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Error::Truncated => "the field block ends inside of a field",
            Error::Integer => "integer too large in the field block",
            Error::EndOfString => "end of string inside of a Huffman string",
            Error::Padding => "invalid padding of a Huffman string",
            Error::IndexZero => "index 0 in the field block",
            Error::ListTooLong => "more than 1 MiB of header fields; the rest was left out",
            Error::Expansion => {
                "header fields expand to more than a thousand times their size; the rest was left out"
            }
        }
    }
}
