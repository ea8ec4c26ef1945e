//! Messages of the recorder on standard error.

use std::fmt::Display;

use sslrec_cli::stderr;

/// Writes a message of one line after the recorder's name.
pub fn say(message: impl Display) {
    stderr::message("sslrec", message);
}
