//! Cookies of a HAR: pairs of Cookie, and Set-Cookie with its attributes (RFC 6265 section 5.2).

use std::borrow::Cow;

use serde::Serialize;
use sslrec_analyzer::exchange::Fields;
use sslrec_analyzer::text::{Rfc3339, readable};

/// The last time that an expiry of four digits can have: years of a Max-Age end here.
const LAST: &str = "9999-12-31T23:59:59Z";

/// A cookie. Cookies that a client sends have no attributes.
#[derive(Serialize, Default, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cookie<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure: Option<bool>,
    /// Not in HAR 1.2; browsers export it.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_site: Option<Cow<'a, str>>,
}

/// Returns the cookies that a request sends.
pub(super) fn sent(headers: &Fields) -> Vec<Cookie<'_>> {
    let lists = headers.all("cookie").flat_map(|list| list.split(|&b| b == b';'));
    lists.filter_map(pair).collect()
}

/// Returns the cookies that a response sets; it came at `now_ns`.
pub(super) fn set(headers: &Fields, now_ns: u64) -> Vec<Cookie<'_>> {
    headers.all("set-cookie").filter_map(|text| with_attributes(text, now_ns)).collect()
}

/// Returns name and value. A cookie without a `=` has no name, as browsers send it.
fn pair(text: &[u8]) -> Option<Cookie<'_>> {
    let text = text.trim_ascii();
    let (name, value) = match text.iter().position(|&b| b == b'=') {
        Some(at) => (text[..at].trim_ascii_end(), text[at + 1..].trim_ascii_start()),
        None => (&b""[..], text),
    };
    let is_empty = name.is_empty() && value.is_empty();
    (!is_empty).then(|| Cookie {
        name: readable(name),
        value: readable(value),
        ..Cookie::default()
    })
}

fn with_attributes(text: &[u8], now_ns: u64) -> Option<Cookie<'_>> {
    let mut parts = text.split(|&b| b == b';');
    let mut cookie = pair(parts.next()?)?;
    (cookie.http_only, cookie.secure) = (Some(false), Some(false));
    let mut max_age = None;
    for part in parts {
        let at = part.iter().position(|&b| b == b'=').unwrap_or(part.len());
        let name = part[..at].trim_ascii().to_ascii_lowercase();
        let value = part.get(at + 1..).unwrap_or_default().trim_ascii();
        let known = || Some(readable(value)).filter(|value| !value.is_empty());
        match name.as_slice() {
            b"path" => cookie.path = known().filter(|path| path.starts_with('/')),
            b"domain" => cookie.domain = known(),
            b"expires" => cookie.expires = date(value).or(cookie.expires),
            b"max-age" => max_age = lasting(value, now_ns).or(max_age),
            b"httponly" => cookie.http_only = Some(true),
            b"secure" => cookie.secure = Some(true),
            b"samesite" => cookie.same_site = known(),
            _ => {}
        }
    }
    // Max-Age has precedence (section 5.3).
    cookie.expires = max_age.or(cookie.expires);
    Some(cookie)
}

/// Returns the end of a Max-Age.
fn lasting(seconds: &[u8], now_ns: u64) -> Option<String> {
    let is_negative = seconds.starts_with(b"-");
    let digits = seconds.strip_prefix(b"-").unwrap_or(seconds);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if is_negative || digits.iter().all(|&digit| digit == b'0') {
        return Some(Rfc3339(0).to_string());
    }
    let seconds = std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let end_ns = seconds
        .and_then(|seconds| seconds.checked_mul(1_000_000_000))
        .and_then(|ns| now_ns.checked_add(ns));
    Some(end_ns.map_or_else(|| LAST.to_owned(), |ns| Rfc3339(ns).to_string()))
}

