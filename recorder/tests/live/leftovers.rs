//! Nothing stays in the kernel when the recorder has ended, however it ended.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::server::Nginx;
use crate::support::{Live, within};

fn ids(live: &Live, kind: &str) -> Vec<(u64, Value)> {
    let objects: Value =
        serde_json::from_str(&live.succeed("/usr/sbin/bpftool", &["-j", kind, "show"])).unwrap();
    let objects = objects.as_array().unwrap().clone();
    objects.into_iter().map(|object| (object["id"].as_u64().unwrap(), object)).collect()
}

/// Ids of the programs, maps and links that a process holds.
fn held_by(live: &Live, pid: u32) -> BTreeSet<(&'static str, u64)> {
    let mut held = BTreeSet::new();
    for kind in ["prog", "map", "link"] {
        for (id, object) in ids(live, kind) {
            let holders = object["pids"].as_array().cloned().unwrap_or_default();
            if holders.iter().any(|holder| holder["pid"] == pid) {
                held.insert((kind, id));
            }
        }
    }
    held
}

fn still_there(live: &Live, held: &BTreeSet<(&'static str, u64)>) -> Vec<(&'static str, u64)> {
    let mut left = Vec::new();
    for kind in ["prog", "map", "link"] {
        let now: BTreeSet<u64> = ids(live, kind).into_iter().map(|(id, _)| id).collect();
        left.extend(held.iter().filter(|(k, id)| *k == kind && now.contains(id)).copied());
    }
    left
}

fn leaves_nothing(signal: i32) {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let running = live.attach(&["-p", &nginx.master_pid().to_string()]);
    let held = held_by(&live, running.started().pid());
    for kind in ["prog", "map", "link"] {
        assert!(held.iter().any(|(k, _)| *k == kind), "bpftool names the recorder's {kind}s");
    }
    running.stop(signal);
    // The kernel releases programs after a grace period.
    let gone =
        within(Duration::from_secs(10), || still_there(&live, &held).is_empty().then_some(()));
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
