//! Standard output as a terminal: its width, and whether it shows colours.

use std::io::{self, IsTerminal};

use clap::ValueEnum;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Columns of the terminal; `None` where standard output is something else, which takes lines of
/// any length.
pub(crate) fn width() -> Option<usize> {
    let size = terminal_size::terminal_size_of(io::stdout());
    let (width, _) = size.filter(|_| io::stdout().is_terminal())?;
    Some(usize::from(width.0))
}

/// Colours are wanted, or, for `auto`, shown: `NO_COLOR` and a dumb terminal say no.
pub(crate) fn is_colored(color: Color) -> bool {
    let no_color = || {
        std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb")
    };
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stdout().is_terminal() && !no_color(),
    }
}
