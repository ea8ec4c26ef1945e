//! Groups as a table: aligned numbers first, then the names of the group.
//!
//! On a terminal, less important columns of numbers are left out until there is room for the names,
//! and names are cut. Anywhere else nothing is cut.

use std::fmt::Write as _;
use std::io::{self, Write};

use sslrec_cli::size::Size;

use super::Report;
use super::groups::{Group, Times};
use super::key::Cell;
use crate::output::Output;
use crate::output::columns::{cut, width};
use crate::output::table::Table;
use crate::text::Duration;

/// Width that the names can claim before columns of numbers are left out for them.
const NAMES: usize = 40;

/// A column of numbers.
struct Column {
    title: &'static str,
    width: usize,
    /// Columns of the lowest importance are left out first.
    importance: u8,
    cell: fn(&Group) -> String,
    /// Colour of values other than 0.
    color: Option<&'static str>,
}

const fn column(
    title: &'static str,
    width: usize,
    importance: u8,
    cell: fn(&Group) -> String,
) -> Column {
    Column { title, width, importance, cell, color: None }
}

/// Left out if no group has a gRPC call: most captures have none.
const GRPC: &str = "GRPC";

const COLUMNS: [Column; 15] = [
    column("COUNT", 7, 9, |group| group.count.to_string()),
    Column { color: Some("33"), ..column("4XX", 5, 5, |group| group.status_4xx.to_string()) },
    Column { color: Some("31"), ..column("5XX", 5, 7, |group| group.status_5xx.to_string()) },
    Column { color: Some("31"), ..column(GRPC, 5, 5, |group| group.grpc_errors.to_string()) },
    Column { color: Some("31"), ..column("CUT", 5, 4, |group| group.incomplete.to_string()) },
    column("REQ", 5, 3, |group| Size(group.request_bytes).to_string()),
    column("RESP", 5, 3, |group| Size(group.response_bytes).to_string()),
    column("P50", 7, 8, |group| quantile(&group.duration, 0.5)),
    column("P90", 7, 4, |group| quantile(&group.duration, 0.9)),
    column("P99", 7, 6, |group| quantile(&group.duration, 0.99)),
    column("MAX", 7, 2, |group| max(&group.duration)),
    column("TTFB50", 7, 1, |group| quantile(&group.ttfb, 0.5)),
    column("TTFB90", 7, 0, |group| quantile(&group.ttfb, 0.9)),
    column("TTFB99", 7, 1, |group| quantile(&group.ttfb, 0.99)),
    column("TTFBMAX", 7, 0, |group| max(&group.ttfb)),
];

/// Writes the table, optionally in colours. `width` is the width of the terminal; without it lines
/// may have any length.
pub(super) fn write(
    out: &mut impl Write,
    report: &Report,
    color: bool,
    terminal: Option<usize>,
) -> io::Result<()> {
    let rest = report.rest.as_ref().map(|rest| (vec![Cell::Text("(other groups)".into())], rest));
    let groups = report.groups.iter().map(|(key, group)| (key.as_slice(), group));
    let groups = groups.chain(rest.as_ref().map(|(key, rest)| (key.as_slice(), *rest)));
    let layout = Layout::new(report, groups.clone().map(|(key, _)| key), terminal);
    let mut line = String::new();
    layout.header(&mut line, color);
    out.write_all(line.as_bytes())?;
    for (key, group) in groups {
        line.clear();
        layout.row(&mut line, key, group, color);
        out.write_all(line.as_bytes())?;
    }
    Table::new(out, color, terminal).summary(&report.summary)
}

/// The chosen columns, and the widths of the names.
struct Layout<'a> {
    columns: Vec<&'static Column>,
    titles: &'a [String],
    names: Vec<usize>,
    cut: bool,
}

