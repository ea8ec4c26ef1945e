//! What is wrong with a filter, shown at its place.

use std::fmt;
use std::ops::Range;

use sslrec_cli::text::is_special;

/// A filter that was not understood.
///
/// Displays as one line that says what is wrong, the filter with the place marked under it, and
/// what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
    /// Bytes of the text that are wrong; empty, at the end, where something is missing.
    place: Range<usize>,
    problem: String,
    allowed: String,
    hint: Option<String>,
}

impl Error {
    pub(super) fn new(
        text: &str,
        place: Range<usize>,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            text: text.into(),
            place,
            problem: problem.into(),
            allowed: allowed.into(),
            hint: None,
        }
    }

    /// Adds a line to the message, such as another meaning that the text may have.
    pub fn with_hint(mut self, hint: String) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Place of the problem, in bytes of the filter's text.
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One character for one, so that the marks stand under what they mark.
        let shown = |text: &str| -> String {
            text.chars().map(|c| if is_special(c) { ' ' } else { c }).collect()
        };
        let before = self.text.get(..self.place.start).unwrap_or("");
        let marked = self.text.get(self.place.clone()).unwrap_or("");
        writeln!(f, "bad filter: {}", shown(&self.problem))?;
        writeln!(f, "  {}", shown(&self.text))?;
        let marks = "^".repeat(marked.chars().count().max(1));
        writeln!(f, "  {}{marks}", " ".repeat(before.chars().count()))?;
        write!(f, "allowed here: {}", self.allowed)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n{}", shown(hint)))
    }
}

impl std::error::Error for Error {}
