//! Start lines of HTTP/1 (RFC 9112 sections 3 and 4), also amid bytes whose framing was lost.

use memchr::{memchr, memmem, memrchr};

/// The kind of message that a direction carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests.
    Request,
    /// Responses.
    Response,
}

/// A start line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLine<'b> {
    /// A request line.
    Request {
        /// A token (RFC 9110 section 5.6.2).
        method: &'b [u8],
        /// The target, which may contain whitespace.
        target: &'b [u8],
        /// The x of HTTP/1.x.
        minor: u8,
    },
    /// A status line.
    Response {
        /// Three digits.
        status: u16,
        /// The reason phrase, without whitespace around it.
        reason: &'b [u8],
        /// The x of HTTP/1.x. A version of another number counts as 1.1, none as 1.0.
        minor: u8,
    },
}

/// Methods that are recognised without a line break before them, where a body without a final line
/// break ended: those of RFC 9110 section 9.3, RFC 5789 and RFC 4918.
pub const METHODS: [&[u8]; 16] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
];

/// The longest method at an unknown place, or in an incomplete line.
pub const MAX_METHOD: usize = 32;

/// The longest first line with an unknown method whose end is awaited.
pub const MAX_LINE: usize = 64 << 10;

/// The bytes to search again when more bytes arrive: no new start line ends, or for a response
/// begins, before them.
pub const OVERLAP: usize = 16;

/// Returns whether the line, without its line feed, can begin a message.
pub fn is_start_line(kind: Kind, line: &[u8]) -> bool {
    parse(kind, line).is_some()
}

/// Reads a start line, without its line feed.
pub fn parse(kind: Kind, line: &[u8]) -> Option<StartLine<'_>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match kind {
        Kind::Request => request_line(line),
        Kind::Response => status_line(line),
    }
}

/// Reads a start line of either kind, without its line feed.
pub fn parse_any(line: &[u8]) -> Option<StartLine<'_>> {
    parse(Kind::Response, line).or_else(|| parse(Kind::Request, line))
}

/// Returns whether the line is a start line without a prefix from other data, unlike `=s3cretGET /
/// HTTP/1.1`. Used where the beginning of a message is uncertain.
pub fn is_certain(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    match parse_any(line) {
        Some(StartLine::Response { .. }) => line.starts_with(VERSION),
        Some(StartLine::Request { method, target, .. }) => {
            METHODS.contains(&method) && !target.contains(&b' ')
        }
        None => false,
    }
}

fn request_line(line: &[u8]) -> Option<StartLine<'_>> {
    let method_end = memchr(b' ', line)?;
    let version_at = memmem::rfind(line, b" HTTP/1.")?;
    let minor = minor_version(&line[version_at + 8..])?;
    let target = line.get(method_end..version_at)?.trim_ascii();
    let method = &line[..method_end];
    if !method.iter().copied().all(is_token) || method.is_empty() || target.is_empty() {
        return None;
    }
    Some(StartLine::Request { method, target, minor })
}

/// The beginning of a version (RFC 9112 section 2.3), and its replacement in responses of SHOUTcast
/// servers.
const VERSION: &[u8] = b"HTTP/";
const ICY: &[u8] = b"ICY ";

/// Returns whether the bytes begin with a version of any number, like a response.
pub(super) fn begins_with_version(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(VERSION).or_else(|| bytes.strip_prefix(ICY));
    rest.and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
}

/// Returns whether the beginning of a line can become a status line.
pub fn may_be_version(line: &[u8]) -> bool {
    begins_with_version(line) || [VERSION, ICY].iter().any(|version| version.starts_with(line))
}

