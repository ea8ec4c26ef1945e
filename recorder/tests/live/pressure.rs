//! The books are right where the recorder cannot keep up: connections, processes and images of
//! processes that begin and end while the ring is full. `fake_tls` makes them, a TLS library
//! without TLS.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::listing::bytes_of;
use crate::peers::fake_tls;
use crate::support::{Live, Recorded};

const SIGINT: i32 = 2;

fn record(live: &Live, options: &[&str], arguments: &[&str]) -> (Recorded, u64) {
    let program = fake_tls();
    let command: Vec<&str> =
        ["env", "STALL_PARENT=1", &program].into_iter().chain(arguments.iter().copied()).collect();
    let options: Vec<&str> =
        ["--lib", &program].into_iter().chain(options.iter().copied()).collect();
    let recorded = live.record(&options, &command).succeeded();
    let moved = recorded.output.stdout.trim().parse().unwrap();
    (recorded, moved)
}

fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("no {field}: {object}"))
}

/// Bytes in the raw log, and bytes that it reports as missing.
fn kept_and_lost(live: &Live, recorded: &Recorded) -> (u64, u64) {
    let listing = live.list(&recorded.raw, &["--bodies"]);
    let length = |stream: &Value, field| bytes_of(stream, field).len() as u64;
    let kept =
        listing.streams.iter().map(|s| length(s, "client_data") + length(s, "server_data")).sum();
    let lost = listing.streams.iter().map(|s| number(s, "lost_bytes")).sum();
    assert_eq!(number(&listing.summary, "lost_bytes"), lost);
    (kept, lost)
}

fn every_byte_is_accounted_for(arguments: &[&str]) {
    let Some(live) = Live::start() else { return };
    let (recorded, moved) = record(&live, &["--ring-size", "64K"], arguments);
    let (kept, lost) = kept_and_lost(&live, &recorded);
    assert_eq!(kept + lost, moved, "kept {kept}, lost {lost}: {}", recorded.output.stderr);
    assert!(lost > 0, "this was to overrun the ring: {}", recorded.output.stderr);
}

#[test]
fn short_connections() {
    every_byte_is_accounted_for(&["short", "10000"]);
}

#[test]
fn connections_that_are_never_freed() {
    every_byte_is_accounted_for(&["kept", "10000"]);
}

#[test]
fn short_processes() {
    every_byte_is_accounted_for(&["processes", "30", "300"]);
}

/// Connections of the old image must not be continued by the new image, which may use the same
/// addresses.
#[test]
fn images_executed_one_after_another() {
    let Some(live) = Live::start() else { return };
    for prefix in [&[][..], &["setarch", "-R"]] {
        let program = fake_tls();
        let command: Vec<&str> = prefix.iter().copied().chain([&*program, "exec", "8"]).collect();
        let recorded = live.record(&["--lib", &program], &command).succeeded();
        let moved: u64 = recorded.output.stdout.trim().parse().unwrap();
        assert_eq!(kept_and_lost(&live, &recorded), (moved, 0), "{}", recorded.output.stderr);
        let listing = live.list(&recorded.raw, &[]);
        assert_eq!(listing.streams.len(), 9, "one connection for each image");
    }
}

/// Nothing may be paged in where the kernel side reads.
#[test]
fn what_is_in_no_page_is_a_hole_of_its_length() {
    let Some(live) = Live::start() else { return };
    let (recorded, moved) = record(&live, &[], &["untouched", "20000"]);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    let [stream] = &listing.streams[..] else { panic!("{:?}", listing.streams) };
    assert_eq!(number(stream, "lost_bytes"), 20000);
    assert_eq!(bytes_of(stream, "client_data").len() as u64, moved - 20000);
    assert_eq!(stream["complete"], false);
    let said = &recorded.output.stderr;
    assert!(said.contains("data_read_fault"), "{said}");
}

/// The kernel sends a file by itself; here of 5 GiB, more than a result of 32 bits can hold.
#[test]
fn a_file_sent_by_the_kernel_is_a_hole_of_its_length() {
    let Some(live) = Live::start() else { return };
    let size = 5u64 << 30;
    let (recorded, moved) = record(&live, &[], &["sendfile", &size.to_string()]);
    assert_eq!(moved, size + 400);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    let stream = &listing.streams[0];
    assert_eq!(number(stream, "client_bytes"), 400);
    assert_eq!(number(stream, "lost_bytes"), size);
    assert_eq!(stream["complete"], false);
    assert!(stream["notes"].to_string().contains("sendfile"), "{stream}");
}

/// The ring never is empty, and the recording ends all the same.
#[test]
fn a_flood_does_not_keep_the_recording_from_ending() {
    let Some(live) = Live::start() else { return };
    let program = fake_tls();
    let flood = live.spawn(std::process::Command::new(&program).args(["flood", "15000"]));
    let pid = flood.pid().to_string();
    let recorder = live.attach(&["--lib", &program, "-p", &pid, "--ring-size", "64M"]);
    recorder.wait_for_stderr("recording");
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    let recorded = recorder.stop(SIGINT).succeeded();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(recorded.output.stderr.contains("wrote"), "{}", recorded.output.stderr);
    flood.signal(9);
    flood.wait();
}

/// Single links take seconds to detach; the recording ends at a single moment for all, and nothing
/// before it is lost.
#[test]
fn a_slow_detach_loses_nothing() {
    let Some(live) = Live::start() else { return };
    let program = fake_tls();
    let flood = live.spawn(std::process::Command::new(&program).args(["flood", "15000"]));
    let pid = flood.pid().to_string();
    let options =
        ["--without", "multi", "--fail-on-loss", "--lib", &program, "-p", &pid, "--count", "20000"];
    let recorded = live.attach(&options).wait();
    assert_eq!(recorded.code(), 0, "{}", recorded.output.stderr);
    flood.signal(9);
    flood.wait();
}
