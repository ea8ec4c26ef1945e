//! Writing and reading of both files, without a recorder: the benchmark of `sslrec-formats`, with
//! its figures copied into this report.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::succeed;
use crate::report::{Report, Row};

pub(crate) fn run() -> Result<Report> {
    eprintln!("files: cargo bench -p sslrec-formats");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["bench", "--quiet", "--package", "sslrec-formats", "--bench", "throughput"]);
    let output = succeed(cargo.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    let mut report = Report::new("Files, written to memory and read from it");
    let (mut group, mut rows) = ("", 0);
    for line in output.lines().filter(|line| !line.is_empty()) {
        if !line.starts_with(' ') {
            group = line.split(',').next().unwrap_or(line);
        } else if let Some((what, mib, ns)) = figures(line) {
            let row = Row::new([("size", group), ("work", &what)]);
            report.row(row.with("mib_per_s", mib, 0).with("ns_per_record", ns, 0));
            rows += 1;
        }
    }
    if rows == 0 {
        bail!("the benchmark printed no figures: {output}");
    }
    Ok(report)
}

/// Parses `  WHAT  N MiB/s  N ns a record`.
fn figures(line: &str) -> Option<(String, f64, f64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let unit = words.iter().position(|&word| word == "MiB/s")?;
    let mib = words.get(unit.checked_sub(1)?)?.parse().ok()?;
    let ns = words.get(unit + 1)?.parse().ok()?;
    Some((words[..unit - 1].join(" "), mib, ns))
}
