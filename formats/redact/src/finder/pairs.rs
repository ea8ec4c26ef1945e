//! `name=value`: in URLs, forms and cookies.

use memchr::memchr_iter;

use super::{Blank, Fill, Finder, Look, MAX_NAME, State, Step};
use crate::counts::Rule;
use crate::decode::{self, Incomplete, decode};

impl Finder {
    pub(super) fn equals(&mut self, look: Look<'_>, text: &[u8], at: usize, end: usize, depth: u8) {
        let from = self.after_equals.max(at.saturating_sub(MAX_NAME));
        let before = &text[from.min(at)..at];
        self.after_equals = end;
        if self.cookie(look, text, at) {
            return self.begin(Rule::Cookie, State::Cookie);
        }
        if depth == 0 && self.is_part_name(look, text, at, before) {
            self.state = State::PartName;
            return;
        }
        if !look.rules.names_pairs() {
            return;
        }
        let at_origin = look.form && self.origin && from == 0;
        let Some((name, is_plain)) = pair_name(before, look.form, at_origin) else { return };
        if look.rules.is_pair(&name) {
            let is_form = look.form && is_plain && depth == 0;
            self.begin(Rule::Query, if is_form { State::Form } else { State::Url { depth } });
        }
    }

    /// Returns whether the `=` follows the name of a cookie that a rule names.
    fn cookie(&mut self, look: Look<'_>, text: &[u8], at: usize) -> bool {
        let Some(from) = self.cookies.filter(|&from| from <= at) else { return false };
        let line = &text[from..at];
        let ends = |feed| !line.get(feed + 1).is_some_and(|next: &u8| b" \t".contains(next));
        if memchr_iter(b'\n', line).any(ends) {
            self.cookies = None;
            return false;
        }
        self.cookies = Some(at);
        let name = line.rsplit(|&octet| octet == b';').next().unwrap_or_default();
        let name = name.strip_prefix(b"=").unwrap_or(name);
        look.rules.is_cookie(&decode(name))
    }

    pub(super) fn url(
        &mut self,
        look: Look<'_>,
        depth: u8,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> Step {
        let mut at = self.at;
        let is_end = |value: u8| value.is_ascii_whitespace() || b"&#\"'<>".contains(&value);
        while let Some(&octet) = text.get(at) {
            let (ends, len) = match octet {
                b'\\' if !look.head => match decode::escape(&text[at..], last) {
                    Ok(escape) => (is_end(escape.value), escape.len),
                    Err(Incomplete) => return self.hold(at, out),
                },
                b'%' if depth > 0 => match decode::percent(&text[at..], last) {
                    Ok(octet) => (octet.depth <= depth && is_end(octet.value), octet.len),
                    Err(Incomplete) => return self.hold(at, out),
                },
                plain => (is_end(plain), 1),
            };
            if ends {
                return self.end(at, out);
            }
            at += len;
        }
        self.blank(text.len(), Fill::Stars, out);
        Step::Again
    }
}

/// Returns the name before a `=`, decoded, if it begins after a delimiter or with the text; and
/// whether the delimiter is a plain character.
fn pair_name(before: &[u8], form: bool, at_origin: bool) -> Option<(Vec<u8>, bool)> {
    const DELIMITERS: &[u8] = b"?&;#";
    let is_end = |octet: &u8| !form && (octet.is_ascii_whitespace() || b"\"'<>=".contains(octet));
    let stop = before.iter().rposition(|octet| DELIMITERS.contains(octet) || is_end(octet));
    let (raw, is_delimited) = match stop {
        Some(at) => (&before[at + 1..], DELIMITERS.contains(&before[at])),
        None => (before, at_origin),
    };
    if raw.iter().any(|octet| b"%\\".contains(octet)) {
        let plain = decode(raw);
        if let Some(at) = plain.iter().rposition(|octet| DELIMITERS.contains(octet)) {
            return Some((plain[at + 1..].to_vec(), false));
        }
        return is_delimited.then_some((plain, true));
    }
    is_delimited.then(|| (raw.to_vec(), true))
}
