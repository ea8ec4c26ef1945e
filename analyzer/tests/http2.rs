//! HTTP/2 from records to exchanges: rare behaviour of real ends, and behaviour of hostile ends.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use sslrec_analyzer::pipeline::Options;
use sslrec_analyzer_testing::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, block, brief, briefs, client,
    data, exchanges, fields, frame, get, post, request_block, server, status, streams, talk,
};
use sslrec_analyzer_testing::records::{Script, list, list_records};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Record;

/// A conversation with every type of frame, padded and in parts.
fn rich() -> Script {
    let request = request_block("POST", "/a");
    let (start, rest) = request.split_at(20);
    let padded = [b"\x03\0\0\0\0\x10", start, b"\0\0\0"].concat();
    let promise = [b"\0\0\0\x02", &request_block("GET", "/style.css")[..]].concat();
    Script::client()
        .sent(client())
        .received(server())
        .sent(frame(SETTINGS, 1, 0, &[]))
        .sent(frame(HEADERS, PADDED | WITH_PRIORITY, 1, &padded))
        .sent(frame(CONTINUATION, 0, 1, &[]))
        .sent(frame(CONTINUATION, END_HEADERS, 1, rest))
        .sent(frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 5]))
        .sent(frame(DATA, PADDED, 1, b"\x02body\0\0"))
        .sent(frame(PING, 0, 0, b"12345678"))
        .sent(frame(DATA, END_STREAM | PADDED, 1, b"\x00s"))
        .received(status(1, "100", 0))
        .received(status(1, "103", 0))
        .received(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0xff, 0xff]))
        .received(frame(PUSH_PROMISE, END_HEADERS, 1, &promise))
        .received(status(1, "200", 0))
        .received(frame(0xfe, 0xff, 1, b"an extension"))
        .received(data(1, b"hello ", 0))
        .received(status(2, "200", 0))
        .received(data(2, b"css", END_STREAM))
        .received(data(1, b"world", 0))
        .received(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("sum", "7")])))
        .sent(get(3, "/never"))
        .received(frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\x0bcalm"))
        .close()
}

#[test]
fn every_type_of_frame_finds_its_place() {
    let (items, summary) = list(&rich());
    assert_eq!(
        briefs(&items),
        [
            "1 POST /a 200 5 11 true []",
            "2 GET /style.css 200 0 3 true [\"pushed by the server with stream 1\"]",
            "3 GET /never 0 0 0 false [\"not processed: GOAWAY of the server: ENHANCE_YOUR_CALM\"]",
        ]
    );
    assert_eq!((summary.exchanges, summary.streams, summary.incomplete), (3, 0, 1));
    let first = exchanges(&items)[0];
    let interim: Vec<u16> = first.interim.iter().map(|interim| interim.status).collect();
    assert_eq!(interim, [100, 103]);
    let response = first.response.as_ref().unwrap();
    assert_eq!(fields(&response.message.trailers), [("sum".into(), "7".into())]);
    let times = (first.first_ns(), first.ttfb_ns(), first.duration_ns());
    // Its HEADERS were the fourth call; the 200 was the fifteenth, the trailers the last but two.
    assert_eq!(times, (3900, Some(11_100), Some(17_100)));
}

#[test]
fn the_result_does_not_depend_on_how_the_calls_are_split() {
    let script = rich();
    let whole = briefs(&list(&script).0);
    let records = script.records();
    for split in 1..200 {
        let mut pieces = Vec::new();
        for record in &records {
            match record {
                Record::Data(data) if data.payload.len() > split => {
                    let (a, b) = data.payload.split_at(split);
                    let mut second = data.clone();
                    second.payload = b;
                    second.offset += split as u64;
                    pieces.push(Record::Data(sslrec_formats::record::Data {
                        payload: a,
                        ..data.clone()
                    }));
                    pieces.push(Record::Data(second));
                }
                record => pieces.push(record.clone()),
            }
        }
        assert_eq!(briefs(&list_records(&pieces, Options::default()).0), whole, "{split}");
    }
}

