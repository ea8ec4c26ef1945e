//! The redactor examines everything that the listing shows: connections of real programs, hostile
//! connections, and random changes of both. A fuzz target makes further connections with the same
//! code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod looked_at;

use looked_at::{Step, check, steps};
use sslrec_formats::record::Direction::{self, Received, Sent};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// Connections of HTTP/1, HTTP/2, WebSocket and others, well formed and not.
fn corpus() -> Vec<Vec<Step>> {
    let call = |dir: Direction, text: &str| Step::Call(dir, text.as_bytes().to_vec());
    let ok = "HTTP/1.1 200 OK\r\nA: bZ\r\nContent-Length: 5\r\n\r\nheZlo";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=Z\r\nhZi\r\n1\r\nZ\r\n0\r\nT: Z\r\n\r\n";
    let post = "POST /Z?a=Z HTTP/1.1\r\nHost: Z\r\nContent-Length: 5\r\n\r\naZ=bZ";
    let chunked_post = "PUT /Z HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nZZ\r\n0\r\n\r\n";
    let upgrade = "GET /Z HTTP/1.1\r\nUpgrade: websocket\r\nA: Z\r\n\r\n";
    let switched = "HTTP/1.1 101 Z\r\nUpgrade: websocket\r\nA: Z\r\n\r\n";
    let h2 = |payload: &[&[u8]]| payload.concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers =
        [0, 0, 12, 1, 4, 0, 0, 0, 1, 0x83, 0x04, 3, b'/', b'Z', b'a', 0x40, 1, b'a', 1, b'Z', 0x84];
    let data = [0, 0, 3, 0, 1, 0, 0, 0, 1, b'a', b'Z', b'b'];
    let response = [0, 0, 6, 1, 4, 0, 0, 0, 1, 0x88, 0x40, 1, b'b', 1, b'Z'];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    vec![
        vec![
            call(Sent, post),
            call(Received, ok),
            call(Sent, chunked_post),
            call(Received, chunked),
        ],
        vec![
            call(Sent, &[post, chunked_post, post].concat()),
            call(Received, &[ok, chunked, ok].concat()),
        ],
        vec![
            call(Sent, "HEAD /Z HTTP/1.1\r\n\r\n"),
            call(Received, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nA: Z\r\n\r\n"),
            call(Sent, post),
            call(Received, ok),
        ],
        vec![
            call(Received, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nA: Z\r\n\r\n"),
            call(Received, ok),
            call(Received, chunked),
        ],
        vec![
            call(Sent, "CONNECT Z:1 HTTP/1.1\r\nA: Z\r\n\r\n"),
            call(Received, "HTTP/1.1 200 Z\r\n\r\n"),
            call(Sent, post),
            call(Received, ok),
        ],
        vec![
            call(Sent, "CONNECT Z:1 HTTP/1.1\r\n\r\n"),
            call(Received, "HTTP/1.1 407 Z\r\nContent-Length: 1\r\n\r\nZ"),
            call(Sent, post),
            call(Received, ok),
        ],
        vec![
            call(Sent, upgrade),
            call(Received, switched),
            call(Received, "\u{1}\u{5}hZllo"),
            call(Sent, "\u{2}\u{1}Z"),
        ],
        vec![
            call(Sent, "GET /Z HTTP/1.1\r\nUpgrade: Z\r\n\r\n"),
            call(Received, "HTTP/1.1 101 x\r\nUpgrade: Z\r\n\r\nZ"),
            call(Sent, "aZb\r\n"),
        ],
        vec![
            call(Sent, "\r\n\r\nGET /Z HTTP/1.1\r\nA: Z\r\n B: Z\r\nZ\r\n\r\n"),
            call(Received, "HTTP/1.1 100 Z\r\nA: Z\r\n\r\nHTTP/1.0 200 Z\r\nA: Z\r\n\r\nZZ"),
        ],
        vec![
            call(Sent, "garbage Z\r\n}GET /Z HTTP/1.1\r\nA: Z\r\n\r\n"),
            call(Received, ok),
            call(Sent, post),
        ],
        vec![
            call(Sent, "GET /Z Http/1.1\r\nA: Z\r\n\r\n"),
            call(Received, "ICY 200 Z\r\nA: Z\r\n\r\nZ"),
            call(Sent, post),
            call(Received, ok),
        ],
        vec![
            call(
                Sent,
                "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\nContent-Length: 4\r\nA: Z\r\n\r\nZZZ",
            ),
            call(Sent, post),
            call(Received, ok),
        ],
        vec![
            call(Sent, "POST / HTTP/1.1\r\nTransfer-Encoding: Z, chunked\r\n\r\nzz\r\nZ\r\n"),
            call(Sent, post),
            call(Received, ok),
        ],
        vec![call(Sent, "HELO Z\r\n"), call(Received, "250 Z\r\n"), call(Sent, "AUTH Z\r\n")],
        vec![
            Step::Call(Sent, h2(&[preface, &settings, &headers, &data])),
            Step::Call(Received, h2(&[&settings, &response, &data])),
        ],
        vec![
            Step::Call(Received, h2(&[&response, &data, &response])),
            Step::Call(Sent, h2(&[&headers, &data])),
        ],
    ]
}

/// The same with calls cut, bytes changed, marks put in, and gaps in place of calls.
fn changed(steps: &[Step], random: &mut Random) -> Vec<Step> {
    const WORDS: [&[u8]; 12] = [
        b"Z",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b": ",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"GET / HTTP/1.1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"0",
    ];
    let mut out = Vec::new();
    let most = [1, 3, 20, 1000][random.below(4)];
    let (cuts, gaps) = (random.below(3) > 0, random.below(4) == 0);
    for step in steps {
        let Step::Call(dir, bytes) = step else { continue };
        let mut bytes = bytes.clone();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() + 1);
            match random.below(4) {
                0 => drop(bytes.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = if cuts { 1 + random.below(most) } else { rest.len() };
            let (piece, tail) = rest.split_at(len.min(rest.len()));
            rest = tail;
            out.push(match gaps && random.below(8) == 0 {
                true => Step::Gap(*dir, 1 + random.below(20) as u64),
                false => Step::Call(*dir, piece.to_vec()),
            });
        }
    }
    out
}

#[test]
fn the_redactor_looks_at_everything_that_is_listed() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for connection in corpus() {
        for joined in [false, true] {
            check(&connection, joined);
            for _ in 0..200 {
                check(&changed(&connection, &mut random), joined);
            }
        }
    }
    for _ in 0..500 {
        let len = random.below(400);
        let input: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        check(&steps(&input), false);
    }
}
