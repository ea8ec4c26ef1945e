//! From records to exchanges, through everything but files and text.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use sslrec_analyzer::exchange::{Exchange, Item, Note, Stream};
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_analyzer::tcp::{Reassembler, Segment};
use sslrec_analyzer_testing::records::{Script, list, list_records, moved};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::{Record, Role};

fn exchanges(items: &[Item]) -> Vec<&Exchange> {
    let exchanges = items.iter().filter_map(|item| match item {
        Item::Exchange(exchange) => Some(&**exchange),
        Item::Stream(_) | Item::Handshake(_) => None,
    });
    exchanges.collect()
}

fn streams(items: &[Item]) -> Vec<&Stream> {
    let streams = items.iter().filter_map(|item| match item {
        Item::Stream(stream) => Some(&**stream),
        Item::Exchange(_) | Item::Handshake(_) => None,
    });
    streams.collect()
}

/// `METHOD target status request-body response-body complete`.
fn brief(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref();
    let response = exchange.response.as_ref();
    format!(
        "{} {} {} {} {} {}",
        request.and_then(|r| r.method.as_deref()).unwrap_or("-"),
        request.and_then(|r| r.target.as_deref()).map_or("-".into(), String::from_utf8_lossy),
        response.and_then(|r| r.status).unwrap_or(0),
        request.map_or(0, |r| r.message.body.bytes),
        response.map_or(0, |r| r.message.body.bytes),
        exchange.complete,
    )
}

