//! Message heads: start line and fields (RFC 9112 sections 2 to 5).
//!
//! `httparse` reads well-formed heads, and heads with the deviations that its switches allow. Heads
//! that it rejects are read line by line here: where an endpoint would respond 400, an observer
//! must show the head as sent, and describe its defects.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use httparse::Status;
use memchr::memchr;
use sslrec_wire::http1::message::MAX_FIELDS;
use sslrec_wire::http1::start::{self, StartLine, is_token};
use sslrec_wire::http1::{Declared, Flaw, Framing, Kind, find_end_of_head, lines, malformed};

use crate::exchange::note::Defect;
use crate::exchange::{Fields, Request, Response};

/// Number of fields that fit without an allocation.
const USUAL_FIELDS: usize = 64;

/// The start line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Request { method: Cow<'static, str>, target: Vec<u8> },
    Malformed(Malformed),
    Response { status: u16, reason: Cow<'static, [u8]> },
}

/// A line in the place of a request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) method: Option<Cow<'static, str>>,
    pub(crate) target: Option<Vec<u8>>,
    /// The line as sent.
    pub(crate) line: Vec<u8>,
    pub(crate) extent: Extent,
}

/// How the end of a head was found whose first line is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// By its empty line.
    Whole,
    /// By the response to it: what the server had read of it is the head.
    Answered,
    /// It is not certain: a request line follows, or bytes are missing, or it is too long.
    Unknown,
}

/// A parsed head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) line: Line,
    /// The x of HTTP/1.x.
    pub(crate) minor: u8,
    pub(crate) fields: Fields,
    /// Defects of the head.
    pub(crate) defects: Vec<Defect>,
}

impl Head {
    /// Returns the framing of the contents. `method` is that of the request, if this is a response
    /// and the request is known. Contradictions are added to the defects.
    pub(crate) fn framing(&mut self, method: Option<&str>) -> Framing {
        let mut declared = Declared::default();
        let mut hosts = 0;
        for (name, value) in self.fields.iter() {
            declared.field(name, value);
            hosts += usize::from(name.eq_ignore_ascii_case(b"host"));
        }
        let Self { line, minor, defects, .. } = self;
        if hosts > 1 && matches!(line, Line::Request { .. }) {
            defects.push(Defect::RepeatedHost);
        }
        let note = |contradiction| defects.push(Defect::Framing(contradiction));
        match line {
            Line::Request { method, .. }
            | Line::Malformed(Malformed { method: Some(method), .. }) => {
                declared.of_request(method.as_bytes(), *minor, note)
            }
            Line::Malformed(Malformed { method: None, .. }) => Framing::Length(0),
            Line::Response { status, .. } => {
                declared.of_response(*status, *minor, method.map(str::as_bytes), note)
            }
        }
    }
}

/// Parses a head. `whole` is set if it ends with its empty line; otherwise it was truncated, and
/// its complete lines are read.
///
/// Returns `None` if there is no start line of HTTP/1.
pub(crate) fn parse(kind: Kind, bytes: &[u8], whole: bool) -> Option<Head> {
    if whole
        && let Some((head, len)) = parse_strict(kind, bytes)
        && len == bytes.len()
    {
        return Some(head);
    }
    parse_lenient(kind, bytes)
}

/// Parses a trailer section, empty line included.
pub(crate) fn parse_trailers(bytes: &[u8]) -> (Fields, Vec<Defect>) {
    let mut fields = Fields::default();
    let mut defects = Vec::new();
    read_fields(bytes, &mut fields, &mut defects);
    (fields, defects)
}

/// Parses the head at the beginning of `bytes`. Returns it with its length if it is complete and
/// well formed.
pub(crate) fn parse_strict(kind: Kind, bytes: &[u8]) -> Option<(Head, usize)> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    match strict_with(kind, bytes, &mut usual) {
        Err(httparse::Error::TooManyHeaders) => {}
        other => return other.ok().flatten(),
    }
    // Limit the input to this head: many more heads can follow.
    let bytes = &bytes[..find_end_of_head(bytes, 0)?];
    let lines = memchr::memchr_iter(b'\n', bytes).count();
    let mut many = vec![MaybeUninit::uninit(); lines.min(MAX_FIELDS)];
    strict_with(kind, bytes, &mut many).ok().flatten()
}

