//! Decodes bodies of any character set to text.
//!
//! The first of these determines the character set: a byte order mark, the `charset` of the content
//! type, a declaration in an HTML or XML text, or else UTF-8. The bytes are not used for guesses: a
//! body that does not fit its character set is not text.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use sslrec_analyzer::exchange::Message;
use sslrec_analyzer::text::readable;

/// The longest text in another character set than UTF-8, in bytes: it is converted as a whole.
const MAX_CONVERTED: usize = 16 << 20;

/// How many bytes are searched for a declared encoding; the limit of the HTML standard (section
/// 13.2.3.2).
const SAYS_WITHIN: usize = 1024;

/// Returns the body as text, if it is text: without control characters that texts never have.
pub(crate) fn text<'a>(content_type: &str, body: &'a [u8]) -> Option<Cow<'a, str>> {
    let (encoding, mark_len) = match Encoding::for_bom(body) {
        Some(known) => known,
        None => (declared(content_type, body).unwrap_or(UTF_8), 0),
    };
    if encoding != UTF_8 && body.len() > MAX_CONVERTED {
        return None;
    }
    let body = &body[mark_len..];
    // Bytes that are not UTF-8 are not converted first.
    let (text, malformed) = match std::str::from_utf8(body) {
        Ok(text) if encoding == UTF_8 => (Cow::Borrowed(text), false),
        Err(_) if encoding == UTF_8 => return None,
        _ => encoding.decode_without_bom_handling(body),
    };
    let binary = |c: char| c.is_ascii_control() && !"\t\n\r\x0c\x1b\x7f".contains(c);
    (!malformed && !text.contains(binary)).then_some(text)
}

/// Returns the content type that a body has for [`text`]: none, if it is known to be UTF-8.
pub(crate) fn content_type(message: &Message) -> Cow<'_, str> {
    match message.headers.first("content-type") {
        Some(declared) if !message.body.is_utf8 => readable(declared),
        _ => Cow::Borrowed(""),
    }
}

/// Returns whether the body is read as UTF-8.
pub(crate) fn is_utf8(content_type: &str, body: &[u8]) -> bool {
    let marked = Encoding::for_bom(body).map(|(encoding, _)| encoding);
    marked.or_else(|| declared(content_type, body)).unwrap_or(UTF_8) == UTF_8
}

/// Returns the character set that the content type or the text declares, if it is a known character
/// set.
fn declared(content_type: &str, body: &[u8]) -> Option<&'static Encoding> {
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let charset = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    });
    if let Some(encoding) = charset.and_then(|label| Encoding::for_label(label.as_bytes())) {
        return Some(encoding);
    }
    let media_type = media_type.trim().to_ascii_lowercase();
    let start = &body[..body.len().min(SAYS_WITHIN)];
    let label = match media_type.as_str() {
        "text/html" => within(start, b"<meta", b"charset"),
        "text/xml" | "application/xml" => within(start, b"<?xml", b"encoding"),
        suffixed if suffixed.ends_with("+xml") => within(start, b"<?xml", b"encoding"),
        _ => None,
    };
    // A label that was readable as ASCII rules out encodings of two bytes a character.
    label.and_then(Encoding::for_label).filter(|encoding| encoding.is_ascii_compatible())
}

/// Returns the value of `NAME=VALUE` in the first tag of this kind that has the attribute.
fn within<'a>(start: &'a [u8], tag: &[u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = start;
    while let Some(at) = find(rest, tag) {
        rest = &rest[at + tag.len()..];
        let end = rest.iter().position(|&byte| byte == b'>').unwrap_or(rest.len());
        let inside = &rest[..end];
        let Some(at) = find(inside, name) else { continue };
        let value = inside[at + name.len()..].trim_ascii_start();
        let Some(value) = value.strip_prefix(b"=") else { continue };
        let value = value.trim_ascii_start();
        let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
        let ends = |byte: &u8| b"\"'; /?".contains(byte) || byte.is_ascii_whitespace();
        return Some(&value[..value.iter().position(ends).unwrap_or(value.len())]);
    }
    None
}

