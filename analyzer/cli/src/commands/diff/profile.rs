//! A summary of a capture by kind of request, and the comparison of two summaries.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use sslrec_analyzer::coding;
use sslrec_analyzer::exchange::{Exchange, Fields, Item, Message, Stream};
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::ItemSink;
use sslrec_analyzer::text::readable;

use super::Ignored;
use super::shape::{self, shortened};
use crate::flow;
use crate::template::path_template;

/// Fields about the transport of a message, which depend on its length and on the version of HTTP.
const CARRIAGE: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Maximum number of parts kept for an aspect of a kind of request. A body with ever new field
/// names is a table and not a record.
const MAX_PARTS: usize = 2000;

/// Represents the parts and kinds beyond the maximum.
const MORE: &str = "(more)";

/// Approximate memory of a part and of a kind, beside their texts.
const PART_BYTES: usize = 64;
const KIND_BYTES: usize = 256;

/// A property of requests that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aspect {
    Status,
    Query,
    RequestHeaders,
    ResponseHeaders,
    RequestBody,
    ResponseBody,
}

impl Aspect {
    pub(super) const ALL: [Self; 6] = [
        Self::Status,
        Self::Query,
        Self::RequestHeaders,
        Self::ResponseHeaders,
        Self::RequestBody,
        Self::ResponseBody,
    ];

    /// Returns the name in JSON, in the text, and as an option.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Query => "query",
            Self::RequestHeaders => "request_headers",
            Self::ResponseHeaders => "response_headers",
            Self::RequestBody => "request_body",
            Self::ResponseBody => "response_body",
        }
    }
}

/// A kind of request. Of connections that are not HTTP, only the host is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) host: Option<String>,
    pub(super) path: Option<String>,
    pub(super) method: Option<String>,
    pub(super) is_http: bool,
}

/// The observations of a kind.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) count: u64,
    parts: BTreeMap<Aspect, BTreeSet<String>>,
}

/// The summary of a capture.
#[derive(Debug)]
pub(super) struct Profile<'i> {
    ignored: &'i [Ignored],
    kinds: BTreeMap<Kind, Seen>,
    /// Number of bytes that further kinds and parts may take.
    room: usize,
    /// Kinds or parts were left out.
    is_cut: bool,
}

impl<'i> Profile<'i> {
    /// Creates a summary of about `room` bytes at most.
    pub(super) fn new(ignored: &'i [Ignored], room: usize) -> Self {
        Self { ignored, kinds: BTreeMap::new(), room, is_cut: false }
    }

    /// Returns whether kinds or parts were left out, since there was no room.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let request = exchange.request.as_ref();
        let path = request.and_then(|request| request.path());
        let kind = Kind {
            host: request
                .and_then(|request| request.host())
                .map(|host| shortened(&host.to_ascii_lowercase())),
            path: path.as_deref().map(|path| shortened(&path_template(path))),
            method: request.and_then(|request| request.method.as_deref()).map(shortened),
            is_http: true,
        };
        let mut parts = Vec::new();
        let status = exchange.response.as_ref().and_then(|response| response.status);
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        parts.push((Aspect::Status, status));
        let query = path.as_deref().and_then(|path| path.split_once('?')).map(|(_, query)| query);
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default();
            parts.push((Aspect::Query, shortened(&path_template(name))));
        }
        if let Some(request) = request {
            let aspects = (Aspect::RequestHeaders, Aspect::RequestBody);
            self.message(&request.message, aspects, &mut parts);
        }
        if let Some(response) = &exchange.response {
            let aspects = (Aspect::ResponseHeaders, Aspect::ResponseBody);
            self.message(&response.message, aspects, &mut parts);
        }
        self.add(kind, parts);
    }

    fn message(
        &self,
        message: &Message,
        (headers, body): (Aspect, Aspect),
        parts: &mut Vec<(Aspect, String)>,
    ) {
        let names = |fields: &Fields| -> Vec<String> {
            let names = fields.iter().map(|(name, _)| shortened(&readable(name)));
            let names = names.map(|name| name.to_ascii_lowercase());
            names.filter(|name| self.counts(name)).collect()
        };
        let all = [&message.headers, &message.trailers].map(names).concat();
        parts.extend(all.into_iter().map(|name| (headers, name)));
        if !self.ignored.contains(&Ignored::Aspect(body)) {
            let shape = shape::of(message).into_iter();
            parts.extend(shape.map(|part| (body, part)));
        }
    }

    fn counts(&self, header: &str) -> bool {
        !CARRIAGE.contains(&header)
            && !self.ignored.iter().any(|i| matches!(i, Ignored::Header(name) if name == header))
    }

    fn stream(&mut self, stream: &Stream) {
        let info = &*stream.connection;
        let ends = info.client_direction().map(|client| info.ends(client));
        let address = ends.and_then(|(_, server)| server).map(|server| server.ip().to_string());
        let host = info.record.sni.as_deref().map(shortened).or(address);
        self.add(Kind { host, path: None, method: None, is_http: false }, Vec::new());
    }

    /// Returns the kind, or what represents it if there is no room.
    fn kind(&mut self, kind: Kind) -> Kind {
        if self.kinds.contains_key(&kind) {
            return kind;
        }
        let texts = [&kind.host, &kind.path, &kind.method].into_iter().flatten();
        let bytes = KIND_BYTES + texts.map(String::len).sum::<usize>();
        if let Some(room) = self.room.checked_sub(bytes) {
            self.room = room;
            return kind;
        }
        self.is_cut = true;
        Kind { host: Some(MORE.to_owned()), path: None, method: None, is_http: kind.is_http }
    }

    fn add(&mut self, kind: Kind, parts: Vec<(Aspect, String)>) {
        let kind = self.kind(kind);
        let seen = self.kinds.entry(kind).or_default();
        seen.count += 1;
        for (aspect, part) in parts {
            if self.ignored.contains(&Ignored::Aspect(aspect)) {
                continue;
            }
            let known = seen.parts.entry(aspect).or_default();
            if known.contains(&part) {
                continue;
            }
            let bytes = part.len() + PART_BYTES;
            let has_room = bytes <= self.room;
            self.is_cut |= !has_room;
            let part = if has_room && known.len() < MAX_PARTS { part } else { MORE.to_owned() };
            if known.insert(part) {
                self.room = self.room.saturating_sub(bytes);
            }
        }
    }
}

