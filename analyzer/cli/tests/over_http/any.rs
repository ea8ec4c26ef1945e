//! Properties of each of the three protocols.

use serde_json::Value;
use sslrec_analyzer::budget::Limits;
use sslrec_analyzer::exchange::{Exchange, Sender};
use sslrec_analyzer::over_http::{events::Events, grpc::Grpc, websocket::WebSocket};
use sslrec_analyzer::pipeline::Options;
use sslrec_analyzer_testing::frames::exchanges;
use sslrec_analyzer_testing::records::{Script, list, list_records};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Record;

use crate::events::words;
use crate::grpc::calls;
use crate::support::{listed, listed_of, pieces, program};
use crate::websocket::{chat, chat_h2};

const BODIES: Options = Options {
    bodies: true,
    both_ends: false,
    as_finished: false,
    plaintext: false,
    limits: Limits::DEFAULT,
};

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

/// Returns the listing without times: the times of pieces differ from those of complete calls.
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
            let items = list_records(&records[..end], BODIES).0;
            let listed = exchanges(&items);
            assert!(listed.len() <= all);
            let count = listed.into_iter().map(|exchange| messages(exchange).len()).sum();
            assert!(count >= seen, "{end}");
            seen = count;
        }
        assert!(seen > 0);
    }
}

/// The messages of an exchange: sender, contents, and whether they are whole.
fn messages(exchange: &Exchange) -> Vec<(Sender, Vec<u8>, bool)> {
    if let Some(grpc) = exchange.carried_as::<Grpc>() {
        let messages = grpc.messages.iter().flatten();
        messages.map(|m| (m.from, m.data.clone(), m.problem.is_none())).collect()
    } else if let Some(socket) = exchange.carried_as::<WebSocket>() {
        let messages = socket.messages.iter().flatten();
        messages.map(|m| (m.from, m.data.clone(), m.problem.is_none())).collect()
    } else if let Some(events) = exchange.carried_as::<Events>() {
        let messages = events.messages.iter().flatten();
        messages.map(|m| (Sender::Server, m.data.clone(), true)).collect()
    } else {
        assert!(exchange.carried.is_none());
        Vec::new()
    }
}

/// The messages of a script that are whole.
fn whole_messages(script: &Script) -> Vec<(Sender, Vec<u8>, bool)> {
    let items = list_records(&script.records(), BODIES).0;
    let messages = exchanges(&items).into_iter().flat_map(messages);
    messages.filter(|(_, _, whole)| *whole).collect()
}

#[test]
fn after_a_gap_nothing_is_guessed() {
    for script in scripts() {
        let whole = whole_messages(&script);
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
                    for message in whole_messages(&cut) {
                        assert!(whole.contains(&message), "{direction:?} {at} {len}: {message:?}");
                    }
                }
            }
        }
    }
}
