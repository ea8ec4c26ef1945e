//! Finds values that follow a name, in text that arrives in pieces: `name=value` in URLs and forms,
//! `"name": value` in JSON, `Name: value` on a separate line.
//!
//! The finder does not parse any of these formats. A value begins after `=` or `:`; the bytes
//! before it are examined for a name, in any spelling ([`super::decode`]), whatever surrounds them.
//! So a stray quote, a broken head or JSON within a string within a form hides nothing. JSON
//! remains JSON of the same length: in objects and arrays, strings and numbers are blanked.

mod json;
mod line;
mod multipart;
mod names;
mod pairs;
mod triggers;

use std::ops::Range;

use self::triggers::Triggers;
use super::counts::Rule;
use super::rules::Rules;

/// The longest name, in its spelling.
const MAX_NAME: usize = 512;

/// The most whitespace between a name and its colon.
const MAX_SPACE: usize = 64;

/// Number of bytes before the cursor that a search for a name needs.
pub(super) const CONTEXT: usize = MAX_NAME + MAX_SPACE + 64;

/// The text that is searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'r> {
    pub(super) rules: &'r Rules,
    /// The text is a form, and so begins with a name.
    pub(super) form: bool,
    /// The text may be other than a body: a header field may announce compressed bytes.
    pub(super) unsure: bool,
    /// The text is a target or header value: backslashes are not escapes of an outer string.
    pub(super) head: bool,
}

/// Bytes to blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blank {
    pub(super) range: Range<usize>,
    pub(super) fill: Fill,
    pub(super) rule: Rule,
    /// A value begins here.
    pub(super) begins: bool,
}

/// The replacement of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Stars,
    /// A number; `first` if no digit was written yet: a zero must not precede other digits.
    Digits {
        first: bool,
    },
}

impl Fill {
    /// Returns the replacement for the bytes after those already written.
    pub(super) fn next(self) -> Self {
        match self {
            Fill::Stars => Fill::Stars,
            Fill::Digits { .. } => Fill::Digits { first: false },
        }
    }

    pub(super) fn write(self, bytes: &mut [u8]) {
        match self {
            Fill::Stars => bytes.fill(b'*'),
            Fill::Digits { first } => {
                bytes.fill(b'0');
                if let (true, Some(digit)) = (first, bytes.first_mut()) {
                    *digit = b'1';
                }
            }
        }
    }
}

/// The spelling of the quotes of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Plain,
    /// Percent-encoded this number of times.
    Percent(u8),
    Entity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Outside of secrets.
    Text,
    /// After the colon of JSON.
    Before(Spelling),
    /// After the colon of a line with a quoted name: of JSON, or of a header field.
    BeforeField,
    /// In the value of a URL whose `=` is percent-encoded this number of times.
    Url {
        depth: u8,
    },
    /// In the value of a form: up to the next `&`.
    Form,
    /// In a cookie.
    Cookie,
    /// In the rest of a line; `escaped` within a string of JSON. `newline`: after its line feed.
    Line {
        escaped: bool,
        newline: bool,
    },
    String {
        quote: u8,
        level: u32,
        spelling: Spelling,
    },
    /// In a number or word of JSON; `first`: before its first byte.
    Word {
        first: bool,
    },
    /// In an object or array whose quotes are of this level.
    Nested {
        depth: u32,
        level: u32,
        quote: Option<u8>,
        in_word: bool,
    },
    /// Before the name of a part of a form.
    PartName,
    /// In the head of a part that is secret.
    PartHead,
    /// In a part that is secret.
    Part,
    /// Up to the end: the bytes cannot be searched.
    Rest,
}

/// The result of a step.
enum Step {
    Again,
    /// More bytes are needed; all bytes before this place are settled.
    Wait(usize),
}

