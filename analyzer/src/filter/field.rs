//! Fields by their names: those of the table ([`crate::exchange::field`]), and those of headers and
//! trailers.

use crate::exchange::field::{Field, Kind, Subject, Value};
use crate::exchange::{Fields, Message};
use crate::item_fields;
use crate::text::readable;

/// A field named by a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A field of the table.
    Plain(&'static Field),
    /// Header or trailer fields of one message or of both; names are case-insensitive.
    Part { part: Part, side: Option<Side>, name: String },
}

impl Named {
    /// Calls `see` with each value of the field; not at all if it is unknown.
    pub(super) fn values(&self, subject: &Subject<'_>, see: &mut dyn FnMut(Value<'_>)) {
        let (part, side, name) = match self {
            Named::Plain(field) => return field.values(subject, see),
            Named::Part { part, side, name } => (*part, *side, name),
        };
        let Some(exchange) = subject.exchange() else { return };
        let request = exchange.request.as_ref().map(|r| (Side::Request, &r.message));
        let response = exchange.response.as_ref().map(|r| (Side::Response, &r.message));
        for (of, message) in request.into_iter().chain(response) {
            if side.is_none_or(|side| side == of) {
                part.of(message).all(name).for_each(|value| see(readable(value).into()));
            }
        }
    }
}

/// The kind of fields of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Header,
    Trailer,
}

impl Part {
    fn of(self, message: &Message) -> &Fields {
        match self {
            Part::Header => &message.headers,
            Part::Trailer => &message.trailers,
        }
    }
}

/// The message with the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// Prefixes of header and trailer names.
const NAMED: [(&str, Part, Option<Side>); 6] = [
    ("header.", Part::Header, None),
    ("request.header.", Part::Header, Some(Side::Request)),
    ("response.header.", Part::Header, Some(Side::Response)),
    ("trailer.", Part::Trailer, None),
    ("request.trailer.", Part::Trailer, Some(Side::Request)),
    ("response.trailer.", Part::Trailer, Some(Side::Response)),
];

/// Returns the field of this name, and the kind of its values.
pub(super) fn find(name: &str) -> Option<(Named, Kind)> {
    for field in item_fields::all() {
        if let Some((_, kind)) = field.names.iter().find(|(known, _)| *known == name) {
            return Some((Named::Plain(field), *kind));
        }
    }
    NAMED.iter().find_map(|(prefix, part, side)| {
        let name = name.strip_prefix(prefix).filter(|name| !name.is_empty())?;
        let named = Named::Part { part: *part, side: *side, name: name.to_owned() };
        Some((named, Kind::Header))
    })
}

/// Lists all fields in a line, each by its usual name.
pub(super) fn list() -> String {
    let names: Vec<_> = item_fields::all().map(Field::name).collect();
    format!(
        "a field: {}, header.NAME, request.header.NAME, response.header.NAME, trailer.NAME",
        names.join(", ")
    )
}

/// Returns the known name that is nearest to a mistyped name, if any is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let names = item_fields::all().flat_map(|field| field.names);
    let distances = names.map(|(known, _)| (distance(name, known), *known));
    distances.min().filter(|(distance, known)| *distance <= known.len() / 2).map(|(_, known)| known)
}

/// Returns the number of insertions, deletions and changes between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // No field name is longer than this; the limit bounds the cost of long texts.
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
