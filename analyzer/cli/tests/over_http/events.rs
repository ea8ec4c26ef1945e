//! Server-sent events.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sslrec_analyzer_testing::records::Script;

use crate::support::listed;

/// The events of a model that answers word by word: chunked, a compressed piece in each call.
pub(crate) fn words(coding: &str) -> Script {
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