/// Returns the offset of an ASCII text, ignoring case.
fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content_type: &str, body: &[u8]) -> Option<String> {
        text(content_type, body).map(Cow::into_owned)
    }

    #[test]
    fn the_charset_of_the_content_type_is_used() {
        for (content_type, body) in [
            ("text/plain; charset=iso-8859-1", &b"gr\xfcn"[..]),
            ("text/plain; charset=\"ISO-8859-1\"; x=y", b"gr\xfcn"),
            ("text/plain;a=b;CharSet=windows-1252", b"gr\xfcn"),
            ("application/json", "gr\u{fc}n".as_bytes()),
            ("text/plain; charset=nonsense", "gr\u{fc}n".as_bytes()),
            ("text/plain; charset=utf-16le", b"g\0r\0\xfc\0n\0"),
        ] {
            assert_eq!(shown(content_type, body).as_deref(), Some("grün"), "{content_type}");
        }
        assert_eq!(
            shown("text/plain; charset=shift_jis", b"\x93\xfa\x96{").as_deref(),
            Some("日本")
        );
        assert_eq!(shown("text/plain; charset=gbk", b"\xc4\xe3").as_deref(), Some("你"));
    }

    #[test]
    fn a_text_that_would_have_to_be_converted_has_a_limit() {
        let latin1 = "text/plain; charset=iso-8859-1";
        for (content_type, len, is_text) in [
            (latin1, MAX_CONVERTED, true),
            (latin1, MAX_CONVERTED + 1, false),
            ("text/plain", MAX_CONVERTED + 1, true),
        ] {
            assert_eq!(text(content_type, &vec![b'a'; len]).is_some(), is_text, "{len}");
        }
    }

    #[test]
    fn a_byte_order_mark_comes_first() {
        for body in [&b"\xef\xbb\xbfa"[..], b"\xff\xfea\0", b"\xfe\xff\0a"] {
            assert_eq!(shown("text/plain; charset=iso-8859-1", body).as_deref(), Some("a"));
        }
    }

    #[test]
    fn texts_declare_their_encoding() {
        for (content_type, body) in [
            ("text/html", &b"<!doctype html><META charset=windows-1251><p>\xe4\xe0"[..]),
            ("text/html", b"<meta name=x><meta http-equiv=Content-Type content=\"text/html; charset=windows-1251\">\xe4\xe0"),
            ("application/atom+xml", b"<?xml version='1.0' encoding='windows-1251'?><a>\xe4\xe0"),
        ] {
            let shown = shown(content_type, body);
            assert!(shown.as_ref().is_some_and(|text| text.ends_with("да")), "{shown:?}");
        }
        let late = [" ".repeat(2000).as_bytes(), b"<meta charset=windows-1251>\xe4"].concat();
        assert_eq!(shown("text/html", &late), None);
        assert_eq!(shown("text/plain", b"<meta charset=windows-1251>\xe4"), None);
        // It would not be readable if it were.
        assert_eq!(
            shown("text/html", b"<meta charset=utf-16>ab").as_deref(),
            Some("<meta charset=utf-16>ab")
        );
    }

    #[test]
    fn a_body_that_does_not_fit_its_encoding_is_not_text() {
        for (content_type, body) in [
            ("text/plain", &b"\xff\xfe\xfd"[..]),
            ("text/plain; charset=utf-8", b"gr\xfcn"),
            ("", b"a\0b"),
            ("image/png", b"\x89PNG\r\n\x1a\n"),
            ("text/plain; charset=iso-8859-1", b"\x01\x02"),
            ("text/plain; charset=shift_jis", b"\x93"),
        ] {
            assert_eq!(shown(content_type, body), None, "{content_type}");
        }
        assert_eq!(shown("", b"").as_deref(), Some(""));
    }
}
