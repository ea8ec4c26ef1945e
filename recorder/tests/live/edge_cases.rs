//! Ends in mid-call, thousands of connections and threads, memory that cannot be read, numbers and
//! names that come again, clocks that are not the machine's.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::assert_truth::{assert_ends, recorded_ends};
use crate::cleanup::held_by;
use crate::listing::Listing;
use crate::peers::{bookkeeping, case, text, truth};
use crate::support::{Live, Recorded, SSLREC, Started, read_lossy, within};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// Everything transferred before the end is recorded, for each end, and the end itself is no loss.
fn ends_in_mid_call(case_name: &str, code: i32) {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&["-v"], &case(&[case_name]));
    assert_eq!(recorded.code(), code, "{}", recorded.output.stderr);
    let truth = truth(&recorded.output.stdout).unwrap();
    let both = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_eq!(both.summary["lost_bytes"], 0, "{}", recorded.output.stderr);
    assert_eq!(both.summary["dropped_events"], 0, "{}", recorded.output.stderr);
    assert_ends(&recorded_ends(&both), truth, case_name);
    live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
}

#[test]
fn a_process_killed_while_it_waits_in_a_read() {
    ends_in_mid_call("die-in-read", 128 + SIGKILL);
}

#[test]
fn a_process_that_aborts_within_a_write() {
    ends_in_mid_call("die-in-write", 128 + SIGABRT);
}

/// The thread that waits is gone with the image, and its call never returns.
#[test]
fn a_process_that_executes_another_image_while_a_thread_waits_in_a_read() {
    ends_in_mid_call("exec-in-read", 0);
}

fn strained(live: &Live, options: &[&str], arguments: &[&str]) -> (Recorded, u64) {
    let program = bookkeeping();
    let options = [&["--lib", &program], options].concat();
    let command = [&[&*program], arguments].concat();
    let recorded = live.record(&options, &command).succeeded();
    let moved = recorded.output.stdout.trim().parse().unwrap();
    (recorded, moved)
}

fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("no {field}: {object}"))
}

fn recorded_bytes(listing: &Listing) -> u64 {
    let bytes = |s: &Value| number(s, "client_bytes") + number(s, "server_bytes");
    listing.streams.iter().map(bytes).sum()
}

#[test]
fn two_thousand_threads_in_calls_at_once() {
    let Some(live) = Live::start() else { return };
    let (recorded, moved) = strained(&live, &[], &["threads", "2000"]);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.streams.len(), 2000);
    assert_eq!(number(&listing.summary, "lost_bytes"), 0, "{}", recorded.output.stderr);
    assert_eq!(recorded_bytes(&listing), moved);
}

/// The second page of the buffer is behind the end of the file that it maps.
#[test]
fn memory_that_cannot_be_read_is_a_hole() {
    let Some(live) = Live::start() else { return };
    let (recorded, moved) = strained(&live, &[], &["fault"]);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    let lost = number(&listing.summary, "lost_bytes");
    assert!((4096..=8192).contains(&lost), "{lost}: {}", recorded.output.stderr);
    assert_eq!(recorded_bytes(&listing) + lost, moved);
    let stream = &listing.streams[0];
    assert_eq!(stream["complete"], false);
    assert!(stream["notes"].to_string().contains("read"), "{stream}");
}

/// Each is a process of its own, although its number and the address of its object are reused.
#[test]
fn processes_with_one_number() {
    let Some(live) = Live::start() else { return };
    let (recorded, moved) = strained(&live, &[], &["same-pid", "5"]);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.streams.len(), 5);
    assert_eq!(recorded_bytes(&listing), moved);
    let first = &listing.streams[0]["pid"];
    assert!(listing.streams.iter().all(|stream| stream["pid"] == *first));
    assert!(listing.streams.iter().all(|stream| stream["complete"] == true));
}

