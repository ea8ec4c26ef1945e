//! Messages of the recorder on standard error.

use std::fmt::Display;

use sslrec_cli::stderr;

use crate::process::descriptors;

/// Writes a message of one line after the recorder's name.
pub fn message(message: impl Display) {
    stderr::message("sslrec", message);
}

/// Returns an error and its causes in one line. An error for lack of file descriptors begins with
/// advice.
pub fn describe(error: &anyhow::Error) -> String {
    match descriptors::shortage(error) {
        Some(shortage) => format!("{shortage}: {error:#}"),
        None => format!("{error:#}"),
    }
}