impl ItemSink for Profile<'_> {
    fn item(&mut self, item: Item) -> Flow {
        flow::of(self.take(item))
    }
}

impl Profile<'_> {
    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Exchange(mut exchange) => {
                coding::undo(&mut exchange);
                self.exchange(&exchange);
            }
            Item::Stream(stream) => self.stream(&stream),
            Item::Handshake(_) => {}
        }
        Ok(())
    }
}

/// The differences.
#[derive(Debug, Default)]
pub(super) struct Differences<'p> {
    pub(super) appeared: Vec<(&'p Kind, &'p Seen)>,
    pub(super) vanished: Vec<(&'p Kind, &'p Seen)>,
    pub(super) changed: Vec<(&'p Kind, Vec<Change<'p>>)>,
    /// Number of kinds without a difference.
    pub(super) same: usize,
}

/// The difference in an aspect.
#[derive(Debug)]
pub(super) struct Change<'p> {
    pub(super) aspect: Aspect,
    pub(super) added: Vec<&'p str>,
    pub(super) removed: Vec<&'p str>,
}

impl Differences<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.appeared.is_empty() && self.vanished.is_empty() && self.changed.is_empty()
    }
}

/// Compares two captures.
pub(super) fn compare<'p>(old: &'p Profile<'_>, new: &'p Profile<'_>) -> Differences<'p> {
    let mut differences = Differences::default();
    for (kind, before) in &old.kinds {
        let Some(after) = new.kinds.get(kind) else {
            differences.vanished.push((kind, before));
            continue;
        };
        let changes: Vec<_> =
            Aspect::ALL.into_iter().filter_map(|aspect| change(aspect, before, after)).collect();
        if changes.is_empty() {
            differences.same += 1;
        } else {
            differences.changed.push((kind, changes));
        }
    }
    let is_new = |(kind, _): &(&Kind, &Seen)| !old.kinds.contains_key(kind);
    differences.appeared = new.kinds.iter().filter(is_new).collect();
    differences
}

fn change<'p>(aspect: Aspect, before: &'p Seen, after: &'p Seen) -> Option<Change<'p>> {
    let only_in = |one: &'p Seen, other: &'p Seen| -> Vec<&'p str> {
        let other = other.parts.get(&aspect);
        let parts = one.parts.get(&aspect).into_iter().flatten();
        parts.filter(|part| other.is_none_or(|o| !o.contains(*part))).map(String::as_str).collect()
    };
    let (added, removed) = (only_in(after, before), only_in(before, after));
    (!added.is_empty() || !removed.is_empty()).then_some(Change { aspect, added, removed })
}
