//! Requests that are not well formed: each is an exchange with what is known of it, its first line
//! and a note, and it keeps its place among the others.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use sslrec_analyzer::exchange::{Exchange, Item};
use sslrec_analyzer_testing::records::{Script, list};

const NO_VERSION: &str = "request: request line without a version of HTTP";
const VERSION: &str = "request: request line with a version other than HTTP/1.x";
const NO_TARGET: &str = "request: request line without a target";
const LEADING: &str = "request: whitespace before the request line";
const TARGET: &str = "request: whitespace or control character in the request target";
const NO_REQUEST: &str = "request: first line is no request line of HTTP";

/// Malformed first lines, with method, target and note.
const LINES: [(&str, &str, &str, &str); 13] = [
    ("GET /1", "GET", "/1", NO_VERSION),
    ("POST /1 b", "POST", "/1 b", NO_VERSION),
    ("GET /1 HTTP/1.", "GET", "/1", VERSION),
    ("GET /1 HTTP/1.1x", "GET", "/1", VERSION),
    ("GET /1 HTTP/2.0", "GET", "/1", VERSION),
    ("GET /1 http/1.1", "GET", "/1", VERSION),
    ("GET /1 HTTP", "GET", "/1", VERSION),
    ("GET  HTTP/1.1", "GET", "-", NO_TARGET),
    ("GET HTTP/1.1", "GET", "-", NO_TARGET),
    (" GET /1 HTTP/1.1", "GET", "/1", LEADING),
    ("GET /1 b HTTP/1.1", "GET", "/1 b", TARGET),
    ("garbage", "-", "-", NO_REQUEST),
    ("EHLO example.com", "-", "-", NO_REQUEST),
];

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const BAD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad";

/// `method target first-line status length-of-body complete`.
fn brief(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref();
    let text =
        |octets: Option<&[u8]>| octets.map_or("-".into(), String::from_utf8_lossy).into_owned();
    let response = exchange.response.as_ref();
    format!(
        "{} {} {:?} {} {} {}",
        request.and_then(|request| request.method.as_deref()).unwrap_or("-"),
        text(request.and_then(|request| request.target.as_deref())),
        text(request.and_then(|request| request.line.as_deref())),
        response.and_then(|response| response.status).unwrap_or(0),
        response.map_or(0, |response| response.message.body.bytes),
        exchange.complete,
    )
}

fn exchanges(script: &Script) -> Vec<(String, Vec<String>)> {
    let (items, _) = list(script);
    items
        .iter()
        .map(|item| match item {
            Item::Exchange(exchange) => {
                (brief(exchange), exchange.notes.iter().map(ToString::to_string).collect())
            }
            other => (format!("{other:?}"), Vec::new()),
        })
        .collect()
}

fn alone(script: &Script) -> (String, Vec<String>) {
    let mut all = exchanges(script);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn expected(line: (&str, &str, &str, &str), end: &str) -> (String, Vec<String>) {
    let (text, method, target, note) = line;
    // Whitespace in the target is a defect of a line that is well formed otherwise.
    let line = if note == TARGET { "-" } else { text };
    (format!("{method} {target} {line:?} {end}"), vec![note.to_owned()])
}

#[test]
fn a_malformed_request_is_an_exchange() {
    for line in LINES {
        for response in [BAD.to_owned(), ok("bad")] {
            let status = &response[9..12];
            if line.3 == NO_REQUEST && status == "200" {
                continue;
            }
            let request = format!("{}\r\nHost: h\r\n\r\n", line.0);
            let script = Script::client().sent(&request).received(&response).close();
            assert_eq!(alone(&script), expected(line, &format!("{status} 3 true")), "{line:?}");
            for cut in 1..request.len() {
                let (before, after) = request.split_at(cut);
                let script = Script::client().sent(before).sent(after).received(&response).close();
                assert_eq!(alone(&script), expected(line, &format!("{status} 3 true")), "{cut}");
            }
        }
    }
}

#[test]
fn malformed_requests_keep_their_place_in_a_pipeline() {
    let get = |n: u32| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n");
    for line in LINES {
        for fields in ["", "Host: h\r\n", "Content-Length: 5\r\n"] {
            let body = match fields.contains('5') && line.3 != NO_REQUEST {
                true => "hello",
                false => "",
            };
            let requests =
                [&get(0), line.0, "\r\n", fields, "\r\n", body, &get(2), &get(3)].concat();
            let responses = [&ok("0"), BAD, &ok("22"), &ok("333")].concat();
            let script = Script::client().sent(&requests).received(&responses).close();
            let single =
                requests.bytes().fold(Script::client(), |script, octet| script.sent([octet]));
            for script in [script, single.received(&responses).close()] {
                let all = exchanges(&script);
                let briefs: Vec<&str> = all.iter().map(|(brief, _)| &**brief).collect();
                let (malformed, notes) = expected(line, "400 3 true");
                let others = [
                    "GET /0 \"-\" 200 1 true",
                    "GET /2 \"-\" 200 2 true",
                    "GET /3 \"-\" 200 3 true",
                ];
                assert_eq!(briefs, [others[0], &malformed, others[1], others[2]], "{line:?}");
                assert_eq!(all[1].1, notes);
                assert!([0, 2, 3].iter().all(|&n: &usize| all[n].1.is_empty()), "{all:?}");
            }
        }
    }
}

#[test]
fn a_malformed_line_before_a_request_line_leaves_the_responses_in_doubt() {
    // The server may answer both at once, or each.
    let requests =
        "garbage\r\nGET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let script =
        Script::client().sent(requests).received([BAD, &ok("1"), &ok("22")].concat()).close();
    let all = exchanges(&script);
    let briefs: Vec<&str> = all.iter().map(|(brief, _)| &**brief).collect();
    assert_eq!(
        briefs,
        [
            "- - \"garbage\" 0 0 false",
            "GET /1 \"-\" 0 0 false",
            "GET /2 \"-\" 0 0 false",
            "- - \"-\" 400 3 false",
            "- - \"-\" 200 1 false",
            "- - \"-\" 200 2 false",
        ]
    );
    assert!(all.iter().all(|(_, notes)| !notes.is_empty()), "{all:?}");
}

#[test]
fn bytes_that_are_no_request_are_not_paired_with_a_success() {
    let requests = "garbage\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let script = Script::client().sent(requests).received([ok("1"), ok("22")].concat()).close();
    let all = exchanges(&script);
    assert!(all.iter().all(|(_, notes)| !notes.is_empty()), "{all:?}");
    assert!(all.iter().all(|(brief, _)| brief.ends_with("false")), "{all:?}");
}

#[test]
fn a_request_that_the_server_does_not_wait_for_is_an_exchange() {
    let (brief, notes) = alone(&Script::client().sent("hello").received(BAD).close());
    assert_eq!((&*brief, &*notes), ("- - \"hello\" 400 3 true", &[NO_REQUEST.to_owned()][..]));
    let script = Script::client().sent("hello").received(BAD).sent(" world\r\n").close();
    let all = exchanges(&script);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0].0, brief);
    assert!(all[1].0.starts_with("Stream"), "the rest is not lost: {all:?}");
    let script = Script::client().sent("GET /1 HTTP/2.0\r\nHost: h\r\nA:").received(BAD).close();
    assert_eq!(alone(&script).0, "GET /1 \"GET /1 HTTP/2.0\" 400 3 true");
}

