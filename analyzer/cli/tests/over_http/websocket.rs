//! WebSocket over HTTP/1.1 and HTTP/2.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use sslrec_analyzer_testing::frames::{
    END_HEADERS, END_STREAM, HEADERS, block, client, data, frame, server,
};
use sslrec_analyzer_testing::records::Script;
use sslrec_analyzer_testing::tools;

use crate::support::{listed, program_in};

/// A frame of a WebSocket; the client's are masked.
fn ws(masked: bool, first: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mask = if masked { 0x80 } else { 0 };
    match contents.len() {
        len @ 0..126 => bytes.push(mask | len as u8),
        len => {
            bytes.push(mask | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    if masked {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend(mask);
        bytes.extend(contents.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend(contents);
    }
    bytes
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn upgraded(extension: &str) -> Script {
    Script::client().sent(UPGRADE).received(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Protocol: chat\r\n{extension}\r\n"
    ))
}

/// Fragments with a ping between them, both ends closing.
pub(crate) fn chat() -> Script {
    upgraded("")
        .sent(ws(true, 0x01, b"Hel"))
        .received(ws(false, 0x89, b"ping"))
        .sent(ws(true, 0x8a, b"ping"))
        .sent(ws(true, 0x80, b"lo"))
        .received([ws(false, 0x82, &[0xfe; 300]), ws(false, 0x81, b"")].concat())
        .sent(ws(true, 0x88, b"\x03\xe8bye"))
        .received(ws(false, 0x88, b"\x03\xe8"))
        .close()
}

/// `from kind text-or-length problem` of each message.
fn messages(object: &Value) -> Vec<String> {
    let list = object["messages"].as_array().unwrap().iter();
    list.map(|message| {
        let contents = match message["text"].as_str() {
            Some(text) => text.to_owned(),
            None => message["bytes"].to_string(),
        };
        let text = |key: &str| message[key].as_str().unwrap_or("").to_owned();
        format!("{} {} {contents} {}", text("from"), text("kind"), text("problem"))
            .trim_end()
            .to_owned()
    })
    .collect()
}

#[test]
fn a_websocket_is_one_exchange_with_its_messages() {
    let script = chat();
    let listed = listed(&script, true);
    assert_eq!(listed.len(), 1, "{listed:#?}");
    let exchange = &listed[0];
    assert_eq!((&exchange["proto"], &exchange["complete"]), (&"websocket".into(), &true.into()));
    assert_eq!(exchange["notes"], serde_json::json!([]));
    let socket = &exchange["websocket"];
    assert_eq!(
        messages(socket),
        [
            "server ping 4",
            "client pong 4",
            "client text Hello",
            "server binary 300",
            "server text",
            "client close 5",
            "server close 2"
        ]
    );
    let counts = ["client_messages", "client_bytes", "server_messages", "server_bytes"];
    assert_eq!(counts.map(|key| socket[key].as_u64().unwrap()), [1, 5, 2, 300]);
    assert_eq!(
        socket["close"],
        serde_json::json!({"from": "client", "code": 1000, "reason": "bye"})
    );
    assert_eq!((&socket["http"], &socket["subprotocol"]), (&"http/1.1".into(), &"chat".into()));
    // The second part of the text was the sixth call, which was entered 100 ns before its end.
    assert_eq!(socket["messages"][2]["time"], "1970-01-01T00:00:00.000005900Z");
    assert_eq!(socket["messages"][3]["time"], "1970-01-01T00:00:00.000007000Z");
    assert_eq!(exchange["duration_ms"], 0.0081);
    assert_eq!(
        (&exchange["response"]["status"], &exchange["request"]["body"]),
        (&101.into(), &Value::Null)
    );
}

#[test]
fn without_contents_a_websocket_is_counted_alike() {
    let (with, without) = (listed(&chat(), true), listed(&chat(), false));
    let mut with = with[0].clone();
    with["websocket"].as_object_mut().unwrap().remove("messages").unwrap();
    assert_eq!(with, without[0]);
}

/// The same over HTTP/2, interleaved with another exchange.
pub(crate) fn chat_h2() -> Script {
    let connect = block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "x"),
        (":path", "/chat"),
    ]);
    Script::client()
        .sent(client())
        .received(server())
        .sent(frame(HEADERS, END_HEADERS, 1, &connect))
        .received(sslrec_analyzer_testing::frames::status(1, "200", 0))
        .sent(sslrec_analyzer_testing::frames::get(3, "/other"))
        .sent(data(1, &ws(true, 0x81, b"Hello"), 0))
        .received(data(1, &ws(false, 0x81, b"you"), 0))
        .received(sslrec_analyzer_testing::frames::status(3, "404", END_STREAM))
        .sent(data(1, &ws(true, 0x88, b"\x03\xe9"), END_STREAM))
        .received(data(1, &ws(false, 0x88, b"\x03\xe9"), END_STREAM))
        .close()
}

#[test]
fn a_websocket_over_http2_is_a_stream_of_its_own() {
    let listed = listed(&chat_h2(), true);
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["proto"], &listed[1]["proto"]), (&"websocket".into(), &"h2".into()));
    assert_eq!(
        messages(&listed[0]["websocket"]),
        ["client text Hello", "server text you", "client close 2", "server close 2"]
    );
    assert_eq!(listed[0]["websocket"]["close"]["code"], 1001);
    assert_eq!(
        (&listed[0]["request"]["body"], &listed[1]["request"]["body"]),
        (&Value::Null, &"".into())
    );
    assert_eq!(listed[0]["complete"], true);
}

