//! The secret parts of the value of a header field. HTTP/1 and HTTP/2 have the same rules; the
//! request target has the name `:path`.

use std::ops::Range;

use memchr::memrchr;

use super::counts::Rule;
use super::decode::decode;
use super::finder::{self, Look};
use super::header_name::{field_name, is_cookie_field};
use super::literals::Set;
use super::window::Engine;

/// The name of targets of HTTP/1.
pub(super) const TARGET: &[u8] = b":path";

/// A part of a value, and the rule that makes it a secret.
pub(super) type Secret = (Range<usize>, Rule);

/// Returns the secret parts of a field's value. Patterns search `line`, in which the value begins
/// at `value_at`; their matches are limited to the value. `begun`: the patterns of which a match
/// may begin in the line.
pub(super) fn secret(
    engine: &Engine,
    name: &[u8],
    line: &[u8],
    value_at: usize,
    begun: Set,
) -> Vec<Secret> {
    let rules = &engine.rules;
    let value = &line[value_at.min(line.len())..];
    let name = field_name(name);
    if is_framing(&name, value) {
        return Vec::new();
    }
    if rules.is_header(&name) {
        return vec![(0..value.len(), Rule::Header)];
    }
    let mut found = Vec::new();
    if !rules.cookies.is_empty() && is_cookie_field(&name) {
        let cookies = cookies(|name| rules.is_cookie(name), value);
        found.extend(cookies.into_iter().map(|range| (range, Rule::Cookie)));
    }
    if rules.builtin {
        found.extend(builtin(&name, value));
    }
    let look = Look { rules, form: false, unsure: false, head: true };
    let blanks = finder::find(look, value);
    found.extend(blanks.into_iter().map(|blank| (blank.range, blank.rule)));
    let patterns = engine.patterns.iter().enumerate().filter(|(index, _)| begun.contains(*index));
    for (_, pattern) in patterns {
        found.extend(pattern.find(line).filter_map(|range| {
            let (start, end) = (range.start.max(value_at), range.end.min(line.len()));
            (start < end).then(|| (start - value_at..end - value_at, pattern.rule()))
        }));
    }
    found
}

/// Returns whether the value determines the length of a message: nothing after it could be read
/// without it.
fn is_framing(name: &[u8], value: &[u8]) -> bool {
    const CODINGS: [&[u8]; 9] = [
        b"",
        b"chunked",
        b"identity",
        b"gzip",
        b"x-gzip",
        b"deflate",
        b"compress",
        b"br",
        b"trailers",
    ];
    match name {
        b"content-length" => {
            value.iter().all(|octet| octet.is_ascii_digit() || b" \t\r\n,+".contains(octet))
        }
        b"transfer-encoding" => value.split(|&octet| octet == b',').all(|coding| {
            let coding = coding.trim_ascii();
            CODINGS.iter().any(|known| coding.eq_ignore_ascii_case(known))
        }),
        _ => false,
    }
}

/// Returns secrets at the usual places in well-known fields.
fn builtin(name: &[u8], value: &[u8]) -> Vec<Secret> {
    match name {
        // The user information of an authority (RFC 3986 section 3.2.1), without a scheme before
        // it.
        b"host" | b":authority" => user_info(value).into_iter().collect(),
        TARGET if !value.starts_with(b"/") && !value.contains(&b'/') => {
            user_info(value).into_iter().collect()
        }
        b"sec-websocket-protocol" => subprotocols(value),
        _ => Vec::new(),
    }
}

fn user_info(authority: &[u8]) -> Option<Secret> {
    let end = memrchr(b'@', authority)?;
    Some((0..end, Rule::UserInfo))
}

