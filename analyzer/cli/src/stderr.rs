//! Messages on standard error.

use sslrec_analyzer::filter;
use sslrec_cli::stderr;

/// Writes an error to standard error. It takes a line; an error in a filter takes several, which
/// mark the place.
pub(crate) fn report(error: &anyhow::Error) {
    if error.is::<filter::Error>() {
        stderr::lines(format_args!("sslanalyze: {error:#}\n"));
    } else {
        stderr::message("sslanalyze", format_args!("{error:#}"));
    }
}
