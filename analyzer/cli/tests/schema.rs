//! The JSON is that of `docs/sslanalyze.schema.json`.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Validator;
use serde_json::{Value, json};
use sslrec_analyzer::item_fields;
use sslrec_analyzer_testing::records::{Script, raw_log};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema() -> Value {
    let text = std::fs::read_to_string(repository().join("docs/sslanalyze.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Forbids fields that the schema does not name. Readers must take them; the program has none.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("properties").is_some_and(Value::is_object) {
                map.insert("additionalProperties".into(), json!(false));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

fn validator() -> Validator {
    let mut schema = schema();
    close(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

/// Validates each line, and returns how many there are.
fn validate(validator: &Validator, name: &str, lines: &str) -> usize {
    for line in lines.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        if !validator.is_valid(&object) {
            let errors: Vec<_> =
                validator.iter_errors(&object).map(|error| error.to_string()).collect();
            panic!("{name}: {line}\n{errors:#?}");
        }
    }
    lines.lines().count()
}

/// A capture whose recorder saw TLS that it did not record, of each role.
#[test]
fn connections_that_were_not_recorded_are_valid() {
    use sslrec_formats::io::RecordWriter;
    use sslrec_formats::record::{CaptureInfo, Coverage, PerDirection, Record, Role, Unrecorded};
    let connection = |role, bytes| Unrecorded {
        local: "10.0.0.5:51234".parse().unwrap(),
        remote: "10.0.0.6:8443".parse().unwrap(),
        role,
        sni: Some("example.org".into()),
        alpn: vec!["h2".into()],
        version: None,
        bytes,
        quic: role == Role::Server,
    };
    let bytes = Some(PerDirection { sent: 1, received: 2 });
    let connections = vec![
        connection(Role::Client, bytes),
        connection(Role::Server, bytes),
        connection(Role::Unknown, None),
    ];
    let coverage = Coverage {
        pid: 7,
        comm: "uv".into(),
        missed: Some("rustls".into()),
        seen: 4,
        unrecorded: 3,
        connections,
        ..Coverage::default()
    };
    let mut writer =
        sslrec_formats::rawlog::RawLogWriter::new(Vec::new(), CaptureInfo::default(), 1).unwrap();
    writer.write(&Record::Coverage(coverage)).unwrap();
    writer.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capture.zst");
    std::fs::write(&file, writer.into_inner()).unwrap();
    let sslanalyze = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
        let output = command.args(options).arg(&file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let lines = sslanalyze(&["--json"]);
    assert_eq!(validate(&validator(), "missed", &lines), 4);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends = |line: &Value| {
        ["client", "server", "client_bytes", "server_bytes"].map(|field| line[field].clone())
    };
    let (near, far) = ("10.0.0.5:51234", "10.0.0.6:8443");
    assert_eq!(ends(&lines[0]), [json!(near), json!(far), json!(1), json!(2)]);
    assert_eq!(ends(&lines[1]), [json!(far), json!(near), json!(2), json!(1)]);
    assert_eq!(ends(&lines[2]), [json!(null), json!(null), json!(null), json!(null)]);
    assert_eq!((&lines[2]["local"], &lines[3]["missed"]), (&json!(near), &json!(3)));
    assert!(sslanalyze(&[]).contains("3 TLS connections not recorded"));
}

/// Malformed requests behind a PROXY header, and streams in a tunnel.
#[test]
fn routes_and_malformed_requests_are_valid_and_shown() {
    let ok = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let socks = [&b"\x05\x01\0"[..], b"\x05\x01\0\x03\x01h\0\x50"];
    let granted = [&b"\x05\0"[..], b"\x05\0\0\x01\0\0\0\0\0\0"];
    let behind = Script::client()
        .sent(
            "PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\ngarb\"age\u{e9}\r\n\r\nGET /a HTTP/1.\r\n\r\n",
        )
        .received(ok.repeat(2));
    let unknown = Script::client()
        .sent("PROXY UNKNOWN\r\n")
        .sent("GET /a HTTP/1.\r\n\r\n\u{e9}t\u{e9}\r\n\r\n")
        .received(ok.repeat(2));
    let inside = Script::client()
        .sent(socks[0])
        .received(granted[0])
        .sent(socks[1])
        .received(granted[1])
        .sent("SSH-2.0-x\r\n")
        .received("SSH-2.0-y\r\n");
    let folder = tempfile::tempdir().unwrap();
    let run = |script: Script, options: &[&str]| {
        let file = folder.path().join("capture.zst");
        std::fs::write(&file, raw_log(&script.close().records())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
        let (command, rest) = match options {
            ["show", rest @ ..] => (command.arg("show").arg(&file), rest),
            rest => (command.arg(&file), rest),
        };
        let output = command.args(rest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (script, count) in [(behind, 3), (unknown.clone(), 3), (inside.clone(), 2)] {
        let lines = run(script, &["--json"]);
        assert_eq!(validate(&validator(), "routes", &lines), count, "{lines}");
    }
    let first = |script: &Script| -> Value {
        serde_json::from_str(run(script.clone(), &["--json"]).lines().next().unwrap()).unwrap()
    };
    let exchange = first(&unknown);
    assert_eq!(exchange["proxied"], json!({"version": 1, "client": null, "server": null}));
    assert_eq!(exchange["request"]["line"], "GET /a HTTP/1.");
    let stream = first(&inside);
    assert_eq!(stream["tunnels"], json!([{"protocol": "socks5", "target": "h:80"}]));
    let shown = run(unknown.clone(), &["show", "2"]);
    assert!(shown.contains("\n> \u{e9}t\u{e9}"), "{shown}");
    assert!(
        shown.contains("* proxied from unknown to unknown (PROXY header, version 1)"),
        "{shown}"
    );
    let listed = run(unknown, &[]);
    assert!(listed.contains(" \"\u{e9}t\u{e9}\""), "{listed}");
    let stream = run(inside, &["show", "type=stream"]);
    assert!(stream.contains("* in a tunnel to h:80 (socks5)"), "{stream}");
}

#[test]
fn the_listings_of_all_captures_are_valid() {
    let validator = validator();
    let folder = repository().join("testdata/analyzer");
    let mut captures = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "pcapng") {
            continue;
        }
        captures += 1;
        let name = file.display().to_string();
        for options in
            [&["--json"][..], &["--json", "--bodies"], &["--json", "--bodies", "--decode"]]
        {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
            let output = command.args(options).arg(&file).output().unwrap();
            assert!(output.status.success(), "{name}");
            let lines = String::from_utf8(output.stdout).unwrap();
            assert!(validate(&validator, &name, &lines) > 1, "{name}");
        }
    }
    assert!(captures >= 5, "{captures}");
}

/// They have every type, and every protocol on top of HTTP.
#[test]
fn the_golden_lines_are_valid() {
    let validator = validator();
    for name in ["listing.jsonl", "bodies.jsonl"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/json").join(name);
        let lines = std::fs::read_to_string(file).unwrap();
        assert!(validate(&validator, name, &lines) > 5);
        for part in [
            "\"exchange\"",
            "\"stream\"",
            "\"handshake\"",
            "\"summary\"",
            "\"grpc\":",
            "\"websocket\":",
            "\"events\":",
        ] {
            assert!(lines.contains(part), "{part}");
        }
    }
}

#[test]
fn what_is_not_in_the_schema_is_refused() {
    let validator = validator();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/json/listing.jsonl");
    let lines = std::fs::read_to_string(golden).unwrap();
    for line in lines.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let mut more = object.clone();
        more["unheard_of"] = json!(1);
        assert!(!validator.is_valid(&more));
        for key in object.as_object().unwrap().keys() {
            let mut wrong = object.clone();
            wrong[key] = json!({"an": "object"});
            assert!(!validator.is_valid(&wrong), "{key}");
        }
    }
}

#[test]
fn the_schema_has_every_field_of_the_table() {
    let schema = schema();
    let types = ["exchange", "stream", "handshake"].map(|name| &schema["$defs"][name]);
    for field in item_fields::all().filter(|field| !field.json.is_empty()) {
        let has = |object: &Value| match field.json {
            [key] => !object["properties"][*key].is_null(),
            [object_key, key] => {
                let part = &schema["$defs"][*object_key]["properties"][*key];
                !object["properties"][*object_key].is_null() && !part.is_null()
            }
            _ => false,
        };
        assert!(types.iter().any(|object| has(object)), "{}", field.name());
    }
}
