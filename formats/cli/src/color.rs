//! The choice of colours for a stream.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::str::FromStr;

/// Value of `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// Colours on a terminal, unless `NO_COLOR` is set and not empty, or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Colours everywhere.
    Always,
    /// No colours.
    Never,
}

impl Color {
    /// Returns whether `stream` is coloured.
    pub fn is_on(self, stream: &impl IsTerminal) -> bool {
        let variable = |name| std::env::var_os(name);
        self.decide(
            || stream.is_terminal(),
            variable("NO_COLOR").as_deref(),
            variable("TERM").as_deref(),
        )
    }

    /// Decides by <https://no-color.org>: the variable counts if it is not empty.
    fn decide(
        self,
        is_terminal: impl FnOnce() -> bool,
        no_color: Option<&OsStr>,
        term: Option<&OsStr>,
    ) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                no_color.is_none_or(OsStr::is_empty)
                    && term.is_none_or(|term| term != "dumb")
                    && is_terminal()
            }
        }
    }
}

impl FromStr for Color {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("expected auto, always or never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_depends_on_the_environment_for_auto_only() {
        for (color, is_terminal, no_color, term, expected) in [
            (Color::Auto, true, None, None, true),
            (Color::Auto, true, Some(""), Some("xterm"), true),
            (Color::Auto, true, Some("1"), Some("xterm"), false),
            (Color::Auto, true, Some("0"), None, false),
            (Color::Auto, true, None, Some("dumb"), false),
            (Color::Auto, false, None, Some("xterm"), false),
            (Color::Always, false, Some("1"), Some("dumb"), true),
            (Color::Never, true, None, Some("xterm"), false),
        ] {
            let [no_color, term] = [no_color, term].map(|value| value.map(OsStr::new));
            let on = color.decide(|| is_terminal, no_color, term);
            assert_eq!(on, expected, "{color:?} {is_terminal} {no_color:?} {term:?}");
        }
    }

    #[test]
    fn unknown_values_are_errors() {
        assert_eq!("always".parse(), Ok(Color::Always));
        for bad in ["", "Always", "yes"] {
            assert!(Color::from_str(bad).unwrap_err().contains("auto, always or never"), "{bad}");
        }
    }
}
