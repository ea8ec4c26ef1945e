//! Bytes in the format of `hexdump -C`.

use std::fmt::{self, Display, Formatter, Write};

/// Sixteen bytes a line: prefix, place, bytes, and the printable ASCII characters among them. Each
/// line ends with a line feed.
#[derive(Debug, Clone, Copy)]
pub struct Hexdump<'a> {
    /// Text before each line.
    pub prefix: &'a str,
    /// Place of the first byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Display for Hexdump<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (row, line) in self.bytes.chunks(16).enumerate() {
            let place = self.offset.saturating_add(16 * row as u64);
            write!(f, "{}{place:08x} ", self.prefix)?;
            for at in 0..16 {
                let gap = if at == 8 { " " } else { "" };
                match line.get(at) {
                    Some(byte) => write!(f, "{gap} {byte:02x}")?,
                    None => write!(f, "{gap}   ")?,
                }
            }
            f.write_str("  |")?;
            for &byte in line {
                f.write_char(if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' })?;
            }
            f.write_str("|\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_match_the_format_of_hexdump() {
        let bytes = b"0123456789abcdef\x00\x1b~\xff";
        assert_eq!(
            Hexdump { prefix: "  ", offset: 16, bytes }.to_string(),
            "  00000010  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n  \
             00000020  00 1b 7e ff                                       |..~.|\n"
        );
        assert_eq!(Hexdump { prefix: "", offset: 0, bytes: b"" }.to_string(), "");
    }
}
