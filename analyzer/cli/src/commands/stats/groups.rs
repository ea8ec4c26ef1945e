//! Groups of exchanges, and their statistics.

use std::collections::HashMap;

use sketches_ddsketch::{Config, DDSketch};
use sslrec_analyzer::exchange::{Exchange, Item, Message};
use sslrec_analyzer::filter::NamedField;

use super::key::{Cell, Key};

/// Maximum relative error of a percentile.
const ERROR: f64 = 0.01;

/// More bins than 64-bit nanoseconds need at this error, so that bins are never merged.
const MAX_BINS: u32 = 4096;

/// Groups by the values of some fields.
pub(super) struct Groups {
    by: Vec<NamedField>,
    limit: usize,
    groups: HashMap<Key, Group>,
    rest: Option<Group>,
    /// Key of the current exchange; kept to reuse its memory.
    key: Key,
}

impl Groups {
    /// Creates at most `limit` groups by these fields.
    pub(super) fn new(by: Vec<NamedField>, limit: usize) -> Self {
        Self { by, limit, groups: HashMap::new(), rest: None, key: Vec::new() }
    }

    /// Counts an exchange.
    pub(super) fn add(&mut self, item: &Item) {
        let Item::Exchange(exchange) = item else { return };
        self.key.clear();
        self.key.extend(self.by.iter().map(|field| Cell::of(field, item)));
        let full = self.groups.len() >= self.limit;
        let group = match self.groups.get_mut(self.key.as_slice()) {
            Some(group) => group,
            None if full => self.rest.get_or_insert_default(),
            None => self.groups.entry(std::mem::take(&mut self.key)).or_default(),
        };
        group.add(exchange);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.by.iter().map(|field| field.name().to_owned()).collect()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the exchanges that are in no group.
    pub(super) fn rest(&self) -> Option<&Group> {
        self.rest.as_ref()
    }

    pub(super) fn into_parts(self) -> (HashMap<Key, Group>, Option<Group>) {
        (self.groups, self.rest)
    }
}

/// The statistics of a group.
#[derive(Default)]
pub(super) struct Group {
    pub(super) count: u64,
    /// Failed exchanges; each counts once, however many failures it has.
    pub(super) errors: u64,
    pub(super) status_4xx: u64,
    pub(super) status_5xx: u64,
    /// gRPC calls with a status other than OK; their HTTP status is 200.
    pub(super) grpc_errors: u64,
    pub(super) incomplete: u64,
    /// Bytes of the requests' bodies.
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) duration: Times,
    pub(super) ttfb: Times,
}

impl Group {
    fn add(&mut self, exchange: &Exchange) {
        let status = exchange.response.as_ref().and_then(|response| response.status);
        let (client, server) =
            (matches!(status, Some(400..=499)), matches!(status, Some(500..=599)));
        let call_failed = exchange.carried.as_ref().is_some_and(|carried| carried.has_failed());
        self.count += 1;
        self.status_4xx += u64::from(client);
        self.status_5xx += u64::from(server);
        self.grpc_errors += u64::from(call_failed);
        self.incomplete += u64::from(!exchange.complete);
        self.errors += u64::from(client || server || call_failed || !exchange.complete);
        let bytes = |message: Option<&Message>| message.map_or(0, |message| message.body.bytes);
        let request = bytes(exchange.request.as_ref().map(|request| &request.message));
        let response = bytes(exchange.response.as_ref().map(|response| &response.message));
        self.request_bytes = self.request_bytes.saturating_add(request);
        self.response_bytes = self.response_bytes.saturating_add(response);
        self.duration.add(exchange.duration_ns());
        self.ttfb.add(exchange.ttfb_ns());
    }
}

/// Durations, as a histogram whose bins are as wide as the error allows (DDSketch, Masson et al.,
/// VLDB 2019). The maximum and the sum are exact.
pub(super) struct Times {
    sketch: DDSketch,
    max_ns: u64,
    sum_ns: u64,
}

impl Default for Times {
    fn default() -> Self {
        let sketch = DDSketch::new(Config::new(ERROR, MAX_BINS, 1.0));
        Self { sketch, max_ns: 0, sum_ns: 0 }
    }
}

impl Times {
    /// Adds a duration; an unknown duration is not counted.
    fn add(&mut self, ns: Option<u64>) {
        let Some(ns) = ns else { return };
        self.sketch.add(ns as f64);
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Returns the number of known durations.
    pub(super) fn count(&self) -> usize {
        self.sketch.count()
    }

    /// Returns the quantile `q` in nanoseconds; `None` if no duration is known.
    pub(super) fn quantile_ns(&self, q: f64) -> Option<f64> {
        let ns = self.sketch.quantile(q).ok().flatten()?;
        // A bin can extend beyond its largest value.
        Some(ns.min(self.max_ns as f64))
    }

    pub(super) fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    pub(super) fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use sslrec_analyzer::exchange::{Response, SharedConnection};
    use sslrec_analyzer::over_http::grpc::Grpc;
    use sslrec_formats::record::Direction;

    use super::*;

    /// Realistic durations: around a value, with a long tail.
    fn samples() -> Vec<u64> {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..20_000).map(|_| (1e6 * (1.0 + 12.0 * random().powi(8)).exp()) as u64).collect()
    }

    #[test]
    fn percentiles_are_within_their_error() {
        let mut samples = samples();
        let mut times = Times::default();
        samples.iter().for_each(|&ns| times.add(Some(ns)));
        times.add(None);
        samples.sort_unstable();
        for q in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = samples[(q * (samples.len() - 1) as f64) as usize] as f64;
            let found = times.quantile_ns(q).unwrap();
            assert!((found / exact - 1.0).abs() <= ERROR + 1e-9, "{q}: {found}, not {exact}");
        }
        assert_eq!(times.max_ns(), samples.last().copied());
        assert_eq!((times.count(), times.sum_ns()), (20_000, samples.iter().sum()));
        assert!(times.sketch.length() < 1024, "{}", times.sketch.length());
    }

    #[test]
    fn a_failed_call_is_an_error_whatever_its_http_status() {
        let mut groups = Groups::new(Vec::new(), 1);
        for status in [None, Some(0), Some(5)] {
            let connection = SharedConnection::default();
            let mut exchange = Exchange::new(&connection, Direction::Sent, 1);
            let response = Response { status: Some(200), ..Response::default() };
            exchange.response = Some(response);
            exchange.complete = true;
            exchange.carried = Some(Box::new(Grpc { status, ..Grpc::default() }));
            groups.add(&Item::Exchange(Box::new(exchange)));
        }
        let (groups, _) = groups.into_parts();
        let group = groups.values().next().unwrap();
        assert_eq!((group.count, group.errors, group.grpc_errors), (3, 1, 1));
    }

    #[test]
    fn every_length_has_a_bin_of_its_own() {
        let mut times = Times::default();
        for ns in [0, 1, 2, 1000, u64::MAX / 2, u64::MAX] {
            times.add(Some(ns));
        }
        assert_eq!(times.quantile_ns(0.0), Some(0.0));
        assert!((times.quantile_ns(0.4).unwrap() / 2.0 - 1.0).abs() <= ERROR);
        assert_eq!(times.quantile_ns(1.0), Some(u64::MAX as f64));
        assert!(times.sketch.length() < MAX_BINS as usize);
        assert_eq!((Times::default().quantile_ns(0.5), Times::default().max_ns()), (None, None));
    }
}
