//! `Name: value` on a line of its own: header fields, in any text, and YAML.

use memchr::memmem;

use super::{Blank, Fill, Finder, Look, Spelling, State, Step};
use crate::counts::Rule;
use crate::decode::{self, Incomplete};
use crate::header_name::{header_name, is_cookie_field};

/// The longest name of a header field.
pub(super) const MAX_HEADER: usize = 128;

impl Finder {
    /// Returns whether the line that these bytes end in has only whitespace so far; `whole`: no
    /// bytes are before them.
    pub(super) fn begins_line(&self, before: &[u8], whole: bool) -> bool {
        let space = before.iter().rev().take_while(|octet| b" \t".contains(octet)).count();
        match before[..before.len() - space].last() {
            Some(octet) => b"\r\n".contains(octet),
            None => whole && self.origin,
        }
    }

    /// Returns the line up to `end`, if the beginning of the line is near; and whether it begins
    /// after an escape.
    pub(super) fn line_before<'t>(&self, text: &'t [u8], end: usize) -> Option<(&'t [u8], bool)> {
        let from = end.saturating_sub(MAX_HEADER);
        let region = &text[from..end];
        let plain = memchr::memrchr2(b'\n', b'\r', region).map(|at| at + 1);
        let start = plain.or_else(|| (from == 0 && self.origin).then_some(0));
        let escapes = [(&b"\\n"[..], 2), (b"\\r", 2), (b"%0a", 3), (b"%0A", 3), (b"%0D", 3)];
        let escape = match region.iter().any(|octet| b"%\\".contains(octet)) {
            true => escapes
                .iter()
                .filter_map(|(escape, len)| memmem::rfind(region, escape).map(|at| at + len))
                .max(),
            false => None,
        };
        match (start, escape) {
            (start, Some(escape)) if start.is_none_or(|start| start < escape) => {
                Some((&region[escape..], true))
            }
            (Some(start), _) => Some((&region[start..], false)),
            (None, _) => None,
        }
    }

    /// Returns whether the line begins with the name of a header field that makes its value secret.
    pub(super) fn header(
        &mut self,
        look: Look<'_>,
        line: &[u8],
        escaped: bool,
        end: usize,
    ) -> bool {
        let rules = look.rules;
        let name = header_name(line);
        let is_builtin = rules.builtin && *name == *b"sec-websocket-protocol";
        if rules.is_header(&name) || is_builtin {
            self.begin(Rule::Header, State::Line { escaped, newline: false });
            return true;
        }
        if !rules.cookies.is_empty() && is_cookie_field(&name) {
            self.cookies = Some(end);
        }
        if look.unsure && is_coding(&name) {
            self.coded = Some(end);
        }
        let is_yaml = !look.head && rules.names_json() && rules.is_json(line.trim_ascii());
        if is_yaml {
            self.begin(Rule::Json, State::Line { escaped, newline: false });
        }
        is_yaml
    }

    pub(super) fn before_field(&mut self, text: &[u8]) -> Step {
        match text[self.at] {
            b' ' | b'\t' => self.at += 1,
            b'"' => self.state = State::Before(Spelling::Plain),
            _ => self.state = State::Line { escaped: false, newline: false },
        }
        Step::Again
    }

    pub(super) fn line(
        &mut self,
        escaped: bool,
        mut newline: bool,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> Step {
        while let Some(&octet) = text.get(self.at) {
            match octet {
                b'\n' => (newline, self.at) = (true, self.at + 1),
                b'\r' => self.at += 1,
                b' ' | b'\t' if self.begins => (newline, self.at) = (false, self.at + 1),
                octet if newline && !b" \t".contains(&octet) => {
                    self.state = State::Text;
                    return Step::Again;
                }
                b'"' if escaped => return self.end(self.at, out),
                b'\\' if escaped => match decode::escape(&text[self.at..], last) {
                    Ok(escape) if b"\n\r\"".contains(&escape.value) => {
                        return self.end(self.at, out);
                    }
                    Ok(escape) => self.blank(self.at + escape.len, Fill::Stars, out),
                    Err(Incomplete) => return self.pause(escaped, newline),
                },
                b'%' if escaped => match decode::percent(&text[self.at..], last) {
                    Ok(octet) if b"\n\r".contains(&octet.value) => return self.end(self.at, out),
                    Ok(octet) => self.blank(self.at + octet.len, Fill::Stars, out),
                    Err(Incomplete) => return self.pause(escaped, newline),
                },
                _ => {
                    newline = false;
                    let rest = &text[self.at..];
                    let is_plain = |octet: &&u8| !b"\r\n\"\\%".contains(octet);
                    let len = rest.iter().take_while(is_plain).count().max(1);
                    self.blank(self.at + len, Fill::Stars, out);
                }
            }
        }
        self.state = State::Line { escaped, newline };
        Step::Again
    }

    fn pause(&mut self, escaped: bool, newline: bool) -> Step {
        self.state = State::Line { escaped, newline };
        Step::Wait(self.at)
    }
}

/// Returns whether the field declares contents to be compressed.
fn is_coding(name: &[u8]) -> bool {
    [&b"content-encoding"[..], b"grpc-encoding"].contains(&name)
}