fn briefs(items: &[Item]) -> Vec<String> {
    exchanges(items).into_iter().map(brief).collect()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn keep_alive_and_pipelining_pair_in_order() {
    let script = Script::client()
        .sent(get("/1"))
        .received(ok("one"))
        .sent(get("/2") + &get("/3") + "HEAD /4 HTTP/1.1\r\n\r\n" + &get("/5"))
        .received(ok("two") + &ok("three!") + "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        .received("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n")
        .close();
    let (items, summary) = list(&script);
    assert_eq!(
        briefs(&items),
        [
            "GET /1 200 0 3 true",
            "GET /2 200 0 3 true",
            "GET /3 200 0 6 true",
            "HEAD /4 200 0 0 true",
            "GET /5 304 0 0 true"
        ]
    );
    assert_eq!((summary.exchanges, summary.connections, summary.incomplete), (5, 1, 0));
    let numbers: Vec<_> = exchanges(&items).iter().map(|e| (e.id, e.stream)).collect();
    assert_eq!(numbers, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
}

#[test]
fn interim_responses_are_attached_to_the_final_one() {
    let (items, _) = list(
        &Script::client()
            .sent("POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            .received("HTTP/1.1 100 Continue\r\n\r\n")
            .sent("abc")
            .received("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_owned() + &ok(""))
            .close(),
    );
    assert_eq!(briefs(&items), ["POST /u 200 3 0 true"]);
    let interim: Vec<_> =
        exchanges(&items)[0].interim.iter().map(|i| (i.status, i.headers.len())).collect();
    assert_eq!(interim, [(100, 0), (103, 1)]);
}

#[test]
fn result_does_not_depend_on_how_the_calls_split_the_streams() {
    let sides = [
        (
            Sent,
            get("/1")
                + "POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n"
                + &get("/3"),
        ),
        (Received, ok("one") + &ok("") + "HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    ];
    let expected = ["GET /1 200 0 3 true", "POST /2 200 3 0 true", "GET /3 200 0 13 true"];
    for at in 0..sides[0].1.len().max(sides[1].1.len()) {
        let mut script = Script::client();
        for (direction, bytes) in &sides {
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            script = script.data(*direction, a).data(*direction, b);
        }
        assert_eq!(briefs(&list(&script.close()).0), expected, "split at {at}");
    }
}

#[test]
fn any_truncation_is_incomplete_and_said() {
    let request = get("/1") + "POST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let response =
        ok("one") + "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for cut in 0..request.len() {
        let (items, summary) = list(&Script::client().sent(&request[..cut]).close());
        assert!(!items.is_empty(), "{cut}");
        assert_eq!(summary.exchanges + summary.streams, items.len() as u64);
        for exchange in exchanges(&items) {
            assert!(!exchange.complete && !exchange.notes.is_empty(), "{cut}: {exchange:?}");
        }
    }
    for cut in 0..response.len() {
        let script = Script::client().sent(&*request).received(&response[..cut]);
        for script in [script.clone(), script.close()] {
            let (items, _) = list(&script);
            let all = exchanges(&items);
            assert_eq!(all.len(), 2, "{cut}");
            assert_eq!(all[0].complete, cut >= ok("one").len(), "{cut}");
            assert!(!all[1].complete && !all[1].notes.is_empty(), "{cut}: {:?}", all[1]);
        }
    }
}

/// A gap at every place of either stream. Messages that it does not touch are listed as without it.
#[test]
fn a_gap_anywhere_leaves_the_other_exchange_right() {
    let requests = [
        "POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\ndef",
    ];
    let responses = [
        ok("one"),
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
            .to_owned(),
    ];
    let whole = ["POST /1 200 3 3 true", "POST /2 201 3 3 true"];
    for direction in [Sent, Received] {
        let first = if direction == Sent { requests[0].len() } else { responses[0].len() };
        let total = first + if direction == Sent { requests[1].len() } else { responses[1].len() };
        for len in 1..=8 {
            for at in 0..=total - len {
                let script = Script::client()
                    .sent(requests[0])
                    .received(&*responses[0])
                    .sent(requests[1])
                    .received(&*responses[1])
                    .close()
                    .without(direction, at as u64, len as u64);
                let (items, summary) = list(&script);
                let notes: Vec<_> =
                    exchanges(&items).iter().map(|e| (e.lost_bytes, &e.notes)).collect();
                let place = format!("{direction} {at}+{len}: {:?} {notes:?}", briefs(&items));
                assert_eq!(summary.lost_bytes, len as u64, "{place}");
                assert!(summary.incomplete > 0, "{place}");
                let all = briefs(&items);
                if at >= first {
                    assert_eq!(all.first().map(String::as_str), Some(whole[0]), "{place}");
                } else if at + len <= first {
                    assert!(all.iter().any(|brief| brief == whole[1]), "{place}");
                }
                let lost: u64 = items
                    .iter()
                    .map(|item| match item {
                        Item::Exchange(exchange) => exchange.lost_bytes,
                        Item::Stream(stream) => stream.lost_bytes,
                        Item::Handshake(_) => 0,
                    })
                    .sum();
                assert_eq!(lost, len as u64, "{place}");
                let side =
                    if direction == Sent { "client: ring_full" } else { "server: ring_full" };
                let said = items.iter().any(|item| {
                    let notes = match item {
                        Item::Exchange(exchange) => &exchange.notes,
                        Item::Stream(stream) => &stream.notes,
                        Item::Handshake(_) => return false,
                    };
                    notes.iter().any(|note| {
                        note.to_string().contains("missing") && note.to_string().ends_with(side)
                    })
                });
                assert!(said, "{place}");
            }
        }
    }
}

#[test]
fn gap_in_a_body_that_lasts_until_the_close_is_counted() {
    let script = Script::client()
        .sent(get("/"))
        .received("HTTP/1.0 200 OK\r\n\r\n0123456789")
        .close()
        .without(Received, 21, 4);
    let (items, _) = list(&script);
    assert_eq!(briefs(&items), ["GET / 200 0 6 false"]);
    assert_eq!(exchanges(&items)[0].lost_bytes, 4);
    assert_eq!(exchanges(&items)[0].notes, ["4 bytes missing from the server: ring_full"]);
}

#[test]
fn a_lost_response_is_not_taken_from_the_next_request() {
    let script = Script::client()
        .sent(get("/1"))
        .received(ok("one"))
        .sent(get("/2"))
        .received(ok("two"))
        .sent(get("/3"))
        .received(ok("three"))
        .close();
    let one = ok("one").len() as u64;
    let (items, _) = list(&script.clone().without(Received, one, ok("two").len() as u64));
    assert_eq!(
        briefs(&items),
        ["GET /1 200 0 3 true", "GET /2 0 0 0 false", "GET /3 200 0 5 true"]
    );
    let two = get("/1").len() as u64;
    let (items, _) = list(&script.without(Sent, two, two));
    assert_eq!(briefs(&items), ["GET /1 200 0 3 true", "- - 200 0 3 false", "GET /3 200 0 5 true"]);
}

#[test]
fn after_a_lost_response_no_response_of_a_pipeline_is_paired() {
    let script = Script::client()
        .sent(get("/1") + &get("/2") + &get("/3"))
        .received(ok("one"))
        .received(ok("two"))
        .received(ok("three"))
        .sent(get("/4"))
        .received(ok("four"))
        .close();
    let whole = ["GET /1 200 0 3 true", "GET /2 200 0 3 true", "GET /3 200 0 5 true"];
    let four = "GET /4 200 0 4 true";
    assert_eq!(briefs(&list(&script).0), [&whole[..], &[four]].concat());
    let (one, two) = (ok("one").len() as u64, ok("two").len() as u64);
    // The number of the responses that are missing is not known, nor that the client waits.
    let unanswered = ["GET /2 0 0 0 false", "GET /3 0 0 0 false"];
    let last = ["GET /4 0 0 0 false", "- - 200 0 4 false"];
    let lost = script.clone().without(Received, one, two);
    assert_eq!(
        briefs(&list(&lost).0),
        [&whole[..1], &unanswered, &["- - 200 0 5 false"], &last].concat()
    );
    // What follows on the end of a response and the beginning of another may be content.
    let lost = script.clone().without(Received, one - 1, 5);
    assert_eq!(
        briefs(&list(&lost).0),
        [&["GET /1 200 0 2 false"][..], &unanswered, &["- - 200 0 0 false"], &last].concat()
    );
    // A gap inside of a body of known length hides no response.
    let body = script.without(Received, one - 2, 1);
    assert_eq!(briefs(&list(&body).0), ["GET /1 200 0 2 false", whole[1], whole[2], four]);
}

#[test]
fn requests_of_a_capture_of_one_direction_do_not_pile_up() {
    let mut script = Script::client().sent(get("/first"));
    for _ in 0..1500 {
        script = script.sent(get("/"));
    }
    let (items, summary) = list(&script.close());
    assert_eq!((items.len(), summary.incomplete), (1501, 1501));
    let notes =
        |at: usize| exchanges(&items)[at].notes.iter().map(Note::to_string).collect::<String>();
    assert_eq!(notes(0), "no response, and 1000 further requests were sent meanwhile");
    assert_eq!(notes(1500), "no response before the connection ended");
    assert!(briefs(&items)[0].starts_with("GET /first"));
}

#[test]
fn endless_interim_responses_are_left_out_with_a_note() {
    let mut script = Script::client().sent(get("/"));
    for _ in 0..1100 {
        script = script.received("HTTP/1.1 102 Processing\r\n\r\n");
    }
    let (items, _) = list(&script.received(ok("a")).close());
    let exchange = exchanges(&items)[0];
    assert_eq!((exchange.interim.len(), exchange.complete), (1000, true));
    assert!(
        exchange.notes[0].to_string().starts_with("more than 1000 interim"),
        "{:?}",
        exchange.notes
    );
}

#[test]
fn connect_makes_a_tunnel_only_if_it_succeeds() {
    let connect = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
    let (items, _) = list(
        &Script::client()
            .sent(connect.to_owned() + "early")
            .received("HTTP/1.1 200 Connection established\r\n\r\nhello")
            .sent(" bytes")
            .close(),
    );
    assert_eq!(briefs(&items), ["CONNECT h:443 200 0 0 true"]);
    let stream = streams(&items)[0];
    assert_eq!((stream.halves.sent.bytes, stream.halves.received.bytes), (11, 5));
    assert_eq!(stream.halves.sent.first_bytes, b"early bytes");
    let (items, _) = list(
        &Script::client()
            .sent(connect.to_owned() + &get("/next"))
            .received("HTTP/1.1 407 Auth\r\nContent-Length: 2\r\n\r\nno".to_owned() + &ok("yes"))
            .close(),
    );
    assert_eq!(briefs(&items), ["CONNECT h:443 407 0 2 true", "GET /next 200 0 3 true"]);
}

#[test]
fn an_upgrade_leaves_http() {
    let (items, _) = list(
        &Script::client()
            .sent("GET /ws HTTP/1.1\r\nUpgrade: irc\r\n\r\n")
            .received("HTTP/1.1 101 Switching Protocols\r\nUpgrade: irc\r\n\r\n\x01\x02")
            .sent("GET / HTTP/1.1\r\n\r\n")
            .close(),
    );
    assert_eq!(briefs(&items), ["GET /ws 101 0 0 true"]);
    assert!(exchanges(&items)[0].notes.iter().any(|note| *note == "upgraded to irc"));
    assert_eq!(
        (streams(&items)[0].halves.sent.bytes, streams(&items)[0].halves.received.bytes),
        (18, 2)
    );
}

#[test]
fn what_is_not_http_is_a_stream() {
    let cases: [(&[u8], &[u8], &str); 4] = [
        (b"\x00\x01\x02", b"", ""),
        (b"", b"220 mail ESMTP\r\n", ""),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            "HTTP/2 without a request",
        ),
        (b"", b"", ""),
    ];
    for (sent, received, note) in cases {
        let (items, summary) = list(&Script::client().sent(sent).received(received).close());
        assert_eq!((summary.exchanges, summary.streams, summary.connections), (0, 1, 1));
        let stream = streams(&items)[0];
        assert_eq!(
            (&stream.halves.sent.first_bytes[..], &stream.halves.received.first_bytes[..]),
            (sent, received)
        );
        assert_eq!(stream.notes.first().map_or(String::new(), Note::to_string), note);
        assert!(stream.complete);
    }
}

#[test]
fn a_connection_joined_in_mid_stream_resumes_at_the_next_message() {
    let (items, _) = list(
        &Script::client()
            .joined()
            .received("the rest of a body")
            .sent("ader: x\r\n\r\n".to_owned() + &get("/2"))
            .received(ok("two"))
            .close(),
    );
    assert_eq!(briefs(&items), ["GET /2 200 0 3 true"]);
    let (items, _) = list(
        &Script::server().joined().sent("rest".to_owned() + &ok("x")).received(get("/3")).close(),
    );
    assert_eq!(briefs(&items).len(), 2, "{items:#?}");
}

#[test]
fn times_are_those_of_the_calls() {
    // In a script, calls return at 1000, 2000, ... and take 100.
    let (items, summary) = list(&Script::client().sent(get("/")).received(ok("a")).close());
    let exchange = exchanges(&items)[0];
    assert_eq!(exchange.first_ns(), 900);
    assert_eq!((exchange.ttfb_ns(), exchange.duration_ns()), (Some(1100), Some(1100)));
    assert_eq!(summary.end_ns, Some(3000));
    let (items, _) = list(&Script::server().received(get("/")).sent(ok("a")).close());
    let exchange = exchanges(&items)[0];
    assert_eq!(exchange.first_ns(), 1000);
    assert_eq!((exchange.ttfb_ns(), exchange.duration_ns()), (Some(900), Some(1000)));
}

#[test]
fn smuggling_shapes_are_noted() {
    let both = "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let (items, _) = list(
        &Script::client().sent(both.to_owned() + &get("/2")).received(ok("") + &ok("")).close(),
    );
    assert_eq!(briefs(&items), ["POST / 200 2 0 true", "GET /2 200 0 0 true"]);
    assert!(
        exchanges(&items)[0]
            .notes
            .iter()
            .any(|note| note.to_string().contains("both Transfer-Encoding"))
    );
}

#[test]
fn a_connection_with_both_ends_recorded_is_listed_from_the_clients() {
    let client = Script::client().sent(get("/")).received(ok("a")).close();
    let server = Script::server().received(get("/")).sent(ok("a")).close();
    let ends = [moved(&client, 1, 0, false), moved(&server, 2, 50, true)];
    for order in [[0, 1], [1, 0]] {
        // Both are described before either is used.
        let mut records: Vec<Record<'_>> =
            order.iter().flat_map(|&end| ends[end][..2].to_vec()).collect();
        records.extend(order.iter().flat_map(|&end| ends[end][2..].to_vec()));
        let (items, summary) = list_records(&records, Options::default());
        let conns: Vec<_> = exchanges(&items).iter().map(|e| e.connection.record.conn).collect();
        assert_eq!(conns, [1], "{order:?}");
        assert_eq!((summary.connections, summary.streams), (1, 0));
        let both = Options { both_ends: true, ..Options::default() };
        let (items, summary) = list_records(&records, both);
        assert_eq!((items.len(), summary.connections), (2, 2));
    }
}

#[test]
fn the_listing_is_in_the_order_of_the_first_bytes() {
    // The first connection is the last to end, and its call was entered before all others.
    let slow = Script::client().sent(get("/slow")).received(ok("s")).close();
    let quick = Script::client().sent(get("/quick")).received(ok("q")).close();
    let (a, b) = (moved(&slow, 1, 20_000_000_000, false), moved(&quick, 2, 20_000_000_500, false));
    let mut records = a[..2].to_vec();
    records.extend(b);
    let mut late = a[2..].to_vec();
    if let Record::Data(data) = &mut late[0] {
        data.lat_ns = 9_000_000_000;
    }
    records.extend(late);
    let (items, summary) = list_records(&records, Options::default());
    assert_eq!(briefs(&items), ["GET /slow 200 0 1 true", "GET /quick 200 0 1 true"]);
    assert!(summary.notes.is_empty(), "{:?}", summary.notes);
}

#[test]
fn without_a_role_the_sender_of_requests_is_the_client() {
    let mut records = Script::client().sent(ok("a")).received(get("/")).close();
    records = records.joined();
    let mut records = records.records();
    if let Record::Connection(connection) = &mut records[1] {
        connection.role = Role::Unknown;
    }
    let (items, _) = list_records(&records, Options::default());
    assert!(!items.is_empty());
    assert!(exchanges(&items).iter().all(|e| e.request_direction == Received));
}

#[test]
fn records_of_a_connection_that_is_not_described_are_said() {
    let script = Script::client().sent(get("/")).close();
    let (items, summary) = list_records(&script.records()[2..], Options::default());
    assert!(items.is_empty());
    assert_eq!(summary.notes, ["1 records belong to connections that are not described"]);
}

/// Packets of a connection on which the server sends a body that lasts until the close.
fn reset_connection(fin_first: bool) -> Vec<Item> {
    let (client, server) = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
    let segment = |src, dst, seq, ack, payload| Segment {
        ts_ns: 1,
        src,
        dst,
        seq,
        ack,
        syn: false,
        fin: false,
        rst: false,
        payload,
        missing: 0,
    };
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\n\r\nhalf of it";
    let (asked, answered) = (101 + request.len() as u32, 501 + response.len() as u32);
    let mut items = Vec::new();
    let options = Options { plaintext: true, ..Options::default() };
    let mut capture = Assembler::new(options, |item| items.push(item));
    let mut tcp = Reassembler::new();
    for segment in [
        Segment { syn: true, ..segment(client, server, 100, None, b"") },
        Segment { syn: true, ..segment(server, client, 500, Some(101), b"") },
        segment(client, server, 101, Some(501), request),
        Segment { fin: fin_first, ..segment(server, client, 501, Some(asked), response) },
        Segment { rst: true, ..segment(client, server, asked, Some(answered), b"") },
    ] {
        assert!(tcp.segment(&segment, &mut capture).is_continue());
    }
    assert!(tcp.finish(&mut capture).is_continue());
    assert!(capture.finish(0, true).is_ok());
    items
}

#[test]
fn a_body_that_lasts_until_the_close_is_not_ended_by_a_reset() {
    let items = reset_connection(false);
    assert_eq!(briefs(&items), ["GET / 200 0 10 false"]);
    let notes = &exchanges(&items)[0].notes;
    assert!(
        notes.iter().any(|note| note.to_string().contains("it was reset instead")),
        "{notes:?}"
    );
    // The server closed its direction before the reset.
    assert_eq!(briefs(&reset_connection(true)), ["GET / 200 0 10 true"]);
}

#[test]
fn an_interim_response_alone_is_an_exchange_with_an_unknown_response() {
    let script = Script::client().joined().received("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n");
    let (items, _) = list(&script.close());
    let exchange = exchanges(&items)[0];
    assert_eq!(exchange.interim[0].status, 103);
    assert_eq!(exchange.response.as_ref().unwrap().status, None);
    assert_eq!((exchange.first_ns(), exchange.complete), (1000, false));
}
