//! Multipart forms (RFC 7578).

use memchr::{memchr, memmem};

use super::{Blank, Fill, Finder, Look, MAX_NAME, State, Step};
use crate::counts::Rule;
use crate::decode::decode;

/// The longest boundary of a form of several parts (RFC 2046 section 5.1.1), with its dashes.
const MAX_BOUNDARY: usize = 80;

/// The longest header section of a part that is searched for its end.
const MAX_PART_HEAD: usize = 4096;

impl Finder {
    /// Returns whether the `=` belongs to the name of a part.
    pub(super) fn is_part_name(&mut self, look: Look<'_>, text: &[u8], before: &[u8]) -> bool {
        if look.head || !look.rules.names_pairs() {
            return false;
        }
        let mut words = before.rsplit(|octet| b"; \t\r\n".contains(octet));
        if !words.next().is_some_and(|name| name.eq_ignore_ascii_case(b"name")) {
            return false;
        }
        if self.boundary.is_none() && self.origin && text.starts_with(b"--") {
            let line = memchr(b'\n', &text[..text.len().min(MAX_BOUNDARY)]);
            self.boundary = line.map(|end| text[..end].trim_ascii_end().to_vec());
        }
        self.boundary.is_some()
    }

    pub(super) fn part_name(&mut self, look: Look<'_>, text: &[u8], last: bool) -> Step {
        let rest = &text[self.at..];
        let (quote, start) = if rest[0] == b'"' { (true, 1) } else { (false, 0) };
        let is_end = |octet: &u8| if quote { b"\"\r\n" } else { b";\r\n" }.contains(octet);
        let Some(len) = rest[start..].iter().position(is_end) else {
            if rest.len() > MAX_NAME || last {
                self.state = State::Text;
                return Step::Again;
            }
            return Step::Wait(text.len());
        };
        let name = decode(&rest[start..start + len]);
        self.at += start + len;
        self.after_equals = self.at;
        self.state = if look.rules.is_pair(&name) { State::PartHead } else { State::Text };
        Step::Again
    }

    pub(super) fn part_head(&mut self, text: &[u8], last: bool) -> Step {
        let rest = &text[self.at..];
        let ends = [&b"\n\r\n"[..], b"\n\n"].map(|end| Some((memmem::find(rest, end)?, end.len())));
        match ends.into_iter().flatten().min() {
            Some((at, len)) => {
                self.at += at + len;
                self.begin(Rule::Query, State::Part);
                Step::Again
            }
            None if last || rest.len() > MAX_PART_HEAD => {
                self.state = State::Text;
                Step::Again
            }
            None => Step::Wait(text.len()),
        }
    }

    pub(super) fn part(&mut self, text: &[u8], last: bool, out: &mut Vec<Blank>) -> Step {
        let rest = &text[self.at..];
        let boundary = self.boundary.as_deref().unwrap_or(b"--");
        let found = memmem::find_iter(rest, boundary).find(|&at| at == 0 || rest[at - 1] == b'\n');
        match found {
            Some(at) => {
                let value = rest[..at].strip_suffix(b"\n").unwrap_or(&rest[..at]);
                let value = value.strip_suffix(b"\r").unwrap_or(value);
                let (end, next) = (self.at + value.len(), self.at + at);
                self.blank(end, Fill::Stars, out);
                self.at = next;
                self.state = State::Text;
                Step::Again
            }
            None if last => {
                self.blank(text.len(), Fill::Stars, out);
                Step::Again
            }
            None => {
                let keep = (boundary.len() + 2).min(rest.len());
                let end = text.len() - keep;
                self.hold(end, out)
            }
        }
    }
}
