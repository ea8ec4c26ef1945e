//! gRPC, WebSocket and server-sent events from records to what is listed of them.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod frames;
mod records;
mod tools;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use frames::{END_HEADERS, END_STREAM, HEADERS, block, client, data, exchanges, frame, server};
use records::{Script, list, list_records, raw_log};
use serde_json::Value;
use sslanalyze::capture::Options;
use sslanalyze::exchange::Item;
use sslanalyze::output::Output;
use sslanalyze::output::json::Json;
use sslanalyze::text::Base64;
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Record;

/// What is listed of a script, with contents or without.
fn listed(script: &Script, bodies: bool) -> Vec<Value> {
    listed_of(&script.records(), bodies)
}

fn listed_of(records: &[Record<'_>], bodies: bool) -> Vec<Value> {
    let options = Options { bodies, ..Options::default() };
    objects(&list_records(records, options).0)
}

fn objects(items: &[Item]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut json = Json::new(&mut out);
    items.iter().for_each(|item| json.item(item).unwrap());
    let lines = String::from_utf8(out).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Cuts each call into pieces of so many bytes, as calls of the same time.
fn pieces<'a>(records: &[Record<'a>], len: usize) -> Vec<Record<'a>> {
    let mut pieces = Vec::new();
    for record in records {
        let Record::Data(data) = record else {
            pieces.push(record.clone());
            continue;
        };
        for (number, payload) in data.payload.chunks(len).enumerate() {
            let offset = data.offset + (number * len) as u64;
            pieces.push(Record::Data(sslrec_formats::record::Data {
                offset,
                payload,
                ..data.clone()
            }));
        }
    }
    pieces
}

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
fn chat() -> Script {
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
fn chat_h2() -> Script {
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
        .received(frames::status(1, "200", 0))
        .sent(frames::get(3, "/other"))
        .sent(data(1, &ws(true, 0x81, b"Hello"), 0))
        .received(data(1, &ws(false, 0x81, b"you"), 0))
        .received(frames::status(3, "404", END_STREAM))
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
        (ws(true, 0x81, b"cut")[..7].to_vec(), "client: its last message is not whole"),
    ] {
        let listed = listed(&upgraded("").sent(frames).close(), true);
        let notes = listed[0]["notes"].as_array().unwrap();
        assert!(notes.iter().any(|n| n.as_str().unwrap().contains(note)), "{note}: {notes:?}");
    }
}

/// What the program says of a script, in a folder of its own.
fn program(args: &[&str], script: &Script) -> String {
    program_in(tempfile::tempdir().unwrap().path(), args, script)
}

