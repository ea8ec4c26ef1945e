//! Counts of blanked values: by rule and place.

use std::collections::BTreeMap;
use std::fmt;

/// The reason for blanking a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A header field by name.
    Header,
    /// A cookie by name.
    Cookie,
    /// A value in a URL or form, by name.
    Query,
    /// A value in JSON, by name.
    Json,
    /// The token after the word `bearer`.
    Bearer,
    /// The credentials after the word `basic`.
    Basic,
    /// A token by its shape, or a private key.
    Token,
    /// User information in a URL.
    UserInfo,
    /// A regular expression.
    Regex,
    /// Bytes that cannot be searched: compressed, after a gap, or of an unknown beginning.
    Unsearchable,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Header => "header",
            Rule::Cookie => "cookie",
            Rule::Query => "query",
            Rule::Json => "json",
            Rule::Bearer => "bearer",
            Rule::Basic => "basic",
            Rule::Token => "token",
            Rule::UserInfo => "user information",
            Rule::Regex => "regex",
            Rule::Unsearchable => "unsearchable",
        })
    }
}

/// The place of a blanked value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Request targets, and reasons of responses.
    StartLine,
    /// Header and trailer fields.
    Fields,
    /// Content of messages.
    Body,
    /// Messages of a WebSocket.
    WebSocket,
    /// Frames of HTTP/2 that carry neither fields nor content.
    Frame,
    /// Bytes that are not HTTP, or possibly not HTTP.
    Other,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::StartLine => "start lines",
            Place::Fields => "header fields",
            Place::Body => "bodies",
            Place::WebSocket => "WebSocket messages",
            Place::Frame => "other frames",
            Place::Other => "other bytes",
        })
    }
}

/// Amount of blanked data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Values, or parts of values.
    pub values: u64,
    /// Bytes of these values.
    pub bytes: u64,
}

/// Counts by rule and place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(Rule, Place), Count>);

impl Counts {
    /// Adds `values` values of `bytes` bytes together.
    pub(crate) fn add(&mut self, rule: Rule, place: Place, values: u64, bytes: u64) {
        let count = self.0.entry((rule, place)).or_default();
        count.values += values;
        count.bytes += bytes;
    }

    /// Returns all counts that are not zero, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Rule, Place, Count)> {
        self.0.iter().map(|(&(rule, place), &count)| (rule, place, count))
    }
}
