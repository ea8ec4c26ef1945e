//! What the recorder tells its user.
//!
//! All of it goes to stderr, which may be a pipe that nobody reads any more. That is no reason to
//! stop a recording, or to report anything but the command's own status: a message that cannot
//! be written is dropped.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints one line on stderr, under the recorder's name.
pub fn say(message: impl Display) {
    print(format_args!("sslrec: {message}\n"));
}

/// Prints on stderr as it is.
pub(crate) fn print(text: impl Display) {
    // In one piece, so that it is not torn where the command writes to the same place.
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}