fn status_line(line: &[u8]) -> Option<StartLine<'_>> {
    let (minor, rest) = match line.strip_prefix(VERSION) {
        Some([b'1', b'.', minor @ b'0'..=b'9', rest @ ..]) => (minor - b'0', rest),
        Some(
            [major @ b'0'..=b'9', b'.', b'0'..=b'9', rest @ ..] | [major @ b'0'..=b'9', rest @ ..],
        ) => (u8::from(*major > b'0'), rest),
        Some(_) => return None,
        None => (0, line.strip_prefix(&ICY[..3])?),
    };
    let rest = rest.strip_prefix(b" ")?.trim_ascii_start();
    let code = rest.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit))?;
    let reason = match &rest[3..] {
        [] => &[][..],
        [b' ', reason @ ..] => reason.trim_ascii(),
        _ => return None,
    };
    let status = code.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    Some(StartLine::Response { status, reason, minor })
}

fn minor_version(text: &[u8]) -> Option<u8> {
    match text.trim_ascii_end() {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}

/// RFC 9110 section 5.6.2.
pub const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
            | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    )
}

/// Returns whether the beginning of a line can become a request line. With a known method it can,
/// whatever its length.
pub fn may_be_request(line: &[u8]) -> bool {
    let method = line.iter().take_while(|&&b| is_token(b)).count();
    method > 0
        && method <= MAX_METHOD
        && line.get(method).is_none_or(|&b| b == b' ')
        && (line.len() <= MAX_LINE || METHODS.contains(&&line[..method]))
}

/// Returns whether an incomplete head can still become a head of this kind.
pub fn may_be_head(kind: Kind, bytes: &[u8]) -> bool {
    match (kind, memchr(b'\n', bytes)) {
        (_, Some(end)) => is_start_line(kind, &bytes[..end]),
        (Kind::Response, None) => may_be_version(bytes),
        (Kind::Request, None) => may_be_request(bytes),
    }
}

/// Returns the place of the first start line of this kind that ends, or for a response begins, at
/// or after `from`. Bytes before `from` count for its beginning only.
pub fn find(kind: Kind, bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.min(bytes.len());
    match kind {
        Kind::Request => find_request(bytes, from),
        Kind::Response => memmem::find_iter(&bytes[from..], b"HTTP/1.")
            .map(|at| from + at)
            .find(|&at| is_status_line(&bytes[at..])),
    }
}

/// Finds a request line. Examines the end of each line once, however often a line repeats a
/// version.
fn find_request(bytes: &[u8], mut from: usize) -> Option<usize> {
    let version = memmem::Finder::new(b" HTTP/1.");
    loop {
        let at = from + version.find(&bytes[from..])?;
        let end = at + memchr(b'\n', &bytes[at..])?;
        if let Some(start) = request_line_at(bytes, end) {
            return Some(start);
        }
        from = end + 1;
    }
}

