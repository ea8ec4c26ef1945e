//! Messages on standard error.
//!
//! A message is written in one piece, so that it is not torn if another process writes to the same
//! place, and always as safe text ([`crate::text`]): it may contain names of files and processes of
//! other users. A message that cannot be written is dropped: standard error may be a pipe without a
//! reader, which is no reason to stop the work or to report another status.

use std::fmt::Display;
use std::io::{self, Write};

use crate::text::{PrintableDisplay, PrintableLines};

/// Writes a message of one line after the program's name.
pub fn message(program: &str, message: impl Display) {
    write(&format!("{program}: {}\n", PrintableDisplay(message)));
}

/// Writes text of several lines as it is, except for escaped characters.
pub fn lines(text: impl Display) {
    write(&PrintableLines(text.to_string()).to_string());
}

fn write(text: &str) {
    // There is nowhere to report a failure.
    let _ = io::stderr().write_all(text.as_bytes());
}
