//! What holds for each of the three protocols.

use serde_json::Value;
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Record;

use crate::events::words;
use crate::frames::exchanges;
use crate::grpc::calls;
use crate::records::{Script, list};
use crate::support::{listed, listed_of, pieces, program};
use crate::websocket::{chat, chat_h2};

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
pub(crate) fn contents(objects: &[Value]) -> Vec<String> {
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
