//! gRPC and gRPC-Web.

use std::io::Write;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use sslrec_analyzer_testing::frames::{
    END_HEADERS, END_STREAM, HEADERS, block, client, data, frame, server,
};
use sslrec_analyzer_testing::records::Script;
use sslrec_formats::record::Direction::Received;

use crate::support::{listed, listed_of, pieces, program_in};

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

/// Both sides send messages, a message split over frames, two in a frame; then a call that fails at
/// once.
pub(crate) fn calls() -> Script {
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

/// The service of `calls`, as a `.proto` file.
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
    assert!(watch.contains(" shop.v1.Order of 1 bytes\n* not a shop.v1.Order: "), "{watch}");
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

/// Each side encodes a part at a time, so that there is padding within the text.
#[test]
fn grpc_web_as_text_is_read_however_it_is_padded() {
    let encoded = |parts: &[Vec<u8>]| {
        parts.iter().map(|part| BASE64_STANDARD.encode(part)).collect::<String>()
    };
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
    assert!(listed[0]["notes"].to_string().contains("gRPC-Web as text that is not base64"));
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
