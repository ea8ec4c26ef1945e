//! Data that the recorder is too slow for is counted to the byte and marked at its place.

use serde_json::Value;

use crate::listing::bytes_of;
use crate::peers::{case, truth};
use crate::support::{Live, Recorded};

/// Far more than 64 KiB of buffer can hold while the recorder is stopped.
const FLOOD: [&str; 3] = ["flood", "4000", "16384"];

fn flooded(live: &Live, options: &[&str]) -> Recorded {
    flooded_by(live, options, &FLOOD)
}

fn flooded_by(live: &Live, options: &[&str], flood: &[&str]) -> Recorded {
    let options: Vec<&str> = ["--ring-size", "64K"].iter().chain(options).copied().collect();
    let stalled = ["env", "STALL_PARENT=1"].map(String::from);
    live.record(&options, &[&stalled[..], &case(flood)].concat())
}

fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("no {field}: {object:?}"))
}

/// Messages of this size: the sent bytes are the recorded bytes and the bytes reported as lost.
fn recorded_and_lost_bytes_are_those_sent(count: u64, size: u64) {
    let Some(live) = Live::start() else { return };
    let flood = ["flood", &count.to_string(), &size.to_string()];
    let recorded = flooded_by(&live, &[], &flood).succeeded();
    let truth = truth(&recorded.output.stdout).unwrap();
    let sent = truth.iter().find(|end| end.role == "client").unwrap().from_client.0;
    assert_eq!(sent, count * size);

    // Both ends in the raw log: the client's writes and the server's reads, each with its losses.
    let both = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_eq!(both.streams.len(), 2);
    let mut lost = 0;
    for stream in &both.streams {
        let kept = bytes_of(stream, "client_data").len() as u64;
        assert_eq!(kept + number(stream, "lost_bytes"), sent, "{}", stream["role"]);
        lost += number(stream, "lost_bytes");
    }
    assert!(lost > 0, "the flood was to overrun the buffer");
    assert_eq!(number(&both.summary, "lost_bytes"), lost);
    assert!(number(&both.summary, "dropped_events") > 0);

    let listing = live.list(&recorded.pcapng, &["--bodies"]);
    assert_eq!(listing.streams.len(), 1);
    let stream = &listing.streams[0];
    let kept = bytes_of(stream, "client_data").len() as u64;
    assert_eq!(kept + number(stream, "lost_bytes"), sent);
    assert_eq!(stream["complete"], false);
    assert_ne!(stream["notes"].as_array().unwrap().len(), 0, "why it is not complete");
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("lost"), "the summary says so: {stderr}");
}

#[test]
fn of_messages_of_64_bytes_nothing_is_lost_silently() {
    recorded_and_lost_bytes_are_those_sent(40_000, 64);
}

#[test]
fn of_messages_of_1_kib_nothing_is_lost_silently() {
    recorded_and_lost_bytes_are_those_sent(20_000, 1 << 10);
}

#[test]
fn of_messages_of_16_kib_nothing_is_lost_silently() {
    recorded_and_lost_bytes_are_those_sent(4000, 16 << 10);
}

#[test]
fn of_messages_of_256_kib_nothing_is_lost_silently() {
    recorded_and_lost_bytes_are_those_sent(250, 256 << 10);
}

/// Each 8 bytes of the flood contain their own place, which must be the place that Wireshark
/// computes from the sequence number.
#[test]
fn each_hole_stands_at_its_place() {
    let Some(live) = Live::start() else { return };
    let recorded = flooded(&live, &[]).succeeded();
    let file = &recorded.pcapng;
    let client = "tcp.dstport == 80 && tcp.len > 0";
    let packets = live.tshark(
        file,
        &["-Y", client, "-T", "fields", "-e", "tcp.seq", "-e", "tcp.len", "-e", "tcp.payload"],
    );
    let mut checked = 0;
    for packet in packets.lines() {
        let mut fields = packet.split('\t');
        let place = fields.next().unwrap().parse::<u64>().unwrap() - 1;
        let len: usize = fields.next().unwrap().parse().unwrap();
        let payload = fields.next().unwrap();
        for at in (0..len as u64).filter(|at| (place + at).is_multiple_of(8)) {
            let at_hex = 2 * at as usize;
            let Some(word) = payload.get(at_hex..at_hex + 16) else { continue };
            let word = u64::from_str_radix(word, 16).unwrap().swap_bytes();
            assert_eq!(word, place + at, "bytes of another place");
            checked += 1;
        }
    }
    assert!(checked > 1000, "only {checked} places were recorded");
    let holes = live.tshark_fields(file, "tcp.analysis.lost_segment", "frame.number");
    assert!(!holes.is_empty(), "Wireshark says: previous segment not captured");
}

#[test]
fn loss_fails_the_run_only_on_request() {
    let Some(live) = Live::start() else { return };
    assert_eq!(flooded(&live, &["--fail-on-loss"]).code(), 3);
    let calm = live.record(&["--fail-on-loss"], &case(&["exchange"]));
    assert_eq!(calm.code(), 0, "{}", calm.output.stderr);
}

#[test]
fn an_empty_recording_fails_the_run_only_on_request() {
    let Some(live) = Live::start() else { return };
    assert_eq!(live.record(&["--fail-if-empty"], &["true"]).code(), 4);
    assert_eq!(live.record(&[], &["true"]).code(), 0);
    assert_eq!(live.record(&["--fail-if-empty"], &case(&["exchange"])).code(), 0);
    // The child's own failure comes first.
    assert_eq!(live.record(&["--fail-if-empty"], &["false"]).code(), 1);
}

#[test]
fn the_default_buffer_loses_nothing_in_a_paced_run() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &case(&["pace", "2", "500", "4096"])).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(number(&listing.summary, "lost_bytes"), 0);
    let truth = truth(&recorded.output.stdout).unwrap();
    assert_eq!(number(&listing.streams[0], "client_bytes"), truth[0].from_client.0);
}

#[test]
fn what_snaplen_cuts_is_marked() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&["--snaplen", "100"], &case(&["exchange"])).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    let stream = &listing.streams[0];
    // The request is a write of 1000; the reply is read in a call of 3000.
    assert_eq!(bytes_of(stream, "client_data").len(), 100);
    assert_eq!(bytes_of(stream, "server_data").len(), 100);
    assert_eq!(number(stream, "lost_bytes"), 900 + 2900);
    assert_eq!(stream["complete"], false);
}
