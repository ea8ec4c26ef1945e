//! The cost of a TLS call: over a BIO pair on a single thread, only the library and the recorder's
//! additional work are measured.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::empty_pair::EmptyPair;
use crate::measure::{Samples, interleaved};
use crate::programs::Gated;
use crate::recording::Recording;
use crate::report::{Report, Row};
use crate::setup::Setup;

const ROUNDS: usize = 5;

/// Bytes per message, and messages; a reading program makes as many calls as there are records.
const SIZES: [(u64, u64); 4] =
    [(64, 40_000), (1 << 10, 40_000), (16 << 10, 15_000), (256 << 10, 1000)];

/// The probes that are attached while a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    Nothing,
    EmptyPair,
    /// The library was tested before.
    Sslrec,
    /// The library belongs to another user, so that it is on trial during the recording.
    TriedInTheRun,
    WithoutPlacement,
}

impl Variant {
    /// Returns the variants to compare.
    pub(crate) fn all(setup: &Setup) -> Vec<Self> {
        let mut all = vec![Self::Nothing, Self::EmptyPair, Self::Sslrec];
        if setup.has_placement {
            all.push(Self::WithoutPlacement);
        }
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing attached",
            Self::EmptyPair => "empty entry+return pair",
            Self::Sslrec => "sslrec",
            Self::TriedInTheRun => "sslrec, tried in the run",
            Self::WithoutPlacement => "sslrec, return probes",
        }
    }

    /// Returns the recorder's options; `None` if no recorder runs.
    pub(crate) fn options(self, setup: &Setup) -> Option<Vec<String>> {
        let mut options = vec!["--lib".to_owned(), setup.libssl().display().to_string()];
        match self {
            Self::Nothing | Self::EmptyPair => return None,
            Self::Sslrec | Self::TriedInTheRun => {}
            Self::WithoutPlacement => options.extend(["--without", "placement"].map(str::to_owned)),
        }
        Some(options)
    }
}

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let mut variants = Variant::all(setup);
    if setup.has_placement {
        variants.push(Variant::TriedInTheRun);
    }
    let mut report = Report::new("Cost of a TLS call, BIO pair on one thread, medians");
    for (size, count) in SIZES {
        eprintln!("cost: {}", label(size));
        let mut failures = Vec::new();
        let samples = interleaved(setup.rounds(ROUNDS), &variants, |&variant| {
            measure(setup, variant, setup.count(count), size, &mut failures)
        })?;
        add_rows(&mut report, size, &variants, &samples);
        report.failures.append(&mut failures);
    }
    report.note("extra_us: beyond nothing attached; of_empty: as a part of the empty pair's extra");
    Ok(report)
}

fn add_rows(report: &mut Report, size: u64, variants: &[Variant], samples: &[Samples]) {
    let medians: Vec<f64> = samples.iter().map(Samples::median).collect();
    let of = |which| variants.iter().position(|&v| v == which).map_or(f64::NAN, |at| medians[at]);
    let alone = of(Variant::Nothing);
    let empty_extra = of(Variant::EmptyPair) - alone;
    if empty_extra <= 0.0 {
        report.failures.push(format!("{}: the empty pair costs nothing", label(size)));
    }
    for ((variant, samples), median) in variants.iter().zip(samples).zip(&medians) {
        let mut row = Row::new([("size", &label(size)), ("attached", variant.name())])
            .with("us_per_call", *median, 2)
            .with("min_us", samples.min(), 2)
            .with("max_us", samples.max(), 2);
        if *variant != Variant::Nothing {
            row = row.with("extra_us", median - alone, 2).with(
                "of_empty",
                (median - alone) / empty_extra,
                2,
            );
        }
        report.row(row);
    }
}

/// The copy of libssl, owned by another user until this is dropped.
struct Owner(PathBuf);

impl Owner {
    fn change(setup: &Setup) -> Result<Self> {
        /// `nobody` on every Linux.
        const NOBODY: u32 = 65534;
        let library = setup.libssl();
        chown(&library, Some(NOBODY), None)?;
        Ok(Self(library))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // If this fails, the next variant is measured like this variant, and the report shows it.
        let _ = chown(&self.0, Some(0), None);
    }
}

/// Returns microseconds per call.
fn measure(
    setup: &Setup,
    variant: Variant,
    count: u64,
    size: u64,
    failures: &mut Vec<String>,
) -> Result<f64> {
    let arguments = ["bench-bio".to_owned(), count.to_string(), size.to_string()];
    let program = Gated::start(setup, &setup.tls_cases, &arguments)?;
    let _owner = (variant == Variant::TriedInTheRun).then(|| Owner::change(setup)).transpose()?;
    let Some(mut options) = variant.options(setup) else {
        let _pair =
            (variant == Variant::EmptyPair).then(|| EmptyPair::attach(setup)).transpose()?;
        return us_per_call(&program.result()?);
    };
    let capture = setup.path("cost.pcapng");
    options.extend(["-w".to_owned(), capture.display().to_string()]);
    let recording = Recording::start(&[program.pid()], &options)?;
    let said = program.result()?;
    let totals = recording.finish()?.totals;
    fs::remove_file(&capture)?;
    let calls = said["calls"].as_u64().context("no calls")?;
    // Each byte is written at an end and read at the other.
    let bytes = 2 * said["bytes"].as_u64().context("no bytes")?;
    if !totals.is_whole() || (totals.calls, totals.bytes) != (calls, bytes) {
        failures.push(format!(
            "{}, {}: {calls} calls and {bytes} bytes; recorded: {totals}",
            label(size),
            variant.name()
        ));
    }
    us_per_call(&said)
}

fn us_per_call(said: &serde_json::Value) -> Result<f64> {
    match said["ns_per_call"].as_f64() {
        Some(ns) if ns > 0.0 => Ok(ns / 1e3),
        _ => bail!("no time per call: {said}"),
    }
}

/// Returns `64 B`, `16 KiB`.
pub(crate) fn label(size: u64) -> String {
    if size < 1 << 10 { format!("{size} B") } else { format!("{} KiB", size >> 10) }
}