/// Tests for `HTTP/1.x NNN` and then a space or the end of the line.
fn is_status_line(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, _, _, _, _, _, minor, b' ', a, b, c, b' ' | b'\r' | b'\n', ..] => {
            [minor, a, b, c].iter().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

/// Returns the beginning of the request line that ends at the line feed `end`, if there is one.
fn request_line_at(bytes: &[u8], end: usize) -> Option<usize> {
    let line = &bytes[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (rest, version) = line.split_at(line.len().checked_sub(9)?);
    if !version.starts_with(b" HTTP/1.") || !version[8].is_ascii_digit() {
        return None;
    }
    let target =
        rest.iter().rev().take_while(|b| !b.is_ascii_whitespace() && !b.is_ascii_control());
    let method_end = rest.len() - target.count();
    let before = rest[..method_end].strip_suffix(b" ").filter(|_| method_end < rest.len())?;
    let is_method = |b: &&u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    let len = before.iter().rev().take_while(is_method).count();
    let method = &before[before.len() - len..];
    let known = METHODS.iter().filter(|known| method.ends_with(known));
    let known = known.map(|known| known.len()).max();
    let fits = (1..=MAX_METHOD).contains(&len);
    match (&before[..before.len() - len], known) {
        ([.., b'\n'], _) if fits => Some(before.len() - len),
        // The first byte of `bytes` need not be the first of a line.
        (_, Some(known)) => Some(before.len() - known),
        (_, None) => {
            // The target may contain whitespace.
            let start = memrchr(b'\n', line).map_or(0, |end| end + 1);
            match request_line(&line[start..]) {
                Some(StartLine::Request { method, .. }) if METHODS.contains(&method) => Some(start),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_lines_are_found_amid_other_bytes() {
        let find_in = |kind, bytes: &[u8]| find(kind, bytes, 0);
        assert_eq!(find_in(Kind::Request, b"}GET /b HTTP/1.1\r\n"), Some(1));
        assert_eq!(find_in(Kind::Request, b"ABCPOST /b HTTP/1.1\r\n"), Some(3));
        assert_eq!(find_in(Kind::Request, b"abc\nFOO /b HTTP/1.1\n"), Some(4));
        assert_eq!(find_in(Kind::Request, b"abc FOO /b HTTP/1.1\n"), None);
        assert_eq!(find_in(Kind::Request, b"spoke HTTP/1.1\r\n GET / HTTP/1.1\r\n"), Some(17));
        assert_eq!(find_in(Kind::Request, b"GET /b HTTP/1.1"), None);
        assert_eq!(find_in(Kind::Request, b"GET /b c d HTTP/1.1\n"), Some(0));
        assert_eq!(find_in(Kind::Request, b"abc\nGET /b c HTTP/1.1\n"), Some(4));
        assert_eq!(find_in(Kind::Request, b"abc GET /b c HTTP/1.1\n"), None);
        assert_eq!(find_in(Kind::Request, b" HTTP/1. HTTP/1.x\nGET / HTTP/1.1\n"), Some(18));
        assert_eq!(find_in(Kind::Response, b"xHTTP/1.1 200 OK"), Some(1));
        assert_eq!(find_in(Kind::Response, b"GET / HTTP/1.1\r\nHTTP/1.0 404\r\n"), Some(16));
        assert_eq!(find_in(Kind::Response, b"HTTP/1.1 20x OK\r\n"), None);
    }

    #[test]
    fn start_lines_are_distinguished_from_other_lines() {
        let request = |method: &'static [u8], target: &'static [u8]| {
            Some(StartLine::Request { method, target, minor: 1 })
        };
        assert_eq!(parse_any(b"HEAD /a HTTP/1.1\r"), request(b"HEAD", b"/a"));
        assert_eq!(parse_any(b"GET a  b HTTP/1.1"), request(b"GET", b"a  b"));
        let status = StartLine::Response { status: 204, reason: b"", minor: 0 };
        assert_eq!(parse_any(b"HTTP/1.0 204\r"), Some(status));
        let odd = |status, minor| Some(StartLine::Response { status, reason: b"OK", minor });
        assert_eq!(parse_any(b"HTTP/2.0 200 OK"), odd(200, 1));
        assert_eq!(parse_any(b"HTTP/3 201 OK"), odd(201, 1));
        assert_eq!(parse_any(b"HTTP/0.9 200 OK"), odd(200, 0));
        assert_eq!(parse_any(b"ICY 200 OK"), odd(200, 0));
        assert!(!is_certain(b"ICY 200 OK"));
        for other in [
            &b"GET /\r"[..],
            b"HTTP/11 200 OK",
            b"HTTP/1.1.1 200 OK",
            b"ICY200 OK",
            b"HTTP/1.1 2000 x\r",
            b" HTTP/1.1\r",
            b"a: b HTTP/1.1\r",
            b"GET HTTP/1.1",
            b"GET   HTTP/1.1",
            b" / HTTP/1.1",
            b"GET / HTTP/1.",
        ] {
            assert_eq!(parse_any(other), None);
        }
        assert!(may_be_request(b"GET") && !may_be_request(b" GET") && !may_be_request(b""));
        for certain in [&b"GET / HTTP/1.1\r\n"[..], b"HTTP/1.1 200 I am fine\r\n"] {
            assert!(is_certain(certain));
        }
        for other in [&b"s3cretGET / HTTP/1.1\r\n"[..], b"GET a GET / HTTP/1.1\r\n", b"GET /"] {
            assert!(!is_certain(other));
        }
    }
}
