//! Dumps the beginning of binary contents.

use std::io::{self, Write};

use sslrec_cli::hexdump::Hexdump;

/// Number of bytes of binary contents that `show` dumps.
const START: usize = 256;

/// Writes the first 256 bytes, and the number of bytes after them.
pub(crate) fn write_start(out: &mut (impl Write + ?Sized), bytes: &[u8]) -> io::Result<()> {
    let start = &bytes[..bytes.len().min(START)];
    write!(out, "{}", Hexdump { prefix: "  ", offset: 0, bytes: start })?;
    match bytes.len().checked_sub(START) {
        Some(rest @ 1..) => writeln!(out, "* {rest} bytes more"),
        _ => Ok(()),
    }
}