/// Returns tokens among the subprotocols of a WebSocket, the only place that browsers have for
/// them: `bearer, TOKEN`, or `base64url.bearer.authorization.k8s.io.TOKEN`.
fn subprotocols(value: &[u8]) -> Vec<Secret> {
    const WORDS: [&[u8]; 8] =
        [b"bearer", b"token", b"auth", b"jwt", b"access", b"secret", b"apikey", b"session"];
    let holds_word = |item: &[u8]| {
        let lower = item.to_ascii_lowercase();
        WORDS.iter().any(|word| memchr::memmem::find(&lower, word).is_some())
    };
    let (mut found, mut start, mut announced) = (Vec::new(), 0, false);
    for item in value.split(|&octet| octet == b',') {
        let indent = item.len() - item.trim_ascii_start().len();
        let text = item.trim_ascii();
        let at = start + indent;
        let is_word = holds_word(text);
        // A name is short; a token is not.
        if !is_word && (announced || text.len() >= 32) {
            found.push((at..at + text.len(), Rule::Token));
        } else if is_word && text.len() >= 24 {
            let tail = memrchr(b'.', text).map_or(0, |dot| dot + 1);
            let tail = if is_jwt(text) { jwt_start(text) } else { tail };
            found.push((at + tail..at + text.len(), Rule::Token));
        }
        announced |= is_word;
        start += item.len() + 1;
    }
    found
}

/// Returns whether the text ends with a token of three parts (RFC 7519 section 3).
fn is_jwt(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"eyJ").is_some()
}

fn jwt_start(text: &[u8]) -> usize {
    memchr::memmem::find(text, b"eyJ").unwrap_or(0)
}

/// Returns the places of values of cookies in a Cookie or Set-Cookie field (RFC 6265 section 4).
pub(super) fn cookies(is_secret: impl Fn(&[u8]) -> bool, value: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in value.split(|&octet| octet == b';') {
        let pair = part.iter().position(|&octet| octet == b'=');
        if let Some(at) = pair
            && is_secret(&decode(&part[..at]))
        {
            found.push(start + at + 1..start + part.len());
        }
        start += part.len() + 1;
    }
    found
}

/// The declarations of a head about the contents that follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// The contents are compressed or encrypted, and cannot be searched.
    pub(super) coded: bool,
    /// The contents are a multipart form.
    pub(super) multipart: bool,
    /// Whether the contents are a form, if their type is known.
    form: Option<bool>,
    /// The contents belong to a response.
    response: bool,
}

impl Contents {
    /// Returns whether the contents may be a form, and so begin with a name. Contents without a
    /// type may be a form if they belong to a request.
    pub(super) fn may_be_form(self) -> bool {
        self.form.unwrap_or(!self.response)
    }

    /// Marks the contents as those of a response.
    pub(super) fn of_response(&mut self) {
        self.response = true;
    }

    /// Reads a field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = field_name(name);
        let is = |known: &[u8]| *name == *known;
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
            // The text of gRPC-Web is base64.
            self.coded |= lower.starts_with(b"application/grpc-web-text");
            self.form = Some(lower.starts_with(b"application/x-www-form-urlencoded"));
        } else if is(b":status") {
            self.of_response();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::single_range_in_vec_init, reason = "they are lists of ranges")]

    use super::*;

    #[test]
    fn cookies_are_found_by_name() {
        let is_sid = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(b"sid");
        assert_eq!(cookies(is_sid, b"a=1; SID=xyz; sid=\"q\""), [9..12, 18..21]);
        assert_eq!(cookies(is_sid, b"sid=xyz; Path=/"), [4..7]);
        assert_eq!(cookies(is_sid, b"sid; asid=1"), [0..0; 0]);
    }

    #[test]
    fn tokens_among_subprotocols_are_secret_and_names_are_not() {
        for (value, expected) in [
            ("chat, superchat", ""),
            ("graphql-transport-ws", ""),
            ("bearer, abc123", "abc123"),
            ("access_token, abc.def", "abc.def"),
            (
                "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io",
                "c2VjcmV0v4.channel.k8s.io",
            ),
            ("jwt.eyJhbGciOi.eyJzdWIi.c2ln", "eyJhbGciOi.eyJzdWIi.c2ln"),
            (
                "0123456789012345678901234567890123456789",
                "0123456789012345678901234567890123456789",
            ),
        ] {
            let found = subprotocols(value.as_bytes());
            let text: String = found.into_iter().map(|(range, _)| &value[range]).collect();
            assert_eq!(text, expected, "{value}");
        }
    }

    #[test]
    fn only_lengths_and_known_codings_are_framing() {
        assert!(is_framing(b"content-length", b"5, 5"));
        assert!(is_framing(b"transfer-encoding", b"gzip,\r\n chunked"));
        assert!(!is_framing(b"content-length", b"5; token"));
        assert!(!is_framing(b"transfer-encoding", b"chunked;a=b"));
        assert!(!is_framing(b"host", b"5"));
    }
}