#[test]
fn any_cut_leaves_a_part_and_never_a_panic() {
    let script = rich();
    let records = script.records();
    let (items, _) = list(&script);
    let whole = exchanges(&items);
    for last in 2..records.len() {
        let Record::Data(data) = &records[last] else { continue };
        for cut in 1..=data.payload.len() {
            let mut part = records[..last].to_vec();
            let data =
                sslrec_formats::record::Data { payload: &data.payload[..cut], ..data.clone() };
            part.push(Record::Data(data));
            let (items, _) = list_records(&part, Options::default());
            for exchange in exchanges(&items) {
                let same = whole.iter().find(|w| w.stream == exchange.stream).unwrap();
                assert!(!exchange.complete || brief(exchange) == brief(same));
                let came = exchange.response.as_ref().map_or(0, |r| r.message.body.bytes);
                assert!(came <= same.response.as_ref().map_or(0, |r| r.message.body.bytes));
            }
        }
    }
}

#[test]
fn a_gap_inside_of_data_costs_those_bytes_and_nothing_else() {
    let start = (server().len() + status(1, "200", 0).len() + 9) as u64;
    let script = Script::client()
        .sent(client())
        .received(server())
        .sent(get(1, "/a"))
        .received(status(1, "200", 0))
        .received([data(1, &[7; 1000], 0), data(1, &[8; 10], END_STREAM)].concat())
        .sent(get(3, "/b"))
        .received(status(3, "204", END_STREAM))
        .close();
    for (at, len) in [(start, 1000), (start, 1), (start + 999, 1), (start + 100, 500)] {
        let (items, summary) = list(&script.clone().without(Received, at, len));
        let bytes = if len == 1 { "byte" } else { "bytes" };
        assert_eq!(
            briefs(&items),
            [
                format!(
                    "1 GET /a 200 0 {} false [\"{len} {bytes} missing from the server: ring_full\"]",
                    1010 - len
                ),
                "3 GET /b 204 0 0 true []".to_owned()
            ]
        );
        assert_eq!((summary.lost_bytes, exchanges(&items)[0].lost_bytes), (len, len));
    }
}

#[test]
fn a_gap_between_frames_is_said_wherever_it_may_matter() {
    let script = Script::client()
        .sent(client())
        .received(server())
        .sent(get(1, "/a"))
        .received(status(1, "200", 0))
        .received([data(1, b"ab", 0), data(1, b"cd", 0)].concat())
        .received([data(1, b"ef", 0), data(1, b"gh", END_STREAM)].concat())
        .sent(get(3, "/b"))
        .received(status(3, "204", END_STREAM))
        .close();
    let start = (server().len() + status(1, "200", 0).len()) as u64;
    // Half of a frame and the header of the next.
    let (items, summary) = list(&script.clone().without(Received, start + 10, 7));
    assert_eq!(summary.lost_bytes, 7);
    let first = exchanges(&items)[0];
    assert!(!first.complete && first.lost_bytes == 1, "{first:#?}");
    assert!(
        first.notes.iter().any(|note| note.to_string().contains("while it was open")),
        "{first:#?}"
    );
    assert_eq!(exchanges(&items)[1].response.as_ref().unwrap().status, Some(204));
    let rest = streams(&items)[0];
    assert_eq!(rest.lost_bytes, 6);
    assert_eq!(rest.notes[0], "HTTP/2 frames are missing; the exchange they belong to is unknown");
}

#[test]
fn resets_say_who_and_why() {
    let cancel = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let odd = frame(RST_STREAM, 0, 1, &[0, 0, 1, 0]);
    assert_eq!(
        talk(
            &[&post(1, "/a"), &data(1, b"abc", 0), &cancel, &data(1, b"late", 0)],
            &[&status(1, "200", 0)]
        ),
        ["1 POST /a 0 3 0 false [\"reset by the client: CANCEL\"]"]
    );
    assert_eq!(
        talk(&[&post(1, "/a")], &[&status(1, "200", 0), &data(1, b"x", 0), &odd]),
        ["1 POST /a 200 0 1 false [\"reset by the server: error 0x100\"]"]
    );
    // RFC 9113 section 8.1: the server needs no more of the request.
    let enough = frame(RST_STREAM, 0, 1, &[0; 4]);
    assert_eq!(
        talk(&[&post(1, "/a")], &[&status(1, "413", END_STREAM), &enough]),
        ["1 POST /a 413 0 0 false [\"reset by the server: NO_ERROR\"]"]
    );
}

