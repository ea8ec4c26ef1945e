//! Messages on standard error.

use std::io::{self, Write};

/// Writes an error on standard error. It takes one line; an error in a filter takes a few, which
/// show the place.
pub(crate) fn report(error: &anyhow::Error) {
    // If standard error is closed, the message has no other place.
    let _ = writeln!(io::stderr(), "sslanalyze: {error:#}");
}
