//! One connection over loopback at the full speed of a client and a server thread, both recorded
//! with the default ring: measures the recorded bytes, as found in the file by `sslanalyze`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::succeed;
use crate::cost::label;
use crate::measure::Samples;
use crate::programs::Gated;
use crate::recording::Recording;
use crate::report::{Report, Row};
use crate::setup::Setup;

const ROUNDS: usize = 3;

/// Bytes a message, and messages.
const SIZES: [(u64, u64); 4] =
    [(64, 200_000), (1 << 10, 150_000), (16 << 10, 30_000), (256 << 10, 2000)];

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let mut report = Report::new("Loopback connection at full speed, both ends recorded");
    for (size, count) in SIZES {
        let (mut alone, mut recorded) = (Samples::default(), Samples::default());
        let (mut sent, mut kept, mut lost) = (0, 0, 0);
        for round in 1..=setup.rounds(ROUNDS) {
            eprintln!("loss: {}, round {round}", label(size));
            let arguments = ["rush".to_owned(), setup.count(count).to_string(), size.to_string()];
            let said = Gated::start(setup, &setup.tls_cases, &arguments)?.result()?;
            alone.push(mib_per_second(&said)?);
            let run = Run::record(setup, &arguments)?;
            recorded.push(run.mib_per_second);
            sent += setup.count(count) * size;
            kept += run.kept;
            lost += run.lost;
        }
        if kept != sent || lost > 0 {
            report.failures.push(format!("{}: {kept} of {sent} bytes, lost {lost}", label(size)));
        }
        let row = Row::new([("size", &label(size))])
            .with("mib_per_s_untraced", alone.median(), 1)
            .with("mib_per_s", recorded.median(), 1)
            .with("sent_bytes", sent as f64, 0)
            .with("kept_bytes", kept as f64, 0)
            .with("lost_bytes", lost as f64, 0);
        report.row(row);
    }
    report.note("kept: from the client, in the pcapng; lost: at both ends");
    Ok(report)
}

struct Run {
    mib_per_second: f64,
    kept: u64,
    lost: u64,
}

impl Run {
    fn record(setup: &Setup, arguments: &[String]) -> Result<Self> {
        let program = Gated::start(setup, &setup.tls_cases, arguments)?;
        let (capture, library) = (setup.path("loss.pcapng"), setup.libssl());
        let options = ["--lib".as_ref(), library.as_os_str(), "-w".as_ref(), capture.as_os_str()];
        let recording = Recording::start(&[program.pid()], &options)?;
        let said = program.result()?;
        let totals = recording.finish()?.totals;
        let kept = kept_bytes(setup, &capture)?;
        fs::remove_file(&capture)?;
        let lost = totals.lost_bytes.max(totals.lost_events);
        Ok(Self { mib_per_second: mib_per_second(&said)?, kept, lost })
    }
}

/// Returns the bytes that the client sent, less the holes.
fn kept_bytes(setup: &Setup, capture: &Path) -> Result<u64> {
    let mut sslanalyze = Command::new(&setup.sslanalyze);
    let listing = succeed(sslanalyze.arg("--json").arg(capture))?;
    let first = listing.lines().next().context("an empty listing")?;
    let stream: Value = serde_json::from_str(first)?;
    stream["client_bytes"].as_u64().with_context(|| format!("no stream: {first}"))
}

fn mib_per_second(said: &Value) -> Result<f64> {
    let number = |field: &str| said[field].as_f64().with_context(|| format!("no {field}: {said}"));
    Ok(number("bytes")? / number("seconds")? / f64::from(1 << 20))
}
