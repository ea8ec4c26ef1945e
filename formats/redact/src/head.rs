//! Heads of HTTP/1 (RFC 9112 sections 2 to 6): blanks the secrets in a head, and reads its
//! declarations about the contents that follow.
//!
//! A head may be malformed in any way: each line that looks like a field counts as a field, even if
//! a strict reader takes it for the continuation of another.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2_iter, memrchr};
use sslrec_wire::http1::lines;
use sslrec_wire::http1::message::MAX_FIELDS;
use sslrec_wire::http1::start::{self, StartLine};
use sslrec_wire::http1::{Declared, Kind};

use super::body::Body;
use super::counts::{Place, Rule};
use super::fields::{Contents, Secret, TARGET, cookies, secret};
use super::header_name::{header_name, is_cookie_field};
use super::literals::Places;
use super::window::{Engine, FILL, Window};

/// The start line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Request { method: Vec<u8>, minor: u8 },
    Response { status: u16, minor: u8 },
}

/// The declarations of a head.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) line: Option<Line>,
    pub(super) contents: Contents,
    pub(super) declared: Declared,
    /// The connection continues as a WebSocket.
    pub(super) websocket: bool,
}

/// The kind of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Head,
    /// A head, or contents that look like a head: all of it is searched.
    Doubtful,
    /// A trailer section, which is a head without a start line.
    Trailers,
}

/// Blanks the secrets in a complete section, and reads its declarations.
pub(super) fn redact(
    window: &mut Window,
    range: Range<u64>,
    engine: &mut Engine,
    section: Section,
) -> Said {
    let bytes = window.get(range.clone()).to_vec();
    let start = match section {
        Section::Trailers => 0,
        _ => memchr(b'\n', &bytes).map_or(bytes.len(), |end| end + 1),
    };
    let said = Said::read(&bytes, start);
    if section == Section::Doubtful {
        let mut text = Body::unsure(engine);
        text.data(window, range.clone(), engine);
        text.finish(window, engine);
    }
    let mut found = Vec::new();
    let begun = engine.literals.places(&bytes);
    start_line(engine, &bytes[..start], &begun, &mut found);
    blank(window, range.start, &mut found, Place::StartLine, engine);
    for line in lines(&bytes[start..]) {
        field(engine, &bytes, start + line.start..start + line.end, &begun, &mut found);
    }
    blank(window, range.start, &mut found, Place::Fields, engine);
    said
}

/// Blanks the rest of an incomplete head: its last line may be anything.
pub(super) fn redact_cut(
    window: &mut Window,
    range: Range<u64>,
    engine: &mut Engine,
    section: Section,
) {
    let bytes = window.get(range.clone());
    let whole = memrchr(b'\n', bytes).map_or(0, |at| at + 1);
    let cut = range.start + whole as u64;
    redact(window, range.start..cut, engine, section);
    engine.blank(window, cut..range.end, Place::Fields);
}

/// Blanks a range. Line breaks within a folded value stay.
fn blank(
    window: &mut Window,
    base: u64,
    found: &mut Vec<Secret>,
    place: Place,
    engine: &mut Engine,
) {
    for (range, rule) in found.drain(..) {
        let places = base + range.start as u64..base + range.end as u64;
        engine.counts.add(rule, place, 1, range.len() as u64);
        for octet in window.get_mut(places) {
            if !b"\r\n".contains(octet) {
                *octet = FILL;
            }
        }
    }
}

/// Returns the lines of a head, each with its continuations (obsolete line folding, RFC 9112
/// section 5.2), without the last line break.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        while at < bytes.len() {
            let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
            at = (end + 1).min(bytes.len());
            let goes_on = bytes.get(at).is_some_and(|octet| b" \t".contains(octet));
            if !goes_on {
                let end = if bytes[..end].ends_with(b"\r") { end - 1 } else { end };
                return Some(start..end.max(start));
            }
        }
        None
    })
}

/// Finds secrets in the target of a request, or the reason of a response.
fn start_line(engine: &Engine, line: &[u8], begun: &Places, found: &mut Vec<Secret>) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let start = memchr(b' ', text).map_or(text.len(), |at| at + 1);
    let value = if start::parse(Kind::Response, text).is_some() {
        // The code has three digits.
        let code = text[start..].trim_ascii_start();
        text.len() - code.len().saturating_sub(4)..text.len()
    } else {
        start..memrchr(b' ', text).unwrap_or(text.len()).max(start)
    };
    let parts =
        secret(engine, TARGET, &text[..value.end], value.start, begun.within(&(0..value.end)));
    found.extend(shift(parts, value.start));
}