#[test]
fn connect_and_extended_connect_have_their_targets() {
    let connect = block(&[(":method", "CONNECT"), (":authority", "y:443")]);
    let extended = block(&[
        (":method", "CONNECT"),
        (":protocol", "connect-ip"),
        (":scheme", "https"),
        (":authority", "x"),
        (":path", "/chat"),
    ]);
    let script = Script::client()
        .sent(client())
        .received(server())
        .sent(frame(HEADERS, END_HEADERS, 1, &connect))
        .sent(frame(HEADERS, END_HEADERS, 3, &extended))
        .received([status(1, "200", 0), status(3, "200", 0)].concat())
        .sent([data(1, b"hello", END_STREAM), data(3, b"frame", END_STREAM)].concat())
        .received([data(1, b"hi", END_STREAM), data(3, b"frames", END_STREAM)].concat())
        .close();
    let (items, _) = list(&script);
    assert_eq!(
        briefs(&items),
        [
            "1 CONNECT - 200 5 2 true []",
            "3 CONNECT /chat 200 5 6 true [\"extended CONNECT to connect-ip\"]"
        ]
    );
    let requests: Vec<_> = exchanges(&items).iter().map(|e| e.request.as_ref().unwrap()).collect();
    assert_eq!(requests[0].authority().as_deref(), Some("y:443"));
    assert_eq!(requests[0].url(true).as_deref(), Some("y:443"));
    assert_eq!(requests[1].url(true).as_deref(), Some("https://x/chat"));
}

#[test]
fn an_upgrade_from_http_1_goes_on_as_stream_1() {
    let upgrade = "GET /old HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let answer = [server(), status(1, "200", 0), data(1, b"body", END_STREAM)].concat();
    for together in [true, false] {
        let script = Script::client().sent(upgrade);
        let script = match together {
            true => script.received([switch.as_bytes(), &answer].concat()).sent(client()),
            false => script.received(switch).sent(client()).received(&answer),
        };
        let script = script.sent(get(3, "/new")).received(status(3, "204", END_STREAM)).close();
        let (items, summary) = list(&script);
        assert_eq!(
            briefs(&items),
            [
                "1 GET /old 200 0 4 true [\"sent as HTTP/1.1 and upgraded to h2c\"]",
                "3 GET /new 204 0 0 true []"
            ]
        );
        assert_eq!((summary.exchanges, summary.streams), (2, 0));
        let first = exchanges(&items)[0];
        assert_eq!((first.proto, first.interim[0].status), ("h2", 101));
        assert_eq!(first.request.as_ref().unwrap().url(false).as_deref(), Some("http://x/old"));
    }
}

#[test]
fn a_gap_after_an_upgrade_is_in_the_exchange_that_it_is_of() {
    let upgrade = "GET /old HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let answer = [server(), status(1, "200", 0), data(1, b"a body", END_STREAM)].concat();
    let hole = (switch.len() + answer.len() - 4) as u64;
    let script = Script::client().sent(upgrade).received(switch).sent(client()).received(&answer);
    let (items, summary) = list(&script.close().without(Received, hole, 3));
    let exchange = exchanges(&items)[0];
    let came = exchange.response.as_ref().map(|response| response.message.body.bytes);
    assert_eq!((exchange.lost_bytes, came, exchange.complete), (3, Some(3), false));
    assert_eq!((summary.exchanges, summary.streams), (1, 0));
}

#[test]
fn both_ends_list_the_same_and_an_unknown_role_is_found_out() {
    let answer = [status(1, "200", 0), data(1, b"body", END_STREAM)].concat();
    let asked = [client(), get(1, "/a")].concat();
    let server_end =
        Script::server().received(&asked).sent([server(), answer.clone()].concat()).close();
    let (items, _) = list(&server_end);
    assert_eq!(briefs(&items), ["1 GET /a 200 0 4 true []"]);
    assert_eq!(exchanges(&items)[0].request_direction, Received);
    for direction in [Sent, Received] {
        let other = direction.reverse();
        let mut script = Script::client().joined().data(direction, get(5, "/a"));
        script = script.data(other, [status(5, "200", 0), data(5, b"body", END_STREAM)].concat());
        let script = script.close();
        let mut records = script.records();
        for record in &mut records {
            if let Record::Connection(connection) = record {
                connection.role = sslrec_formats::record::Role::Unknown;
            }
        }
        let (items, _) = list_records(&records, Options::default());
        assert_eq!(briefs(&items), ["5 GET /a 200 0 4 true []"]);
        assert_eq!(exchanges(&items)[0].request_direction, direction);
    }
}

