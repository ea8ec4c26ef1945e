//! Entire connections, split in every way: no secret is left, and nothing else is changed.

use super::{Redactor, Rules};
use sslrec_formats::record::{Close, CloseCause, Connection, Data, Direction, Record};
use sslrec_redact_testing::http2::{INDEXED, NEVER_INDEXED, frame, literal};
use sslrec_redact_testing::{Calls, connection, contains, cut, data, gap, joined, run};
use sslrec_wire::http1::message::MAX_HEAD;
use sslrec_wire::http2::frame::{self as frames, Frame, Kind, PREFACE};
use sslrec_wire::http2::hpack::{Decoder, Defect, Sink};

/// The secrets of the connections below; none of them appears anywhere else.
const SECRETS: [&str; 12] = [
    "dXNlcjpwYXNz",
    "c00kie-1",
    "c00kie-2",
    "q-u-e-r-y",
    "apikey123",
    "eyJqd3Qi",
    "hunter2",
    "4711",
    "f0rm",
    "tok_abcdef",
    "tr41ler",
    "f0lded",
];

const RULES: [&str; 7] = [
    "default",
    "basic",
    "query:token",
    "json:password",
    "form:pin",
    "regex:tok_[a-z]+",
    "header:x-end",
];

pub(super) fn rules(texts: &[&str]) -> Rules {
    let mut rules = Rules::default();
    texts.iter().for_each(|text| rules.add(text.parse().unwrap()));
    rules
}

/// Redacts a connection. Returns each direction's bytes.
pub(super) fn redact(texts: &[&str], calls: &Calls, joined: bool) -> [Vec<u8>; 2] {
    let mut redactor = Redactor::new(rules(texts));
    run(calls, joined, &mut |record, emit| redactor.record(record, emit))
}

fn http1() -> Calls {
    let body = r#"{"password": "hunter2", "n": {"x": 1}}"#;
    let multi = "--b\r\nContent-Disposition: form-data; name=\"pin\"\r\n\r\n4711\r\n--b--\r\n";
    let sent = [
        "GET /a?x=1&token=q-u-e-r-y&y=2 HTTP/1.1\r\nHost: h\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\
         cookie: sid=c00kie-1\r\nX-Api-Key: apikey123\r\nx-end: f0lded\r\n f0lded\r\n\r\n"
            .to_owned(),
        format!("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
         6\r\na=b&pi\r\n3\r\nn=f\r\n5;x=y\r\n0rm&c\r\n0\r\nX-End: tr41ler\r\n\r\n"
            .to_owned(),
        "HEAD /d HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        format!(
            "POST /e HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{multi}",
            multi.len()
        ),
    ];
    let received = [
        "HTTP/1.1 200 OK\r\nSet-Cookie: sid=c00kie-2; Path=/\r\nContent-Length: 41\r\n\r\n\
         see Bearer eyJqd3Qi and tok_abcdef, done."
            .to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /?token=q-u-e-r-y\r\n\
         Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\nhunter2"
            .to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntok_\r\n6\r\nabcdef\r\n0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nSet-Cookie: c00kie-1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n\r\n<a href=\"/?token=q-u-e-r-y\">\"password\" : 4711</a>".to_owned(),
    ];
    let pairs = sent.into_iter().zip(received);
    pairs
        .flat_map(|(sent, received)| {
            [(Direction::Sent, sent.into_bytes()), (Direction::Received, received.into_bytes())]
        })
        .collect()
}

