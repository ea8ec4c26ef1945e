//! `check`: tests a capture against rules, for people and for CI jobs.
//!
//! Rules come from flags and from a TOML file. [`rules`] parses them; its errors name the place and
//! the allowed values. Each item is tested once against each rule, and only the first violations of
//! a rule are kept, so that a long capture takes no memory. Queries are never printed: a report has
//! more readers than a capture, and queries contain secrets.

mod junit;
mod report;
mod rules;
mod secrets;

use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::ItemSink;

use self::rules::{Given, Rule};
use super::new_file;
use super::reading::{Reading, Wanted, flush, read, stdout};
use crate::exit::Usage;
use crate::flow;

/// End of the long help.
const HELP: &str = "\
Rules are given as options, or in a TOML file under the same names:

  allowed_hosts = [\"api.example.org\", \"*.internal\"]
  max_status = 399
  max_duration = \"2s\"
  max_requests = [\"api.example.org=10\"]
  no_secrets_in_urls = true
  no_incomplete = true
  required_headers = [\"request.x-request-id\"]
  forbidden_headers = [\"response.server\"]
  forbid = [\"method=DELETE\"]
  require = [\"proto=h2\"]

  [[rule]]
  name = \"orders answer quickly\"
  forbid = 'path~\"^/orders\" and duration>200ms'

Rules are about exchanges; allowed hosts, incompleteness and `forbid` also about
connections that are not HTTP; `forbid` also about TLS handshakes if its filter
selects them: 'type=handshake and ok=false'. A rule without any item to check
passes; the report has the number of items that each rule checked.

Exit status: 0 all rules pass; 1 a rule is violated, or FILE is damaged or
unreadable; 2 a rule is invalid.

Example:
  sslanalyze check capture.pcapng --max-status 399 --junit check.xml";

/// Check a capture against rules; report as text, JSON or JUnit XML
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Check {
    /// The capture; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Read rules from this TOML file; repeatable, options add to them
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,

    #[command(flatten)]
    given: Given,

    /// Print a JSON object per rule, the last line is a summary
    #[arg(long)]
    json: bool,

    /// Also write the results as JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,
}

fn usage(error: rules::Error) -> Usage {
    Usage(error.to_string())
}

/// Runs `sslanalyze check`.
pub(super) fn run(check: &Check) -> Result<()> {
    let mut rules = check.given.rules("--").map_err(usage)?;
    for path in &check.rules {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let given = Given::from_toml(&name, &text);
        rules.extend(given.and_then(|given| given.rules(&format!("{name}: "))).map_err(usage)?);
    }
    if rules.is_empty() {
        return Err(usage(rules::Error::none()).into());
    }
    // Open the file before the long work, to fail early.
    let junit = check.junit.as_ref().map(|path| {
        let name = path.display().to_string();
        anyhow::Ok((name, BufWriter::new(new_file::report(path, &check.file)?)))
    });
    let junit = junit.transpose()?;
    let mut checked = Checked { rules, exchanges: 0, streams: 0 };
    let wanted = Wanted { handshakes: true, ..Wanted::default() };
    let done = read(&check.file, &check.reading, wanted, &mut checked)?;
    checked.rules.iter_mut().for_each(|rule| rule.conclude(&done.summary));
    let damage = done.end().err();
    let name = check.file.display().to_string();
    if let Some((path, mut out)) = junit {
        let written = junit::write(&mut out, &name, &checked, damage.as_ref());
        written.and_then(|()| flush(&mut out)).with_context(|| format!("cannot write {path}"))?;
    }
    let mut out = stdout();
    if check.json {
        report::json(&mut out, &checked)?;
    } else {
        report::text(&mut out, &checked)?;
    }
    flush(&mut out)?;
    match (damage, checked.failed()) {
        (Some(damage), _) => Err(damage),
        (None, 0) => Ok(()),
        (None, failed) => Err(anyhow!("{failed} of {} rules do not hold", checked.rules.len())),
    }
}

/// The result of the check, up to the damage if there was any.
struct Checked {
    rules: Vec<Rule>,
    exchanges: u64,
    streams: u64,
}

impl Checked {
    fn failed(&self) -> usize {
        self.rules.iter().filter(|rule| rule.outcome().failed > 0).count()
    }
}

impl ItemSink for Checked {
    fn item(&mut self, item: Item) -> Flow {
        flow::of(self.take(item))
    }
}

impl Checked {
    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Exchange(_) => self.exchanges += 1,
            Item::Stream(_) => self.streams += 1,
            Item::Handshake(_) => {}
        }
        self.rules.iter_mut().for_each(|rule| rule.check(&item));
        Ok(())
    }
}