impl<'a> Layout<'a> {
    fn new<'k>(
        report: &'a Report,
        keys: impl Iterator<Item = &'k [Cell]>,
        terminal: Option<usize>,
    ) -> Self {
        let titles = report.names.as_slice();
        let mut names: Vec<usize> = titles.iter().map(|title| width(title)).collect();
        for key in keys {
            for (widest, cell) in names.iter_mut().zip(key) {
                *widest = width(&cell.to_string()).max(*widest);
            }
        }
        let groups = report.groups.iter().map(|(_, group)| group).chain(&report.rest);
        let grpc = groups.map(|group| group.grpc_errors).sum::<u64>() > 0;
        let columns = COLUMNS.iter().filter(|column| grpc || column.title != GRPC);
        let mut columns: Vec<&'static Column> = columns.collect();
        if let Some(terminal) = terminal {
            let wanted = total(&names).min(NAMES);
            // The highest importance belongs to the count alone.
            for least in 1..=9 {
                if numbers(&columns) + wanted <= terminal {
                    break;
                }
                columns.retain(|column| column.importance >= least);
            }
            shrink(&mut names, terminal.saturating_sub(numbers(&columns)));
        }
        Self { columns, titles, names, cut: terminal.is_some() }
    }

    fn header(&self, line: &mut String, color: bool) {
        let bold = |on| if color { on } else { "" };
        line.push_str(bold("\x1b[1m"));
        for column in &self.columns {
            let _ = write!(line, "{:>1$} ", column.title, column.width);
        }
        self.names(line, self.titles.iter().map(|title| title.to_uppercase()));
        line.push_str(bold("\x1b[0m"));
        line.push('\n');
    }

    fn row(&self, line: &mut String, key: &[Cell], group: &Group, color: bool) {
        for column in &self.columns {
            let cell = (column.cell)(group);
            let pad = column.width.saturating_sub(cell.len());
            let _ = match column.color {
                Some(code) if color && cell != "0" => {
                    write!(line, "{:pad$}\x1b[{code}m{cell}\x1b[0m ", "")
                }
                _ => write!(line, "{:pad$}{cell} ", ""),
            };
        }
        self.names(line, key.iter().map(ToString::to_string));
        line.push('\n');
    }

    /// Writes the names, without blanks after the last name.
    fn names(&self, line: &mut String, cells: impl Iterator<Item = String>) {
        for (mut cell, &columns) in cells.zip(&self.names) {
            if self.cut {
                cut(&mut cell, columns);
            }
            let pad = columns.saturating_sub(width(&cell));
            let _ = write!(line, "{cell}{:pad$} ", "");
        }
        line.truncate(line.trim_end_matches(' ').len());
    }
}

/// Returns the columns of the terminal that the numbers take, with a blank after each number.
fn numbers(columns: &[&Column]) -> usize {
    columns.iter().map(|column| column.width + 1).sum()
}

/// Returns the columns that the names take, with blanks between them.
fn total(names: &[usize]) -> usize {
    names.iter().sum::<usize>() + names.len().saturating_sub(1)
}

/// Shortens the widest names until all fit.
fn shrink(names: &mut [usize], room: usize) {
    while total(names) > room {
        let Some(widest) = names.iter_mut().max().filter(|widest| **widest > 1) else { return };
        *widest -= 1;
    }
}

fn quantile(times: &Times, q: f64) -> String {
    // Fractions of a nanosecond are never shown.
    duration(times.quantile_ns(q).map(|ns| ns as u64))
}

fn max(times: &Times) -> String {
    duration(times.max_ns())
}

fn duration(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".into(), |ns| Duration(ns).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use sslrec_analyzer::pipeline::Summary;

    use super::*;

    fn table(color: bool, terminal: Option<usize>) -> String {
        let key = |host: &str, path: &str| {
            vec![Cell::Text(host.into()), Cell::Text("GET".into()), Cell::Text(path.into())]
        };
        let failed = Group { count: 12_345_678, status_5xx: 3, ..Group::default() };
        let report = Report {
            names: vec!["host".into(), "method".into(), "path".into()],
            groups: vec![
                (key("日本語.example", "/a/{id}"), failed),
                (key("h", &"/long".repeat(30)), Group::default()),
            ],
            rest: Some(Group { count: 7, ..Group::default() }),
            summary: Summary { exchanges: 9, closed: true, ..Summary::default() },
        };
        let mut out = Vec::new();
        write(&mut out, &report, color, terminal).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_fit_the_terminal() {
        for terminal in 60..220 {
            let text = table(false, Some(terminal));
            for line in text.lines() {
                assert!(width(line) <= terminal, "{terminal}: {line}");
                assert!(!line.ends_with(' '), "{terminal}: {line:?}");
            }
            assert!(text.contains("COUNT") && text.contains("P50") && text.contains("GET"));
        }
        let whole = table(false, None);
        assert!(whole.contains("TTFBMAX") && whole.contains(&"/long".repeat(30)), "{whole}");
        assert!(!whole.contains("GRPC"), "{whole}");
        assert!(whole.contains("(other groups)") && whole.ends_with("9 exchanges\n"), "{whole}");
    }

    #[test]
    fn failures_are_coloured_and_nothing_else_changes() {
        let colored = table(true, Some(120));
        assert!(colored.contains("\x1b[31m3\x1b[0m"), "{colored}");
        let plain = ["0", "1", "31", "33"]
            .iter()
            .fold(colored, |text, code| text.replace(&format!("\x1b[{code}m"), ""));
        assert_eq!(plain, table(false, Some(120)));
    }
}