/// Reads a date by the rules of RFC 6265 section 5.1.1, which accept what servers send.
fn date(text: &[u8]) -> Option<String> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let is_delimiter =
        |b: &u8| matches!(b, b'\t' | b' '..=b'/' | b';'..=b'@' | b'['..=b'`' | b'{'..=b'~');
    for token in text.split(is_delimiter).filter(|token| !token.is_empty()) {
        if time.is_none()
            && let Some(found) = clock(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = number(token, 1..=2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = number(token, 2..=4)
        {
            year = Some(found);
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    let year = match year {
        70..=99 => year + 1900,
        0..=69 => year + 2000,
        year => year,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = days[month as usize - 1];
    let is_valid =
        (1..=days).contains(&day) && year >= 1601 && hour < 24 && minute < 60 && second < 60;
    is_valid.then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Reads a number of so many digits, before anything that is no digit.
fn number(token: &[u8], lengths: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let len = token.iter().take_while(|b| b.is_ascii_digit()).count();
    if !lengths.contains(&len) {
        return None;
    }
    std::str::from_utf8(&token[..len]).ok()?.parse().ok()
}

fn clock(token: &[u8]) -> Option<(u32, u32, u32)> {
    let mut parts = token.split(|&b| b == b':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = |part: &[u8]| number(part, 1..=2).filter(|_| part.iter().all(u8::is_ascii_digit));
    Some((whole(hour)?, whole(minute)?, number(second, 1..=2)?))
}

fn month_of(token: &[u8]) -> Option<u32> {
    let names = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let start = token.get(..3)?.to_ascii_lowercase();
    (1..).zip(names.chunks(3)).find(|(_, name)| *name == start).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use serde_json::json;

    use super::*;

    fn fields(name: &str, values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        values.iter().for_each(|value| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    #[test]
    fn sent_cookies_are_pairs() {
        let fields = fields("Cookie", &["a=1; b=\"q;uoted\"; c=; d; e==x;;", " f = Zoë "]);
        let pairs: Vec<_> =
            sent(&fields).iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        assert_eq!(pairs, ["a=1", "b=\"q", "=uoted\"", "c=", "=d", "e==x", "f=Zoë"]);
        let json = serde_json::to_value(&sent(&fields)[0]).unwrap();
        assert_eq!(json, json!({"name": "a", "value": "1"}));
    }

    #[test]
    fn set_cookies_have_their_attributes() {
        let full = "s=1; Path=/; Domain=h.test; Expires=Wed, 21 Oct 2026 07:28:00 GMT; HttpOnly; \
                    SECURE; SameSite=None; Partitioned";
        let fields =
            fields("Set-Cookie", &[full, "t=2; max-age=60; path=x; expires=never", "; Path=/"]);
        let cookies = set(&fields, 1_000_000_000);
        assert_eq!(
            serde_json::to_value(&cookies).unwrap(),
            json!([
                {"name": "s", "value": "1", "path": "/", "domain": "h.test",
                 "expires": "2026-10-21T07:28:00Z", "httpOnly": true, "secure": true,
                 "sameSite": "None"},
                {"name": "t", "value": "2", "expires": "1970-01-01T00:01:01.000000000Z",
                 "httpOnly": false, "secure": false},
            ])
        );
    }

    #[test]
    fn a_max_age_goes_before_an_expiry() {
        let expires = |text| with_attributes(text, 5).unwrap().expires;
        let both = b"a=b; Max-Age=0; Expires=Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(expires(both).unwrap(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(expires(b"a=b; Max-Age=-5").unwrap(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(expires(b"a=b; Max-Age=99999999999999999999999").unwrap(), LAST);
        assert_eq!(expires(b"a=b; Max-Age=1e3"), None);
    }

    #[test]
    fn dates_are_those_of_browsers() {
        for (text, expected) in [
            ("Wed, 21 Oct 2026 07:28:00 GMT", Some("2026-10-21T07:28:00Z")),
            ("Wednesday, 21-Oct-26 07:28:00 GMT", Some("2026-10-21T07:28:00Z")),
            ("Wed Oct 21 7:28:00 2026", Some("2026-10-21T07:28:00Z")),
            ("21 october 70 00:00:00x", Some("1970-10-21T00:00:00Z")),
            ("29 Feb 2024 1:2:3", Some("2024-02-29T01:02:03Z")),
            ("29 Feb 2023 1:2:3", None),
            ("31 Apr 2023 1:2:3", None),
            ("0 Apr 2023 1:2:3", None),
            ("1 Apr 1600 1:2:3", None),
            ("1 Apr 2023 24:0:0", None),
            ("1 Apr 2023", None),
            ("Session", None),
            ("", None),
        ] {
            assert_eq!(date(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }
}