#[test]
fn joined_in_mid_stream_known_parts_are_listed_and_the_rest_is_marked() {
    // GET by index 2, the path by entry 62 which was never seen, and a literal.
    let asked = [&[0x82, 0x87, 0xbe][..], &block(&[("a", "b")])].concat();
    let script = Script::client()
        .joined()
        .received(data(7, b"tail", END_STREAM))
        .sent(frame(HEADERS, END_HEADERS | END_STREAM, 9, &asked))
        .received(status(9, "204", END_STREAM))
        .close();
    let (items, _) = list(&script);
    assert_eq!(
        briefs(&items),
        [
            "7 - - 0 0 4 false [\"response: its head was not recorded\", \
             \"the request was not recorded\"]",
            "9 GET - 204 0 0 false [\"request: 1 header field is <unknown>: the compression \
             refers to unrecorded fields\"]",
        ]
    );
    let request = exchanges(&items)[1].request.as_ref().unwrap();
    let unknown = ("<unknown>".to_owned(), "<unknown>".to_owned());
    assert_eq!(fields(&request.message.headers), [unknown, ("a".into(), "b".into())]);
    assert_eq!(request.url(true), None);
}

#[test]
fn one_direction_alone_is_listed_without_the_other() {
    let answers: Vec<u8> = (0..300u32)
        .flat_map(|n| [status(2 * n + 1, "200", 0), data(2 * n + 1, b"x", END_STREAM)].concat())
        .collect();
    let (items, summary) = list(&Script::client().received([server(), answers].concat()).close());
    assert_eq!((summary.exchanges, summary.incomplete), (300, 300));
    let notes = &exchanges(&items)[299].notes;
    assert_eq!(*notes, ["the request was not recorded"]);
}

#[test]
fn what_an_endpoint_would_refuse_is_listed_with_a_note() {
    /// The sent frames, the received frames, and the beginning of the listing.
    type Case<'a> = (&'a [&'a [u8]], &'a [&'a [u8]], &'a str);
    let cases: [Case<'_>; 8] = [
        (
            &[&frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            )],
            &[],
            "1 GET - 0 0 0 false [\"request: integer too large in the field block\", \
             \"no response before the connection ended\"]",
        ),
        (
            &[&get(1, "/a"), &frame(HEADERS, 0, 3, &[0x82]), &data(1, b"", 0)],
            &[&status(1, "204", END_STREAM)],
            "1 GET /a 204 0 0 true []",
        ),
        (
            &[&post(1, "/a"), &frame(DATA, PADDED | END_STREAM, 1, b"\x09abc")],
            &[&status(1, "204", END_STREAM)],
            "1 POST /a 204 0 0 true [\"DATA with more padding than fits in\"]",
        ),
        (
            &[&data(1, b"abc", 0), &get(1, "/a")],
            &[&status(1, "204", END_STREAM)],
            "1 - - 204 3 0 false [\"request: DATA before HEADERS\", \
             \"request: pseudo-header fields in the trailers\"]",
        ),
        (
            &[&get(1, "/a"), &frame(WINDOW_UPDATE, 0, 1, b"12345")],
            &[&status(1, "204", END_STREAM)],
            "1 GET /a 204 0 0 true [\"WINDOW_UPDATE of another length than 4\"]",
        ),
        (
            &[&frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[request_block("GET", "/a"), block(&[("transfer-encoding", "chunked")])].concat(),
            )],
            &[&status(1, "204", END_STREAM)],
            "1 GET /a 204 0 0 true [\"request: connection-specific header field\"]",
        ),
        (
            &[
                &frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &[request_block("POST", "/a"), block(&[("content-length", "5")])].concat(),
                ),
                &data(1, b"GET /smuggled", END_STREAM),
            ],
            &[&status(1, "204", END_STREAM)],
            "1 POST /a 204 13 0 true [\"request: Content-Length is 5, and 13 bytes came\"]",
        ),
        (
            &[&frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[0x3f, 0xe1, 0xff, 3, 0x82, 0x87, 0x84],
            )],
            &[&status(1, "204", END_STREAM)],
            "1 GET / 204 0 0 true [\"request: its sender's table is larger than was allowed\"]",
        ),
    ];
    for (sent, received, expected) in cases {
        assert_eq!(talk(sent, received)[0], expected);
    }
}