fn program_in(dir: &Path, args: &[&str], script: &Script) -> String {
    std::fs::write(dir.join("c"), raw_log(&script.records())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    let output = command.args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn show_has_a_line_for_each_message() {
    let socket = program(&["show", "c", "1"], &chat());
    assert!(
        socket.contains("1 message (5 bytes) from the client, 2 messages (300 bytes)"),
        "{socket}"
    );
    assert!(socket.contains("\n> +5us text Hello\n< +6us binary of 300 bytes\n"), "{socket}");
    assert!(socket.contains("\n> +7us close 1000 bye\n"), "{socket}");
    let call = program(&["show", "c", "1"], &calls());
    let message = "message of 12 bytes\n  1: 150\n  2: \"testing\"\n";
    let nested = "message of 25 bytes compressed\n  1: {\n    1: 150\n  }\n";
    assert!(call.contains(message) && call.contains(nested), "{call}");
    assert!(call.ends_with("  }\n* trailers\n< grpc-status: 0\n< grpc-message: \n"), "{call}");
    let failed = program(&["show", "c", "grpc.status=5"], &calls());
    assert!(failed.contains("; status 5 NOT_FOUND: no äpfel%\n"), "{failed}");
    let events = program(&["show", "c", "messages=3"], &words("Content-Encoding: gzip\r\n"));
    assert!(events.contains(" message id one: {\"word\":\"one\"}\n"), "{events}");
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
    let binary = format!("receive 2 {}", Base64(&[0xfe; 300]));
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

#[test]
fn the_listing_has_the_numbers_of_messages() {
    for (script, cell) in [
        (chat(), "ws 1 up 2 down      305 "),
        (calls(), "grpc 2 up 3 down"),
        (calls(), "grpc NOT_FOUND"),
        (words(""), "3 events"),
    ] {
        let table = program(&["c"], &script);
        assert!(table.contains(cell), "{table}");
    }
}

/// A message of gRPC.
fn grpc(flags: u8, message: &[u8]) -> Vec<u8> {
    [&[flags][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn call(stream: u32, path: &str, encoding: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "x"),
        (":path", path),
        ("content-type", "application/grpc+proto"),
        ("grpc-encoding", encoding),
    ];
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

fn answer(stream: u32) -> Vec<u8> {
    let fields =
        [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

fn end(stream: u32, status: &str, message: &str) -> Vec<u8> {
    let fields = [("grpc-status", status), ("grpc-message", message)];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
}

/// Both sides send messages, one split over frames, two in one; then a call that fails at once.
fn calls() -> Script {
    let inner = b"\x08\x96\x01\x12\x07testing";
    let (one, two) = (grpc(0, inner), grpc(1, &gzip(b"\x0a\x03\x08\x96\x01")));
    let failed = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("grpc-message", "no %C3%A4pfel%"),
    ];
    Script::client()
        .sent(client())
        .received(server())
        .sent(call(1, "/shop.v1.Orders/Watch", "identity"))
        .sent([data(1, &one[..3], 0), data(1, &one[3..], 0)].concat())
        .received(answer(1))
        .received(data(1, &[&two[..], &grpc(0, b"")].concat(), 0))
        .sent(data(1, &grpc(0, b"\xff"), END_STREAM))
        .received(data(1, &two, 0))
        .received(end(1, "0", ""))
        .sent([call(3, "/shop.v1.Orders/Get", "identity"), data(3, &one, END_STREAM)].concat())
        .received(frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&failed)))
        .close()
}

#[test]
fn calls_of_grpc_have_service_status_and_messages() {
    let listed = listed(&calls(), true);
    let watch = &listed[0]["grpc"];
    assert_eq!((&listed[0]["proto"], &listed[0]["complete"]), (&"grpc".into(), &true.into()));
    assert_eq!((&watch["service"], &watch["method"]), (&"shop.v1.Orders".into(), &"Watch".into()));
    assert_eq!((&watch["status"], &watch["message"]), (&0.into(), &"".into()));
    assert_eq!((&watch["request_messages"], &watch["response_messages"]), (&2.into(), &3.into()));
    let all = watch["messages"].as_array().unwrap();
    let from: Vec<_> = all.iter().map(|message| message["from"].as_str().unwrap()).collect();
    assert_eq!(from, ["client", "server", "server", "client", "server"]);
    assert_eq!(
        all[0]["fields"],
        serde_json::json!([
            {"field": 1, "wire": "varint", "value": 150},
            {"field": 2, "wire": "len", "text": "testing"}
        ])
    );
    let nested = serde_json::json!([{"field": 1, "wire": "varint", "value": 150}]);
    assert_eq!((&all[1]["fields"][0]["fields"], &all[1]["compressed"]), (&nested, &true.into()));
    assert_eq!((&all[2]["fields"], &all[3]["fields"]), (&serde_json::json!([]), &Value::Null));
    let get = &listed[1]["grpc"];
    assert_eq!((&get["status"], &get["message"]), (&5.into(), &"no äpfel%".into()));
    assert_eq!((&get["request_messages"], &get["response_messages"]), (&1.into(), &0.into()));
}

/// What `calls` are of.
const PROTO: &str = r#"
syntax = "proto3";
package shop.v1;
import "nothing.proto";
message Order { int64 order_id = 1; string note = 2; }
message List { repeated Order orders = 1; }
message Other { fixed64 number = 1; }
service Unused { rpc None(Nothing) returns (Order); }
service Orders {
  rpc Watch(stream Order) returns (stream List);
  rpc Get(Other) returns (Order);
}
"#;

/// protoc may be missing on a developer's machine; not so in CI.
#[test]
fn a_descriptor_set_of_protoc_names_the_fields() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shop.proto"), PROTO).unwrap();
    let imported = "syntax = \"proto3\"; package shop.v1; message Nothing {}";
    std::fs::write(dir.path().join("nothing.proto"), imported).unwrap();
    let protoc = |set: &str, more: &[&str]| {
        let mut protoc = Command::new("protoc");
        protoc.args(["-o", set, "shop.proto"]).args(more).current_dir(dir.path()).status()
    };
    let Ok(made) = protoc("shop.set", &["--include_imports"]) else {
        assert!(std::env::var_os("CI").is_none(), "protoc is missing in CI");
        return println!("skipped: protoc is not installed");
    };
    assert!(made.success() && protoc("cut.set", &[]).unwrap().success());
    let named = ["show", "--proto", "shop.set", "c"];
    let watch = program_in(dir.path(), &[&named[..], &["1"]].concat(), &calls());
    let order = "shop.v1.Order of 12 bytes\n  {\n    \"order_id\": \"150\",\n    \"note\": \"testing\"\n  }\n";
    assert!(watch.contains(order), "{watch}");
    assert!(watch.contains(" shop.v1.Order of 1 bytes\n* it is no shop.v1.Order: "), "{watch}");
    let json = ["--json", "--bodies", "--proto", "shop.set", "c"];
    let lines = program_in(dir.path(), &json, &calls());
    let watch: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let answer = &watch["grpc"]["messages"][1];
    assert_eq!(answer["type"], "shop.v1.List");
    assert_eq!(answer["message"], serde_json::json!({"orders": [{"order_id": "150"}]}));
    assert!(answer.get("fields").is_none());

    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    let cut = command.args(["show", "--proto", "cut.set", "c", "1"]).current_dir(dir.path());
    let output = cut.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("protoc --include_imports"), "{error}");
}

#[test]
fn grpc_web_has_its_trailers_in_the_body() {
    let body = [grpc(0, b"\x08\x01"), grpc(0x80, b"grpc-status: 3\r\ngrpc-message:bad%20name\r\n")]
        .concat();
    let head = |start: &str, len: usize| {
        format!(
            "{start}\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: {len}\r\n\r\n"
        )
    };
    let request = grpc(0, b"\x08\x02");
    let script = Script::client()
        .sent([head("POST /a.B/C HTTP/1.1\r\nHost: x", 7).as_bytes(), &request].concat())
        .received([head("HTTP/1.1 200 OK", body.len()).as_bytes(), &body].concat())
        .close();
    let listed = listed(&script, false);
    let call = &listed[0]["grpc"];
    assert_eq!((&listed[0]["proto"], &call["http"]), (&"grpc-web".into(), &"http/1.1".into()));
    assert_eq!((&call["status"], &call["message"]), (&3.into(), &"bad name".into()));
    assert_eq!((&call["request_messages"], &call["response_messages"]), (&1.into(), &1.into()));
}

/// Each side encodes what it has at a time, so that there is padding within.
#[test]
fn grpc_web_as_text_is_read_however_it_is_padded() {
    let encoded =
        |parts: &[Vec<u8>]| parts.iter().map(|part| Base64(part).to_string()).collect::<String>();
    let head = |start: &str, len: usize| {
        format!(
            "{start}\r\nContent-Type: application/grpc-web-text+proto\r\nContent-Length: {len}\r\n\r\n"
        )
    };
    let request = encoded(&[grpc(0, b"\x08\x02")]);
    let answers = [grpc(0, b"\x08\x01"), grpc(0, b"abcd"), grpc(0x80, b"grpc-status: 5\r\n")];
    let body = encoded(&answers);
    assert!(body[..body.len() - 4].contains('='), "{body}");
    let script = Script::client()
        .sent(head("POST /a.B/C HTTP/1.1\r\nHost: x", request.len()) + &request)
        .received(head("HTTP/1.1 200 OK", body.len()) + &body)
        .close();
    for len in [1, 2, 3, 5, 1000] {
        let listed = listed_of(&pieces(&script.records(), len), true);
        let call = &listed[0]["grpc"];
        assert_eq!((&listed[0]["proto"], &call["status"]), (&"grpc-web".into(), &5.into()));
        let lengths: Vec<_> = call["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["bytes"].as_u64().unwrap())
            .collect();
        assert_eq!(lengths, [2, 2, 4], "{call}");
        assert_eq!(
            (&listed[0]["complete"], &listed[0]["notes"]),
            (&true.into(), &Value::Array(vec![]))
        );
    }
    let (at, len) = (head("HTTP/1.1 200 OK", body.len()).len() as u64, body.len() as u64);
    let lossy = listed_of(&script.clone().without(Received, at + 6, len - 12).records(), true);
    assert!(
        lossy[0]["notes"].to_string().contains("after missing bytes are not read"),
        "{lossy:?}"
    );
    let wrong = body.replacen('=', "-", 1);
    let script = Script::client()
        .sent(head("POST /a.B/C HTTP/1.1\r\nHost: x", request.len()) + &request)
        .received(head("HTTP/1.1 200 OK", wrong.len()) + &wrong)
        .close();
    let listed = listed(&script, true);
    assert!(listed[0]["notes"].to_string().contains("gRPC-Web as text that is no base64"));
}

#[test]
fn the_page_of_a_proxy_is_no_message_of_grpc() {
    let fields = [(":status", "502"), ("content-type", "text/html")];
    let script = Script::client()
        .sent(client())
        .received(server())
        .sent([call(1, "/a.B/C", "gzip"), data(1, &grpc(0, b""), END_STREAM)].concat())
        .received(frame(HEADERS, END_HEADERS, 1, &block(&fields)))
        .received(data(1, b"<html>bad gateway</html>", END_STREAM))
        .close();
    let listed = listed(&script, true);
    assert_eq!(listed[0]["notes"], serde_json::json!([]));
    assert_eq!(
        (&listed[0]["grpc"]["status"], &listed[0]["grpc"]["response_messages"]),
        (&Value::Null, &0.into())
    );
}

/// The events of a model that answers word by word: chunked, one compressed piece a call.
fn words(coding: &str) -> Script {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut script = Script::client().sent("GET /words HTTP/1.1\r\nHost: x\r\n\r\n").received(head);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for word in ["one", "two", "three"] {
        let event = format!("id: {word}\ndata: {{\"word\":\"{word}\"}}\n\n");
        let bytes = match coding {
            "" => event.into_bytes(),
            _ => {
                encoder.write_all(event.as_bytes()).unwrap();
                encoder.flush().unwrap();
                std::mem::take(encoder.get_mut())
            }
        };
        script = script
            .received([format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat());
    }
    script.received("0\r\n\r\n").close()
}

#[test]
fn each_event_has_its_time_under_any_coding() {
    for coding in ["", "Content-Encoding: gzip\r\n"] {
        let script = words(coding);
        let listed = listed(&script, true);
        let events = &listed[0]["events"];
        assert_eq!(listed[0]["proto"], "http/1.1");
        // Requested at 900 ns; the events were calls 3 to 5.
        assert_eq!((&events["count"], &events["first_ms"]), (&3.into(), &0.0021.into()));
        let all = events["messages"].as_array().unwrap();
        for (number, word) in ["one", "two", "three"].iter().enumerate() {
            let data = format!("{{\"word\":\"{word}\"}}");
            assert_eq!((&all[number]["id"], &all[number]["data"]), (&(*word).into(), &data.into()));
            let time = format!("1970-01-01T00:00:00.00000{}000Z", number + 3);
            assert_eq!(all[number]["time"], time);
        }
    }
}

/// What is listed, without times: those of pieces differ from those of whole calls.
fn without_times(objects: Vec<Value>) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                let is_time = |key: &str| key == "time" || key.ends_with("_ms");
                map.retain(|key, _| !is_time(key));
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut all = Value::Array(objects);
    strip(&mut all);
    all.to_string()
}

fn scripts() -> [Script; 5] {
    [chat(), chat_h2(), calls(), words(""), words("Content-Encoding: gzip\r\n")]
}

#[test]
fn the_result_does_not_depend_on_how_the_calls_are_split() {
    for script in scripts() {
        let records = script.records();
        let whole = without_times(listed(&script, true));
        for len in (1..40).chain([100, 300]) {
            assert_eq!(without_times(listed_of(&pieces(&records, len), true)), whole, "{len}");
        }
    }
}

#[test]
fn any_cut_leaves_a_part_of_the_messages() {
    for script in scripts() {
        let records = pieces(&script.records(), 1);
        let whole = list(&script).0;
        let all = exchanges(&whole).len();
        let mut seen = 0;
        for end in 2..records.len() {
            let listed = listed_of(&records[..end], true);
            let listed = listed.into_iter().filter(|object| object["type"] == "exchange");
            let listed: Vec<Value> = listed.collect();
            assert!(listed.len() <= all);
            let mut count = 0;
            for object in &listed {
                for protocol in ["grpc", "websocket", "events"] {
                    count += object[protocol]["messages"].as_array().map_or(0, Vec::len);
                }
            }
            assert!(count >= seen, "{end}");
            seen = count;
        }
        assert!(seen > 0);
    }
}

/// All contents that are listed as whole messages.
fn contents(objects: &[Value]) -> Vec<String> {
    let mut contents = Vec::new();
    for object in objects {
        for protocol in ["grpc", "websocket", "events"] {
            let list = object[protocol]["messages"].as_array();
            for message in list.into_iter().flatten().filter(|m| m["problem"].is_null()) {
                contents
                    .push(format!("{} {} {}", message["from"], message["text"], message["data"]));
            }
        }
    }
    contents
}

#[test]
fn after_a_gap_nothing_is_guessed() {
    for script in scripts() {
        let whole = contents(&listed(&script, true));
        for direction in [Sent, Received] {
            let total: u64 = script
                .records()
                .iter()
                .map(|record| match record {
                    Record::Data(data) if data.dir == direction => data.payload.len() as u64,
                    _ => 0,
                })
                .sum();
            for at in 0..total {
                for len in [1, 4, 30] {
                    let cut = script.clone().without(direction, at, len.min(total - at));
                    let listed = listed(&cut, true);
                    for message in contents(&listed) {
                        assert!(whole.contains(&message), "{direction:?} {at} {len}: {message}");
                    }
                }
            }
        }
    }
}
