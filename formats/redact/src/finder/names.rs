//! The search for names: finds the bytes that separate a name from its value, and gives each name
//! to the file of its spelling.

use memchr::memmem;

use super::json::{bare, is_spelled, quoted, spelled_quote};
use super::triggers::Triggers;
use super::{Finder, Look, MAX_NAME, MAX_SPACE, Spelling, State, Step};
use crate::counts::Rule;
use crate::decode::{self, Incomplete, decode};
use crate::header_name::header_name;

/// The search for names.
impl Finder {
    pub(super) fn text(
        &mut self,
        look: Look<'_>,
        text: &[u8],
        last: bool,
        triggers: &mut Triggers,
    ) -> Step {
        self.find_end_of_head(text);
        let at = triggers.next(look, text, self.at, self.origin);
        if let Some(rest) = self.rest.filter(|&rest| rest <= at) {
            self.at = self.at.max(rest);
            self.blank_rest();
            return Step::Again;
        }
        self.at = at;
        let Some(&octet) = text.get(at) else { return Step::Wait(text.len()) };
        let (value, len, depth) = match octet {
            b'%' => match decode::percent(&text[at..], last) {
                Ok(octet) => (octet.value, octet.len, octet.depth),
                Err(Incomplete) => return Step::Wait(text.len()),
            },
            b'\\' => match decode::escape(&text[at..], last) {
                // Only `\u003d` and `\x3d` are escaped separators; the `=` of `\=` is found without
                // its escape.
                Ok(escape) if escape.len > escape.slashes + 1 => (escape.value, escape.len, 0),
                Ok(escape) => (b'\\', escape.slashes.max(1), 0),
                Err(Incomplete) => return Step::Wait(text.len()),
            },
            plain => (plain, 1, 0),
        };
        let end = at + len;
        self.at = end;
        match value {
            b'=' => self.equals(look, text, at, end, depth),
            b':' => self.colon(look, text, at, end),
            _ => {}
        }
        Step::Again
    }

    /// Finds compressed contents in unrecognised bytes: all bytes from there on are blanked.
    pub(super) fn find_gzip(&mut self, text: &[u8]) {
        const MAGIC: &[u8] = b"\x1f\x8b\x08";
        let found = memmem::find(&text[self.searched.min(text.len())..], MAGIC);
        self.rest = self.rest.or(found.map(|at| self.searched + at));
        self.searched = text.len().saturating_sub(MAGIC.len() - 1).max(self.searched);
    }

    /// Finds the end of a head that declared its contents to be compressed.
    fn find_end_of_head(&mut self, text: &[u8]) {
        let Some(from) = self.coded else { return };
        let rest = &text[from.min(text.len())..];
        let ends = [&b"\n\r\n"[..], b"\n\n"].map(|end| Some(memmem::find(rest, end)? + end.len()));
        match ends.into_iter().flatten().min() {
            Some(end) => (self.coded, self.rest) = (None, self.rest.or(Some(from + end))),
            None => self.coded = Some(text.len().saturating_sub(2).max(from)),
        }
    }

    pub(super) fn colon(&mut self, look: Look<'_>, text: &[u8], at: usize, end: usize) {
        let from = at.saturating_sub(MAX_SPACE);
        let space = text[from..at].iter().rev().take_while(|octet| octet.is_ascii_whitespace());
        let name_end = at - space.count();
        let Some(&before) = name_end.checked_sub(1).and_then(|at| text.get(at)) else { return };
        let region = &text[name_end.saturating_sub(MAX_NAME)..name_end];
        let rules = look.rules;
        if b"\"'`".contains(&before) {
            let Some(open) = quoted(region) else { return };
            let (indent, name) = (&region[..open - 1], &region[open..region.len() - 1]);
            if rules.names_json() && is_spelled(name, |name| rules.is_json(name)) {
                self.begin(Rule::Json, State::Before(Spelling::Plain));
            } else if self.begins_line(indent, name_end == region.len())
                && rules.is_header(&header_name(name))
            {
                self.begin(Rule::Header, State::BeforeField);
            }
            return;
        }
        if rules.names_json()
            && let Some(spelling) = spelled_quote(region)
        {
            let plain = decode(region);
            let open = quoted(&plain);
            if open.is_some_and(|open| rules.is_json(&decode(&plain[open..plain.len() - 1]))) {
                self.begin(Rule::Json, State::Before(spelling));
            }
            return;
        }
        if let Some((line, escaped)) = self.line_before(text, name_end)
            && self.header(look, line, escaped, end)
        {
            return;
        }
        if rules.names_json() && bare(region).is_some_and(|name| rules.is_json(name)) {
            self.begin(Rule::Json, State::Before(Spelling::Plain));
        }
    }
}