/// Searches a text.
#[derive(Debug)]
pub(super) struct Finder {
    state: State,
    rule: Rule,
    /// The value has begun, and no part of it was blanked yet.
    begins: bool,
    /// Place up to which the text was read.
    at: usize,
    /// Place after the last `=`: no name begins before it.
    after_equals: usize,
    /// Place after the colon of a line with cookies on which no `=` was found yet.
    cookies: Option<usize>,
    /// The text is complete at its beginning.
    origin: bool,
    /// Delimiter of a form of several parts, with its dashes.
    boundary: Option<Vec<u8>>,
    /// A header field announced compressed bytes: the end of the head is searched from here on.
    coded: Option<usize>,
    /// The text is compressed from here on.
    rest: Option<usize>,
    /// Place before which no compressed bytes begin.
    searched: usize,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self {
            state: State::Text,
            rule: Rule::Query,
            begins: false,
            at: 0,
            after_equals: 0,
            cookies: None,
            origin: true,
            boundary: None,
            coded: None,
            rest: None,
            searched: 0,
        }
    }

    /// Processes missing bytes: up to the end of the line, the next bytes may be the rest of a
    /// secret.
    pub(super) fn gap(&mut self) {
        if self.state != State::Rest {
            self.begin(Rule::Unsearchable, State::Line { escaped: false, newline: false });
        }
    }

    /// Blanks all further bytes.
    pub(super) fn blank_rest(&mut self) {
        self.begin(Rule::Unsearchable, State::Rest);
    }

    /// Adjusts all places to a text without its first `cut` bytes.
    pub(super) fn shift(&mut self, cut: usize) {
        self.origin &= cut == 0;
        self.at = self.at.saturating_sub(cut);
        self.after_equals = self.after_equals.saturating_sub(cut);
        self.searched = self.searched.saturating_sub(cut);
        for place in [&mut self.cookies, &mut self.coded, &mut self.rest].into_iter().flatten() {
            *place = place.saturating_sub(cut);
        }
    }

    /// Returns the place that must remain in the text, with [`CONTEXT`] before it.
    pub(super) fn cursor(&self) -> usize {
        self.at
    }

    /// Skips the rest of the text, which was blanked.
    pub(super) fn skip_to(&mut self, end: usize) {
        self.at = end;
    }

    /// Reads as far as possible; with `last` nothing follows. Returns the place before which all
    /// bytes are settled.
    pub(super) fn run(
        &mut self,
        look: Look<'_>,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> usize {
        let mut triggers = Triggers::default();
        if look.unsure {
            self.find_gzip(text);
        }
        while self.at < text.len() {
            let step = match self.state {
                State::Text => self.text(look, text, last, &mut triggers),
                State::Before(spelling) => self.before(spelling, text, last),
                State::BeforeField => self.before_field(text),
                State::Url { depth } => self.url(look, depth, text, last, out),
                State::Form => self.until(text, out, |octet| octet == b'&'),
                State::Cookie => self.until(text, out, |octet| b";\r\n".contains(&octet)),
                State::Line { escaped, newline } => self.line(escaped, newline, text, last, out),
                State::String { quote, level, spelling } => {
                    self.string(quote, level, spelling, text, last, out)
                }
                State::Word { first } => self.word(first, text, last, out),
                State::Nested { .. } => self.nested(text, last, out),
                State::PartName => self.part_name(look, text, last),
                State::PartHead => self.part_head(text, last),
                State::Part => self.part(text, last, out),
                State::Rest => self.until(text, out, |_| false),
            };
            if let Step::Wait(settled) = step {
                return settled;
            }
        }
        text.len()
    }

    fn begin(&mut self, rule: Rule, state: State) {
        (self.rule, self.state, self.begins) = (rule, state, true);
    }

    /// Blanks from the cursor to `end` and moves the cursor there.
    fn blank(&mut self, end: usize, fill: Fill, out: &mut Vec<Blank>) {
        let (range, rule) = (self.at..end, self.rule);
        self.at = end;
        if range.is_empty() {
            return;
        }
        let begins = std::mem::take(&mut self.begins);
        match out.last_mut() {
            Some(before)
                if before.range.end == range.start
                    && !begins
                    && (before.fill, fill) == (Fill::Stars, Fill::Stars) =>
            {
                before.range.end = range.end;
            }
            _ => out.push(Blank { range, fill, rule, begins }),
        }
    }

    fn end(&mut self, end: usize, out: &mut Vec<Blank>) -> Step {
        self.blank(end, Fill::Stars, out);
        self.state = State::Text;
        Step::Again
    }

    /// Holds the bytes from `at` on until more bytes arrive.
    fn hold(&mut self, at: usize, out: &mut Vec<Blank>) -> Step {
        self.blank(at, Fill::Stars, out);
        Step::Wait(at)
    }

    fn until(&mut self, text: &[u8], out: &mut Vec<Blank>, is_end: impl Fn(u8) -> bool) -> Step {
        match text[self.at..].iter().position(|&octet| is_end(octet)) {
            Some(len) => self.end(self.at + len, out),
            None => {
                self.blank(text.len(), Fill::Stars, out);
                Step::Again
            }
        }
    }
}

/// Returns the secrets by name in a complete text.
pub(super) fn find(look: Look<'_>, text: &[u8]) -> Vec<Blank> {
    let mut out = Vec::new();
    let mut finder = Finder::new();
    finder.origin = false;
    finder.run(look, text, true, &mut out);
    out
}

#[cfg(test)]
mod tests;
