//! Connections behind PROXY headers and inside tunnels: their items are those of the connection
//! without them, and name the route.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use sslrec_analyzer::exchange::Item;
use sslrec_analyzer_testing::records::{Script, list};
use sslrec_formats::record::Direction::{self, Received, Sent};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const CONNECT: &[u8] = b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const PROXY: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n";

/// Client and server of HTTP/2: preface, SETTINGS, and a request with its response.
const H2_CLIENT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";
const H2_SERVER: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0\
    \0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x02\0\x01\0\0\0\x01hi";

type Step<'a> = (Direction, &'a [u8]);

/// The handshake of SOCKS 5 with a user name.
const SOCKS5: [Step<'_>; 6] = [
    (Sent, b"\x05\x01\x02"),
    (Received, b"\x05\x02"),
    (Sent, b"\x01\x01u\x02pw"),
    (Received, b"\x01\0"),
    (Sent, b"\x05\x01\0\x03\x01h\0\x50"),
    (Received, b"\x05\0\0\x01\0\0\0\0\0\0"),
];
const SOCKS4A: [Step<'_>; 2] =
    [(Sent, b"\x04\x01\0\x50\0\0\0\x01me\0h\0"), (Received, b"\0\x5a\0\0\0\0\0\0")];

/// `protocol path status bytes`, and the route.
fn brief(item: &Item) -> (String, String) {
    let (brief, route) = match item {
        Item::Exchange(exchange) => {
            let request = exchange.request.as_ref().unwrap();
            let response = exchange.response.as_ref();
            assert!(exchange.complete && exchange.notes.is_empty(), "{exchange:?}");
            let text = format!(
                "{} {} {} {}",
                exchange.proto,
                String::from_utf8_lossy(request.target.as_ref().unwrap()),
                response.and_then(|response| response.status).unwrap_or(0),
                response.map_or(0, |response| response.message.body.bytes),
            );
            (text, exchange.shared_connection().route())
        }
        Item::Stream(stream) => {
            let bytes = (stream.halves.sent.bytes, stream.halves.received.bytes);
            let text = format!("stream {bytes:?} {:?}", stream.notes);
            (text, stream.shared_connection().route())
        }
        Item::Handshake(_) => unreachable!("no handshake was made"),
    };
    let mut hops = Vec::new();
    if let Some(route) = route {
        hops.extend(route.proxied.map(|proxied| {
            format!("proxy {} {:?} {:?}", proxied.version, proxied.client, proxied.server)
        }));
        hops.extend(route.tunnels.iter().map(|tunnel| {
            format!("{} {}", tunnel.protocol, String::from_utf8_lossy(&tunnel.target))
        }));
    }
    (brief, hops.join(", "))
}

fn play(steps: &[Step<'_>]) -> Vec<(String, String)> {
    let script =
        steps.iter().fold(Script::client(), |script, &(dir, bytes)| script.data(dir, bytes));
    let (items, _) = list(&script.close());
    items.iter().map(brief).collect()
}

/// Returns the steps with each byte in a call of its own.
fn split<'a>(steps: &[Step<'a>]) -> Vec<Step<'a>> {
    steps.iter().flat_map(|&(dir, bytes)| bytes.chunks(1).map(move |byte| (dir, byte))).collect()
}

