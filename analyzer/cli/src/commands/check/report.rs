//! The outcome of a check, as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;
use sslrec_cli::text::Printable;

use super::Checked;
use super::rules::Rule;

use crate::safe_json;

/// Maximum number of findings of a rule in the text.
const SHOWN: usize = 10;

/// Writes the result for people.
pub(super) fn text(out: &mut impl Write, checked: &Checked) -> io::Result<()> {
    for rule in &checked.rules {
        let outcome = rule.outcome();
        let name = Printable(&rule.name);
        if outcome.failed == 0 {
            writeln!(out, "ok    {name} ({} checked)", outcome.checked)?;
            continue;
        }
        writeln!(out, "FAIL  {name}: {} of {} checked", outcome.failed, outcome.checked)?;
        for finding in outcome.findings.iter().take(SHOWN) {
            let id = finding.id.map_or_else(|| "-".into(), |id| id.to_string());
            writeln!(out, "{id:>10}  {}", Printable(&finding.what))?;
        }
        let more = outcome.failed.saturating_sub(SHOWN as u64);
        if more > 0 {
            writeln!(out, "            and {more} more")?;
        }
    }
    let (exchanges, streams) = (checked.exchanges, checked.streams);
    writeln!(out, "{exchanges} exchanges and {streams} other connections checked")
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Rule {
        name: &'a str,
        ok: bool,
        checked: u64,
        failed: u64,
        /// The first hundred.
        findings: Vec<FindingObject<'a>>,
    },
    Summary {
        ok: bool,
        rules: usize,
        failed_rules: usize,
        exchanges: u64,
        streams: u64,
    },
}

#[derive(Serialize)]
struct FindingObject<'a> {
    id: Option<u64>,
    what: &'a str,
}

/// Writes the result for programs: a JSON object a line.
pub(super) fn json(out: &mut impl Write, checked: &Checked) -> io::Result<()> {
    for rule in &checked.rules {
        line(out, &rule_line(rule))?;
    }
    let failed_rules = checked.failed();
    let Checked { rules, exchanges, streams } = checked;
    let (ok, rules) = (failed_rules == 0, rules.len());
    let (exchanges, streams) = (*exchanges, *streams);
    line(out, &Line::Summary { ok, rules, failed_rules, exchanges, streams })
}

fn rule_line(rule: &Rule) -> Line<'_> {
    let outcome = rule.outcome();
    let findings = outcome.findings.iter();
    Line::Rule {
        name: &rule.name,
        ok: outcome.failed == 0,
        checked: outcome.checked,
        failed: outcome.failed,
        findings: findings.map(|f| FindingObject { id: f.id, what: &f.what }).collect(),
    }
}

fn line(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    safe_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