#[test]
fn a_malformed_request_without_a_response_is_an_exchange() {
    for line in LINES.into_iter().filter(|line| line.3 != NO_REQUEST) {
        let request = format!("{}\r\nHost: h\r\n\r\n", line.0);
        let (brief, notes) = alone(&Script::client().sent(&request).close());
        assert_eq!(brief, expected(line, "0 0 false").0);
        assert!(notes.contains(&line.3.to_owned()), "{notes:?}");
    }
    // After a request, the connection is one of HTTP.
    let script = Script::client().sent("GET / HTTP/1.1\r\n\r\ngarbage\r\n\r\n").close();
    let all = exchanges(&script);
    assert_eq!(all[1].0, "- - \"garbage\" 0 0 false");
}

#[test]
fn a_long_target_is_whole() {
    for len in [(64 << 10) - 1, 64 << 10, 70_000, 500_000] {
        let target = format!("/{}", "u".repeat(len));
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let parts = request.as_bytes().chunks(1400);
        let script = parts.fold(Script::client(), Script::sent);
        let (items, _) = list(&script.received(ok("hi")).close());
        let [Item::Exchange(exchange)] = &items[..] else { panic!("{items:?}") };
        let request = exchange.request.as_ref().unwrap();
        assert_eq!(request.target.as_deref(), Some(target.as_bytes()));
        assert!(exchange.complete && exchange.notes.is_empty());
    }
}

#[test]
fn http_0_9_is_an_exchange() {
    for request in ["GET /old\r\n", "GET /old\n", "GET /old\r\n\r\n"] {
        let script = Script::client().sent(request).received("<html>").received("old").close();
        let line = request.trim_end();
        let notes =
            vec!["HTTP/0.9: a request line alone, and a response without a head".to_owned()];
        assert_eq!(alone(&script), (format!("GET /old {line:?} 0 9 true"), notes), "{request:?}");
    }
    for (request, response) in
        [("GET key\r\n", "VALUE\r\n"), ("GET /old\r\nGET /b\r\n", "x"), ("GET /old\r\n", "")]
    {
        let script = Script::client().sent(request).received(response).close();
        let (brief, _) = alone(&script);
        assert!(brief.starts_with("Stream"), "{brief}");
    }
    // The end of the response is not known.
    let script = Script::client().sent("GET /old\r\n").received("<html>");
    assert!(alone(&script).0.starts_with("Stream"));
}

#[test]
fn responses_of_other_versions_are_read() {
    for (line, status) in [
        ("HTTP/2.0 200 OK", 200),
        ("HTTP/2 404", 404),
        ("ICY 200 OK", 200),
        ("HTTP/0.9 200 OK", 200),
    ] {
        let response = format!("{line}\r\nContent-Length: 2\r\n\r\nhi");
        for request in ["GET /1 HTTP/1.1\r\nHost: h\r\n\r\n", ""] {
            let script = Script::client().sent(request).received(&response).close();
            let (brief, notes) = alone(&script);
            assert!(brief.contains(&format!("{status} 2")), "{brief}");
            let note = "response: status line with a version other than HTTP/1.x".to_owned();
            assert!(notes.contains(&note), "{notes:?}");
        }
    }
}

#[test]
fn http1_in_answer_to_http2_is_an_exchange() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let headers = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
    let sent = [preface.as_bytes(), settings].concat();
    let (brief, notes) = alone(&Script::client().sent(&sent).received(BAD).close());
    assert_eq!(brief, "PRI * \"PRI * HTTP/2.0\" 400 3 true");
    assert_eq!(notes, ["request: connection preface of HTTP/2"]);
    let script = Script::client().sent([&sent[..], headers].concat()).received(BAD).close();
    let all = exchanges(&script);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[1].0, "PRI * \"PRI * HTTP/2.0\" 400 3 true", "{all:?}");
    assert!(
        all[0].1.contains(&"the server answered the connection preface with HTTP/1".to_owned()),
        "{all:?}"
    );
}
