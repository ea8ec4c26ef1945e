//! How long the content of a message is (RFC 9112 section 6.3), and what contradicts itself
//! about it.

use super::head::{Head, Line};

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks (section 7.1).
    Chunked,
    /// Whatever comes until the connection closes.
    UntilClose,
    /// Another protocol, in both directions.
    Tunnel,
    /// Whatever comes may be content or a tunnel: only the response to this CONNECT tells.
    AwaitResponse,
}

/// Framing of a request. Contradictions are added to the head's anomalies.
pub(crate) fn of_request(head: &mut Head) -> Framing {
    if matches!(&head.line, Line::Request { method, .. } if method == "CONNECT") {
        return Framing::AwaitResponse;
    }
    declared(head).unwrap_or(Framing::Length(0))
}

/// Framing of a response to a request with this method, where it is known.
pub(crate) fn of_response(head: &mut Head, method: Option<&str>) -> Framing {
    let Line::Response { status, .. } = head.line else { return Framing::Length(0) };
    match status {
        101 => return Framing::Tunnel,
        100..=199 | 204 | 304 => return Framing::Length(0),
        200..=299 if method == Some("CONNECT") => return Framing::Tunnel,
        _ if method == Some("HEAD") => return Framing::Length(0),
        _ => {}
    }
    declared(head).unwrap_or(Framing::UntilClose)
}

/// What Transfer-Encoding and Content-Length say, the former first.
fn declared(head: &mut Head) -> Option<Framing> {
    let coding = transfer_coding(head);
    let length = content_length(head);
    let is_request = matches!(head.line, Line::Request { .. });
    let Some(last_is_chunked) = coding else { return length.map(Framing::Length) };
    if length.is_some() {
        head.anomalies.push("both Transfer-Encoding and Content-Length; the former was used");
    }
    if head.minor == 0 {
        head.anomalies.push("Transfer-Encoding in an HTTP/1.0 message");
    }
    if last_is_chunked {
        return Some(Framing::Chunked);
    }
    if is_request {
        head.anomalies.push("request with a Transfer-Encoding that does not end in chunked");
    }
    Some(Framing::UntilClose)
}

/// Whether there is a transfer coding, and if so, whether the last one is `chunked`.
fn transfer_coding(head: &Head) -> Option<bool> {
    let last = head.fields.all("transfer-encoding").last()?;
    let last = last.rsplit(|&b| b == b',').next().unwrap_or(last).trim_ascii();
    Some(last.eq_ignore_ascii_case(b"chunked"))
}

/// The declared length; the first valid one where several contradict each other.
fn content_length(head: &mut Head) -> Option<u64> {
    let mut length = None;
    let mut count = 0;
    let mut anomaly = None;
    for value in head.fields.all("content-length") {
        for part in value.split(|&b| b == b',') {
            count += 1;
            match (decimal(part.trim_ascii()), length) {
                (None, _) => anomaly = Some("invalid Content-Length"),
                (Some(n), Some(first)) if n != first => {
                    anomaly = Some("Content-Lengths contradict each other; the first was used");
                }
                (Some(n), _) => length = Some(n),
            }
        }
    }
    if anomaly.is_none() && count > 1 {
        anomaly = Some("repeated Content-Length");
    }
    head.anomalies.extend(anomaly);
    length
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
    use super::super::head::{Kind, parse};
    use super::*;

    fn response(fields: &str, method: Option<&str>) -> (Framing, usize) {
        status(200, fields, method)
    }

    fn status(status: u16, fields: &str, method: Option<&str>) -> (Framing, usize) {
        let bytes = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
        let mut head = parse(Kind::Response, bytes.as_bytes(), true).unwrap();
        (of_response(&mut head, method), head.anomalies.len())
    }

    fn request(fields: &str) -> (Framing, usize) {
        let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\n");
        let mut head = parse(Kind::Request, bytes.as_bytes(), true).unwrap();
        (of_request(&mut head), head.anomalies.len())
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
        assert_eq!(request("Content-Length : 5\r\n"), (Framing::Length(5), 1));
        assert_eq!(request("Transfer-Encoding : chunked\r\n"), (Framing::Chunked, 1));
    }
}