fn strict_with<'b>(
    kind: Kind,
    bytes: &'b [u8],
    room: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Option<(Head, usize)>, httparse::Error> {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .allow_multiple_spaces_in_response_status_delimiters(true);
    let (line, minor, headers, len) = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut []);
            let status = config.parse_request_with_uninit_headers(&mut request, bytes, room)?;
            let (Status::Complete(len), Some(method), Some(target)) =
                (status, request.method, request.path)
            else {
                return Ok(None);
            };
            let method = Request::method_of(method.as_bytes());
            let line = Line::Request { method, target: target.into() };
            (line, request.version, request.headers, len)
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut []);
            let status = config.parse_response_with_uninit_headers(&mut response, bytes, room)?;
            // httparse returns an empty reason for a reason with obs-text; the lenient parser keeps
            // it.
            let (Status::Complete(len), Some(code), Some(reason @ [_, ..])) =
                (status, response.code, response.reason.map(str::as_bytes))
            else {
                return Ok(None);
            };
            let line = Line::Response { status: code, reason: Response::reason_of(reason) };
            (line, response.version, response.headers, len)
        }
    };
    let octets = headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    let mut fields = Fields::with_capacity(headers.len(), octets);
    for header in headers.iter() {
        fields.push(header.name.as_bytes(), header.value);
    }
    Ok(minor.map(|minor| (Head { line, minor, fields, defects: Vec::new() }, len)))
}

/// Parses a head with any defects, as far as possible.
pub(crate) fn parse_lenient(kind: Kind, bytes: &[u8]) -> Option<Head> {
    let start = bytes.iter().position(|b| !b"\r\n".contains(b))?;
    let bytes = &bytes[start..];
    let end = memchr(b'\n', bytes)?;
    let mut defects = Vec::new();
    let (line, minor) = match start::parse(kind, &bytes[..end])? {
        StartLine::Request { method, target, minor } => {
            if target.iter().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
                defects.push(Defect::RequestTarget);
            }
            // A token is ASCII.
            let method = Request::method_of(method);
            (Line::Request { method, target: target.to_vec() }, minor)
        }
        StartLine::Response { status, reason, minor } => {
            if !bytes.starts_with(b"HTTP/1.") {
                defects.push(Defect::StatusVersion);
            }
            (Line::Response { status, reason: Response::reason_of(reason) }, minor)
        }
    };
    let mut fields = Fields::default();
    read_fields(&bytes[end + 1..], &mut fields, &mut defects);
    Some(Head { line, minor, fields, defects })
}

