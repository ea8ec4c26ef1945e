//! Request lines that are not well formed: what is known of them, and the defect (RFC 9112
//! sections 2.2, 2.3 and 3).

use super::start::{METHODS, is_token};
use crate::texts::texts;

texts! {
    /// The defect of a first line that is not a request line of HTTP/1.
    pub enum Flaw {
        /// Whitespace precedes the method.
        LeadingWhitespace => "whitespace before the request line";
        /// Nothing is between the method and the version.
        NoTarget => "request line without a target";
        /// No version follows the target, as in HTTP/0.9.
        NoVersion => "request line without a version of HTTP";
        /// The version is not `HTTP/1.` and a digit.
        Version => "request line with a version other than HTTP/1.x";
        /// The connection preface of HTTP/2 (RFC 9113 section 3.4).
        Preface => "connection preface of HTTP/2";
        /// The line has no part of a request line.
        NoRequest => "first line is no request line of HTTP";
    }
}

/// A first line that is not a well-formed request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed<'b> {
    /// The method, if the line has the parts of a request line.
    pub method: Option<&'b [u8]>,
    /// Everything between the method and the version.
    pub target: Option<&'b [u8]>,
    /// Why it is not well formed.
    pub flaw: Flaw,
}

impl<'b> Malformed<'b> {
    /// Reads a line without its end that [`super::start::parse`] refuses.
    pub fn read(line: &'b [u8]) -> Self {
        const NOTHING: Malformed<'_> =
            Malformed { method: None, target: None, flaw: Flaw::NoRequest };
        let text = line.trim_ascii();
        let method_end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let (method, rest) = text.split_at(method_end);
        if method.is_empty() || !method.iter().copied().all(is_token) {
            return NOTHING;
        }
        let rest = rest.trim_ascii_start();
        let last = rest.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
        let has_version = is_version(&rest[last..]);
        let target = if has_version { rest[..last].trim_ascii_end() } else { rest };
        // `EHLO example.com` is of another protocol.
        if !(has_version || (METHODS.contains(&method) && is_target(target))) {
            return NOTHING;
        }
        let flaw = match has_version {
            _ if line == b"PRI * HTTP/2.0" => Flaw::Preface,
            false => Flaw::NoVersion,
            true if target.is_empty() => Flaw::NoTarget,
            true if !is_http1(&rest[last..]) => Flaw::Version,
            true => Flaw::LeadingWhitespace,
        };
        let target = Some(target).filter(|target| !target.is_empty());
        Self { method: Some(method), target, flaw }
    }

    /// Returns whether the line is of HTTP, whatever follows it. Without a version, it could be of
    /// another protocol.
    pub fn is_certain(&self) -> bool {
        !matches!(self.flaw, Flaw::NoRequest | Flaw::NoVersion)
            && self.method.is_some_and(|method| METHODS.contains(&method))
    }

    /// Returns whether the line is a request of HTTP/0.9 (RFC 1945 section 4.1).
    pub fn is_simple(&self) -> bool {
        self.flaw == Flaw::NoVersion
            && self.method == Some(b"GET")
            && self.target.is_some_and(|target| !target.iter().any(u8::is_ascii_whitespace))
    }
}

/// Returns whether a first line can be shown as text.
pub fn is_text(line: &[u8]) -> bool {
    line.iter().all(|&octet| octet == b'\t' || !octet.is_ascii_control())
}

fn is_version(word: &[u8]) -> bool {
    word.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP"))
        && matches!(word.get(4), None | Some(b'/'))
}

fn is_http1(word: &[u8]) -> bool {
    matches!(word, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'])
}

/// Returns whether the text begins like a target (RFC 9112 section 3.2), except for the form with
/// an authority only.
fn is_target(text: &[u8]) -> bool {
    let schemes = [&b"http://"[..], b"https://"];
    text.starts_with(b"/")
        || text == b"*"
        || schemes.iter().any(|scheme| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_malformed_lines_are_known() {
        use Flaw::{LeadingWhitespace, NoRequest, NoTarget, NoVersion, Preface, Version};
        for (line, method, target, flaw) in [
            ("GET /a", "GET", "/a", NoVersion),
            ("GET /a b c", "GET", "/a b c", NoVersion),
            ("GET http://h/a", "GET", "http://h/a", NoVersion),
            ("GET /a HTTP/1.", "GET", "/a", Version),
            ("GET /a HTTP/1.1x", "GET", "/a", Version),
            ("GET /a HTTP/1.10", "GET", "/a", Version),
            ("GET /a HTTP/2.0", "GET", "/a", Version),
            ("GET /a HTTP", "GET", "/a", Version),
            ("get /a b Http/1.1 ", "get", "/a b", Version),
            ("PRI * HTTP/2.0", "PRI", "*", Preface),
            ("PRI * HTTP/2.1", "PRI", "*", Version),
            ("GET  HTTP/1.1", "GET", "", NoTarget),
            ("PURGE HTTP/1.1", "PURGE", "", NoTarget),
            (" GET /a HTTP/1.1", "GET", "/a", LeadingWhitespace),
            ("\t GET\t/a\tHTTP/1.1\r", "GET", "/a", LeadingWhitespace),
            ("garbage", "", "", NoRequest),
            ("GET", "", "", NoRequest),
            ("EHLO example.com", "", "", NoRequest),
            ("GET key", "", "", NoRequest),
            ("GET/a HTTP/1.1", "", "", NoRequest),
            ("GET HTTPS", "", "", NoRequest),
            ("", "", "", NoRequest),
        ] {
            let some = |text: &'static str| Some(text.as_bytes()).filter(|text| !text.is_empty());
            let expected = Malformed { method: some(method), target: some(target), flaw };
            assert_eq!(Malformed::read(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn lines_of_other_protocols_are_not_certain() {
        let read = |line: &'static str| Malformed::read(line.as_bytes());
        for line in ["GET /a HTTP/1.1x", " PUT /a HTTP/1.0", "GET HTTP/1.1", "GET a HTTP/3"] {
            assert!(read(line).is_certain(), "{line}");
        }
        for line in ["GET /a", "garbage", "PLAY a RTSP/1.0", "speak about HTTP"] {
            assert!(!read(line).is_certain(), "{line}");
        }
        assert!(read("GET /a").is_simple() && read("GET http://h/").is_simple());
        for line in ["POST /a", "GET /a b", "GET /a HTTP/1.", "GET a"] {
            assert!(!read(line).is_simple(), "{line}");
        }
    }
}