#[test]
fn no_secret_of_http_1_is_left_at_any_split() {
    let calls = http1();
    let before = joined(&calls);
    for len in (1..80).chain([1000]) {
        let after = redact(&RULES, &cut(&calls, len), false);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.len(), after.len());
            for secret in SECRETS {
                let text = String::from_utf8_lossy(after);
                assert!(!contains(after, secret), "{len} {secret}: {text}");
            }
        }
        let sent = String::from_utf8_lossy(&after[0]);
        for kept in [
            "GET /a?x=1&token=*********&y=2 HTTP/1.1\r\nHost: h\r\nAuthorization: ******************\r\n",
            "x-end: ******\r\n*******\r\n\r\nPOST /b",
            r#"{"password": "*******", "n": {"x": 1}}"#,
            "6\r\na=b&pi\r\n3\r\nn=*\r\n5;x=y\r\n***&c\r\n0\r\nX-End: *******\r\n\r\nHEAD /d",
        ] {
            assert!(sent.contains(kept), "{len} {kept}: {sent}");
        }
        let received = String::from_utf8_lossy(&after[1]);
        for kept in [
            "\r\nContent-Length: 41\r\n\r\nsee Bearer ******** and **********, done.HTTP/1.1 100",
            "Location: /?token=*********\r\n",
            "4\r\n****\r\n6\r\n******\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 500",
            "<a href=\"/?token=*********\">\"password\" : 10000000",
        ] {
            assert!(received.contains(kept), "{len} {kept}: {received}");
        }
    }
}

#[test]
fn bytes_without_secrets_do_not_change() {
    let calls: Calls =
        http1().into_iter().map(|(dir, bytes)| (dir, bytes.replace_all(&SECRETS))).collect();
    // `basic` and similar words need text after them, and the coded and the multipart body are
    // blanked whatever they contain.
    for len in [1, 7, 1000] {
        let after = redact(&["header:nope", "cookie:nope"], &cut(&calls, len), false);
        assert_eq!(after, joined(&calls));
    }
}

trait ReplaceAll {
    fn replace_all(&self, words: &[&str]) -> Vec<u8>;
}

impl ReplaceAll for Vec<u8> {
    fn replace_all(&self, words: &[&str]) -> Vec<u8> {
        let text = String::from_utf8_lossy(self).into_owned();
        words
            .iter()
            .fold(text, |text, word| text.replace(word, &"w".repeat(word.len())))
            .into_bytes()
    }
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Sink for Fields {
    fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let text = |part: Option<&[u8]>| String::from_utf8_lossy(part.unwrap_or(b"?")).into_owned();
        self.0.push((text(name), text(value)));
    }

    fn defect(&mut self, defect: Defect) {
        panic!("{defect}");
    }

    fn table_size(&mut self, _: usize) {}
}

fn http2() -> Calls {
    let first = [
        literal(INDEXED, ("authorization", false), (b"Bearer eyJqd3Qi", true)),
        literal(INDEXED, (":path", false), (b"/a?token=q-u-e-r-y&b", true)),
        literal(NEVER_INDEXED, ("x-api-key", false), (b"apikey123", false)),
        literal(INDEXED, ("x-other", false), (b"tok_abcdef", true)),
    ]
    .concat();
    // All fields again, by reference.
    let second =
        [&[0xc0, 0xbf, 0xbe][..], &literal(NEVER_INDEXED, ("cookie", false), (b"c00kie-1", true))]
            .concat();
    let (a, b) = first.split_at(25);
    let sent = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        // Padded, with priority, and split within a value.
        frame(1, 0x28, 1, &[&[3, 0, 0, 0, 0, 1][..], a, &[0; 3]].concat()),
        frame(9, 4, 1, b),
        frame(1, 4, 3, &second),
        frame(0, 0, 1, br#"{"password":"hun"#),
        frame(0, 8, 3, b"\x02pin=f\0\0"),
        frame(0, 1, 1, br#"ter2","x":"tok_abcdef"}"#),
        frame(0, 0, 3, b"0rm&x=tok_abc"),
        frame(6, 0, 0, &[0; 8]),
        frame(0, 1, 3, b"def"),
    ]
    .concat();
    let response =
        [&[0x88][..], &literal(INDEXED, ("set-cookie", false), (b"c00kie-2", true))].concat();
    let coded =
        [&[0x88, 0xbe][..], &literal(NEVER_INDEXED, ("content-encoding", false), (b"br", false))]
            .concat();
    let received = [
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &response),
        frame(0, 0, 1, b"Basic dXNlcj"),
        frame(0, 0, 1, b"pwYXNz."),
        frame(1, 5, 1, &literal(NEVER_INDEXED, ("x-end", false), (b"tr41ler", true))),
        frame(1, 4, 3, &coded),
        frame(0, 1, 3, b"hunter2"),
    ]
    .concat();
    vec![(Direction::Sent, sent), (Direction::Received, received)]
}

