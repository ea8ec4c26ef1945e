//! `"name": value` of JSON, in every spelling of its quotes, and JSON5. Strings and numbers are
//! blanked; objects and arrays keep their form.

use memchr::{memchr3, memrchr};

use super::{Blank, Fill, Finder, Spelling, State, Step};
use crate::decode::{self, Incomplete, decode};

impl Finder {
    pub(super) fn before(&mut self, spelling: Spelling, text: &[u8], last: bool) -> Step {
        let (at, rest) = (self.at, &text[self.at..]);
        let string = |quote, level, spelling| State::String { quote, level, spelling };
        match rest[0] {
            octet if octet.is_ascii_whitespace() => self.at += 1,
            b'+' if matches!(spelling, Spelling::Percent(_)) => self.at += 1,
            quote @ (b'"' | b'\'' | b'`') => {
                self.state = string(quote, 0, Spelling::Plain);
                self.at += 1;
            }
            b'\\' => {
                let Ok(escape) = decode::escape(rest, last) else { return Step::Wait(at) };
                match escape.value {
                    b'\n' | b'\r' | b'\t' => self.at += escape.len,
                    quote @ (b'"' | b'\'') => {
                        self.state = string(quote, escape.level(), Spelling::Plain);
                        self.at += escape.len;
                    }
                    _ => self.state = State::Word { first: true },
                }
            }
            b'%' if matches!(spelling, Spelling::Percent(_)) => {
                let Ok(octet) = decode::percent(rest, last) else { return Step::Wait(at) };
                match octet.value {
                    value if value.is_ascii_whitespace() => self.at += octet.len,
                    quote @ (b'"' | b'\'') => {
                        self.state = string(quote, 0, Spelling::Percent(octet.depth));
                        self.at += octet.len;
                    }
                    _ => self.state = State::Url { depth: 0 },
                }
            }
            b'&' if spelling == Spelling::Entity => match decode::entity(rest, last) {
                Err(Incomplete) => return Step::Wait(at),
                Ok(Some(octet)) if b"\"'".contains(&octet.value) => {
                    self.state = string(octet.value, 0, Spelling::Entity);
                    self.at += octet.len;
                }
                Ok(_) => self.state = State::Text,
            },
            b'{' | b'[' => {
                self.state =
                    State::Nested { depth: 1, level: u32::MAX, quote: None, in_word: false };
                self.at += 1;
            }
            end if is_end_of_word(end) => self.state = State::Text,
            _ if spelling == Spelling::Plain => self.state = State::Word { first: true },
            _ => self.state = State::Url { depth: 0 },
        }
        Step::Again
    }

