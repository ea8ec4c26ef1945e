//! Errors and defects of field blocks (RFC 7541).

use crate::texts::texts;

texts! {
    /// The reason why decoding of a block stopped before its end.
    pub enum Error {
        /// The block ends inside a field.
        Truncated => "the field block ends inside of a field";
        /// An integer is too large or too long.
        Integer => "integer too large in the field block";
        /// A Huffman string contains the end-of-string symbol.
        EndOfString => "end of string inside of a Huffman string";
        /// The padding of a Huffman string is not one to seven one-bits.
        Padding => "invalid padding of a Huffman string";
        /// Index 0.
        IndexZero => "index 0 in the field block";
        /// The fields of one block exceed the limit.
        ListTooLong => "more than 1 MiB of header fields; the rest was left out";
        /// The fields are far larger than the blocks that encode them.
        Expansion =>
            "header fields expand to more than a thousand times their size; the rest was left out";
    }
}

texts! {
    /// A defect of a block that an endpoint would not accept. Decoding continues.
    pub enum Defect {
        /// An index refers to an entry that the encoder never inserted.
        InvalidIndex => "header field that refers to an entry which does not exist";
        /// The size of the table changes only at the beginning of a block (section 4.2).
        LateTableSize => "change of the table size after a header field";
    }
}
