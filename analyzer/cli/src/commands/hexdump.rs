//! The beginning of contents that are not text, as a hex dump.

use std::io::{self, Write};

use sslrec_cli::hexdump::Hexdump;

/// How much of contents that are not text `show` dumps.
const START: usize = 256;

/// Writes the first 256 bytes, and the number of bytes after them.
pub(crate) fn write_start(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let start = &bytes[..bytes.len().min(START)];
    write!(out, "{}", Hexdump { prefix: "  ", offset: 0, bytes: start })?;
    match bytes.len().checked_sub(START) {
        Some(rest @ 1..) => writeln!(out, "* {rest} bytes more"),
        _ => Ok(()),
    }
}
