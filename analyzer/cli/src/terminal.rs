//! Width of standard output.

use std::io::{self, IsTerminal};

/// Returns the columns of the terminal. `None` if standard output is not a terminal and takes lines
/// of any length.
pub(crate) fn width() -> Option<usize> {
    let size = terminal_size::terminal_size_of(io::stdout());
    let (width, _) = size.filter(|_| io::stdout().is_terminal())?;
    Some(usize::from(width.0))
}
