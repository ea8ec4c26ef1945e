//! Errors in a filter, shown at their place.

use std::fmt;
use std::ops::Range;

use sslrec_cli::text::is_special;

/// An error in a filter.
///
/// Displays a line with the problem, the filter with the place marked under it, and the allowed
/// input there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
    /// Byte range of the error in the text; empty, at the end, if input is missing.
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

    /// Adds a line to the message, such as another interpretation of the text.
    pub fn with_hint(mut self, hint: String) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Returns the place of the problem, in bytes of the filter's text.
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each character is replaced by a single character, so that the marks align.
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
