//! Heads of HTTP/1 (RFC 9112 sections 2 to 6): blanks what is secret in one, and finds out how long
//! the contents are that follow it.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::fields::{Contents, secret};
use super::window::{Engine, Window};

/// The most that is held of one head; what is longer is blanked.
pub(super) const MAX_HEAD: usize = 256 << 10;

/// The longest first line that is waited for.
const MAX_LINE: usize = 64 << 10;

/// The longest method.
const MAX_METHOD: usize = 32;

/// Methods that are told from the end of something: those of RFC 9110 section 9.3, RFC 5789 and RFC
/// 4918.
const METHODS: [&str; 16] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
];

/// The start line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Request(Method),
    Response { status: u16 },
}

/// What of a method decides how long things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

/// What a head says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) line: Option<Line>,
    pub(super) contents: Contents,
    pub(super) content_length: Option<u64>,
    /// There is a transfer coding; whether the last one is `chunked`.
    pub(super) chunked: Option<bool>,
    /// It goes on as a web socket.
    pub(super) websocket: bool,
}

/// The start line that a line is, if it is one.
pub(super) fn start_line(line: &[u8]) -> Option<Line> {
    let line = line.trim_ascii_end();
    if let Some(rest) = line.strip_prefix(b"HTTP/1.") {
        return match *rest {
            [minor, b' ', a, b, c, ref tail @ ..]
                if [minor, a, b, c].iter().all(u8::is_ascii_digit)
                    && tail.first().is_none_or(|&octet| octet == b' ') =>
            {
                let digit = |octet: u8| u16::from(octet - b'0');
                Some(Line::Response { status: 100 * digit(a) + 10 * digit(b) + digit(c) })
            }
            _ => None,
        };
    }
    let version = line.len().checked_sub(9).map(|at| &line[at..])?;
    let end = memchr(b' ', line)?;
    let is_request = version.starts_with(b" HTTP/1.")
        && version[8].is_ascii_digit()
        && end < line.len() - 9
        && is_method(&line[..end]);
    is_request.then_some(Line::Request(match &line[..end] {
        b"HEAD" => Method::Head,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    }))
}

/// A start line that is not the end of something else as well, with which the line began: `=s3cretGET
/// / HTTP/1.1`. For where it is not known that a message begins.
pub(super) fn is_certain(line: &[u8]) -> bool {
    let mut words = line.trim_ascii_end().split(|&octet| octet == b' ');
    let begins = words.next().is_some_and(|first| {
        first.starts_with(b"HTTP/1.") || METHODS.iter().any(|method| method.as_bytes() == first)
    });
    begins && (line.starts_with(b"HTTP/1.") || words.count() == 2)
}

/// A line without its end can become a start line.
pub(super) fn may_be_start(line: &[u8]) -> bool {
    let method = memchr(b' ', line).unwrap_or(line.len());
    line.len() <= MAX_LINE
        && (b"HTTP/1.".starts_with(line)
            || line.starts_with(b"HTTP/1.")
            || is_method(&line[..method]))
}

fn is_method(text: &[u8]) -> bool {
    let is_token = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
    !text.is_empty() && text.len() <= MAX_METHOD && text.iter().all(is_token)
}

/// Blanks what is secret in a head that is there as a whole, and tells what it says. A trailer section
/// is a head without a start line.
pub(super) fn redact(
    window: &mut Window,
    range: Range<u64>,
    engine: &Engine,
    trailers: bool,
) -> Said {
    let bytes = window.get(range.clone()).to_vec();
    let mut said = Said::default();
    let mut blanks: Vec<Range<usize>> = Vec::new();
    let mut lines = lines(&bytes);
    if !trailers && let Some(line) = lines.next() {
        said.line = start_line(&bytes[line.clone()]);
        if let Some(Line::Response { .. }) = said.line {
            said.contents.of_response();
        }
        first_line(engine, &bytes, line, &mut blanks);
    }
    for line in lines {
        field(engine, &bytes, line, &mut said, &mut blanks);
    }
    for blank in blanks {
        let at = |place: usize| range.start + place as u64;
        // A folded value has line breaks in it, which stay.
        for octet in window.get_mut(at(blank.start)..at(blank.end)) {
            if !b"\r\n".contains(octet) {
                *octet = super::window::FILL;
            }
        }
    }
    said
}

