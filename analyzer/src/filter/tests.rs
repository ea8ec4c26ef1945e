use sslrec_formats::record::{AddrKind, Connection, Direction, Role};

use super::Filter;
use crate::exchange::{
    ConnectionInfo, Exchange, Item, Note, Request, Response, SharedConnection, Stream,
};

fn connection() -> SharedConnection {
    SharedConnection::new(ConnectionInfo {
        record: Connection {
            conn: 3,
            pid: 1234,
            role: Role::Client,
            addr: AddrKind::Exact,
            local: Some("10.0.0.5:51234".parse().unwrap()),
            remote: Some("93.184.216.34:443".parse().unwrap()),
            lib: Some("/usr/lib/libssl.so.3".into()),
            sni: Some("api.example.org".into()),
            ..Connection::default()
        },
        comm: Some("curl".into()),
        tls: true,
    })
}

/// `POST https://api.example.org:8443/a?b=1 c`, answered with 503 after 250 ms.
fn exchange() -> Exchange {
    let mut exchange = Exchange::new(&connection(), Direction::Sent, 1);
    exchange.id = 7;
    let mut request = Request {
        method: Some("POST".into()),
        target: Some(b"/a?b=1".into()),
        ..Request::default()
    };
    request.message.first_ns = 1_795_407_694_123_456_789;
    request.message.headers.push(b"Host", b"api.example.org:8443");
    request.message.headers.push(b"Content-Type", b"application/json");
    request.message.body.bytes = 20;
    let mut response = Response { status: Some(503), ..Response::default() };
    response.message.first_ns = request.message.first_ns + 200_000_000;
    response.message.last_ns = request.message.first_ns + 250_000_000;
    response.message.headers.push(b"Set-Cookie", b"a=1");
    response.message.headers.push(b"set-cookie", b"b=2");
    response.message.headers.push(b"Content-Length", b"2048");
    response.message.trailers.push(b"grpc-status", b"0");
    response.message.body.bytes = 2048;
    (exchange.request, exchange.response) = (Some(request), Some(response));
    exchange.complete = true;
    exchange.notes.extend([Note::JoinedMidStream, Note::ConnectionReset]);
    exchange
}

fn holds(filter: &str, item: &Item) -> bool {
    Filter::parse(filter).unwrap_or_else(|error| panic!("{error}")).matches(item)
}

/// Asserts that filters in `yes` match, and filters in `no` do not.
fn check(item: &Item, yes: &[&str], no: &[&str]) {
    for filter in yes {
        assert!(holds(filter, item), "{filter}");
        assert!(!holds(&format!("not ({filter})"), item), "not ({filter})");
    }
    for filter in no {
        assert!(!holds(filter, item), "{filter}");
        assert!(holds(&format!("!({filter})"), item), "!({filter})");
    }
}

#[test]
fn every_field_has_the_value_of_the_json() {
    let item = Item::Exchange(Box::new(exchange()));
    let yes = [
        "type=exchange",
        "id=7",
        "conn=3",
        "stream=1",
        "proto=http/1.1",
        "pid=1234",
        "comm=curl",
        "role=client",
        "lib=libssl.so.3",
        "client=10.0.0.5:51234",
        "server=93.184.216.34:443",
        "addr=exact",
        "sni=api.example.org",
        "method=POST",
        "request.method=POST",
        "url=https://api.example.org:8443/a?b=1",
        "authority=api.example.org:8443",
        "host=api.example.org",
        "path=/a?b=1",
        "status=503",
        "response.status=503",
        "request.body_bytes=20",
        "body_bytes=2K",
        "response.body_bytes=2048",
        "ttfb=200ms",
        "ttfb_ms=200",
        "duration=0.25s",
        "duration_ms>249.9",
        "complete",
        "complete=true",
        "complete!=false",
        "request",
        "response",
        "lost_bytes=0",
        "note='joined in mid-stream'",
        "notes~reset",
        "reason=''",
        "header.content-type=application/json",
        "header.set-cookie='b=2'",
        "request.header.content-type~json",
        "response.header.CONTENT-length>=2K",
        "trailer.grpc-status=0",
        "response.trailer.grpc-status=0",
        "header.set-cookie",
        "time=2026-11-23T04:21:34.123456789Z",
        "time=2026-11-23",
        "time>=2026-11-23T04:21:34Z",
        "time<2026-11-23T04:21:35",
        "time<=2026-11-23T04:21:34.1",
        "time>2025",
    ];
    let no = [
        "type=stream",
        "response.header.content-type~json",
        "request.header.set-cookie",
        "trailer.x",
        "alpn",
        "complete=false",
        "method=post",
        "host~API",
        "status<503",
        "status>503",
        "header.content-length<2K",
        "header.set-cookie>1",
        "time>2026-11-23",
        "client_bytes>=0",
        "lost_bytes>0",
    ];
    check(&item, &yes, &no);
}

#[test]
fn any_of_several_values_matches_and_negation_needs_all() {
    let item = Item::Exchange(Box::new(exchange()));
    check(
        &item,
        &["header.set-cookie=a=1", "header.set-cookie=b=2", "header.set-cookie!=c=3", "note!~x"],
        &["header.set-cookie!=a=1", "header.set-cookie!~^b", "header.set-cookie=c=3"],
    );
}

