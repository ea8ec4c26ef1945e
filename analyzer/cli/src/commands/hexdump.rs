//! Bytes as `xxd` and `hexdump -C` show them.

use std::io::{self, Write};

/// Writes sixteen bytes a line, each after `prefix`: place, bytes, and those that are ASCII.
/// `offset` is the place of the first one.
pub(crate) fn write(
    out: &mut impl Write,
    prefix: &str,
    offset: u64,
    bytes: &[u8],
) -> io::Result<()> {
    for (row, line) in bytes.chunks(16).enumerate() {
        write!(out, "{prefix}{:08x} ", offset + 16 * row as u64)?;
        for at in 0..16 {
            let gap = if at == 8 { " " } else { "" };
            match line.get(at) {
                Some(byte) => write!(out, "{gap} {byte:02x}")?,
                None => write!(out, "{gap}   ")?,
            }
        }
        let shown = line.iter().map(|&b| if (b' '..=b'~').contains(&b) { b } else { b'.' });
        out.write_all(b"  |")?;
        out.write_all(&shown.collect::<Vec<u8>>())?;
        out.write_all(b"|\n")?;
    }
    Ok(())
}

/// How much of contents that are not text `show` dumps.
const START: usize = 256;

/// Writes the first 256 bytes, and how many there are more.
pub(crate) fn write_start(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write(out, "  ", 0, &bytes[..bytes.len().min(START)])?;
    match bytes.len().checked_sub(START) {
        Some(rest @ 1..) => writeln!(out, "* {rest} bytes more"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    #[test]
    fn lines_look_like_those_of_hexdump() {
        let mut out = Vec::new();
        write(&mut out, "  ", 16, b"0123456789abcdef\x00\x1b~").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  00000010  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n  \
             00000020  00 1b 7e                                          |..~|\n"
        );
    }
}