/// Returns the fields of all field blocks, and all contents.
fn read_http2(mut bytes: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    bytes = bytes.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_or(bytes);
    let (mut decoder, mut fields, mut block, mut contents) =
        (Decoder::new(), Fields::default(), Vec::new(), Vec::new());
    while let Some(head) = Frame::read(bytes) {
        let (payload, rest) = bytes[9..].split_at(head.len as usize);
        bytes = rest;
        match head.kind {
            Kind::Headers => block.extend_from_slice(frames::headers(&head, payload).unwrap()),
            Kind::Continuation => block.extend_from_slice(payload),
            Kind::Data => contents.extend_from_slice(frames::unpad(&head, payload).unwrap()),
            _ => continue,
        }
        if head.kind != Kind::Data && head.has(4) {
            decoder.decode(&std::mem::take(&mut block), &mut fields).unwrap();
        }
    }
    assert!(bytes.is_empty());
    (fields.0, contents)
}

#[test]
fn no_secret_of_http_2_is_left_at_any_split() {
    let calls = http2();
    let before = joined(&calls);
    let (fields, contents) = read_http2(&before[0]);
    assert!(fields.contains(&("authorization".into(), "Bearer eyJqd3Qi".into())));
    assert!(contents.starts_with(br#"{"password":"hun"#));
    for len in (1..80).chain([10_000]) {
        let after = redact(&RULES, &cut(&calls, len), false);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.len(), after.len());
            let (old, _) = read_http2(before);
            let (new, contents) = read_http2(after);
            assert_eq!(old.len(), new.len());
            let sizes = |fields: &[(String, String)]| {
                fields.iter().map(|(name, value)| (name.clone(), value.len())).collect::<Vec<_>>()
            };
            assert_eq!(sizes(&old), sizes(&new));
            let shown = format!("{new:?} {}", String::from_utf8_lossy(&contents));
            for secret in SECRETS {
                assert!(!shown.contains(secret), "{len} {secret}: {shown}");
                assert!(!contains(after, secret) && !contains(after, "0rm"), "{len} {secret}");
            }
        }
        let (fields, contents) = read_http2(&after[0]);
        let paths = fields.iter().filter(|(name, _)| name == ":path");
        for (_, path) in paths {
            assert!(path.starts_with("/a?token=") && path.ends_with("&b"), "{path}");
        }
        let text = String::from_utf8_lossy(&contents).into_owned();
        assert!(text.contains(r#"{"password":"***pin=*"#), "{text}");
        assert!(text.ends_with("***&x=**********"), "{text}");
    }
}

#[test]
fn unsearchable_bytes_are_blanked() {
    let secret = b"x: hunter2\r\n\r\nhunter2";
    let request = b"GET / HTTP/1.1\r\nAuthorization: hunter2\r\nB: c\r\n\r\n";
    let calls = vec![(Direction::Sent, secret.to_vec()), (Direction::Sent, request.to_vec())];
    let [sent, _] = redact(&["default"], &calls, true);
    assert_eq!(sent[..secret.len()], vec![b'*'; secret.len()]);
    let text = "GET / HTTP/1.1\r\nAuthorization: *******\r\nB: c\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&sent[secret.len()..]), text);

    // A head without an end.
    for end in 0..request.len() {
        let calls = vec![(Direction::Sent, request[..end].to_vec())];
        let calls = if end == 0 { vec![] } else { calls };
        let [sent, _] = redact(&["default"], &calls, false);
        assert!(!contains(&sent, "hunt"), "{}", String::from_utf8_lossy(&sent));
    }
}

#[test]
fn a_gap_blanks_the_rest_of_a_body_but_not_the_next_message() {
    let mut redactor = Redactor::new(rules(&["json:password"]));
    let mut out = Vec::new();
    let mut take = |record: &Record<'_>| match record {
        Record::Data(data) => out.push(String::from_utf8_lossy(data.payload).into_owned()),
        Record::Gap(gap) => out.push(format!("gap of {}", gap.len)),
        _ => {}
    };
    redactor.record(&connection(false), &mut take);
    let first = b"POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\n{\"password\":\"hun";
    redactor.record(&Record::Data(data(Direction::Sent, 0, first, 0)), &mut take);
    let offset = first.len() as u64;
    redactor.record(&gap(Direction::Sent, offset, 4, 1), &mut take);
    let rest = b"more\"}4567GET /b HTTP/1.1\r\n\r\n";
    redactor.record(&Record::Data(data(Direction::Sent, offset + 4, rest, 2)), &mut take);
    redactor.finish(&mut take);
    assert_eq!(
        out,
        [
            "POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\n{\"password\":\"***",
            "gap of 4",
            "**********GET /b HTTP/1.1\r\n\r\n"
        ]
    );
}

#[test]
fn masked_websocket_payloads_are_searched() {
    let upgrade = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let key = [1, 2, 3, 4];
    let text = br#"{"password":"hunter2"}"#;
    let masked: Vec<u8> = text.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();
    let frame = [&[0x81, 0x80 | text.len() as u8][..], &key, &masked].concat();
    let compressed = [&[0xc1, 7][..], b"hunter2"].concat();
    let calls = vec![
        (Direction::Sent, upgrade.into()),
        (Direction::Received, answer.into()),
        (Direction::Sent, [frame.clone(), frame].concat()),
        (Direction::Received, compressed),
    ];
    for len in [1, 3, 1000] {
        let [sent, received] = redact(&["json:password"], &cut(&calls, len), false);
        assert!(received.ends_with(b"\xc1\x07*******"), "{received:?}");
        let payload = &sent[sent.len() - text.len()..];
        let plain: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(String::from_utf8_lossy(&plain), r#"{"password":"*******"}"#);
    }
}

#[test]
fn other_protocols_are_searched_for_patterns() {
    let calls = vec![
        (Direction::Sent, b"\x16\x03 a tok_ab".to_vec()),
        (Direction::Received, b"220 hello tok_x\r\n".to_vec()),
        (Direction::Sent, b"c\x00 password=hunter2 ".to_vec()),
    ];
    let [sent, received] = redact(&["regex:tok_[a-z]+", "json:x"], &calls, false);
    assert_eq!(sent, b"\x16\x03 a *******\x00 password=hunter2 ");
    assert_eq!(received, b"220 hello *****\r\n");
}

#[test]
fn held_bytes_are_bounded() {
    let mut redactor = Redactor::new(rules(&["regex:a.*z"]));
    let mut bytes = 0;
    redactor.record(&connection(false), &mut |_| {});
    let payload = vec![b'a'; 16 << 10];
    for round in 0..200u64 {
        let data = data(Direction::Sent, round * payload.len() as u64, &payload, round);
        redactor.record(&Record::Data(data), &mut |record| {
            if let Record::Data(data) = record {
                assert!(data.payload.iter().all(|&octet| octet == b'*'));
                bytes += data.payload.len();
            }
        });
        assert!(redactor.held <= (512 << 10) + payload.len(), "{}", redactor.held);
    }
    assert!(bytes > 2 << 20);
}

/// The bound is for the memory of all connections together.
#[test]
fn held_bytes_of_many_connections_are_bounded() {
    const BOUND: usize = 1 << 20;
    let mut redactor = Redactor::new(rules(&["regex:a.*z"])).holding_at_most(BOUND);
    let payload = vec![b'a'; 16 << 10];
    for conn in 1..=200 {
        let connection = Connection { conn, ..Connection::default() };
        redactor.record(&Record::Connection(connection), &mut |_| {});
        let data = data(Direction::Sent, 0, &payload, conn);
        redactor.record(&Record::Data(Data { conn, ..data }), &mut |_| {});
        let memory: usize = redactor.connections.values().map(|state| state.held()).sum();
        assert_eq!(memory, redactor.held);
        assert!(memory <= BOUND + payload.len(), "{memory} after {conn}");
    }
    assert!(redactor.held > BOUND / 2);
}

/// A value that has begun on a stream holds back the bytes of all other streams.
#[test]
fn bytes_held_for_a_stream_of_many_are_bounded() {
    let head = |stream| frame(1, 4, stream, &literal(INDEXED, (":path", false), (b"/", false)));
    let start = [PREFACE, &frame(4, 0, 0, &[])[..], &head(1), &head(3)].concat();
    let begun = frame(0, 0, 1, b"see bearer A");
    let other = frame(0, 0, 3, &b"a ".repeat(8 << 10));
    let mut redactor = Redactor::new(rules(&["default"]));
    let (mut offset, mut most, mut out) = (0, 0, Vec::new());
    redactor.record(&connection(false), &mut |_| {});
    let frames = [start, begun].into_iter().chain(std::iter::repeat_n(other.clone(), 100));
    for payload in frames {
        let data = data(Direction::Sent, offset, &payload, offset);
        redactor.record(&Record::Data(data), &mut |record| {
            if let Record::Data(data) = record {
                out.extend_from_slice(data.payload);
            }
        });
        offset += payload.len() as u64;
        most = most.max(redactor.connections[&1].sent.window.len());
    }
    assert!(most > MAX_HEAD + (32 << 10) && most < MAX_HEAD + (64 << 10) + other.len(), "{most}");
    assert!(out.len() > 100 * other.len() && out.ends_with(&other));
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("see ********") && !text.contains('A'));
}

#[test]
fn the_memory_of_open_connections_is_counted() {
    let mut redactor = Redactor::new(rules(&["default"]));
    let mut take = |_: &Record<'_>| {};
    for conn in 1..=100 {
        let connection = Connection { conn, ..Connection::default() };
        redactor.record(&Record::Connection(connection), &mut take);
        let data = data(Direction::Sent, 0, b"GET", conn);
        redactor.record(&Record::Data(Data { conn, ..data }), &mut take);
        let counted: usize = redactor.connections.values().map(|state| state.memory()).sum();
        assert_eq!(redactor.memory(), counted);
    }
    // Contents of many streams.
    let before = redactor.memory();
    assert!(before > 100 * 400 && before < 100 * 4000, "{before}");
    let head = literal(INDEXED, (":path", false), (b"/", false));
    let start = [PREFACE, &frame(4, 0, 0, &[])[..]].concat();
    let frames = (0..100).flat_map(|at| frame(1, 4, 2 * at + 1, &head));
    let bytes: Vec<u8> = start.into_iter().chain(frames).collect();
    redactor.record(&Record::Connection(Connection { conn: 101, ..Default::default() }), &mut take);
    let data = data(Direction::Sent, 0, &bytes, 0);
    redactor.record(&Record::Data(Data { conn: 101, ..data }), &mut take);
    assert!(redactor.memory() > before + 100 * 4096, "{}", redactor.memory());
    for conn in 1..=101 {
        let close =
            Close { conn, ts_ns: 0, cause: CloseCause::Freed, sent_bytes: 0, received_bytes: 0 };
        redactor.record(&Record::Close(close), &mut take);
    }
    assert_eq!((redactor.memory(), redactor.held), (0, 0));
}