/// Blanks the rest of a head of which no more is to be had: its last line may be anything.
pub(super) fn redact_cut(window: &mut Window, range: Range<u64>, engine: &Engine, trailers: bool) {
    let bytes = window.get(range.clone());
    let whole = memrchr(b'\n', bytes).map_or(0, |at| at + 1);
    let cut = range.start + whole as u64;
    redact(window, range.start..cut, engine, trailers);
    window.blank(cut..range.end);
}

/// The lines of a head, each with those that go on with it (obsolete line folding, RFC 9112 section
/// 5.2), without the last line break.
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

/// The target of a request, or the reason of a response.
fn first_line(engine: &Engine, bytes: &[u8], line: Range<usize>, blanks: &mut Vec<Range<usize>>) {
    let text = &bytes[line.clone()];
    let is_response = text.starts_with(b"HTTP/1.");
    let value = if is_response {
        13.min(text.len())..text.len()
    } else {
        let start = memchr(b' ', text).map_or(text.len(), |at| at + 1);
        start..memrchr(b' ', text).unwrap_or(text.len()).max(start)
    };
    let found = secret(engine, b":path", &text[..value.end], value.start);
    blanks.extend(shift(found, line.start + value.start));
}

fn field(
    engine: &Engine,
    bytes: &[u8],
    line: Range<usize>,
    said: &mut Said,
    blanks: &mut Vec<Range<usize>>,
) {
    let text = &bytes[line.clone()];
    let Some(colon) = memchr(b':', text) else {
        // No field. It may be the rest of one.
        if !text.is_empty() {
            blanks.push(line);
        }
        return;
    };
    let name = text[..colon].trim_ascii();
    let indent = text[colon + 1..].iter().take_while(|octet| b" \t".contains(octet)).count();
    let value_at = colon + 1 + indent;
    said.field(name, &text[value_at..]);
    blanks.extend(shift(secret(engine, name, text, value_at), line.start + value_at));
}

fn shift(ranges: Vec<Range<usize>>, by: usize) -> impl Iterator<Item = Range<usize>> {
    ranges.into_iter().map(move |range| range.start + by..range.end + by)
}

impl Said {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        self.contents.field(name, value);
        if is(b"content-length") {
            let first = value.split(|&octet| octet == b',').next().unwrap_or_default().trim_ascii();
            let length = std::str::from_utf8(first).ok().and_then(|digits| digits.parse().ok());
            self.content_length = self.content_length.or(length);
        } else if is(b"transfer-encoding") {
            let last = value.rsplit(|&octet| octet == b',').next().unwrap_or(value).trim_ascii();
            self.chunked = Some(last.eq_ignore_ascii_case(b"chunked"));
        } else if is(b"upgrade") {
            self.websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(rule: &str, head: &str) -> String {
        let engine = Engine::new(rule.parse().unwrap());
        let mut window = Window::default();
        window.push(head.as_bytes());
        redact(&mut window, 0..head.len() as u64, &engine, false);
        String::from_utf8(window.from(0).to_vec()).unwrap()
    }

    #[test]
    fn values_go_whatever_the_spelling_of_their_lines() {
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
    fn how_long_a_message_is_stays_readable() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n";
        assert_eq!(redacted("regex:[0-9]+", head), head);
    }

    #[test]
    fn start_lines_are_told_from_others() {
        assert_eq!(start_line(b"HEAD /a HTTP/1.1\r\n"), Some(Line::Request(Method::Head)));
        assert_eq!(start_line(b"HTTP/1.0 204\r\n"), Some(Line::Response { status: 204 }));
        for other in
            [&b"GET /\r\n"[..], b"HTTP/1.1 2000 x\r\n", b" HTTP/1.1\r\n", b"a: b HTTP/1.1\r\n"]
        {
            assert_eq!(start_line(other), None);
        }
        assert!(may_be_start(b"GE") && may_be_start(b"HT") && may_be_start(b"GET /a b"));
        assert!(!may_be_start(b"\x16\x03") && !may_be_start(b"a: b"));
        for certain in [&b"GET / HTTP/1.1\r\n"[..], b"HTTP/1.1 200 I am fine\r\n"] {
            assert!(is_certain(certain));
        }
        for other in [&b"s3cretGET / HTTP/1.1\r\n"[..], b"GET a GET / HTTP/1.1\r\n"] {
            assert!(start_line(other).is_some() && !is_certain(other));
        }
    }
}