    pub(super) fn string(
        &mut self,
        quote: u8,
        level: u32,
        spelling: Spelling,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> Step {
        let mut at = self.at;
        while let Some(&octet) = text.get(at) {
            let rest = &text[at..];
            at += match octet {
                b'\\' => match decode::escape(rest, last) {
                    Ok(escape) if escape.value == quote && escape.level() <= level => {
                        let content = if escape.level() == level { escape.content() } else { 0 };
                        return self.end(at + content, out);
                    }
                    Ok(escape) => escape.len,
                    Err(Incomplete) => return self.hold(at, out),
                },
                plain if plain == quote => return self.end(at, out),
                b'"' | b'<' if spelling == Spelling::Entity => return self.end(at, out),
                b'&' if spelling == Spelling::Entity => match decode::entity(rest, last) {
                    Ok(Some(octet)) if octet.value == quote => return self.end(at, out),
                    Ok(octet) => octet.map_or(1, |octet| octet.len),
                    Err(Incomplete) => return self.hold(at, out),
                },
                b'&' if spelling != Spelling::Plain => return self.end(at, out),
                b'%' => match (spelling, decode::percent(rest, last)) {
                    (Spelling::Percent(_), Err(Incomplete)) => return self.hold(at, out),
                    (Spelling::Percent(depth), Ok(octet)) if octet.depth <= depth => {
                        match octet.value {
                            value if value == quote => return self.end(at, out),
                            b'\\' => match escaped_by_percent(rest, octet.len, last) {
                                Ok(len) => len,
                                Err(Incomplete) => return self.hold(at, out),
                            },
                            _ => octet.len,
                        }
                    }
                    (Spelling::Percent(_), Ok(octet)) => octet.len,
                    _ => 1,
                },
                _ => 1,
            };
        }
        self.blank(text.len(), Fill::Stars, out);
        Step::Again
    }

    pub(super) fn word(
        &mut self,
        mut first: bool,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> Step {
        let mut at = self.at;
        let mut after = None;
        while let Some(&octet) = text.get(at) {
            match octet {
                end if is_end_of_word(end) => after = Some(State::Text),
                quote @ (b'"' | b'\'') => {
                    let spelling = Spelling::Plain;
                    after = Some(State::String { quote, level: 0, spelling });
                }
                b'\\' if !first || at > self.at => match decode::escape(&text[at..], last) {
                    Ok(escape) if b"\n\r\t".contains(&escape.value) => after = Some(State::Text),
                    Ok(_) => {}
                    Err(Incomplete) => break,
                },
                _ => {}
            }
            if after.is_some() {
                break;
            }
            at += 1;
        }
        let any = at > self.at;
        self.blank(at, Fill::Digits { first }, out);
        first &= !any;
        self.state = after.unwrap_or(State::Word { first });
        match after {
            Some(State::String { .. }) => self.at += 1,
            None if at < text.len() => return Step::Wait(at),
            _ => {}
        }
        Step::Again
    }

    pub(super) fn nested(&mut self, text: &[u8], last: bool, out: &mut Vec<Blank>) -> Step {
        let State::Nested { mut depth, mut level, mut quote, mut in_word } = self.state else {
            return Step::Again;
        };
        let mut step = Step::Again;
        while let Some(&octet) = text.get(self.at) {
            let (mark, len, mark_level, content) = match octet {
                b'\\' => match decode::escape(&text[self.at..], last) {
                    Ok(escape) if b"\"'".contains(&escape.value) => {
                        (Some(escape.value), escape.len, escape.level(), escape.content())
                    }
                    Ok(escape) => (None, escape.len, 0, 0),
                    Err(Incomplete) => {
                        step = Step::Wait(self.at);
                        break;
                    }
                },
                b'"' | b'\'' => (Some(octet), 1, 0, 0),
                _ => (None, 1, 0, 0),
            };
            let is_open = quote.is_some();
            if let Some(mark) = mark
                && quote.is_none_or(|quote| quote == mark)
                && (level == u32::MAX || mark_level <= level)
            {
                // The first quote determines the level of all quotes.
                if level != u32::MAX && mark_level < level {
                    self.state = State::Text;
                    return Step::Again;
                }
                level = mark_level;
                if is_open {
                    self.blank(self.at + content, Fill::Stars, out);
                    self.at += len - content;
                } else {
                    self.at += len;
                }
                (quote, in_word) = (if is_open { None } else { Some(mark) }, false);
                continue;
            }
            match octet {
                _ if is_open => self.blank(self.at + len, Fill::Stars, out),
                b'{' | b'[' => {
                    (depth, in_word, self.at) = (depth.saturating_add(1), false, self.at + 1)
                }
                b'}' | b']' if depth <= 1 => {
                    self.at += 1;
                    self.state = State::Text;
                    return Step::Again;
                }
                b'}' | b']' => (depth, in_word, self.at) = (depth - 1, false, self.at + 1),
                b',' | b':' => (in_word, self.at) = (false, self.at + 1),
                space if space.is_ascii_whitespace() => (in_word, self.at) = (false, self.at + 1),
                b'\\' if len == 2 => (in_word, self.at) = (false, self.at + len),
                _ => {
                    self.blank(self.at + len, Fill::Digits { first: !in_word }, out);
                    in_word = true;
                }
            }
        }
        self.state = State::Nested { depth, level, quote, in_word };
        step
    }
}

/// Returns the length of a percent-encoded backslash of `len` bytes and of the octet that it
/// escapes.
fn escaped_by_percent(text: &[u8], len: usize, last: bool) -> Result<usize, Incomplete> {
    match text.get(len) {
        Some(b'%') => Ok(len + decode::percent(&text[len..], last)?.len),
        Some(_) => Ok(len + 1),
        None if last => Ok(len),
        None => Err(Incomplete),
    }
}

fn is_end_of_word(octet: u8) -> bool {
    octet.is_ascii_whitespace() || b",}]".contains(&octet)
}

/// Returns the beginning of the name between the quote that `text` ends with and the previous
/// quote.
pub(super) fn quoted(text: &[u8]) -> Option<usize> {
    let (&quote, rest) = text.split_last()?;
    let end = rest.len() - rest.iter().rev().take_while(|&&octet| octet == b'\\').count();
    Some(memrchr(quote, &rest[..end])? + 1)
}

/// Returns whether `is` accepts the decoded name. Backslashes at its end belong to the quote after
/// it.
pub(super) fn is_spelled(name: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    let len = name.len() - name.iter().rev().take_while(|&&octet| octet == b'\\').count();
    let name = &name[..len];
    match memchr3(b'%', b'\\', b'&', name).is_some() {
        true => is(&decode(name)),
        false => is(name),
    }
}

/// Returns the spelling of the quote that `text` ends with, unless the quote is plain.
pub(super) fn spelled_quote(text: &[u8]) -> Option<Spelling> {
    let ends = |end: &[u8]| {
        text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end)
    };
    if ends(b"u0022") || ends(b"u0027") {
        return Some(Spelling::Plain);
    }
    if ends(b";") {
        let entities = [&b"&quot;"[..], b"&#34;", b"&#x22;", b"&apos;", b"&#39;", b"&#x27;"];
        return entities.iter().any(|entity| ends(entity)).then_some(Spelling::Entity);
    }
    if !(ends(b"22") || ends(b"27")) {
        return None;
    }
    let mut rest = &text[..text.len() - 2];
    for depth in 1..16 {
        if rest.ends_with(b"%") {
            return Some(Spelling::Percent(depth));
        }
        rest = rest.strip_suffix(b"25")?;
    }
    None
}

/// Returns the name without quotes that `text` ends with (JSON5 section 3), after `{` or `,`.
pub(super) fn bare(text: &[u8]) -> Option<&[u8]> {
    let is_name = |octet: &&u8| octet.is_ascii_alphanumeric() || b"_$-".contains(octet);
    let len = text.iter().rev().take_while(is_name).count();
    let (before, name) = text.split_at(text.len() - len);
    let before = before.trim_ascii_end();
    (len > 0 && before.last().is_some_and(|octet| b"{,".contains(octet))).then_some(name)
}