/// Entries of the recorder's tables, those that are arrays not counted: by the table's name.
fn entries(live: &Live, recorder: &Started) -> Vec<(String, usize)> {
    let held = held_by(recorder.pid());
    let maps = held.into_iter().filter(|(kind, _)| *kind == "map");
    maps.filter_map(|(_, id)| {
        let id = id.to_string();
        let map = live.succeed("/usr/sbin/bpftool", &["-j", "map", "show", "id", &id]);
        let map: Value = serde_json::from_str(&map).unwrap();
        let kind = map["type"].as_str()?;
        if !kind.ends_with("hash") {
            return None;
        }
        let dump = live.succeed("/usr/sbin/bpftool", &["-j", "map", "dump", "id", &id]);
        let dump: Value = serde_json::from_str(&dump).unwrap();
        Some((map["name"].as_str()?.to_owned(), dump.as_array()?.len()))
    })
    .collect()
}

fn resident_kib(recorder: &Started) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", recorder.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The recorder of a process that has made so many connections and has none now.
fn after_connections(live: &Live, count: &str) -> (Vec<(String, usize)>, u64) {
    let program = bookkeeping();
    let (files, mut sslrec) = live.sslrec(&["--lib", &program, "--fail-on-loss"]);
    let recorder = live.spawn(sslrec.args(["--", &program, "idle", count]));
    let idle = || read_lossy(&recorder.stderr).contains("idle").then_some(());
    within(Duration::from_secs(30), idle).expect("the connections");
    // Events that are in the ring by now are written.
    std::thread::sleep(Duration::from_secs(2));
    let found = (entries(live, &recorder), resident_kib(&recorder));
    recorder.signal(2);
    let recorded = files.finish(recorder.wait());
    assert!(recorded.output.stderr.contains("lost 0 events"), "{}", recorded.output.stderr);
    let listing = live.list(&recorded.raw, &[]);
    assert_eq!(listing.streams.len().to_string(), count);
    found
}

#[test]
fn nothing_is_kept_of_ten_thousand_connections() {
    let Some(live) = Live::start() else { return };
    let (few, few_kib) = after_connections(&live, "10");
    let (many, many_kib) = after_connections(&live, "10000");
    assert!(few.iter().any(|(name, _)| name == "conns"), "{few:?}");
    assert_eq!(many, few);
    assert!(many_kib < few_kib + 16 * 1024, "{few_kib} KiB, {many_kib} KiB");
}

/// The path is that of another file from then on: both are probed.
#[test]
fn a_library_that_is_replaced_while_it_is_mapped() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let library = text(folder.join("libssl.so.3"));
    // Ensures that the new file has another inode.
    fs::copy(&library, folder.join("new")).unwrap();
    let script = "\"$0\" pace 3 2000 100 & sleep 1; mv \"$1/new\" \"$1/libssl.so.3\"\n\
        \"$0\" exchange; wait";
    let (files, mut sslrec) = live.sslrec(&[]);
    sslrec.args(["--", "sh", "-c", script]).args(case(&[])).arg(&folder);
    let output = live.run(sslrec.env("LD_LIBRARY_PATH", &folder));
    let recorded = files.finish(output).succeeded();
    let truth = truth(&recorded.output.stdout).unwrap();
    assert_eq!(truth.len(), 4);
    let both = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_ends(&recorded_ends(&both), truth, "of the old file and of the new one");
}

/// The recorder's boot time there is not the machine's, which the kernel side uses.
#[test]
fn a_recorder_in_a_time_namespace() {
    let Some(live) = Live::start() else { return };
    let (files, _) = live.sslrec(&[]);
    let before = jiff::Timestamp::now();
    let mut unshare = Command::new("unshare");
    unshare.args(["--time", "--fork", "--boottime", "1000000", "--monotonic", "500000"]);
    unshare.arg(SSLREC).arg("-w").arg(&files.pcapng).arg("-w").arg(&files.raw).arg("--");
    let output = live.run(unshare.args(case(&["exchange"])));
    let recorded = files.finish(output).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    let times = [&listing.streams[0]["time"], &listing.summary["end"]];
    for time in times {
        let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
        assert!(before < time && time < jiff::Timestamp::now(), "{time}");
    }
}