#[test]
fn compressed_messages_are_inflated_with_what_was_before_them() {
    // RFC 7692 section 7.2.3.2: the second message refers to the first.
    let (first, second) = (&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], &b"\xf2\x00\x11\x00\x00"[..]);
    let script =
        upgraded("Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n")
            .received([ws(false, 0xc1, first), ws(false, 0xc1, second)].concat())
            .received(ws(false, 0x81, b"plain"))
            .sent([ws(true, 0x41, &first[..3]), ws(true, 0x80, &first[3..])].concat())
            .sent(ws(true, 0xc1, b"\xff\xff"))
            .close();
    let listed = listed(&script, true);
    let socket = &listed[0]["websocket"];
    let all = messages(socket);
    assert_eq!(
        all[..4],
        ["server text Hello", "server text Hello", "server text plain", "client text Hello"]
    );
    assert!(all[4].starts_with("client text 2 permessage-deflate is damaged"), "{all:?}");
    assert_eq!((&socket["server_bytes"], &socket["deflate"]), (&17.into(), &true.into()));
}

#[test]
fn after_a_gap_messages_are_read_from_a_segment_that_begins_with_a_frame() {
    let head: u64 = UPGRADE.len() as u64;
    let script = || {
        upgraded("")
            .sent(ws(true, 0x81, b"one"))
            .sent(ws(true, 0x81, b"lost"))
            .received(ws(false, 0x81, b"yes"))
            .sent(ws(true, 0x81, b"three"))
            .received(ws(false, 0x82, &[7; 200]))
            .sent(ws(true, 0x82, b"four"))
            .close()
    };
    let note = "client: after missing bytes, messages are read from a segment that begins with a \
                frame";
    // The second message, of 10 bytes, follows one of 9.
    for (at, len, expected, resumes) in [
        // All of the message: its first byte began a frame.
        (9, 10, &["one", "yes", "three", "200", "4"][..], true),
        // Its contents: they are counted.
        (9 + 6, 4, &["one", "4", "yes", "three", "200", "4"], false),
        // A part of its head, and the next one: two segments are needed, and there is one.
        (9 + 1, 9 + 11, &["one", "yes", "200"], false),
        // A part of its head: two segments follow.
        (9 + 1, 2, &["one", "yes", "three", "200", "4"], true),
    ] {
        let script = script().without(sslrec_formats::record::Direction::Sent, head + at, len);
        let listed = listed(&script, true);
        assert_eq!((listed.len(), &listed[0]["complete"]), (1, &false.into()));
        let socket = &listed[0]["websocket"];
        let messages = messages(socket);
        let texts: Vec<&str> = messages.iter().map(|m| m.split(' ').nth(2).unwrap()).collect();
        assert_eq!(texts, expected, "{at} {len}");
        let notes = listed[0]["notes"].as_array().unwrap();
        assert_eq!(notes.iter().any(|n| n == note), resumes, "{at}: {notes:?}");
    }
}

