//! Parameters of forms for a HAR: `application/x-www-form-urlencoded` and `multipart/form-data`.
//!
//! The text of the body is in the HAR as well. So a form that is damaged or very large is given by
//! its text alone.

use std::borrow::Cow;

use memchr::memmem;
use percent_encoding::percent_decode;
use serde::Serialize;
use sslrec_analyzer::text::readable;

use crate::commands::charset;

/// The largest form that is read.
const MAX_FORM: usize = 4 << 20;

/// The most parameters of a form. Each costs a peer two bytes, and a reader many more.
const MAX_PARAMS: usize = 10_000;

/// A parameter.
#[derive(Serialize, Default, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Param {
    name: String,
    /// Missing where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

/// Returns the parameters, if the body is a form.
pub(super) fn params(content_type: &str, body: &[u8]) -> Option<Vec<Param>> {
    if body.len() > MAX_FORM {
        return None;
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return urlencoded(body);
    }
    if media_type.eq_ignore_ascii_case("multipart/form-data") {
        return multipart(parameter(content_type, "boundary")?.as_bytes(), body);
    }
    None
}

fn urlencoded(body: &[u8]) -> Option<Vec<Param>> {
    let parts = body.split(|&b| b == b'&').filter(|part| !part.is_empty());
    let mut params = Vec::new();
    for part in parts {
        if params.len() == MAX_PARAMS {
            return None;
        }
        let at = part.iter().position(|&b| b == b'=').unwrap_or(part.len());
        let value = part.get(at + 1..).unwrap_or_default();
        let value = Some(unescaped(value.trim_ascii_end()));
        params.push(Param { name: unescaped(&part[..at]), value, ..Param::default() });
    }
    Some(params)
}

/// Undoes `+` and percent-encoding.
fn unescaped(text: &[u8]) -> String {
    let spaced: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    readable(&percent_decode(&spaced).collect::<Vec<_>>()).into_owned()
}

/// Reads the parts of a body (RFC 2046 section 5.1.1, RFC 7578).
fn multipart(boundary: &[u8], body: &[u8]) -> Option<Vec<Param>> {
    let next = [b"\n--", boundary].concat();
    let mut params = Vec::new();
    let mut rest = match body.strip_prefix(&next[1..]) {
        Some(rest) => rest,
        // A preamble.
        None => after(body, &next)?.1,
    };
    while !rest.starts_with(b"--") {
        let (_, part) = after(rest, b"\n")?;
        // The line break before the delimiter belongs to it; the one before may be of the head.
        let (content, follows) = after(rest, &next)?;
        let content = content.get(rest.len() - part.len()..).unwrap_or_default();
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if params.len() == MAX_PARAMS {
            return None;
        }
        params.push(part_of(content)?);
        rest = follows;
    }
    Some(params)
}

/// Splits at the first occurrence.
fn after<'b>(bytes: &'b [u8], what: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let at = memmem::find(bytes, what)?;
    Some((&bytes[..at], &bytes[at + what.len()..]))
}

/// Reads a part: fields, an empty line, contents.
fn part_of(part: &[u8]) -> Option<Param> {
    let (mut param, mut rest) = (Param::default(), part);
    let mut has_name = false;
    let content = loop {
        let (line, follows) = after(rest, b"\n").unwrap_or((rest, b""));
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break follows;
        }
        rest = follows;
        let line = readable(line);
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-disposition") {
            let name = parameter(value, "name");
            has_name = name.is_some();
            param.name = name.unwrap_or_default();
            param.file_name = parameter(value, "filename");
        } else if name.eq_ignore_ascii_case("content-type") {
            param.content_type = Some(value.trim().to_owned());
        }
    };
    let content_type = param.content_type.as_deref().unwrap_or_default();
    param.value = charset::text(content_type, content).map(Cow::into_owned);
    has_name.then_some(param)
}

/// Returns a parameter of a header value: `; name=value`, perhaps in quotes.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value;
    loop {
        rest = &rest[rest.find(';')? + 1..];
        let (found, after) = rest.split_once('=')?;
        if found.contains(';') {
            continue;
        }
        let after = after.trim_start();
        let (text, end) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        if found.trim().eq_ignore_ascii_case(name) {
            return Some(text);
        }
        rest = end;
    }
}

/// Reads up to the closing quote. A backslash escapes only a quote: browsers send those of paths as
/// they are.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &quoted[at + 1..]),
            '\\' if chars.peek().is_some_and(|&(_, next)| next == '"') => {
                chars.next();
                text.push('"');
            }
            c => text.push(c),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use serde_json::{Value, json};

    use super::*;

    fn read(content_type: &str, body: &[u8]) -> Value {
        serde_json::to_value(params(content_type, body)).unwrap()
    }

    #[test]
    fn urlencoded_forms_are_decoded() {
        let form = b"k=v+1&e=%C3%A9&x=&&=n&flag&bad=%zz%4&%2B=%e9\r\n";
        assert_eq!(
            read("application/X-www-form-urlencoded; charset=UTF-8", form),
            json!([
                {"name": "k", "value": "v 1"},
                {"name": "e", "value": "é"},
                {"name": "x", "value": ""},
                {"name": "", "value": "n"},
                {"name": "flag", "value": ""},
                {"name": "bad", "value": "%zz%4"},
                {"name": "+", "value": "é"},
            ])
        );
        assert_eq!(read("application/x-www-form-urlencoded", b""), json!([]));
        assert_eq!(read("text/plain", b"a=b"), Value::Null);
        let many = b"a&".repeat(MAX_PARAMS + 1);
        assert_eq!(read("application/x-www-form-urlencoded", &many), Value::Null);
    }

    #[test]
    fn parts_of_multipart_forms_are_read() {
        let form = "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B \r\n\
            content-disposition: form-data; filename=\"C:\\x \\\"y\\\";z.bin\"; name=f\r\n\
            Content-Type: application/octet-stream\r\n\r\n\0\u{1}\r\n--B\r\n\
            Content-Disposition: form-data; name=\"é\"\r\n\r\n--A\n--B\r\n\
            Content-Disposition: form-data; name=\"\"\r\n\r\n\r\n--B--\r\nepilogue";
        assert_eq!(
            read("multipart/form-data; boundary=B", form.as_bytes()),
            json!([
                {"name": "a", "value": "1"},
                {"name": "f", "fileName": "C:\\x \"y\";z.bin", "contentType": "application/octet-stream"},
                {"name": "é", "value": "--A"},
                {"name": "", "value": ""},
            ])
        );
    }

    #[test]
    fn damaged_multipart_forms_have_no_parameters() {
        let whole = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--\r\n";
        let form = "multipart/form-data; charset=x;boundary=\"B\"";
        assert_eq!(read(form, whole.as_bytes()), json!([{"name": "a", "value": "1"}]));
        for cut in 0..whole.len() - 4 {
            assert_eq!(read(form, &whole.as_bytes()[..cut]), Value::Null, "{cut}");
        }
        assert_eq!(read("multipart/form-data", whole.as_bytes()), Value::Null);
        assert_eq!(read("multipart/form-data; boundary=C", whole.as_bytes()), Value::Null);
        let nameless = whole.replace("name=", "nom=");
        assert_eq!(read(form, nameless.as_bytes()), Value::Null);
    }
}
