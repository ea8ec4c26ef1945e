//! The result depends neither on how the input is split nor on where it ends.

use super::*;

/// Events as text, with neighbouring pieces of a body joined.
fn read(kind: Kind, pieces: &[&[u8]], closed: bool) -> Vec<String> {
    let mut parser = Parser::new(kind);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        drain(&mut parser, &mut input, &mut seen);
    }
    parser.finish(if closed { End::Closed } else { End::Open });
    drain(&mut parser, &mut &[][..], &mut seen);
    seen
}

fn drain(parser: &mut Parser, input: &mut &[u8], seen: &mut Vec<String>) {
    while let Some(event) = parser.next(input) {
        let text = match event {
            Event::Head { mut head, cut } => {
                let framing = head.framing(None);
                if !cut {
                    parser.set_framing(framing);
                }
                let fields: Vec<_> = head
                    .fields
                    .iter()
                    .map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii()))
                    .collect();
                format!("{:?} {cut} {fields:?} {:?}", head.line, head.defects)
            }
            Event::Body(bytes) => {
                let text = bytes.escape_ascii().to_string();
                match seen.last_mut().filter(|last| last.starts_with("body ")) {
                    Some(last) => last.push_str(&text),
                    None => seen.push(format!("body {text}")),
                }
                continue;
            }
            Event::Trailers(fields) => format!("trailers {}", fields.len()),
            Event::Abandoned(why) => format!("Abandoned: {why}"),
            // The place within a call depends on the calls.
            Event::Begin(_) => "Begin".to_owned(),
            other => format!("{other:?}"),
        };
        seen.push(text);
    }
}

const REQUESTS: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\
    POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\
    \r\nPUT /c HTTP/1.0\nA: b\n c\n\n\
    POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n3\nabc\n0\r\nT: u\r\nV: w\r\n\r\n\
    get! /e f HTTP/1.1\r\nbad\r\n\r\n\
    GET /g HTTP/1.1\r\n\r\n";

const RESPONSES: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n\
    HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
    HTTP/1.1 204 No Content\r\n\r\n\
    HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 3\n\na\n0123456789\n0\n\n\
    HTTP/1.0 200\r\n\r\nuntil the end\r\n\r\nHTTP/1.1 200 OK\r\n";

/// Bytes that are not a message, and messages that contradict themselves.
const BROKEN: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcdefGET /b HTTP/1.1\r\n\r\n\
    POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\nGET /c HTTP/1.1\r\n\r\n\
    POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\nGET /d HTTP/1.1\r\n\r\n";

#[test]
fn result_does_not_depend_on_how_the_input_is_split() {
    for (kind, bytes) in
        [(Kind::Request, REQUESTS), (Kind::Response, RESPONSES), (Kind::Request, BROKEN)]
    {
        let whole = read(kind, &[bytes], true);
        for at in 0..=bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(read(kind, &[a, b], true), whole, "split at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(kind, &single, true), whole);
    }
}

#[test]
fn messages_are_found_with_their_framing() {
    let seen = read(Kind::Request, &[REQUESTS], true);
    assert_eq!(seen.iter().filter(|event| *event == "End").count(), 6, "{seen:#?}");
    assert_eq!(seen.iter().filter(|event| *event == "body hello").count(), 1);
    assert!(seen.contains(&"body helloabc".to_owned()));
    assert!(seen.contains(&"trailers 2".to_owned()));
    let seen = read(Kind::Response, &[RESPONSES], true);
    assert_eq!(seen.iter().filter(|event| *event == "End").count(), 5, "{seen:#?}");
    assert!(seen.iter().any(|e| e.starts_with("body until the end") && e.contains("200 OK")));
}

#[test]
fn heads_of_many_fields_stand_side_by_side() {
    let head = ["GET / HTTP/1.1\r\n", &"a: b\r\n".repeat(70), "\r\n"].concat();
    let seen = read(Kind::Request, &[head.repeat(3).as_bytes()], true);
    assert_eq!(seen.iter().filter(|event| *event == "End").count(), 3, "{seen:#?}");
    assert_eq!(seen.len(), 9, "{seen:#?}");
}

#[test]
fn the_next_message_is_found_after_invalid_bytes() {
    let seen = read(Kind::Request, &[BROKEN], true);
    for path in ["/b", "/c", "/d"] {
        let target = format!("{:?}", path.as_bytes());
        assert!(seen.iter().any(|event| event.contains(&target)), "{path} {seen:#?}");
    }
    assert!(seen.iter().any(|event| event.contains("invalid chunk size")));
    assert!(seen.iter().any(|event| event.contains("longer than its size")));
}

#[test]
fn any_truncation_ends_an_open_message() {
    for (kind, bytes) in
        [(Kind::Request, REQUESTS), (Kind::Response, RESPONSES), (Kind::Request, BROKEN)]
    {
        for at in 0..bytes.len() {
            for closed in [true, false] {
                let seen = read(kind, &[&bytes[..at]], closed);
                let begun = seen.iter().filter(|event| *event == "Begin").count();
                let ended = |event: &&String| *event == "End" || event.starts_with("Abandoned");
                assert_eq!(begun, seen.iter().filter(ended).count(), "{at} {seen:#?}");
            }
        }
    }
}

#[test]
fn gap_inside_counted_bytes_keeps_the_framing() {
    for (head, tail) in [
        ("Content-Length: 10\r\n\r\n", ""),
        ("Transfer-Encoding: chunked\r\n\r\na\r\n", "\r\n0\r\n\r\n"),
    ] {
        for (before, lost) in [(0, 10), (0, 1), (9, 1), (3, 4)] {
            let mut parser = Parser::new(Kind::Response);
            let mut seen = Vec::new();
            let text = format!("HTTP/1.1 200 OK\r\n{head}{}", &"0123456789"[..before]);
            drain(&mut parser, &mut text.as_bytes(), &mut seen);
            parser.gap(lost);
            let text =
                format!("{}{tail}HTTP/1.1 404 x\r\n\r\n", &"0123456789"[before + lost as usize..]);
            drain(&mut parser, &mut text.as_bytes(), &mut seen);
            assert!(seen.contains(&format!("Lost({lost})")), "{seen:#?}");
            assert!(seen.iter().any(|event| event.contains("404")), "{seen:#?}");
            assert!(!seen.iter().any(|e| e.contains("Abandoned") || e.contains("Skipped")));
        }
    }
}

#[test]
fn heads_and_trailers_without_end_are_given_up_at_the_cap() {
    let line = [b"a: ", &[b'x'; 8000][..], b"\r\n"].concat();
    for start in
        ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"]
    {
        let mut pieces: Vec<&[u8]> = vec![start.as_bytes()];
        pieces.extend(std::iter::repeat_n(&line[..], 200));
        pieces.push(b"\r\n\r\nGET /next HTTP/1.1\r\n\r\n");
        let seen = read(Kind::Request, &pieces, true);
        assert!(seen.iter().any(|event| event.contains("longer than 1 MiB")));
        assert!(seen.iter().any(|event| event.contains(&format!("{:?}", b"/next"))));
        assert!(seen.iter().any(|event| event.starts_with("Skipped")));
    }
}
