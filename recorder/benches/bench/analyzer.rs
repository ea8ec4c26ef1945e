//! Listing all exchanges of a capture: `sslanalyze` on one core and on two, and tshark with the
//! nearest fields.
//!
//! tshark takes minutes where sslanalyze takes seconds, and its memory grows with the input; it
//! lists the first tenth of the connections, and the compared figure is bytes per second.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::measure::{Samples, interleaved};
use crate::messages::{AUTHORITY, Protocol};
use crate::programs::wait_with_usage;
use crate::report::{Report, Row};
use crate::setup::Setup;
use crate::traffic::{exchanges, write_both};

const ROUNDS: usize = 3;

/// Rounds of [`exchanges`], for about 1 GB of pcapng.
const CONNECTION_ROUNDS: u64 = 100;

/// Divisor for the part of the rounds that tshark lists.
const TSHARK_PART: u64 = 10;

const LIMIT: Duration = Duration::from_secs(600);

/// Processors, as `taskset -c` takes them.
const ONE: &str = "0";
const TWO: &str = "0,1";

/// Returns the packets to list, and their fields. A status at the end, preceded only by fields of
/// requests, marks an exchange.
fn tshark_arguments(protocol: Protocol) -> Vec<String> {
    let (filter, fields) = match protocol {
        Protocol::Http1 => {
            ("http", ["http.request.method", "http.request.full_uri", "http.response.code"])
        }
        Protocol::Http2 => (
            "http2.headers",
            ["http2.headers.method", "http2.headers.path", "http2.headers.status"],
        ),
    };
    ["-Y", filter, "-T", "fields", "-e", "frame.time_epoch", "-e", "tcp.stream"]
        .into_iter()
        .chain(fields.into_iter().flat_map(|field| ["-e", field]))
        .chain(["-r"])
        .map(str::to_owned)
        .collect()
}

/// A way to list a capture.
struct Lister {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    file: PathBuf,
    /// The part of a line that marks an exchange.
    mark: &'static str,
    /// Processors that it may use.
    processors: &'static str,
}

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let rounds = setup.count(CONNECTION_ROUNDS);
    let mut report = Report::new(format!("Listing {} exchanges, medians", exchanges(rounds)));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        list(setup, protocol, rounds, &mut report)?;
    }
    Ok(report)
}

fn list(setup: &Setup, protocol: Protocol, rounds: u64, report: &mut Report) -> Result<()> {
    let (pcapng, raw_log) = (setup.path("traffic.pcapng"), setup.path("traffic.zst"));
    write_both(&pcapng, &raw_log, protocol, rounds)?;
    let listers = listers(setup, &pcapng, &raw_log);
    let numbers: Vec<usize> = (0..listers.len()).collect();
    let mut peaks = listers.iter().map(|_| Samples::default()).collect::<Vec<_>>();
    let samples = interleaved(setup.rounds(ROUNDS), &numbers, |&at| {
        eprintln!("analyzer: {}, {}", protocol.name(), listers[at].name);
        let (seconds, peak_bytes) = measure(setup, &listers[at], exchanges(rounds))?;
        peaks[at].push(peak_bytes as f64);
        Ok(seconds)
    })?;
    let (part, part_rounds) = (setup.path("part.pcapng"), rounds.div_ceil(TSHARK_PART));
    write_both(&part, &setup.path("part.zst"), protocol, part_rounds)?;
    eprintln!("analyzer: {}, tshark", protocol.name());
    let tshark = tshark(protocol, &part);
    let (tshark_s, tshark_peak) = measure(setup, &tshark, exchanges(part_rounds))?;
    let megabytes = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.len() as f64 / 1e6);
    let (pcapng_mb, part_mb) = (megabytes(&pcapng)?, megabytes(&part)?);
    let tshark_rate = part_mb / tshark_s;
    let mut row = |lister: &Lister, mb: f64, seconds: f64, peak_bytes: f64| -> Result<()> {
        let case = [
            ("protocol", protocol.name()),
            ("program", lister.name),
            ("processors", lister.processors),
        ];
        let row = Row::new(case)
            .with("file_mb", megabytes(&lister.file)?, 0)
            .with("s", seconds, 2)
            .with("mb_of_pcapng_per_s", mb / seconds, 0)
            .with("times_tshark", mb / seconds / tshark_rate, 1)
            .with("peak_mib", peak_bytes / f64::from(1 << 20), 0);
        report.row(row);
        Ok(())
    };
    for ((lister, samples), peaks) in listers.iter().zip(&samples).zip(&peaks) {
        row(lister, pcapng_mb, samples.median(), peaks.median())?;
    }
    row(&tshark, part_mb, tshark_s, tshark_peak as f64)
}

fn listers(setup: &Setup, pcapng: &Path, raw_log: &Path) -> [Lister; 5] {
    let ours = |name, option: &str, file: &Path, mark, processors| Lister {
        name,
        program: setup.sslanalyze.clone(),
        arguments: option.split_whitespace().map(str::to_owned).collect(),
        file: file.to_owned(),
        mark,
        processors,
    };
    let json = "\"type\":\"exchange\"";
    [
        ours("sslanalyze", "", pcapng, AUTHORITY, TWO),
        ours("sslanalyze --json", "--json --threads 1", pcapng, json, ONE),
        ours("sslanalyze --json", "--json", pcapng, json, TWO),
        ours("sslanalyze --json, raw log", "--json --threads 1", raw_log, json, ONE),
        ours("sslanalyze --json, raw log", "--json", raw_log, json, TWO),
    ]
}

fn tshark(protocol: Protocol, pcapng: &Path) -> Lister {
    Lister {
        name: "tshark",
        program: "tshark".into(),
        arguments: tshark_arguments(protocol),
        file: pcapng.to_owned(),
        mark: "\t\t200",
        processors: TWO,
    }
}

/// Returns seconds, and the most memory used.
fn measure(setup: &Setup, lister: &Lister, exchanges: u64) -> Result<(f64, u64)> {
    let out = setup.path("listing");
    let child = Command::new("taskset")
        .args(["-c", lister.processors])
        .arg(&lister.program)
        .args(&lister.arguments)
        .arg(&lister.file)
        // Default preferences, regardless of this user's settings.
        .env("HOME", setup.path("nobody"))
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", lister.program.display()))?;
    let usage = wait_with_usage(&child, LIMIT)?;
    if usage.code != Some(0) {
        bail!("{} failed", lister.name);
    }
    let mut found = 0;
    for line in BufReader::new(File::open(&out)?).lines() {
        found += u64::from(line?.contains(lister.mark));
    }
    if found != exchanges {
        bail!("{} lists {found} exchanges, not {exchanges}", lister.name);
    }
    Ok((usage.seconds, usage.peak_bytes))
}