#[test]
fn comparisons_with_unknown_values_are_false() {
    let mut exchange = exchange();
    exchange.response = None;
    exchange.complete = false;
    let item = Item::Exchange(Box::new(exchange));
    let never = [
        "status=200",
        "status!=200",
        "status<200",
        "status>=200",
        "reason!=x",
        "reason!~x",
        "header.absent!=x",
        "header.absent!~x",
        "ttfb<1s",
        "duration>0s",
        "alpn!=h2",
        "response",
        "complete",
    ];
    check(&item, &["not response and request", "complete=false", "complete!=true"], &never);
}

#[test]
fn streams_have_the_fields_that_they_have() {
    let mut stream = Stream::new(&connection(), 5_000_000_000, false);
    stream.push(Direction::Sent, b"abc", 6_000_000_000);
    let item = Item::Stream(Box::new(stream));
    check(
        &item,
        &[
            "type=stream",
            "proto=stream",
            "client_bytes=3",
            "server_bytes=0",
            "duration=1s",
            "pid=1234",
            "sni~example",
            "time=1970-01-01T00:00:05",
            "complete",
        ],
        &["status", "status!=200", "method", "header.host", "id", "stream", "request", "response"],
    );
}

#[test]
fn and_binds_closer_than_or() {
    let item = Item::Exchange(Box::new(exchange()));
    check(
        &item,
        &[
            "pid=1234 or pid=1 and pid=2",
            "pid=1 AND pid=2 || pid=1234",
            "pid=1 or pid=1234 or pid=2",
            "not pid=1 and not not pid=1234",
            "(pid=1 or pid=1234) && (pid=1234)",
        ],
        &["(pid=1234 or pid=1) and pid=2", "not pid=1234 or pid=1", "not (pid=1 or pid=1234)"],
    );
}

#[test]
fn values_need_quotes_only_for_blanks() {
    let item = Item::Exchange(Box::new(exchange()));
    check(
        &item,
        &[
            "path~^/(a|b)[?]",
            "( path = /a?b=1 )",
            r#"path~"^/a\?b=\d$""#,
            r#"path!="\"""#,
            "path=='/a?b=1'",
            "(path=/a?b=1)and(status=503)",
            "path =~ b=1",
        ],
        &[r#"note="connection  reset""#, "path~'^a'"],
    );
}

/// Filter, marked part, and parts of the message.
#[test]
fn a_bad_filter_is_marked_where_it_is_bad() {
    for (filter, marked, says, allows) in [
        ("", "", "a condition is missing", "status"),
        ("status>=", "", "a value is missing", "a whole number"),
        ("status>= and pid=1", "and", "invalid value `and`", "a whole number"),
        ("statsu=500", "statsu", "did you mean `status`?", "method"),
        ("colour=red", "colour", "unknown field `colour`", "header.NAME"),
        ("header.=x", "header.", "unknown field", "header.NAME"),
        ("host>api", ">", "`host` is text", "= != ~ !~"),
        ("status~5", "~", "`status` is a number", "= != < <= > >="),
        ("status=5xx", "5xx", "invalid value `5xx`", "whole number"),
        ("duration>200", "200", "invalid value `200`", "us, ms or s"),
        ("role=proxy", "proxy", "invalid value `proxy`", "client, server"),
        ("complete=yes", "yes", "invalid value `yes`", "true, false"),
        ("time>noon", "noon", "invalid value `noon`", "2026-11-23T04:21"),
        ("host~api(", "api(", "regular expression", "regex"),
        ("host=\"api", "\"api", "is not closed", "another \""),
        ("(status=500", "(", "not closed", ")"),
        ("status=500)", ")", "closes none", "and"),
        ("status=500 host=x", "host", "complete before this", "and"),
        ("status=500 and", "", "a condition is missing", "not"),
        ("and", "and", "unknown field", "status"),
        ("pid=1 ; x", ";", "complete before this", "or"),
        ("= 5", "=", "cannot begin like this", "status"),
        ("pid=1 and (é=2)", "é", "cannot begin like this", "status"),
    ] {
        let error = Filter::parse(filter).map(|_| panic!("{filter}")).unwrap_err();
        assert_eq!(&filter[error.place()], marked, "{filter}: {error}");
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains(says) && lines[3].contains(allows), "{text}");
        let column = lines[2].find('^').unwrap();
        assert_eq!(filter[..error.place().start].chars().count(), column - 2, "{text}");
    }
}

#[test]
fn nesting_is_limited_and_chains_are_not() {
    for deep in ["(", "not ", "!", "(not "] {
        let error = Filter::parse(&format!("{}pid=1", deep.repeat(100_000))).unwrap_err();
        assert!(error.to_string().contains("more than 100 levels"), "{deep}");
    }
    let item = Item::Exchange(Box::new(exchange()));
    for (joint, result) in [(" or ", true), (" and ", false)] {
        let chain = vec!["pid=1"; 50_000].join(joint) + joint + "pid=1234";
        assert_eq!(holds(&chain, &item), result);
    }
}

#[test]
fn any_text_is_a_filter_or_an_error_inside_of_it() {
    let seed = r#"not (status>=500 or host~"a(b|c)" and duration>1.5ms) || header.x!~'é' "#;
    let ends = (0..=seed.len()).filter(|&at| seed.is_char_boundary(at));
    let mut texts: Vec<String> = ends.clone().map(|at| seed[..at].to_owned()).collect();
    for at in ends {
        for insert in ["(", ")", "\"", "\\", "=", "~", "!", " ", "é", "\u{0}", "9", "."] {
            texts.push(format!("{}{insert}{}", &seed[..at], &seed[at..]));
        }
    }
    for text in texts {
        if let Err(error) = Filter::parse(&text) {
            assert!(text.get(error.place()).is_some(), "{text:?} {error}");
        }
    }
}