/// Parses a head whose first line is no request line of HTTP/1.
pub(crate) fn parse_malformed(bytes: &[u8], extent: Extent) -> Head {
    let (line, fields_at) = match memchr(b'\n', bytes) {
        Some(end) => (&bytes[..end], end + 1),
        None => (bytes, bytes.len()),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let known = malformed::Malformed::read(line);
    let mut fields = Fields::default();
    let mut defects = vec![Defect::RequestLine(known.flaw)];
    if known.method.is_some() {
        read_fields(&bytes[fields_at..], &mut fields, &mut defects);
    }
    let line = Line::Malformed(Malformed {
        method: known.method.map(Request::method_of),
        target: known.target.map(<[u8]>::to_vec),
        line: line.to_vec(),
        extent,
    });
    // A request without a version does not ask for a persistent connection.
    let minor = u8::from(known.flaw != Flaw::NoVersion);
    Head { line, minor, fields, defects }
}

/// Parses field lines up to the empty line or the last complete line.
fn read_fields(bytes: &[u8], fields: &mut Fields, defects: &mut Vec<Defect>) {
    let mut note = |defect| {
        if !defects.contains(&defect) {
            defects.push(defect);
        }
    };
    for line in lines::of_head(bytes) {
        if fields.len() >= MAX_FIELDS {
            note(Defect::TooManyFields);
            return;
        }
        match line {
            lines::Line::Folded(value) => {
                // RFC 9112 section 5.2; before the first field it is a smuggling attempt (2.2).
                let known = fields.fold(value);
                note(if known { Defect::Folded } else { Defect::LeadingWhitespace });
            }
            lines::Line::Other(line) => {
                note(Defect::NoColon);
                fields.push(line, b"");
            }
            lines::Line::Field { name: full, value } => {
                let name = full.trim_ascii_end();
                if name.len() != full.len() {
                    note(Defect::WhitespaceBeforeColon);
                } else if name.is_empty() || !name.iter().copied().all(is_token) {
                    note(Defect::NameCharacter);
                }
                if value.iter().any(|b| matches!(b, 0 | b'\r')) {
                    note(Defect::ValueCharacter);
                }
                fields.push(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: &[u8]) -> Head {
        assert_eq!(find_end_of_head(bytes, 0), Some(bytes.len()));
        parse(Kind::Request, bytes, true).unwrap()
    }

    fn fields(head: &Head) -> Vec<(&[u8], &[u8])> {
        head.fields.iter().collect()
    }

    #[test]
    fn folded_fields_are_joined_in_requests_too() {
        let head = request(b"GET / HTTP/1.1\r\nA: b\r\n  c\r\n\td\r\nE: f\r\n\r\n");
        assert_eq!(fields(&head), [(&b"A"[..], &b"b c d"[..]), (b"E", b"f")]);
        assert_eq!(head.defects, ["folded header field"]);
    }

    #[test]
    fn a_value_that_begins_on_the_next_line_has_no_blank_before_it() {
        let head = request(b"GET / HTTP/1.1\r\nA:\r\n  b\r\n\t\r\nE: f\r\n \r\n\r\n");
        assert_eq!(fields(&head), [(&b"A"[..], &b"b"[..]), (b"E", b"f")]);
    }

    #[test]
    fn further_host_fields_are_noted_in_requests() {
        let mut head = request(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n");
        head.framing(None);
        assert_eq!(head.defects, ["more than one Host field; the first was used"]);
        assert_eq!(fields(&head).len(), 3);
        let mut head = request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        head.framing(None);
        assert!(head.defects.is_empty());
        let response = b"HTTP/1.1 200 OK\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n";
        let mut head = parse(Kind::Response, response, true).unwrap();
        head.framing(None);
        assert!(head.defects.is_empty());
    }

    #[test]
    fn malformed_heads_are_shown_and_noted() {
        let head = request(b"GET /a b HTTP/1.0\nHost : x\nnocolon\nB\xe9: \xff\n\n");
        assert_eq!(head.line, Line::Request { method: "GET".into(), target: b"/a b".to_vec() });
        assert_eq!(head.minor, 0);
        assert_eq!(
            fields(&head),
            [(&b"Host"[..], &b"x"[..]), (b"nocolon", b""), (b"B\xe9", b"\xff")]
        );
        assert_eq!(head.defects.len(), 4, "{:?}", head.defects);
    }

    #[test]
    fn reason_is_kept_whatever_its_octets() {
        for (line, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &b"OK"[..]),
            (b"HTTP/1.1 200\r\n\r\n", b""),
            (b"HTTP/1.1 200 \r\n\r\n", b""),
            (b"HTTP/1.0 404 N\xe4n\r\n\r\n", b"N\xe4n"),
        ] {
            let head = parse(Kind::Response, line, true).unwrap();
            let Line::Response { reason, .. } = head.line else { panic!("not a response") };
            assert_eq!(reason, expected);
        }
    }

    #[test]
    fn more_fields_than_usual_are_all_read() {
        let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
        for i in 0..1000 {
            bytes.extend_from_slice(format!("x-{i}: {i}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        assert_eq!(request(&bytes).fields.len(), 1000);
    }

    #[test]
    fn fields_beyond_the_cap_are_left_out_with_a_note() {
        let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
        for _ in 0..=MAX_FIELDS {
            bytes.extend_from_slice(b"a:\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let head = request(&bytes);
        assert_eq!(head.fields.len(), MAX_FIELDS);
        assert_eq!(head.defects, ["more than 10000 header fields; the rest was left out"]);
    }

    #[test]
    fn complete_lines_of_a_truncated_head_are_read() {
        let whole = b"GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
        for cut in 0..whole.len() {
            match parse(Kind::Request, &whole[..cut], false) {
                None => assert!(cut < 17, "{cut}"),
                Some(head) => assert_eq!(
                    head.fields.len(),
                    usize::from(cut >= 26) + usize::from(cut >= 32),
                    "{cut}"
                ),
            }
        }
    }

    #[test]
    fn other_protocols_have_no_head() {
        assert!(parse(Kind::Request, b"PRI * HTTP/2.0\r\n\r\n", true).is_none());
        assert!(parse(Kind::Response, b"HTTP/1.1 20 OK\r\n\r\n", true).is_none());
        assert!(parse(Kind::Response, b"HTTP/1.1 2000 OK\r\n\r\n", true).is_none());
        assert!(parse(Kind::Request, b"SSH-2.0-OpenSSH\r\n\r\n", true).is_none());
    }
}
