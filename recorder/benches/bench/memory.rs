//! Memory of the recorder: over some time of work, and by the number of connections and processes.
//! `fake_tls` creates these faster than any handshake would permit.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::programs::{Gated, memory};
use crate::recording::Recording;
use crate::report::{Report, Row};
use crate::setup::Setup;

const SECONDS: u64 = 15;
const SAMPLES: u32 = 5;

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let mut report = Report::new("Memory of the recorder, pcapng");
    over_time(setup, &mut report)?;
    for count in [1, 100, 1000, 10_000] {
        eprintln!("memory: {count} connections");
        let peak = peak(setup, &["kept".to_owned(), count.to_string()])?;
        report.row(
            Row::new([("after", &format!("{count} connections at once"))])
                .with("peak_mib", peak, 1),
        );
    }
    for count in [1, 100, 1000] {
        eprintln!("memory: {count} processes");
        let peak = peak(setup, &["processes".to_owned(), count.to_string(), "1".to_owned()])?;
        report.row(
            Row::new([("after", &format!("{count} processes in turn"))]).with("peak_mib", peak, 1),
        );
    }
    report.note("the kernel's buffer (--ring-size) is counted once it has been used");
    Ok(report)
}

/// Measures a connection without a pause.
fn over_time(setup: &Setup, report: &mut Report) -> Result<()> {
    let total = Duration::from_secs(setup.count(SECONDS).max(1));
    eprintln!("memory: {total:?} without a pause");
    let milliseconds = total.as_millis().to_string();
    let (mut program, recording) = start(setup, &["flood".to_owned(), milliseconds])?;
    program.go()?;
    let start = Instant::now();
    for sample in 1..=SAMPLES {
        // Before the end, at which the recorder exits.
        let due = total.mul_f64(0.95) * sample / SAMPLES;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let rss = memory(recording.pid(), "VmRSS:").context("the recorder has left")?;
        let label = format!("{:.1} s of work", due.as_secs_f64());
        report.row(Row::new([("after", &label)]).with("rss_mib", mib(rss), 1));
    }
    finish(setup, program, recording).map(drop)
}

/// Returns the most memory that an entire recording used, in MiB.
fn peak(setup: &Setup, arguments: &[String]) -> Result<f64> {
    let (mut program, recording) = start(setup, arguments)?;
    program.go()?;
    finish(setup, program, recording).map(mib)
}

fn start(setup: &Setup, arguments: &[String]) -> Result<(Gated, Recording)> {
    let program = Gated::start(setup, &setup.fake_tls, arguments)?;
    let capture = setup.path("memory.pcapng");
    let options =
        ["--lib".as_ref(), setup.fake_tls.as_os_str(), "-w".as_ref(), capture.as_os_str()];
    let recording = Recording::start(&[program.pid()], &options)?;
    Ok((program, recording))
}

fn finish(setup: &Setup, program: Gated, recording: Recording) -> Result<u64> {
    program.output()?;
    let recorded = recording.finish()?;
    fs::remove_file(setup.path("memory.pcapng"))?;
    Ok(recorded.usage.peak_bytes)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
