//! `stats`: counts, sizes, durations and failures for each kind of exchange.
//!
//! Exchanges are counted and dropped, so that memory grows with the number of groups, which is
//! limited, and not with the capture.

mod groups;
mod json;
mod key;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use sslrec_analyzer::exchange::{Item, Note};
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::{ItemSink, Summary};
use sslrec_cli::color::Color;

use self::groups::{Group, Groups};
use self::key::{Key, KeyFields};
use super::reading::{Reading, Wanted, filter, flush, read, stdout};
use crate::flow;
use crate::terminal;

/// Count exchanges, failures and durations by host, path or other fields
///
/// Percentiles are of the duration, from the request's first byte to the response's last, and, if
/// the terminal is wide enough, of the time to the response's first byte. They are within 1 % of
/// the measured values. Sizes are the sizes of bodies, as sent. 4XX, 5XX, GRPC (a status that is
/// not OK) and CUT (not complete) count the failures. Connections that are not HTTP are left out.
///
/// Example: `sslanalyze stats capture.pcapng --by host,status 'method=POST'`
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The capture; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Use only items that match, as in the listing
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    /// Group by these fields [default: host,method,path]
    ///
    /// Any field of a filter, also `header.NAME`, and `process` for comm,pid. `path` is the
    /// template of the path: numbers, UUIDs, hashes and long identifiers become {id}, and the query
    /// is left out. Values longer than 256 characters are truncated, with a mark. Example: `--by
    /// process,status`
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', default_value = "host,method,path")]
    #[arg(hide_default_value = true)]
    by: Vec<KeyFields>,

    /// Sort key: count, errors, bytes, p50, p90, p99, max or total
    ///
    /// `count` is the default. `errors` are all failures, `bytes` is the sum of both sides, `p50`
    /// to `max` and `total` are of the duration: `total` shows where the time goes.
    #[arg(long, value_name = "WHAT", default_value = "count")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    sort: Sort,

    /// Keep this many groups at most [default: 10000]
    ///
    /// Exchanges of further groups are counted together, with a note. A group takes about 4 KiB
    /// of memory, and at most 36 KiB where durations differ by many orders of magnitude.
    #[arg(long, value_name = "N", default_value_t = 10_000, hide_default_value = true)]
    max_groups: usize,

    /// Print a JSON object per group, the last line is a summary
    #[arg(long)]
    json: bool,

    /// Colour the table: auto, always or never
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    color: Color,

    #[command(flatten)]
    reading: Reading,
}

/// The sort key of groups, the largest value first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Count,
    Errors,
    Bytes,
    P50,
    P90,
    P99,
    Max,
    Total,
}

impl Sort {
    fn rank(self, group: &Group) -> u64 {
        // Full nanoseconds of a quantile are precise enough for sorting.
        let quantile = |q| group.duration.quantile_ns(q).unwrap_or(0.0) as u64;
        match self {
            Sort::Count => group.count,
            Sort::Errors => group.errors,
            Sort::Bytes => group.request_bytes.saturating_add(group.response_bytes),
            Sort::P50 => quantile(0.5),
            Sort::P90 => quantile(0.9),
            Sort::P99 => quantile(0.99),
            Sort::Max => group.duration.max_ns().unwrap_or(0),
            Sort::Total => group.duration.sum_ns(),
        }
    }
}

/// Runs `sslanalyze stats`.
pub(super) fn run(stats: &Stats) -> Result<()> {
    let chosen = stats.filter.as_deref().map(filter).transpose()?;
    let filtered = chosen.is_some();
    let fields = stats.by.iter().flat_map(|fields| fields.0.iter().cloned()).collect();
    let groups = Groups::new(fields, stats.max_groups);
    let mut counting = Counting { groups, streams: 0, handshakes: 0, failed_handshakes: 0 };
    let wanted = Wanted { filter: chosen, handshakes: true, ..Wanted::default() };
    let done = read(&stats.file, &stats.reading, wanted, &mut counting)?;
    let mut summary = done.summary.clone();
    summary.listed = filtered.then_some(done.items);
    summary.notes.extend(counting.notes());
    let report = Report::new(counting.groups, stats.sort, summary);
    let mut out = stdout();
    let written = if stats.json {
        json::write(&mut out, &report)
    } else {
        let color = stats.color.is_on(&std::io::stdout());
        table::write(&mut out, &report, color, terminal::width())
    };
    written.context("cannot write the statistics")?;
    flush(&mut out)?;
    done.end()
}

/// Counts exchanges.
struct Counting {
    groups: Groups,
    streams: u64,
    handshakes: u64,
    failed_handshakes: u64,
}

impl ItemSink for Counting {
    fn item(&mut self, item: Item) -> Flow {
        flow::of(self.take(item))
    }
}

impl Counting {
    fn take(&mut self, item: Item) -> Result<()> {
        match &item {
            Item::Exchange(_) => self.groups.add(&item),
            Item::Stream(_) => self.streams += 1,
            Item::Handshake(handshake) => {
                self.handshakes += 1;
                self.failed_handshakes += u64::from(!handshake.ok);
            }
        }
        Ok(())
    }
}

impl Counting {
    /// Returns notes on exchanges that the groups do not contain.
    fn notes(&self) -> impl Iterator<Item = Note> {
        let streams = (self.streams > 0).then_some(Note::StreamsNotCounted(self.streams));
        let rest = self.groups.rest();
        let rest = rest.map(|rest| Note::GroupedTogether(rest.count, self.groups.limit()));
        let (all, failed) = (self.handshakes, self.failed_handshakes);
        let failed = (failed > 0).then_some(Note::HandshakesFailed(failed, all));
        streams.into_iter().chain(failed).chain(rest)
    }
}

/// The result to be written.
struct Report {
    /// Names of the fields of each key.
    names: Vec<String>,
    groups: Vec<(Key, Group)>,
    /// The exchanges that are in no group.
    rest: Option<Group>,
    summary: Summary,
}

impl Report {
    fn new(groups: Groups, sort: Sort, summary: Summary) -> Self {
        let names = groups.names();
        let (groups, rest) = groups.into_parts();
        let mut ranked: Vec<_> =
            groups.into_iter().map(|(key, group)| (sort.rank(&group), key, group)).collect();
        ranked.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let groups = ranked.into_iter().map(|(_, key, group)| (key, group)).collect();
        Self { names, groups, rest, summary }
    }
}
