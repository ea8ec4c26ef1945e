//! The length of the content of a message (RFC 9112 section 6.3), and contradictions about it.

use crate::texts::texts;

/// The content that follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks (section 7.1).
    Chunked,
    /// Everything until the connection closes.
    UntilClose,
    /// Another protocol, in both directions.
    Tunnel,
    /// Content or a tunnel: the response to this CONNECT decides.
    AwaitResponse,
}

texts! {
    /// A contradiction in the declarations of a head about its content.
    pub enum Contradiction {
        /// A Content-Length is not a number.
        InvalidLength => "invalid Content-Length";
        /// Content-Lengths differ.
        LengthsDiffer => "Content-Lengths contradict each other; the first was used";
        /// Content-Lengths are the same.
        RepeatedLength => "repeated Content-Length";
        /// Transfer-Encoding has precedence.
        BothDeclared => "both Transfer-Encoding and Content-Length; the former was used";
        /// HTTP/1.0 has no transfer codings.
        CodingInHttp10 => "Transfer-Encoding in an HTTP/1.0 message";
        /// The length of such a request is unknown.
        NotChunked => "request with a Transfer-Encoding that does not end in chunked";
    }
}

/// The declarations of one head about its content: Transfer-Encoding and Content-Length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared {
    /// Set if there is a transfer coding: whether the last coding is `chunked`.
    last_is_chunked: Option<bool>,
    /// The first valid length.
    length: Option<u64>,
    /// Number of lengths.
    lengths: usize,
    problem: Option<Contradiction>,
}

impl Declared {
    /// Reads a field of the head, in the order of the head.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|&b| b == b',').next().unwrap_or(value).trim_ascii();
            self.last_is_chunked = Some(last.eq_ignore_ascii_case(b"chunked"));
        } else if name.eq_ignore_ascii_case(b"content-length") {
            value.split(|&b| b == b',').for_each(|part| self.length(part.trim_ascii()));
        }
    }

    fn length(&mut self, digits: &[u8]) {
        self.lengths += 1;
        match (decimal(digits), self.length) {
            (None, _) => self.problem = Some(Contradiction::InvalidLength),
            (Some(n), Some(first)) if n != first => {
                self.problem = Some(Contradiction::LengthsDiffer);
            }
            (Some(n), None) => self.length = Some(n),
            (Some(_), Some(_)) => {}
        }
    }

    /// Returns the framing of a request. Contradictions are passed to `note`.
    pub fn of_request(&self, method: &[u8], minor: u8, note: impl FnMut(Contradiction)) -> Framing {
        match method {
            b"CONNECT" => Framing::AwaitResponse,
            _ => self.content(true, minor, note).unwrap_or(Framing::Length(0)),
        }
    }

    /// Returns the framing of a response to a request with this method, if the method is known.
    pub fn of_response(
        &self,
        status: u16,
        minor: u8,
        method: Option<&[u8]>,
        note: impl FnMut(Contradiction),
    ) -> Framing {
        match (status, method) {
            (101, _) => Framing::Tunnel,
            (100..=199 | 204 | 304, _) => Framing::Length(0),
            (200..=299, Some(b"CONNECT")) => Framing::Tunnel,
            (_, Some(b"HEAD")) => Framing::Length(0),
            _ => self.content(false, minor, note).unwrap_or(Framing::UntilClose),
        }
    }

    /// Determines the framing; Transfer-Encoding has precedence over Content-Length.
    fn content(
        &self,
        is_request: bool,
        minor: u8,
        mut note: impl FnMut(Contradiction),
    ) -> Option<Framing> {
        let repeated = Some(Contradiction::RepeatedLength).filter(|_| self.lengths > 1);
        self.problem.or(repeated).into_iter().for_each(&mut note);
        let Some(last_is_chunked) = self.last_is_chunked else {
            return self.length.map(Framing::Length);
        };
        if self.length.is_some() {
            note(Contradiction::BothDeclared);
        }
        if minor == 0 {
            note(Contradiction::CodingInHttp10);
        }
        if last_is_chunked {
            return Some(Framing::Chunked);
        }
        if is_request {
            note(Contradiction::NotChunked);
        }
        Some(Framing::UntilClose)
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(fields: &str) -> Declared {
        let mut declared = Declared::default();
        for line in fields.lines() {
            let (name, value) = line.split_once(':').unwrap();
            declared.field(name.trim_ascii_end().as_bytes(), value.trim_ascii().as_bytes());
        }
        declared
    }

    fn response(fields: &str, method: Option<&str>) -> (Framing, usize) {
        status(200, fields, method)
    }

    fn status(status: u16, fields: &str, method: Option<&str>) -> (Framing, usize) {
        let mut notes = 0;
        let method = method.map(str::as_bytes);
        let framing = declared(fields).of_response(status, 1, method, |_| notes += 1);
        (framing, notes)
    }

    fn request(fields: &str) -> (Framing, usize) {
        let mut notes = 0;
        (declared(fields).of_request(b"POST", 1, |_| notes += 1), notes)
    }

    #[test]
    fn rules_of_rfc_9112_section_6_3_in_order() {
        let cl = "Content-Length: 5\r\n";
        assert_eq!(response(cl, Some("HEAD")), (Framing::Length(0), 0));
        assert_eq!(status(204, cl, None), (Framing::Length(0), 0));
        assert_eq!(status(304, cl, None), (Framing::Length(0), 0));
        assert_eq!(status(103, cl, None), (Framing::Length(0), 0));
        assert_eq!(status(101, cl, None), (Framing::Tunnel, 0));
        assert_eq!(response(cl, Some("CONNECT")), (Framing::Tunnel, 0));
        assert_eq!(status(407, cl, Some("CONNECT")), (Framing::Length(5), 0));
        assert_eq!(response("Transfer-Encoding: gzip, chunked\r\n", None), (Framing::Chunked, 0));
        assert_eq!(response("Transfer-Encoding: gzip\r\n", None), (Framing::UntilClose, 0));
        assert_eq!(response(cl, Some("GET")), (Framing::Length(5), 0));
        assert_eq!(response("", Some("GET")), (Framing::UntilClose, 0));
        assert_eq!(request(""), (Framing::Length(0), 0));
        assert_eq!(request(cl), (Framing::Length(5), 0));
        assert_eq!(declared(cl).of_request(b"CONNECT", 1, |_| ()), Framing::AwaitResponse);
    }

    #[test]
    fn smuggling_shapes_are_noted() {
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(request(both), (Framing::Chunked, 1));
        assert_eq!(request("Transfer-Encoding: chunked, identity\r\n"), (Framing::UntilClose, 1));
        assert_eq!(request("Transfer-Encoding: xchunked\r\n"), (Framing::UntilClose, 1));
        assert_eq!(request("Content-Length: 5\r\nContent-Length: 6\r\n"), (Framing::Length(5), 1));
        assert_eq!(request("Content-Length: 5, 5\r\n"), (Framing::Length(5), 1));
        assert_eq!(request("Content-Length: +5\r\n"), (Framing::Length(0), 1));
        assert_eq!(request("Content-Length: 0x5\r\n"), (Framing::Length(0), 1));
        assert_eq!(request("Content-Length: 99999999999999999999\r\n"), (Framing::Length(0), 1));
        assert_eq!(request("Content-Length : 5\r\n"), (Framing::Length(5), 0));
        let chunked = declared("Transfer-Encoding : chunked\r\n");
        let mut notes = Vec::new();
        assert_eq!(chunked.of_request(b"GET", 0, |note| notes.push(note)), Framing::Chunked);
        assert_eq!(notes, [Contradiction::CodingInHttp10]);
    }
}
