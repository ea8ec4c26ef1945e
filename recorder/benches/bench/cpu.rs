//! The recorder's own processor time: per million calls of 1 KiB, into a file in memory.

use std::fs;

use anyhow::{Result, bail};

use crate::measure::Samples;
use crate::programs::Gated;
use crate::recording::Recording;
use crate::report::{Report, Row};
use crate::setup::Setup;

const ROUNDS: usize = 3;
const CALLS: u64 = 400_000;

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let calls = setup.count(CALLS);
    let mut report = Report::new(format!("Processor time of the recorder, {calls} calls of 1 KiB"));
    let formats = [("pcapng", "cpu.pcapng"), ("raw log", "cpu.zst")];
    let mut samples = formats.map(|_| (Samples::default(), Samples::default()));
    for round in 1..=setup.rounds(ROUNDS) {
        eprintln!("cpu: round {round}");
        for ((_, file), (idle, whole)) in formats.iter().zip(&mut samples) {
            idle.push(cpu_seconds(setup, file, 0, &mut report)?);
            whole.push(cpu_seconds(setup, file, calls, &mut report)?);
        }
    }
    for ((format, _), (idle, whole)) in formats.iter().zip(&samples) {
        let (idle, whole) = (idle.median(), whole.median());
        let row = Row::new([("format", format)])
            .with("cpu_s", whole, 3)
            .with("cpu_s_without_calls", idle, 3)
            .with("cpu_s_per_million_calls", (whole - idle) * 1e6 / calls as f64, 2);
        report.row(row);
    }
    report.note("without calls: start, load, attach, detach and the end of the same program");
    Ok(report)
}

fn cpu_seconds(setup: &Setup, file: &str, calls: u64, report: &mut Report) -> Result<f64> {
    let arguments = ["bench-bio".to_owned(), (calls / 2).to_string(), "1024".to_owned()];
    let mut program = Gated::start(setup, &setup.tls_cases, &arguments)?;
    let (capture, library) = (setup.path(file), setup.libssl());
    let options = ["--lib".as_ref(), library.as_os_str(), "-w".as_ref(), capture.as_os_str()];
    let recording = Recording::start(&[program.pid()], &options)?;
    program.go()?;
    program.output()?;
    let recorded = recording.finish()?;
    fs::remove_file(&capture)?;
    if recorded.totals.calls != calls {
        bail!("{calls} calls; recorded: {}", recorded.totals);
    }
    if !recorded.totals.is_whole() {
        report.failures.push(format!("{file}: {}", recorded.totals));
    }
    Ok(recorded.usage.cpu_seconds)
}
