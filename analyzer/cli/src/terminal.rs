//! Width of standard output.

use std::io::{self, IsTerminal};

/// Columns of the terminal; `None` where standard output is something else, which takes lines of
/// any length.
pub(crate) fn width() -> Option<usize> {
    let size = terminal_size::terminal_size_of(io::stdout());
    let (width, _) = size.filter(|_| io::stdout().is_terminal())?;
    Some(usize::from(width.0))
}
