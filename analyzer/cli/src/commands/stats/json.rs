//! Writes groups as JSON, one a line, and the summary of the listing.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Report;
use super::groups::{Group, Times};
use super::key::Cell;
use crate::output::Output;
use crate::output::json::Json;
use crate::safe_json;

/// Writes all groups and the summary.
pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for (key, group) in &report.groups {
        let key = Some(Keys { names: &report.names, key });
        line(out, &group_line("group", key, group))?;
    }
    if let Some(rest) = &report.rest {
        line(out, &group_line("other_groups", None, rest))?;
    }
    Json::new(out).summary(&report.summary)
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    safe_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The fields of a key with their names.
struct Keys<'a> {
    names: &'a [String],
    key: &'a [Cell],
}

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.key.len()))?;
        for (name, cell) in self.names.iter().zip(self.key) {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct GroupLine<'a> {
    r#type: &'static str,
    key: Option<Keys<'a>>,
    count: u64,
    errors: u64,
    status_4xx: u64,
    status_5xx: u64,
    grpc_errors: u64,
    incomplete: u64,
    request_body_bytes: u64,
    response_body_bytes: u64,
    duration_ms: TimesObject,
    ttfb_ms: TimesObject,
}

#[derive(Serialize)]
struct TimesObject {
    count: usize,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
    total: f64,
}

fn group_line<'a>(r#type: &'static str, key: Option<Keys<'a>>, group: &Group) -> GroupLine<'a> {
    GroupLine {
        r#type,
        key,
        count: group.count,
        errors: group.errors,
        status_4xx: group.status_4xx,
        status_5xx: group.status_5xx,
        grpc_errors: group.grpc_errors,
        incomplete: group.incomplete,
        request_body_bytes: group.request_bytes,
        response_body_bytes: group.response_bytes,
        duration_ms: times(&group.duration),
        ttfb_ms: times(&group.ttfb),
    }
}

fn times(times: &Times) -> TimesObject {
    let milliseconds = |ns: f64| ns / 1e6;
    let quantile = |q| times.quantile_ns(q).map(milliseconds);
    TimesObject {
        count: times.count(),
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        max: times.max_ns().map(|ns| milliseconds(ns as f64)),
        total: milliseconds(times.sum_ns() as f64),
    }
}
