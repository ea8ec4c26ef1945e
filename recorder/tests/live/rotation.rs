//! A recording that is spread over files: each is complete for every tool, and together they
//! contain all sent data.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::listing::{Listing, bytes_of};
use crate::peers::{case, truth};
use crate::support::{Live, Recorded, within};

const SIGKILL: i32 = 9;

/// 256 calls of 4 KiB a second, for two seconds: a single connection, recorded at both ends.
const CALLS: [&str; 4] = ["pace", "2", "256", "4096"];

/// A recording with these options, and the bytes that the client sent.
fn spread(live: &Live, options: &[&str]) -> (Recorded, u64) {
    let recorded = live.record(options, &case(&CALLS)).succeeded();
    let sent = truth(&recorded.output.stdout).unwrap()[0].from_client.0;
    assert!(sent >= 1 << 20, "only {sent} bytes");
    (recorded, sent)
}

/// The files of a series, oldest first.
pub(crate) fn files(file: &Path) -> Vec<PathBuf> {
    let stem = format!("{}-", file.file_stem().unwrap().to_str().unwrap());
    let is_part = |path: &PathBuf| {
        path.extension() == file.extension()
            && path.file_name().unwrap().to_str().unwrap().starts_with(&stem)
    };
    let folder = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).filter(is_part).collect();
    files.sort();
    files
}

pub(crate) fn together(live: &Live, files: &[PathBuf], options: &[&str]) -> Listing {
    let more: Vec<_> = files[1..].iter().map(|file| file.to_str().unwrap()).collect();
    live.list(&files[0], &[&["--bodies"], options, &more[..]].concat())
}

#[test]
fn files_of_a_size_are_whole_alone_and_together() {
    let Some(live) = Live::start() else { return };
    let (recorded, sent) = spread(&live, &["-C", "1M"]);
    let pcapngs = files(&recorded.pcapng);
    assert!(pcapngs.len() as u64 >= sent / (2 << 20), "{pcapngs:?}");
    for file in &pcapngs {
        let len = std::fs::metadata(file).unwrap().len();
        assert!(len < 3 << 19, "{len} bytes in {}", file.display());
        let warnings = live.tshark(file, &["-q", "-z", "expert,warn"]);
        assert_eq!(warnings.trim(), "", "{}", file.display());
    }
    let mut alone = 0;
    for file in &pcapngs {
        let listing = live.list(file, &["--bodies"]);
        assert_eq!(listing.summary["lost_bytes"], 0, "{}", file.display());
        alone +=
            listing.streams.iter().map(|s| bytes_of(s, "client_data").len() as u64).sum::<u64>();
    }
    assert_eq!(alone, sent, "each byte is in one file");
    let listing = together(&live, &pcapngs, &[]);
    assert_eq!(listing.streams.len(), 1);
    assert_eq!(bytes_of(&listing.streams[0], "client_data").len() as u64, sent);
    assert_eq!(listing.streams[0]["complete"], true);
    assert_eq!(listing.summary["lost_bytes"], 0);
}

#[test]
fn only_the_last_files_are_kept() {
    let Some(live) = Live::start() else { return };
    let (recorded, sent) = spread(&live, &["-G", "0.4", "-W", "2"]);
    for file in [&recorded.pcapng, &recorded.raw] {
        let kept = files(file);
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(!kept[0].to_str().unwrap().contains("-00001"), "the first ones went: {kept:?}");
        let listing = together(&live, &kept, &[]);
        let bytes = bytes_of(&listing.streams[0], "client_data").len() as u64;
        assert!((1..sent).contains(&bytes), "the last part: {bytes}");
        assert_eq!(listing.summary["lost_bytes"], 0);
        let notes = listing.streams[0]["notes"].to_string();
        assert!(notes.contains("earlier file"), "{notes}");
    }
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("older ones removed"), "{stderr}");
}

#[test]
fn a_killed_recorder_leaves_whole_files_and_one_that_is_not_closed() {
    let Some(live) = Live::start() else { return };
    let (recorded, mut sslrec) = live.sslrec(&["-C", "256K"]);
    let started = live.spawn(sslrec.arg("--").args(case(&["pace", "4", "256", "4096"])));
    let enough = || (files(&recorded.pcapng).len() > 4).then_some(());
    within(Duration::from_secs(30), enough).expect("some files");
    started.signal(SIGKILL);
    started.wait();
    for file in [&recorded.pcapng, &recorded.raw] {
        let mut series = files(file);
        let last = live.list_damaged(&series.pop().unwrap(), &[]);
        assert_eq!(last.summary["closed"], false, "{}", last.stderr);
        assert!(last.stderr.contains("not closed"), "{}", last.stderr);
        for file in series {
            assert_eq!(live.list(&file, &[]).stderr, "");
        }
    }
}

#[test]
fn a_stream_to_a_pipe_has_no_second_file() {
    let Some(live) = Live::start() else { return };
    let mut sslrec = std::process::Command::new(crate::support::SSLREC);
    let output = live.run(sslrec.args(["-C", "1M", "-w", "-", "--", "true"]));
    assert_eq!(output.code(), 1);
    assert!(output.stderr.contains("single stream"), "{}", output.stderr);
}
