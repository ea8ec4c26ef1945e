//! Which parts of the value of one header field are secret. The same for HTTP/1 and HTTP/2, where
//! the request target goes by the name `:path`.

use std::ops::Range;

use super::pairs::{Ends, Pairs, cookies};
use super::window::Engine;

/// Fields that say how long a message is: without them nobody could read on.
const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];

/// The parts that are secret of a field's value. `line` is what patterns look at, of which the
/// value begins at `value_at`; they never reach outside of the value.
pub(super) fn secret(
    engine: &Engine,
    name: &[u8],
    line: &[u8],
    value_at: usize,
) -> Vec<Range<usize>> {
    let rules = &engine.rules;
    let value = &line[value_at.min(line.len())..];
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    if FRAMING.iter().any(|framing| is(framing)) {
        return Vec::new();
    }
    if rules.headers.iter().any(|header| is(header.as_bytes())) {
        return std::iter::once(0..value.len()).collect();
    }
    let mut found = Vec::new();
    if !rules.cookies.is_empty() && (is(b"cookie") || is(b"set-cookie")) {
        found.extend(cookies(&rules.cookies, value));
    }
    if !rules.query.is_empty() {
        let mut pairs = Pairs::within(Ends::WithTheUrl);
        let secret = value.iter().map(|&octet| pairs.octet(&[&rules.query], octet));
        found.extend(secret.enumerate().filter(|(_, secret)| *secret).map(|(at, _)| at..at + 1));
    }
    for pattern in &engine.patterns {
        found.extend(pattern.find(line).filter_map(|range| {
            let (start, end) = (range.start.max(value_at), range.end.min(line.len()));
            (start < end).then(|| start - value_at..end - value_at)
        }));
    }
    found
}

/// What a head says about the contents that follow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// They are compressed, or encrypted: nothing can be found in them.
    pub(super) coded: bool,
    /// They are a form of several parts.
    pub(super) multipart: bool,
    /// Whether they are a form, as far as their type says.
    form: Option<bool>,
    /// They are a response's.
    response: bool,
}

impl Contents {
    /// They may be a form, and so begin with a name. What says nothing about its type may be, if it is
    /// a request.
    pub(super) fn may_be_form(self) -> bool {
        self.form.unwrap_or(!self.response)
    }

    /// They are known to be those of a response.
    pub(super) fn of_response(&mut self) {
        self.response = true;
    }

    /// Takes note of a field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let value = value.trim_ascii();
        if is(b"content-encoding") || is(b"grpc-encoding") {
            self.coded |= !value.is_empty() && !value.eq_ignore_ascii_case(b"identity");
        } else if is(b"transfer-encoding") {
            let mut codings = value.split(|&octet| octet == b',').map(<[u8]>::trim_ascii);
            let plain = |coding: &[u8]| {
                coding.is_empty()
                    || coding.eq_ignore_ascii_case(b"chunked")
                    || coding.eq_ignore_ascii_case(b"identity")
            };
            self.coded |= !codings.all(plain);
        } else if is(b":protocol") {
            // An extended CONNECT (RFC 8441): web sockets are masked.
            self.coded = true;
        } else if is(b"content-type") {
            let lower = value.to_ascii_lowercase();
            self.multipart |= lower.starts_with(b"multipart/");
            self.form = Some(lower.starts_with(b"application/x-www-form-urlencoded"));
        } else if is(b":status") {
            self.of_response();
        }
    }
}
