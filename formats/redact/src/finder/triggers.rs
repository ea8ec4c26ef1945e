//! The places that may separate a name from its value: `=`, `:`, and their spellings.
//!
//! Text such as JSON has many colons, most of which cannot follow a name: the name of a header
//! field is near the beginning of its line, and all other names contain either letters of a rule or
//! an escape. Without such a hint before it, a colon is skipped.

use memchr::{memchr, memchr2, memchr3};
use regex_automata::Span;
use sslrec_wire::http1::start::is_token;

use super::line::MAX_HEADER;
use super::{Look, MAX_NAME, MAX_SPACE};

/// The longest distance of a hint from the colon.
const MAX_DISTANCE: usize = MAX_NAME + MAX_SPACE;

/// The longest distance of the beginning of a line from the colon, if the name is not quoted.
const MAX_LINE: usize = MAX_HEADER + MAX_SPACE;

/// The next places, as far as they are known. The end of the text: there is none.
#[derive(Default)]
pub(super) struct Triggers {
    equals: Option<usize>,
    colon: Option<usize>,
    escape: Option<usize>,
    hint: Option<usize>,
    name: Option<usize>,
    first_line: Option<usize>,
}

impl Triggers {
    /// Returns the first place at or after `at`, or the end of the text. `origin`: the text is
    /// complete at its beginning.
    pub(super) fn next(&mut self, look: Look<'_>, text: &[u8], at: usize, origin: bool) -> usize {
        let equals = next(&mut self.equals, text, at, |rest| memchr(b'=', rest));
        let escape = next(&mut self.escape, text, at, |rest| memchr2(b'%', b'\\', rest));
        let colon = match self.colon.filter(|&colon| colon >= at) {
            Some(colon) => colon,
            None => self.next_colon(look, text, at, origin),
        };
        self.colon = Some(colon);
        equals.min(escape).min(colon)
    }

    fn next_colon(&mut self, look: Look<'_>, text: &[u8], at: usize, origin: bool) -> usize {
        let mut from = at;
        while let Some(found) = memchr(b':', &text[from..]) {
            let colon = from + found;
            let begin = colon.saturating_sub(MAX_DISTANCE);
            let first_line = || first_line(look, text);
            if origin && colon <= *self.first_line.get_or_insert_with(first_line) {
                return colon;
            }
            let hint = self.next_hint(look, text, begin);
            if hint <= colon {
                return colon;
            }
            from = hint;
        }
        text.len()
    }

    /// Returns the first place at or after `at` where a line, an escape or a name may begin.
    fn next_hint(&mut self, look: Look<'_>, text: &[u8], at: usize) -> usize {
        if !look.rules.names_json() {
            return next(&mut self.hint, text, at, |rest| {
                chunks(rest, |part| [memchr2(b'\n', b'\r', part), memchr2(b'%', b'\\', part)])
            });
        }
        let Some(names) = look.rules.json_literals() else { return at };
        let name = next(&mut self.name, text, at, |rest| {
            Some(names.find(rest, Span::from(0..rest.len()))?.start)
        });
        name.min(next(&mut self.hint, text, at, |rest| {
            chunks(rest, |part| [memchr2(b'\n', b'\r', part), memchr3(b'%', b'\\', b'&', part)])
        }))
    }
}

/// Returns the place up to which a colon of the first line may follow the name of a header field.
/// The text begins with this line.
fn first_line(look: Look<'_>, text: &[u8]) -> usize {
    let begin = text.iter().find(|octet| !b" \t".contains(octet));
    if begin.is_some_and(|quote| b"\"'`".contains(quote)) {
        return MAX_DISTANCE;
    }
    // A name is at most this long, whatever else is between its octets.
    let longest = look.rules.longest_header();
    let name = text.iter().take(MAX_LINE).enumerate().filter(|(_, octet)| is_token(**octet));
    name.map(|(at, _)| at).nth(longest).unwrap_or(MAX_LINE)
}

/// Returns the place at or after `at` that is already known, or the next place by `find`.
fn next(
    known: &mut Option<usize>,
    text: &[u8],
    at: usize,
    find: impl FnOnce(&[u8]) -> Option<usize>,
) -> usize {
    if let Some(place) = known.filter(|&place| place >= at) {
        return place;
    }
    *known.insert(find(&text[at..]).map_or(text.len(), |found| at + found))
}

/// Returns the first place that one of two searches finds. The place of one may be near, and that
/// of the other far away; so the text is searched in parts.
fn chunks(text: &[u8], find: impl Fn(&[u8]) -> [Option<usize>; 2]) -> Option<usize> {
    const LEN: usize = 1024;
    text.chunks(LEN)
        .zip((0..).step_by(LEN))
        .find_map(|(part, start)| Some(start + find(part).into_iter().flatten().min()?))
}
