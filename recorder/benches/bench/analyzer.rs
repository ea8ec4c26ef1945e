//! Listing all exchanges of a capture: `sslanalyze`, and tshark with the fields that come nearest.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::measure::{Samples, interleaved};
use crate::programs::wait_with_usage;
use crate::report::{Report, Row};
use crate::setup::Setup;
use crate::traffic::{Protocol, exchanges, write_both};

const ROUNDS: usize = 3;

/// Of [`exchanges`]; makes some 100 MB of pcapng.
const CONNECTION_ROUNDS: u64 = 10;

const LIMIT: Duration = Duration::from_secs(300);

const TSHARK_FIELDS: [&str; 5] = [
    "frame.time_epoch",
    "tcp.stream",
    "http.request.method",
    "http.request.full_uri",
    "http.response.code",
];

/// A way to list a capture.
struct Lister {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    file: PathBuf,
    /// What a line has that stands for one exchange.
    mark: &'static str,
}

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let rounds = setup.count(CONNECTION_ROUNDS);
    let (pcapng, raw_log) = (setup.path("traffic.pcapng"), setup.path("traffic.zst"));
    write_both(&pcapng, &raw_log, Protocol::Http1, rounds)?;
    let megabytes = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.len() as f64 / 1e6);
    let (count, pcapng_mb) = (exchanges(rounds), megabytes(&pcapng)?);
    let listers = listers(setup, &pcapng, &raw_log);
    let mut report = Report::new(format!(
        "Listing {count} HTTP/1.1 exchanges, {pcapng_mb:.0} MB of pcapng, {:.0} MB of raw log",
        megabytes(&raw_log)?
    ));
    let mut peaks = listers.iter().map(|_| Samples::default()).collect::<Vec<_>>();
    let samples = interleaved(setup.rounds(ROUNDS), &[0, 1, 2, 3], |&at: &usize| {
        eprintln!("analyzer: {}", listers[at].name);
        let (seconds, peak_bytes) = measure(setup, &listers[at], count)?;
        peaks[at].push(peak_bytes as f64);
        Ok(seconds)
    })?;
    for ((lister, samples), peaks) in listers.iter().zip(&samples).zip(&peaks) {
        let row = Row::new([("program", lister.name)])
            .with("s", samples.median(), 2)
            .with("mb_of_pcapng_per_s", pcapng_mb / samples.median(), 0)
            .with("peak_mib", peaks.median() / f64::from(1 << 20), 0);
        report.row(row);
    }
    Ok(report)
}

fn listers(setup: &Setup, pcapng: &Path, raw_log: &Path) -> [Lister; 4] {
    let ours = |name, option: &str, file: &Path, mark| Lister {
        name,
        program: setup.sslanalyze.clone(),
        arguments: option.split_whitespace().map(str::to_owned).collect(),
        file: file.to_owned(),
        mark,
    };
    let fields = TSHARK_FIELDS.iter().flat_map(|field| ["-e", field]);
    let arguments = ["-Y", "http", "-T", "fields"].into_iter().chain(fields);
    [
        ours("sslanalyze", "", pcapng, "server.example"),
        ours("sslanalyze --json", "--json", pcapng, "\"type\":\"exchange\""),
        ours("sslanalyze, raw log", "", raw_log, "server.example"),
        Lister {
            name: "tshark",
            program: "tshark".into(),
            arguments: arguments.chain(["-r"]).map(str::to_owned).collect(),
            file: pcapng.to_owned(),
            mark: "\t\t200",
        },
    ]
}

/// Seconds, and the most memory used.
fn measure(setup: &Setup, lister: &Lister, exchanges: u64) -> Result<(f64, u64)> {
    let out = setup.path("listing");
    let child = Command::new(&lister.program)
        .args(&lister.arguments)
        .arg(&lister.file)
        // Default preferences, whatever this user has set.
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