fn field(
    engine: &Engine,
    bytes: &[u8],
    line: Range<usize>,
    begun: &Places,
    found: &mut Vec<Secret>,
) {
    let text = &bytes[line.clone()];
    let first = memchr(b'\n', text).map_or(text, |end| &text[..end]);
    let Some(colon) = memchr(b':', first) else {
        // Not a field. The line and its continuations may be the rest of a field.
        if !text.is_empty() {
            found.push((line, Rule::Unsearchable));
        }
        return;
    };
    let indent = text[colon + 1..].iter().take_while(|octet| b" \t".contains(octet)).count();
    let value_at = colon + 1 + indent;
    let parts = secret(engine, &text[..colon], text, value_at, begun.within(&line));
    found.extend(shift(parts, line.start + value_at));
    hidden(engine, text, line.start, found);
}

/// Finds fields that begin at a bare CR, or at the line feed of a folded line.
fn hidden(engine: &Engine, text: &[u8], base: usize, found: &mut Vec<Secret>) {
    for start in memchr2_iter(b'\r', b'\n', text).map(|at| at + 1) {
        let rest = &text[start..];
        let end = rest.iter().position(|octet| b"\r\n".contains(octet)).unwrap_or(rest.len());
        let Some(colon) = memchr(b':', &rest[..end]) else { continue };
        let name = header_name(&rest[..colon]);
        let value = start + colon + 1;
        let at = base + value;
        if engine.rules.is_header(&name) {
            let indent = text[value..].iter().take_while(|octet| b" \t".contains(octet)).count();
            found.push((at + indent..base + text.len(), Rule::Header));
            return;
        }
        if is_cookie_field(&name) {
            let parts = cookies(|name| engine.rules.is_cookie(name), &text[value..]);
            found.extend(shift(parts.into_iter().map(|part| (part, Rule::Cookie)).collect(), at));
        }
    }
}

fn shift(found: Vec<Secret>, by: usize) -> impl Iterator<Item = Secret> {
    found.into_iter().map(move |(range, rule)| (range.start + by..range.end + by, rule))
}

