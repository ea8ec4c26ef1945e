//! Nothing stays in the kernel when the recorder has ended, however it ended.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::server::Nginx;
use crate::support::{Live, read_lossy, signal, within};

const KINDS: [&str; 3] = ["prog", "map", "link"];

/// Ids of the kernel's BPF objects, whoever holds them.
fn present(live: &Live, kind: &str) -> BTreeSet<u64> {
    let output = live.succeed("/usr/sbin/bpftool", &["-j", kind, "show"]);
    let objects: Vec<Value> = serde_json::from_str(&output).unwrap();
    objects.iter().map(|object| object["id"].as_u64().unwrap()).collect()
}

/// Ids of the programs, maps and links whose descriptors a process holds.
pub(crate) fn held_by(pid: u32) -> BTreeSet<(&'static str, u64)> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        // A descriptor may be closed while we read.
        let Ok(info) = fs::read_to_string(entry.unwrap().path()) else { continue };
        for kind in KINDS {
            let label = format!("{kind}_id:");
            let ids = info.lines().filter_map(|line| line.strip_prefix(&label));
            held.extend(ids.map(|id| (kind, id.trim().parse::<u64>().unwrap())));
        }
    }
    held
}

fn still_there(live: &Live, held: &BTreeSet<(&'static str, u64)>) -> Vec<(&'static str, u64)> {
    let mut left = Vec::new();
    for kind in KINDS {
        let now = present(live, kind);
        left.extend(held.iter().filter(|(k, id)| *k == kind && now.contains(id)).copied());
    }
    left
}

fn leaves_nothing(signal: i32) {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let running = live.attach(&["-p", &nginx.master_pid().to_string()]);
    let held = held_by(running.started().pid());
    assert_eq!(still_there(&live, &held).len(), held.len(), "bpftool sees them all");
    for kind in KINDS {
        assert!(held.iter().any(|(k, _)| *k == kind), "it holds a {kind}");
    }
    running.stop(signal);
    // The kernel releases programs after a grace period.
    let gone =
        within(Duration::from_secs(10), || still_there(&live, &held).is_empty().then_some(()));
    assert!(gone.is_some(), "left in the kernel: {:?}", still_there(&live, &held));
}

/// There the recorder has a process of its own, which outlives it for a moment.
#[test]
fn a_killed_recorder_of_a_command_leaves_nothing_in_the_kernel() {
    let Some(live) = Live::start() else { return };
    let number = live.path("pid");
    let script = format!("echo $$ >{}; exec sleep 30", number.display());
    let (_, mut sslrec) = live.sslrec(&[]);
    let recorder = live.spawn(sslrec.args(["--", "sh", "-c", &script]));
    let recording = || read_lossy(&recorder.stderr).contains("recording").then_some(());
    within(Duration::from_secs(30), recording).expect("it records");
    let held = held_by(recorder.pid());
    assert_eq!(still_there(&live, &held).len(), held.len(), "bpftool sees them all");
    recorder.signal(9);
    recorder.wait();
    let gone =
        within(Duration::from_secs(10), || still_there(&live, &held).is_empty().then_some(()));
    signal(read_lossy(&number).trim().parse().unwrap(), 9);
    assert!(gone.is_some(), "left in the kernel: {:?}", still_there(&live, &held));
}

#[test]
fn a_clean_end_leaves_nothing_in_the_kernel() {
    leaves_nothing(2);
}

#[test]
fn a_killed_recorder_leaves_nothing_in_the_kernel() {
    leaves_nothing(9);
}
