//! Multipart forms (RFC 7578).

use memchr::{memchr, memmem, memrchr};

use super::{Blank, CONTEXT, Fill, Finder, Look, MAX_NAME, State, Step};
use crate::counts::Rule;
use crate::decode::decode;

/// The longest boundary of a form of several parts (RFC 2046 section 5.1.1), with its dashes.
const MAX_BOUNDARY: usize = 80;

/// The longest header section of a part that is searched for its end. A longer one is blanked.
const MAX_PART_HEAD: usize = 4096;

impl Finder {
    /// Returns whether the `=` at `at` belongs to the name of a part. `before` is the text between
    /// the last `=` and this one.
    pub(super) fn is_part_name(
        &mut self,
        look: Look<'_>,
        text: &[u8],
        at: usize,
        before: &[u8],
    ) -> bool {
        if look.head || !look.rules.names_pairs() {
            return false;
        }
        let mut words = before.trim_ascii_end().rsplit(|octet| b"; \t\r\n".contains(octet));
        let name = words.next().unwrap_or_default();
        if !name.strip_suffix(b"*").unwrap_or(name).eq_ignore_ascii_case(b"name") {
            return false;
        }
        if let Some(boundary) = boundary_before(&text[at.saturating_sub(CONTEXT)..at]) {
            self.boundary = Some(boundary.to_vec());
        } else if self.boundary.is_none() && self.origin && text.starts_with(b"--") {
            let line = memchr(b'\n', &text[..text.len().min(MAX_BOUNDARY)]);
            self.boundary = line.map(|end| text[..end].trim_ascii_end().to_vec());
        }
        self.boundary.is_some()
    }

    pub(super) fn part_name(&mut self, look: Look<'_>, text: &[u8], last: bool) -> Step {
        let rest = &text[self.at..];
        let space = rest.iter().take_while(|octet| b" \t".contains(octet)).count();
        if space == rest.len() && space < MAX_NAME && !last {
            return Step::Wait(text.len());
        }
        let quote = rest.get(space) == Some(&b'"');
        let start = space + usize::from(quote);
        let is_end = |octet: &u8| if quote { b"\"\r\n" } else { b";\r\n" }.contains(octet);
        let Some(len) = rest[start..].iter().position(is_end) else {
            if rest.len() > MAX_NAME || last {
                self.state = State::Text;
                return Step::Again;
            }
            return Step::Wait(text.len());
        };
        let name = &rest[start..start + len];
        // `name*` has the character set and the language before the name (RFC 8187).
        let name = decode(memrchr(b'\'', name.trim_ascii_end()).map_or(name, |quote| match name {
            [.., b'\''] => name,
            _ => &name[quote + 1..],
        }));
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
            None if last => {
                self.state = State::Text;
                Step::Again
            }
            None if rest.len() > MAX_PART_HEAD => {
                self.begin(Rule::Query, State::Part);
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

/// Returns the delimiter above the head of a part that this text ends in, with its dashes.
fn boundary_before(text: &[u8]) -> Option<&[u8]> {
    const FIELD: &[u8] = b"content-disposition:";
    let mut is_part = false;
    for line in text.rsplit(|&octet| octet == b'\n') {
        let line = line.trim_ascii_end();
        is_part |= line.get(..FIELD.len()).is_some_and(|name| name.eq_ignore_ascii_case(FIELD));
        if line.is_empty() {
            return None;
        }
        if line.starts_with(b"--") && line.len() < MAX_BOUNDARY {
            return is_part.then_some(line);
        }
    }
    None
}
