//! Mixed traffic for twenty minutes into files that rotate: checks that nothing grows with time,
//! and that every byte is accounted for.
//!
//! While `traffic` runs programs with two libraries, the recorder's memory and descriptors are
//! sampled. Afterwards `books` reads all files of both kinds, and compares them with the programs'
//! output and with the kernel side's counters.

mod books;
mod traffic;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::books::Books;
use self::traffic::Traffic;
use crate::programs::memory;
use crate::recording::Recording;
use crate::report::{Report, Row};
use crate::setup::Setup;

/// Interval between samples of the recorder.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// The most that memory may grow over the last three quarters, in MiB: the part of event batches
/// that is first used when a burst is larger than all before it.
const GROWTH_MAX_MIB: f64 = 3.0;

/// Descriptors that may be open for a moment: the next file of each kind, and a file of `/proc`.
const DESCRIPTORS_MAX: usize = 3;

pub(crate) fn run(setup: &Setup, minutes: u64) -> Result<Report> {
    let time = Duration::from_secs(60 * if setup.quick { 1 } else { minutes });
    let files_every = if setup.quick { "3" } else { "20" };
    let mut report = Report::new(format!(
        "{} s of mixed traffic, both files, another one each {files_every} s",
        time.as_secs()
    ));
    // On disk: twenty minutes are too much for memory.
    let folder = tempfile::Builder::new().prefix("sslrec-soak-").tempdir()?;
    let traffic = Traffic::prepare(setup)?;
    let [pcapng, raw] =
        ["soak.pcapng", "soak.zst"].map(|name| folder.path().join(name).display().to_string());
    let libraries = traffic.libraries().map(|library| library.display().to_string());
    let options = [
        &["--lib", &libraries[0], "--lib", &libraries[1], "-G", files_every, "-W", "100000"][..],
        &["-w", &pcapng, "-w", &raw],
    ]
    .concat();
    // All programs are children of this process.
    let recording = Recording::start(&[std::process::id()], &options)?;
    let running = traffic.start(time)?;
    let samples = sample(&recording, time)?;
    let truth = running.finish()?;
    recording.stop()?;
    let totals = recording.finish()?.totals;
    let books = Books::read(folder.path())?;
    report.failures.extend(books.compare(&truth, &totals));
    flat(&samples, &mut report);
    let row = Row::new([("what", "accounted for")])
        .with("connections", books.connections() as f64, 0)
        .with("processes", books.processes as f64, 0)
        .with("files", books.files as f64, 0)
        .with("bytes", totals.bytes as f64, 0)
        .with("lost_bytes", totals.lost_bytes as f64, 0);
    report.row(row.with("of_programs_bytes", truth.bytes() as f64, 0));
    report.note("anonymous memory: RssAnon; growth: the slope by least squares times that period");
    Ok(report)
}

/// The recorder's resources at a moment.
struct Sample {
    seconds: f64,
    memory_mib: f64,
    descriptors: usize,
}

fn sample(recording: &Recording, time: Duration) -> Result<Vec<Sample>> {
    let start = Instant::now();
    let mut samples = Vec::new();
    let mut said = 0;
    while start.elapsed() < time {
        std::thread::sleep(SAMPLE_EVERY);
        let pid = recording.pid();
        let bytes = memory(pid, "RssAnon:").context("the recorder has ended")?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let seconds = start.elapsed().as_secs_f64();
        let memory_mib = bytes as f64 / f64::from(1 << 20);
        samples.push(Sample { seconds, memory_mib, descriptors });
        if start.elapsed().as_secs() / 60 > said {
            said = start.elapsed().as_secs() / 60;
            eprintln!("soak: {said} min, {memory_mib:.1} MiB, {descriptors} descriptors");
        }
    }
    Ok(samples)
}

/// Checks that memory and descriptors did not change.
fn flat(samples: &[Sample], report: &mut Report) {
    for (quarter, part) in samples.chunks(samples.len().div_ceil(4).max(1)).enumerate() {
        let memory = part.iter().map(|sample| sample.memory_mib);
        let descriptors = part.iter().map(|sample| sample.descriptors);
        let mean = memory.clone().sum::<f64>() / part.len() as f64;
        let row = Row::new([("what", &format!("quarter {}", quarter + 1))])
            .with("anonymous_mib", mean, 1)
            .with("most_mib", memory.fold(0.0, f64::max), 1)
            .with("descriptors", descriptors.max().unwrap_or(0) as f64, 0);
        report.row(row);
    }
    let settled = &samples[samples.len() / 4..];
    let growth = growth(settled);
    report.row(Row::new([("what", "last three quarters")]).with("growth_mib", growth, 2));
    if growth > GROWTH_MAX_MIB {
        report.failures.push(format!("memory grew by {growth:.2} MiB"));
    }
    let descriptors = settled.iter().map(|sample| sample.descriptors);
    let (least, most) = (descriptors.clone().min(), descriptors.max());
    if most.zip(least).is_none_or(|(most, least)| most - least > DESCRIPTORS_MAX) {
        report.failures.push(format!("descriptors went from {least:?} to {most:?}"));
    }
}

/// Returns the slope of memory by least squares, times the sampled time, in MiB.
fn growth(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (mean_time, mean_memory) = (mean(|sample| sample.seconds), mean(|one| one.memory_mib));
    let (mut together, mut square) = (0.0, 0.0);
    for sample in samples {
        let time = sample.seconds - mean_time;
        together += time * (sample.memory_mib - mean_memory);
        square += time * time;
    }
    let first_and_last = samples.first().zip(samples.last());
    let time = first_and_last.map_or(0.0, |(first, last)| last.seconds - first.seconds);
    if square > 0.0 { together / square * time } else { 0.0 }
}
