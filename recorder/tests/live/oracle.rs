//! tshark as the oracle for HTTP: the requests and responses that it finds in a file must equal the
//! listing, with their methods, URLs and statuses.
//!
//! tshark names the request of an HTTP/1 response itself. For HTTP/2 it returns header blocks,
//! which are joined here by their streams.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::listing::Listing;
use crate::support::Live;

/// Separator of several values of a field in a packet.
const BETWEEN: char = '\u{1}';

/// The fields of a packet that tshark prints: first of HTTP/1, then of HTTP/2.
const FIELDS: [&str; 12] = [
    "http.request.method",
    "http.request.full_uri",
    "http.response.code",
    "http.response_for.uri",
    "tcp.stream",
    "http2.type",
    "http2.streamid",
    "http2.header.length",
    "http2.header.name",
    "http2.header.value",
    "http2.header.name.length",
    "http2.header.value.length",
];

/// A frame of this type begins a header block (RFC 9113, section 6.2).
const HEADERS: &str = "1";

/// Requests and responses, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heads {
    /// `METHOD URL`.
    pub(crate) requests: Vec<String>,
    /// `STATUS URL` of the request. Interim responses (1xx) have a line of their own.
    pub(crate) responses: Vec<String>,
    /// `CODE URL`, of gRPC.
    pub(crate) grpc_statuses: Vec<String>,
}

impl Heads {
    pub(crate) fn listed(listing: &Listing) -> Self {
        let mut heads = Self::default();
        for exchange in &listing.exchanges {
            let request = &exchange["request"];
            let [method, url] = ["method", "url"]
                .map(|key| request[key].as_str().unwrap_or_else(|| panic!("no {key}: {exchange}")));
            let interim = exchange["interim"].as_array().into_iter().flatten();
            let responses = interim.chain(Some(&exchange["response"]).filter(|r| !r.is_null()));
            let statuses = responses.map(|response| response["status"].to_string());
            if is_http2(exchange) {
                heads.requests.push(format!("{method} {url}"));
                heads.responses.extend(statuses.map(|status| format!("{status} {url}")));
            } else {
                heads.requests.push(http1_request(method, url));
                heads.responses.extend(statuses.map(|status| http1_response(&status, url)));
            }
            if let Some(code) = exchange["grpc"]["status"].as_u64() {
                heads.grpc_statuses.push(format!("{code} {url}"));
            }
        }
        heads.sorted()
    }

    /// Those that tshark has, with options besides.
    pub(crate) fn decoded(live: &Live, file: &Path, options: &[&str]) -> Self {
        let aggregator = format!("aggregator={BETWEEN}");
        let mut args = options.to_vec();
        args.extend(["-Y", "http.request || http.response || http2.header.name"]);
        args.extend(["-T", "fields", "-E", &aggregator]);
        FIELDS.iter().for_each(|field| args.extend(["-e", field]));
        let mut heads = Self::default();
        let mut urls = BTreeMap::new();
        for line in live.tshark(file, &args).lines() {
            let packet: Vec<Vec<&str>> = line.split('\t').map(values).collect();
            assert_eq!(packet.len(), FIELDS.len(), "{line}");
            let (http1, http2) = packet.split_at(4);
            heads.add_http1(http1);
            heads.add_http2(http2, &mut urls);
        }
        heads.sorted()
    }

    fn add_http1(&mut self, packet: &[Vec<&str>]) {
        let [methods, urls, statuses, asked] = packet else { unreachable!() };
        self.requests.extend(pairs(methods, urls).map(|(method, url)| http1_request(method, url)));
        let responses = pairs(statuses, asked);
        self.responses.extend(responses.map(|(status, url)| http1_response(status, url)));
    }

    /// Splits the header blocks of a packet, which tshark prints as a single list of fields. `urls`
    /// has those of the streams so far.
    fn add_http2(&mut self, packet: &[Vec<&str>], urls: &mut BTreeMap<String, String>) {
        let [connection, types, streams, block_lens, names, values, name_lens, value_lens] = packet
        else {
            unreachable!()
        };
        let frames = pairs(types, streams).filter(|(kind, _)| *kind == HEADERS);
        let begun: Vec<&str> = frames.map(|(_, stream)| stream).collect();
        let number = |text: &str| text.parse::<usize>().unwrap();
        // tshark counts a field's two lengths of four bytes with it. Its number of the fields in a
        // block is of no use, for it counts updates of the table's size too.
        let lens =
            pairs(name_lens, value_lens).map(|(name, value)| 8 + number(name) + number(value));
        let mut fields = pairs(names, values).zip(lens);
        for (stream, block_len) in pairs(&begun, block_lens) {
            let (mut block, mut taken) = (BTreeMap::new(), 0);
            while taken < number(block_len) {
                let ((name, value), len) = fields.next().expect("a block's fields");
                block.insert(name, value);
                taken += len;
            }
            assert_eq!(taken, number(block_len), "{block:?}");
            let stream = format!("{} {stream}", connection.concat());
            self.add_block(urls.entry(stream).or_default(), &block);
        }
        assert_eq!(fields.next(), None, "of no block");
    }

    /// A block may also be trailers. `url` is that of its stream, once known.
    fn add_block(&mut self, url: &mut String, block: &BTreeMap<&str, &str>) {
        if let Some(method) = block.get(":method") {
            // tshark's own URL of an extended CONNECT (RFC 8441) lacks the path.
            *url = format!("{}://{}{}", block[":scheme"], block[":authority"], block[":path"]);
            self.requests.push(format!("{method} {url}"));
        }
        if let Some(status) = block.get(":status") {
            self.responses.push(format!("{status} {url}"));
        }
        if let Some(code) = block.get("grpc-status") {
            self.grpc_statuses.push(format!("{code} {url}"));
        }
    }

    fn sorted(mut self) -> Self {
        self.requests.sort();
        self.responses.sort();
        self.grpc_statuses.sort();
        self
    }
}

/// Asserts that the listing of a file equals tshark's.
pub(crate) fn assert_same_heads(live: &Live, file: &Path, listing: &Listing) {
    assert_eq!(Heads::listed(listing), Heads::decoded(live, file, &[]));
}

/// Whether it went over HTTP/2, whatever rides on that.
pub(crate) fn is_http2(exchange: &Value) -> bool {
    let proto = exchange["proto"].as_str().unwrap();
    proto == "h2" || exchange[proto]["http"] == "h2"
}

/// Without the scheme: no part of a request states that it was encrypted, and from plain text
/// tshark concludes `http`, where the listing has `https`.
fn http1_request(method: &str, url: &str) -> String {
    format!("{method} {}", without_scheme(url))
}

/// An interim response has no URL here. It may come before the end of the request's body, and
/// tshark knows the request only at that end: until then it names the previous request.
fn http1_response(status: &str, url: &str) -> String {
    let interim = status.starts_with('1') && status != "101";
    if interim { status.to_owned() } else { format!("{status} {}", without_scheme(url)) }
}

fn without_scheme(url: &str) -> &str {
    url.split_once("://").unwrap_or_else(|| panic!("no scheme: {url}")).1
}

/// The values of a field in a packet.
fn values(field: &str) -> Vec<&str> {
    if field.is_empty() { Vec::new() } else { field.split(BETWEEN).collect() }
}

/// Pairs of values at the same positions in two fields of a packet, which have equally many values.
fn pairs<'a>(one: &[&'a str], other: &[&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    assert_eq!(one.len(), other.len(), "{one:?} {other:?}");
    one.iter().copied().zip(other.iter().copied())
}
