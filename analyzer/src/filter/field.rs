//! The fields that a filter can name, and what kind of value each of them has.
//!
//! Names are those of the JSON, with dots between its levels, and short ones for what is asked
//! for most. A new field of the JSON gets a line here.

use super::number::Unit;

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Plain(Plain),
    /// Header or trailer fields of one message or of both; names have no case.
    Named {
        part: Part,
        side: Option<Side>,
        name: String,
    },
}

/// Which fields of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Header,
    Trailer,
}

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// What values look like, and so what they can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Text that is always one of these.
    OneOf(&'static [&'static str]),
    /// Text that can be compared as a number too, where it is one.
    Header,
    Number(Unit),
    Bool,
    Time,
}

/// A field without a name of its own inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Addr,
    Alpn,
    Authority,
    Cipher,
    Client,
    ClientBytes,
    Comm,
    Complete,
    Conn,
    Duration,
    Func,
    GrpcMessage,
    GrpcMethod,
    GrpcService,
    GrpcStatus,
    Host,
    Id,
    Latency,
    Lib,
    LostBytes,
    Messages,
    Method,
    Note,
    Ok,
    Path,
    Pid,
    Proto,
    Reason,
    Request,
    RequestBytes,
    Response,
    ResponseBytes,
    Result,
    Role,
    Server,
    ServerBytes,
    Sni,
    Status,
    Stream,
    Time,
    Ttfb,
    Type,
    Url,
    Version,
}

impl Plain {
    /// A filter that names it is one about handshakes too.
    pub(super) fn is_of_handshakes(self) -> bool {
        matches!(self, Plain::Type | Plain::Func | Plain::Latency | Plain::Ok | Plain::Result)
    }
}

/// Every name. Those that mean the same stand together; the first of them is the one that is
/// listed where a field is expected.
const PLAIN: [(&str, Plain, Kind); 55] = [
    ("status", Plain::Status, Kind::Number(Unit::Count)),
    ("response.status", Plain::Status, Kind::Number(Unit::Count)),
    ("method", Plain::Method, Kind::Text),
    ("request.method", Plain::Method, Kind::Text),
    ("host", Plain::Host, Kind::Text),
    ("path", Plain::Path, Kind::Text),
    ("request.path", Plain::Path, Kind::Text),
    ("url", Plain::Url, Kind::Text),
    ("request.url", Plain::Url, Kind::Text),
    ("authority", Plain::Authority, Kind::Text),
    ("request.authority", Plain::Authority, Kind::Text),
    ("duration", Plain::Duration, Kind::Number(Unit::Duration)),
    ("duration_ms", Plain::Duration, Kind::Number(Unit::Millis)),
    ("ttfb", Plain::Ttfb, Kind::Number(Unit::Duration)),
    ("ttfb_ms", Plain::Ttfb, Kind::Number(Unit::Millis)),
    ("body_bytes", Plain::ResponseBytes, Kind::Number(Unit::Bytes)),
    ("response.body_bytes", Plain::ResponseBytes, Kind::Number(Unit::Bytes)),
    ("request.body_bytes", Plain::RequestBytes, Kind::Number(Unit::Bytes)),
    ("pid", Plain::Pid, Kind::Number(Unit::Count)),
    ("comm", Plain::Comm, Kind::Text),
    ("proto", Plain::Proto, Kind::Text),
    ("sni", Plain::Sni, Kind::Text),
    ("alpn", Plain::Alpn, Kind::Text),
    ("version", Plain::Version, Kind::Text),
    ("cipher", Plain::Cipher, Kind::Text),
    ("role", Plain::Role, Kind::OneOf(&["client", "server"])),
    ("conn", Plain::Conn, Kind::Number(Unit::Count)),
    ("stream", Plain::Stream, Kind::Number(Unit::Count)),
    ("id", Plain::Id, Kind::Number(Unit::Count)),
    ("type", Plain::Type, Kind::OneOf(&["exchange", "stream", "handshake"])),
    ("time", Plain::Time, Kind::Time),
    ("client", Plain::Client, Kind::Text),
    ("server", Plain::Server, Kind::Text),
    ("addr", Plain::Addr, Kind::OneOf(&["exact", "inferred", "unknown"])),
    ("lib", Plain::Lib, Kind::Text),
    ("reason", Plain::Reason, Kind::Text),
    ("response.reason", Plain::Reason, Kind::Text),
    ("complete", Plain::Complete, Kind::Bool),
    ("lost_bytes", Plain::LostBytes, Kind::Number(Unit::Bytes)),
    ("note", Plain::Note, Kind::Text),
    ("notes", Plain::Note, Kind::Text),
    ("client_bytes", Plain::ClientBytes, Kind::Number(Unit::Bytes)),
    ("server_bytes", Plain::ServerBytes, Kind::Number(Unit::Bytes)),
    ("grpc.service", Plain::GrpcService, Kind::Text),
    ("grpc.method", Plain::GrpcMethod, Kind::Text),
    ("grpc.status", Plain::GrpcStatus, Kind::Number(Unit::Count)),
    ("grpc.message", Plain::GrpcMessage, Kind::Text),
    ("messages", Plain::Messages, Kind::Number(Unit::Count)),
    ("latency", Plain::Latency, Kind::Number(Unit::Duration)),
    ("latency_ms", Plain::Latency, Kind::Number(Unit::Millis)),
    ("ok", Plain::Ok, Kind::Bool),
    // It can be negative, and is a name more than a number.
    ("result", Plain::Result, Kind::Text),
    ("fn", Plain::Func, Kind::Text),
    ("request", Plain::Request, Kind::Bool),
    ("response", Plain::Response, Kind::Bool),
];

/// Prefixes of header and trailer names.
const NAMED: [(&str, Part, Option<Side>); 6] = [
    ("header.", Part::Header, None),
    ("request.header.", Part::Header, Some(Side::Request)),
    ("response.header.", Part::Header, Some(Side::Response)),
    ("trailer.", Part::Trailer, None),
    ("request.trailer.", Part::Trailer, Some(Side::Request)),
    ("response.trailer.", Part::Trailer, Some(Side::Response)),
];

/// The field of this name, and what its values are.
pub(super) fn find(name: &str) -> Option<(Field, Kind)> {
    if let Some((_, plain, kind)) = PLAIN.iter().find(|(known, ..)| *known == name) {
        return Some((Field::Plain(*plain), *kind));
    }
    let named = NAMED.iter().find_map(|(prefix, part, side)| {
        let name = name.strip_prefix(prefix).filter(|name| !name.is_empty())?;
        Some(Field::Named { part: *part, side: *side, name: name.to_owned() })
    });
    named.map(|field| (field, Kind::Header))
}

/// All fields in one line, each by one name.
pub(super) fn list() -> String {
    let mut names = Vec::new();
    let mut last = None;
    for (name, plain, _) in PLAIN {
        if last != Some(plain) {
            names.push(name);
        }
        last = Some(plain);
    }
    format!(
        "a field: {}, header.NAME, request.header.NAME, response.header.NAME, trailer.NAME",
        names.join(", ")
    )
}

/// The known name that is nearest to a mistyped one, if one is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let distances = PLAIN.iter().map(|(known, ..)| (distance(name, known), *known));
    distances.min().filter(|(distance, known)| *distance <= known.len() / 2).map(|(_, known)| known)
}

/// How many characters have to be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // No field is longer than this; a text of any length costs no more.
    for (i, x) in a.bytes().take(32).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
