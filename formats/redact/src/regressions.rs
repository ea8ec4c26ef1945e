//! Secrets that the fuzz target and random connections found unredacted: in each case a message was
//! recognised as another protocol or part.

use super::Redactor;
use super::tests::{redact, rules};
use sslrec_formats::record::{Direction, Record};
use sslrec_redact_testing::{connection, contains, data, gap};

/// Returns the rest of `parts` of a direction, where `None` is a gap of ten bytes.
fn left(texts: &[&str], parts: &[Option<&str>]) -> String {
    let mut redactor = Redactor::new(rules(texts));
    let mut out = String::new();
    let mut take = |record: &Record<'_>| match record {
        Record::Data(data) => out.push_str(&String::from_utf8_lossy(data.payload)),
        Record::Gap(_) => out.push('|'),
        _ => {}
    };
    redactor.record(&connection(false), &mut take);
    let (dir, mut offset) = (Direction::Sent, 0);
    for part in parts {
        match part {
            Some(text) => {
                redactor.record(&Record::Data(data(dir, offset, text.as_bytes(), 0)), &mut take);
                offset += text.len() as u64;
            }
            None => {
                redactor.record(&gap(dir, offset, 10, 0), &mut take);
                offset += 10;
            }
        }
    }
    redactor.finish(&mut take);
    out
}

#[test]
fn bytes_after_a_gap_at_the_very_beginning_are_unknown() {
    let head = "T / HTTP/1.1\r\nCookie: hunter2\r\n\r\n";
    let next = "GET / HTTP/1.1\r\nCookie: hunter2\r\n\r\n";
    let out = left(&["cookie"], &[None, Some(head), Some(next)]);
    assert_eq!(
        out,
        format!("|{}GET / HTTP/1.1\r\nCookie: *******\r\n\r\n", "*".repeat(head.len()))
    );
}

#[test]
fn trailers_before_a_gap_have_no_start_line() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    let out = left(&["cookie"], &[Some(head), Some("Cookie: hunter2\r\nA: b"), None]);
    assert_eq!(out, format!("{head}Cookie: *******\r\n****|"));
}

#[test]
fn a_message_after_a_gap_begins_at_a_line() {
    let head = "POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
    let tail = "a=b&pin=hunter2GET / HTTP/1.1\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    // More bytes of the body are missing than it has.
    let parts = [Some(head), None, None, None, None, None, None, None, None, None, None, None];
    let out = left(&["form:pin"], &[&parts[..], &[Some(tail)]].concat());
    assert!(!out.contains("hunter2") && out.ends_with("GET / HTTP/1.1\r\n\r\n"), "{out}");
}

#[test]
fn contents_that_look_like_a_head_are_contents() {
    let body = "HTTP/1.1 200 OK\r\nx: {\"password\":\"hunter2\"}\r\n\r\n";
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let calls = vec![
        (Direction::Sent, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (Direction::Received, response.into_bytes()),
    ];
    let [_, received] = redact(&["json:password"], &calls, false);
    assert!(!contains(&received, "hunter2"), "{}", String::from_utf8_lossy(&received));
}

#[test]
fn a_repeated_scheme_is_not_a_token() {
    for scheme in ["Bearer", "Basic"] {
        let head = format!("GET / HTTP/1.1\r\nA: {scheme} {scheme} hunter2\r\n\r\n");
        let out = left(&["bearer", "basic"], &[Some(&head)]);
        assert!(out.contains(&format!("A: {scheme} {scheme} *******\r\n")), "{out}");
    }
}

#[test]
fn a_start_line_at_the_beginning_of_a_call_is_found_after_unknown_bytes() {
    let head = "T / HTTP/1.1\r\nAuthorization: hunter2\r\nB: c\r\n\r\n";
    let calls = ["abc", "GE", head].map(|text| (Direction::Sent, text.as_bytes().to_vec()));
    let [sent, _] = redact(&["default"], &calls.to_vec(), true);
    let expected = "***GET / HTTP/1.1\r\nAuthorization: *******\r\nB: c\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&sent), expected);
}

#[test]
fn a_tunnel_is_not_a_websocket() {
    let calls = vec![
        (Direction::Sent, b"CONNECT h:1 HTTP/1.1\r\n\r\n".to_vec()),
        (Direction::Received, b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        (Direction::Received, b"220 ready\r\n".to_vec()),
        (Direction::Sent, b"EHLO {\"password\":\"hunter2\"}\r\n".to_vec()),
    ];
    let [sent, received] = redact(&["json:password"], &calls, false);
    assert!(received.ends_with(b"\r\n\r\n220 ready\r\n"), "{}", received.escape_ascii());
    assert!(sent.ends_with(b"EHLO {\"password\":\"*******\"}\r\n"), "{}", sent.escape_ascii());
}
