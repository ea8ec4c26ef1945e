//! Differences, as text and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use sslrec_cli::text::Printable;

use super::profile::{Change, Differences, Kind, Seen};

use crate::safe_json;

/// Writes the differences for people: `+` appeared, `-` vanished, `~` changed.
pub(super) fn text(out: &mut impl Write, differences: &Differences<'_>) -> io::Result<()> {
    for (mark, kinds) in [('-', &differences.vanished), ('+', &differences.appeared)] {
        for (kind, seen) in kinds {
            let times =
                if seen.count == 1 { "once".into() } else { format!("{} times", seen.count) };
            writeln!(out, "{mark} {}  ({times})", name(kind))?;
        }
    }
    for (kind, changes) in &differences.changed {
        writeln!(out, "~ {}", name(kind))?;
        for Change { aspect, added, removed } in changes {
            let aspect = aspect.as_str();
            for part in removed {
                writeln!(out, "    {aspect}  - {}", Printable(part))?;
            }
            for part in added {
                writeln!(out, "    {aspect}  + {}", Printable(part))?;
            }
        }
    }
    let Differences { appeared, vanished, changed, same } = differences;
    writeln!(
        out,
        "{} appeared, {} vanished, {} changed, {same} are the same",
        appeared.len(),
        vanished.len(),
        changed.len()
    )
}

fn name(kind: &Kind) -> String {
    let host = kind.host.as_deref().unwrap_or("<unknown>");
    let text = match kind.is_http {
        true => {
            let method = kind.method.as_deref().unwrap_or("<unknown>");
            format!("{method} {host}{}", kind.path.as_deref().unwrap_or(""))
        }
        false => format!("connections to {host} that are not HTTP"),
    };
    Printable(&text).to_string()
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'d> {
    Vanished {
        #[serde(flatten)]
        kind: KindObject<'d>,
        count: u64,
    },
    Appeared {
        #[serde(flatten)]
        kind: KindObject<'d>,
        count: u64,
    },
    Changed {
        #[serde(flatten)]
        kind: KindObject<'d>,
        changes: BTreeMap<&'static str, ChangeObject<'d>>,
    },
    Summary {
        appeared: usize,
        vanished: usize,
        changed: usize,
        same: usize,
    },
}

#[derive(Serialize)]
struct KindObject<'d> {
    proto: &'static str,
    method: Option<&'d str>,
    host: Option<&'d str>,
    path: Option<&'d str>,
}

impl<'d> KindObject<'d> {
    fn new(kind: &'d Kind) -> Self {
        Self {
            proto: if kind.is_http { "http" } else { "stream" },
            method: kind.method.as_deref(),
            host: kind.host.as_deref(),
            path: kind.path.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct ChangeObject<'d> {
    added: &'d [&'d str],
    removed: &'d [&'d str],
}

/// Writes the differences for programs: a JSON object a line.
pub(super) fn json(out: &mut impl Write, differences: &Differences<'_>) -> io::Result<()> {
    for (kind, Seen { count, .. }) in &differences.vanished {
        line(out, &Line::Vanished { kind: KindObject::new(kind), count: *count })?;
    }
    for (kind, Seen { count, .. }) in &differences.appeared {
        line(out, &Line::Appeared { kind: KindObject::new(kind), count: *count })?;
    }
    for (kind, changes) in &differences.changed {
        let changes = changes.iter().map(|Change { aspect, added, removed }| {
            (aspect.as_str(), ChangeObject { added, removed })
        });
        line(out, &Line::Changed { kind: KindObject::new(kind), changes: changes.collect() })?;
    }
    let Differences { appeared, vanished, changed, same } = differences;
    let (appeared, vanished, changed) = (appeared.len(), vanished.len(), changed.len());
    line(out, &Line::Summary { appeared, vanished, changed, same: *same })
}

fn line(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    safe_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
