//! Nothing grows with time: a short cousin of `make bench BENCH=soak`.

use std::fs;
use std::time::Duration;

use crate::assert_truth::{assert_ends, assert_nothing_lost, recorded_ends};
use crate::peers::{case, truth};
use crate::rotation::{files, together};
use crate::support::{Live, within};

/// Short processes beside a connection that stays.
const TRAFFIC: &str = "\"$1\" pace 10 64 4096 & \
                       for i in $(seq 40); do \"$1\" exchange; sleep 0.15; done; wait";

/// Resources of the recorder: anonymous memory in KiB, and open descriptors.
fn sample(pid: u32) -> Option<(u64, usize)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let memory = line.split_whitespace().next()?.parse().ok()?;
    Some((memory, fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count()))
}

#[test]
fn memory_and_descriptors_stay_as_they_are_and_every_byte_is_in_a_file() {
    let Some(live) = Live::start() else { return };
    let program = case(&[]).remove(0);
    let (captures, mut sslrec) = live.sslrec(&["-G", "0.4", "-W", "1000"]);
    sslrec.args(["--", "sh", "-c", TRAFFIC, "sh", &program]);
    let started = live.spawn(&mut sslrec);
    let begun = || started.stdout.metadata().is_ok_and(|stdout| stdout.len() > 0).then_some(());
    assert!(within(Duration::from_secs(20), begun).is_some(), "nothing was recorded");
    let mut samples = Vec::new();
    while let Some(sample) = sample(started.pid()) {
        samples.push(sample);
        std::thread::sleep(Duration::from_millis(100));
    }
    let recorded = captures.finish(started.wait()).succeeded();

    // Without the end, when the files are completed and the report is made.
    let samples = &samples[samples.len() / 4..samples.len() - 10];
    assert!(samples.len() > 50, "{} samples", samples.len());
    let half = samples.len() / 2;
    let most = |samples: &[(u64, usize)]| samples.iter().map(|sample| sample.0).max().unwrap();
    let (before, after) = (most(&samples[..half]), most(&samples[half..]));
    assert!(after < before + 2048, "memory went from {before} to {after} KiB");
    let descriptors = samples.iter().map(|sample| sample.1);
    let (fewest, most) = (descriptors.clone().min().unwrap(), descriptors.max().unwrap());
    assert!(most <= fewest + 3, "{fewest} descriptors became {most}");

    let raw = files(&recorded.raw);
    assert!(raw.len() > 15 && files(&recorded.pcapng).len() > 15, "{} files", raw.len());
    let both = together(&live, &raw, &["--both-ends"]);
    assert_nothing_lost(&both);
    let truth = truth(&recorded.output.stdout).unwrap();
    assert_eq!(truth.len(), 2 * 41);
    assert_ends(&recorded_ends(&both), truth, "all files of the raw log");
}