impl Said {
    /// Reads a head whose fields begin at `start`, by the rules of the listing.
    fn read(bytes: &[u8], start: usize) -> Self {
        let mut said = Self::default();
        if let Some(line) = bytes[..start].strip_suffix(b"\n") {
            said.line = start::parse_any(line).map(|line| match line {
                StartLine::Request { method, minor, .. } => {
                    Line::Request { method: method.to_vec(), minor }
                }
                StartLine::Response { status, minor, .. } => Line::Response { status, minor },
            });
        }
        if let Some(Line::Response { .. }) = said.line {
            said.contents.of_response();
        }
        let mut last: Option<(&[u8], Cow<'_, [u8]>)> = None;
        let mut fields = 0;
        for line in lines::of_head(&bytes[start..]) {
            if fields >= MAX_FIELDS {
                break;
            }
            let next = match line {
                lines::Line::Folded(more) => {
                    if let Some((_, value)) = &mut last {
                        let value = value.to_mut();
                        value.push(b' ');
                        value.extend_from_slice(more);
                    }
                    continue;
                }
                lines::Line::Field { name, value } => (name.trim_ascii_end(), value),
                lines::Line::Other(line) => (line, &b""[..]),
            };
            fields += 1;
            let before = last.replace((next.0, Cow::Borrowed(next.1)));
            before.into_iter().for_each(|(name, value)| said.field(name, &value));
        }
        last.into_iter().for_each(|(name, value)| said.field(name, &value));
        said
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.contents.field(name, value);
        self.declared.field(name, value);
        if name.eq_ignore_ascii_case(b"upgrade") {
            self.websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(rule: &str, head: &str) -> String {
        let mut engine = Engine::new(rule.parse().unwrap());
        let mut window = Window::default();
        window.push(head.as_bytes());
        redact(&mut window, 0..head.len() as u64, &mut engine, Section::Head);
        String::from_utf8(window.from(0).to_vec()).unwrap()
    }

    #[test]
    fn values_are_blanked_in_every_spelling_of_their_lines() {
        for (head, expected) in [
            (
                "GET / HTTP/1.1\r\nX-A: s\r\nb: c\r\n\r\n",
                "GET / HTTP/1.1\r\nX-A: *\r\nb: c\r\n\r\n",
            ),
            ("GET / HTTP/1.1\nx-a:s \t\n\n", "GET / HTTP/1.1\nx-a:***\n\n"),
            ("GET / HTTP/1.1\r\nX-A : s\r\n\r\n", "GET / HTTP/1.1\r\nX-A : *\r\n\r\n"),
            (
                "GET / HTTP/1.1\r\nx-a: s\r\n t\r\nb: c\r\n\r\n",
                "GET / HTTP/1.1\r\nx-a: *\r\n**\r\nb: c\r\n\r\n",
            ),
            ("GET / HTTP/1.1\r\nno field\r\n\r\n", "GET / HTTP/1.1\r\n********\r\n\r\n"),
            // A field that a strict reader does not recognise.
            ("GET / HTTP/1.1\r\n x-a: s\r\n\r\n", "GET / HTTP/1.1\r\n x-a: *\r\n\r\n"),
            (
                "GET / HTTP/1.1\r\nb: c\r\n x-a: s\r\n\r\n",
                "GET / HTTP/1.1\r\nb: c\r\n x-a: *\r\n\r\n",
            ),
            ("GET / HTTP/1.1\r\nb: c\rx-a: s\r\n\r\n", "GET / HTTP/1.1\r\nb: c\rx-a: *\r\n\r\n"),
            ("GET / HTTP/1.1\r\nx\0-a: s\r\n\r\n", "GET / HTTP/1.1\r\nx\0-a: *\r\n\r\n"),
            ("GET / HTTP/1.1\r\n\"X_A\": s\r\n\r\n", "GET / HTTP/1.1\r\n\"X_A\": *\r\n\r\n"),
        ] {
            assert_eq!(redacted("header:x-a", head), expected);
        }
    }

    #[test]
    fn queries_and_patterns_stay_within_target_and_values() {
        let head = "GET /a?k=s HTTP/1.1\r\nReferer: https://h/?k=t&x\r\nLocation: /#k=u\r\n\r\n";
        let expected =
            "GET /a?k=* HTTP/1.1\r\nReferer: https://h/?k=*&x\r\nLocation: /#k=*\r\n\r\n";
        assert_eq!(redacted("query:k", head), expected);
        let expected = "GET ****** HTTP/1.1\r\nReferer: ************\r\n\r\n";
        assert_eq!(
            redacted("regex:.*", "GET /a?k=s HTTP/1.1\r\nReferer: https://h/?k\r\n\r\n"),
            expected
        );
    }

    #[test]
    fn the_length_of_a_message_stays_readable() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 **\r\n\r\n"),
            ("HTTP/1.1  200  OK\r\n\r\n", "HTTP/1.1  200 ***\r\n\r\n"),
            ("HTTP/2.0 200 OK\r\n\r\n", "HTTP/2.0 200 **\r\n\r\n"),
            ("HTTP/2 200 OK\r\n\r\n", "HTTP/2 200 **\r\n\r\n"),
            ("ICY 200 OK\r\n\r\n", "ICY 200 **\r\n\r\n"),
            ("ICY 200\r\n\r\n", "ICY 200\r\n\r\n"),
        ] {
            assert_eq!(redacted("regex:.*", head), expected);
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n";
        assert_eq!(redacted("regex:[0-9]+", head), head);
    }

    #[test]
    fn user_information_and_subprotocols_are_secret_by_default() {
        for (head, expected) in [
            ("GET http://u:p@h/ HTTP/1.1\r\n\r\n", "GET http://***@h/ HTTP/1.1\r\n\r\n"),
            ("CONNECT u:p@h:1 HTTP/1.1\r\n\r\n", "CONNECT ***@h:1 HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: u:p@h\r\n\r\n", "GET / HTTP/1.1\r\nHost: ***@h\r\n\r\n"),
            (
                "GET / HTTP/1.1\r\nSec-WebSocket-Protocol: bearer, abc\r\n\r\n",
                "GET / HTTP/1.1\r\nSec-WebSocket-Protocol: bearer, ***\r\n\r\n",
            ),
            ("GET /a@b HTTP/1.1\r\n\r\n", "GET /a@b HTTP/1.1\r\n\r\n"),
        ] {
            assert_eq!(redacted("default", head), expected);
        }
    }
}
