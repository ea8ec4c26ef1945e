//! The recorder's memory: it has a ceiling, and data beyond it is reported.

use std::fs;
use std::time::Duration;

use crate::listing::bytes_of;
use crate::peers::fake_tls;
use crate::support::{Live, Recorded};

/// Connections that are open at once.
const OPEN: u64 = 20_000;
/// Bytes that each of them carries.
const MESSAGE: u64 = 200;

/// A recording of a flood of open connections, and the highest anonymous memory of the recorder: by
/// its own count, and by its peak less the most that was backed by files. The latter is the program
/// and the ring, whose pages the kernel counts there, and twice.
fn flood(live: &Live, options: &[&str]) -> (Recorded, u64) {
    let program = fake_tls();
    let (files, mut sslrec) = live.sslrec(&[&["--lib", &program], options].concat());
    sslrec.args(["--", "env", "STALL_PARENT=1", &program, "kept", &OPEN.to_string()]);
    let started = live.spawn(&mut sslrec);
    let (mut anonymous, mut from_files, mut peak) = (0, 0, 0);
    while let Some([now, files, most]) = memory(started.pid()) {
        anonymous = anonymous.max(now);
        from_files = from_files.max(files);
        peak = peak.max(most);
        std::thread::sleep(Duration::from_millis(2));
    }
    let recorded = files.finish(started.wait()).succeeded();
    assert_eq!(recorded.output.stdout.trim(), (OPEN * MESSAGE).to_string());
    (recorded, anonymous.max(peak - from_files))
}

/// Anonymous memory, that backed by files, and the most of all together, while there is a process.
fn memory(pid: u32) -> Option<[u64; 3]> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some([field("RssAnon:")?, field("RssFile:")?, field("VmHWM:")?])
}

#[test]
fn a_flood_of_open_connections_stays_below_the_ceiling() {
    let Some(live) = Live::start() else { return };
    let (recorded, anonymous) = flood(&live, &["--max-memory", "80M", "--ring-size", "16M"]);
    assert!(anonymous + (16 << 20) < 80 << 20, "{anonymous} bytes beside the ring");

    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_eq!(listing.streams.len() as u64, OPEN, "those that were turned away are stated");
    let (mut whole, mut lost) = (0, 0);
    for stream in &listing.streams {
        match stream["lost_bytes"].as_u64().unwrap() {
            0 => whole += bytes_of(stream, "client_data").len() as u64,
            bytes => lost += bytes,
        }
    }
    assert_eq!(whole + lost, OPEN * MESSAGE, "recorded, or said to be lost");
    assert!(whole > 0 && lost > 0, "{whole} and {lost}: this was to pass the ceiling");
    let causes =
        live.tshark_fields(&recorded.pcapng, "frame.comment contains \"ev=gap\"", "frame.comment");
    assert!(causes.iter().all(|comment| comment.contains("cause=memory")), "{:?}", causes.first());
    assert_eq!(causes.len() as u64 * MESSAGE, lost);
    let stderr = &recorded.output.stderr;
    let summary = format!("lost 0 events and {lost} bytes (memory {})", lost / MESSAGE);
    assert!(stderr.contains(&summary), "{stderr}");
    assert_eq!(live.tshark(&recorded.pcapng, &["-q", "-z", "expert,error"]).trim(), "");
}

#[test]
fn by_default_a_flood_of_open_connections_is_recorded_whole() {
    let Some(live) = Live::start() else { return };
    let (recorded, anonymous) = flood(&live, &["--fail-on-loss"]);
    assert!(anonymous + (16 << 20) < 256 << 20, "{anonymous} bytes beside the ring");
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.summary["lost_bytes"], 0, "{}", recorded.output.stderr);
    assert_eq!(listing.streams.len() as u64, OPEN);
}

#[test]
fn a_ceiling_that_is_too_low_is_refused_and_the_least_is_named() {
    let Some(live) = Live::start() else { return };
    let program = fake_tls();
    let record = |ceiling: &str| {
        let options = ["--lib", &program, "--max-memory", ceiling];
        live.record(&options, &[&*program, "short", "1"])
    };
    let refused = record("20M");
    assert_eq!(refused.code(), 1);
    assert!(refused.output.stdout.is_empty(), "the command was not started");
    assert!(!refused.pcapng.exists() && !refused.raw.exists());
    let stderr = &refused.output.stderr;
    let least = stderr.split_once("at least ").unwrap_or_else(|| panic!("{stderr}")).1;
    record(least.split_once(',').unwrap().0).succeeded();
}