#[test]
fn requests_behind_preambles_and_in_tunnels_are_read() {
    let proxied = "proxy 1 Some(192.0.2.1:5) Some(192.0.2.2:443)";
    let http1 = [(Sent, GET), (Received, OK)];
    let http2 = [(Sent, H2_CLIENT), (Received, H2_SERVER)];
    let proxy = [(Sent, PROXY)];
    let connect = [(Sent, CONNECT), (Received, CONNECTED)];
    let connected = ("http/1.1 h:80 200 0", "");
    for (inner, exchange) in [(&http1, "http/1.1 /a 200 2"), (&http2, "h2 / 200 2")] {
        for (outer, first, route) in [
            (&[][..], None, ""),
            (&proxy[..], None, proxied),
            (&connect[..], Some(connected), "connect h:80"),
            (&SOCKS5[..], None, "socks5 h:80"),
            (&SOCKS4A[..], None, "socks4 h:80"),
            (&[&proxy[..], &SOCKS5].concat()[..], None, &format!("{proxied}, socks5 h:80")),
            (&[SOCKS4A.as_slice(), &SOCKS5].concat()[..], None, "socks4 h:80, socks5 h:80"),
        ] {
            let steps = [outer, inner].concat();
            let expected: Vec<_> = first
                .into_iter()
                .chain([(exchange, route)])
                .map(|(brief, route)| (brief.to_owned(), route.to_owned()))
                .collect();
            assert_eq!(play(&steps), expected);
            assert_eq!(play(&split(&steps)), expected);
        }
    }
}

#[test]
fn tunnels_inside_tunnels_are_read_up_to_a_bound() {
    let connect = [(Sent, CONNECT), (Received, CONNECTED)];
    for depth in 1..=10 {
        let steps = [connect.repeat(depth), vec![(Sent, GET), (Received, OK)]].concat();
        let items = play(&steps);
        if depth <= 8 {
            assert_eq!(items.len(), depth + 1);
            let route = vec!["connect h:80"; depth].join(", ");
            assert_eq!(items[depth], ("http/1.1 /a 200 2".to_owned(), route));
        } else {
            let (last, _) = items.last().unwrap();
            assert!(last.starts_with("stream"), "{last}");
        }
    }
    // No call recurses further than that.
    let deep = SOCKS4A.repeat(1000);
    assert!(play(&deep).last().unwrap().0.starts_with("stream"));
    let proxies = PROXY.repeat(1000);
    assert!(play(&[(Sent, &proxies)]).last().unwrap().0.starts_with("stream"));
}

#[test]
fn a_tunnel_of_another_protocol_is_a_stream_with_its_route() {
    let steps =
        [(Sent, CONNECT), (Received, CONNECTED), (Sent, &b"\x16\x03\x01"[..]), (Received, b"\x16")];
    assert_eq!(
        play(&steps)[1],
        ("stream (3, 1) [\"tunnel\"]".to_owned(), "connect h:80".to_owned())
    );
    let steps = [&SOCKS5[..], &[(Sent, b"\x16\x03\x01"), (Received, b"\x16")]].concat();
    let expected = ("stream (3, 1) [\"tunnel\"]".to_owned(), "socks5 h:80".to_owned());
    assert_eq!(play(&steps), [expected]);
}

#[test]
fn what_is_not_granted_is_no_tunnel() {
    let refused = [SOCKS5[0], SOCKS5[1], SOCKS5[2], (Received, &b"\x01\x01"[..])];
    let items = play(&refused);
    assert_eq!(items, [("stream (9, 4) []".to_owned(), String::new())]);
    let steps = [(Sent, CONNECT), (Received, &b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"[..])];
    let steps = [&steps[..], &[(Sent, GET), (Received, OK)]].concat();
    let items = play(&steps);
    assert_eq!(items[1], ("http/1.1 /a 200 2".to_owned(), String::new()));
}

#[test]
fn a_gap_in_a_tunnel_is_of_its_connection() {
    let steps = [
        (Sent, CONNECT),
        (Received, CONNECTED),
        (Sent, GET),
        (Received, OK),
        (Sent, GET),
        (Received, OK),
    ];
    let script =
        steps.iter().fold(Script::client(), |script, &(dir, bytes)| script.data(dir, bytes));
    let first = CONNECTED.len() as u64;
    let (items, summary) = list(&script.without(Received, first + OK.len() as u64 - 1, 1).close());
    assert_eq!(summary.lost_bytes, 1);
    let notes = |item: &Item| match item {
        Item::Exchange(exchange) => (exchange.complete, exchange.lost_bytes),
        other => panic!("{other:?}"),
    };
    let all: Vec<_> = items.iter().map(notes).collect();
    assert_eq!(all, [(true, 0), (false, 1), (true, 0)]);
}
