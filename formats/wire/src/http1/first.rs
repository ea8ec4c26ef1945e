//! The protocol of a connection, from the first bytes of a direction.

use memchr::memchr;

use super::malformed::{Flaw, Malformed};
use super::start::{
    Kind, MAX_LINE, MAX_METHOD, begins_with_version, is_start_line, is_token, may_be_request,
    may_be_version,
};
use crate::http2::frame::Frame;

/// The protocol that the first bytes of a direction look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// HTTP/1 messages of this kind.
    Http1(Kind),
    /// HTTP/2.
    Http2,
    /// Something else.
    Other,
    /// More bytes are needed.
    Unsure,
}

/// Judges the first bytes of a direction.
pub fn judge(bytes: &[u8]) -> Verdict {
    // RFC 9112 section 2.2: empty lines before a request are ignored.
    let blank = bytes.iter().take_while(|b| b"\r\n".contains(b)).count();
    let text = &bytes[blank..];
    if blank > 16 {
        return Verdict::Other;
    }
    if text.is_empty() || b"PRI * HTTP/2.".starts_with(text) {
        return Verdict::Unsure;
    }
    if text.starts_with(b"PRI * HTTP/2.") {
        return Verdict::Http2;
    }
    if begins_with_version(text) {
        return Verdict::Http1(Kind::Response);
    }
    if text[0] == 0 {
        return judge_settings(bytes);
    }
    match memchr(b'\n', text) {
        Some(end) => judge_request(&text[..end], &text[end + 1..]),
        None if may_be_version(text) => Verdict::Unsure,
        None => match may_be_request(text.trim_ascii_start()) {
            true if text.len() > MAX_LINE => Verdict::Http1(Kind::Request),
            true => Verdict::Unsure,
            false => Verdict::Other,
        },
    }
}

/// Judges a first line, and the bytes after it. A request line may be malformed; without a version
/// it is of HTTP if a header field follows.
fn judge_request(line: &[u8], next: &[u8]) -> Verdict {
    if is_start_line(Kind::Request, line) {
        return Verdict::Http1(Kind::Request);
    }
    let malformed = Malformed::read(line);
    if malformed.is_certain() {
        return Verdict::Http1(Kind::Request);
    }
    if malformed.flaw != Flaw::NoVersion {
        return Verdict::Other;
    }
    let name = next.iter().take_while(|&&octet| is_token(octet)).count();
    match next.get(name) {
        Some(b':') if name > 0 => Verdict::Http1(Kind::Request),
        None if name <= MAX_METHOD => Verdict::Unsure,
        _ => Verdict::Other,
    }
}

/// An HTTP/2 server begins with SETTINGS (RFC 9113 section 3.4) of less than 256 bytes and without
/// flags.
fn judge_settings(bytes: &[u8]) -> Verdict {
    match Frame::read(bytes) {
        Some(frame) if frame.is_first_of_server() => Verdict::Http2,
        Some(_) => Verdict::Other,
        None => Verdict::Unsure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_determine_the_protocol() {
        use Verdict::{Http1, Http2, Other, Unsure};
        for (bytes, verdict) in [
            (&b"GET / HTTP/1.1\r\n"[..], Http1(Kind::Request)),
            (b"\r\n\r\nPURGE * HTTP/1.0\n", Http1(Kind::Request)),
            (b"HTTP/1.1", Http1(Kind::Response)),
            (b"HTTP/1.", Http1(Kind::Response)),
            (b"HTTP", Unsure),
            (b"HTTP/2", Http1(Kind::Response)),
            (b"HTTP/", Unsure),
            (b"HTTP/x", Other),
            (b"ICY 200 OK\r\n", Http1(Kind::Response)),
            (b"ICY", Unsure),
            (b"ICY x", Unsure),
            (b"GE", Unsure),
            (b"GET key\r\n", Other),
            (b"GET / HTTP/2.0\r\n", Http1(Kind::Request)),
            (b" GET / HTTP/1.1\r\n", Http1(Kind::Request)),
            (b" GE", Unsure),
            (b"GET / HTTP/1.\r\n", Http1(Kind::Request)),
            (b"GET /\r\n", Unsure),
            (b"GET /\r\nHost", Unsure),
            (b"GET /\r\nHost: h\r\n", Http1(Kind::Request)),
            (b"GET /\r\n: h\r\n", Other),
            (b"GET /\r\n\r\n", Other),
            (b"garbage\r\n", Other),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http2),
            (b"PRI * HT", Unsure),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", Http2),
            (b"\x00\x00\x12\x04\x00", Unsure),
            (b"\x00\x00\x12\x05\x00\x00\x00\x00\x00", Other),
            (b"\x16\x03\x01", Other),
            (b"SSH-2.0-x\r\n", Other),
            (b"* OK IMAP4rev1\r\n", Other),
        ] {
            assert_eq!(judge(bytes), verdict, "{}", bytes.escape_ascii());
        }
        for (blank, verdict) in [(16, Http1(Kind::Request)), (17, Other), (20, Other)] {
            let bytes = [&b"\n".repeat(blank)[..], b"GET / HTTP/1.1\n"].concat();
            assert_eq!(judge(&bytes), verdict, "{blank}");
        }
    }

    #[test]
    fn no_prefix_of_a_start_line_is_misjudged() {
        for (line, verdict) in [
            (&b"VERSION-CONTROL /a?b HTTP/1.1\r\n"[..], Verdict::Http1(Kind::Request)),
            (b"HTTP/1.0 200 OK\r\n", Verdict::Http1(Kind::Response)),
        ] {
            for end in 0..line.len() {
                let got = judge(&line[..end]);
                assert!(got == Verdict::Unsure || got == verdict, "{end} {got:?}");
            }
            assert_eq!(judge(line), verdict);
        }
    }
}