#[test]
fn what_an_endpoint_would_refuse_is_said() {
    for (frames, note) in [
        (ws(false, 0x81, b"a"), "client: a frame without a mask"),
        (ws(true, 0x83, b"a"), "client: a frame of a reserved opcode"),
        (ws(true, 0xc1, b"a"), "client: a reserved bit that nothing gave a meaning"),
        (ws(true, 0x09, b"a"), "client: a control frame in fragments"),
        (ws(true, 0x89, &[0; 200]), "client: a control frame of more than 125 bytes"),
        (ws(true, 0x80, b"a"), "client: a continuation of no message"),
        (
            [ws(true, 1, b"a"), ws(true, 0x81, b"b")].concat(),
            "client: a message begins inside of another",
        ),
        (vec![0x81, 0xfe, 0, 1, 0, 0, 0, 0, b'a'], "client: a length in more bytes than it needs"),
        (
            [ws(true, 0x88, b""), ws(true, 0x81, b"a")].concat(),
            "client: a frame after the close frame",
        ),
        (ws(true, 0x88, b"a"), "client: a close frame of one byte"),
        (ws(true, 0x88, b"\x03\xe8\xff"), "client: the reason of a close frame is not UTF-8"),
        (ws(true, 0x81, b"\xff"), "client: a text message is not UTF-8"),
        (vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "nothing after it is read"),
        (ws(true, 0x81, b"cut")[..7].to_vec(), "client: the last message is not complete"),
    ] {
        let listed = listed(&upgraded("").sent(frames).close(), true);
        let notes = listed[0]["notes"].as_array().unwrap();
        assert!(notes.iter().any(|n| n.as_str().unwrap().contains(note)), "{note}: {notes:?}");
    }
}

/// As Chrome exports them, which no schema of HAR forbids.
#[test]
fn a_har_has_the_messages_of_a_websocket() {
    let dir = tempfile::tempdir().unwrap();
    let har = program_in(dir.path(), &["har", "c"], &chat());
    let parsed: Value = serde_json::from_str(&har).unwrap();
    let entry = &parsed["log"]["entries"][0];
    assert_eq!(entry["_resourceType"], "websocket");
    let messages: Vec<_> = entry["_webSocketMessages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| {
            assert!(m["time"].as_f64().unwrap() > 0.0);
            format!(
                "{} {} {}",
                m["type"].as_str().unwrap(),
                m["opcode"],
                m["data"].as_str().unwrap()
            )
        })
        .collect();
    let binary = format!("receive 2 {}", BASE64_STANDARD.encode([0xfe; 300]));
    let expected = [
        "receive 9 cGluZw==",
        "send 10 cGluZw==",
        "send 1 Hello",
        &binary,
        "receive 1 ",
        "send 8 A+hieWU=",
        "receive 8 A+g=",
    ];
    assert_eq!(messages, expected);
    let Some(tools) = tools::installed() else { return };
    std::fs::write(dir.path().join("c.har"), har).unwrap();
    let valid = tools::output(tools::node(&tools, "validate_har.js").arg(dir.path().join("c.har")));
    assert_eq!(valid.trim(), "1");
}
