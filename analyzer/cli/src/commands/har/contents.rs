//! Bodies in a HAR: text, decoded from its character set, or base64.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use sslrec_analyzer::exchange::Message;

use crate::commands::charset;
use crate::text::Base64;

/// A body: as text if it is text in its character set, else as base64. Many control characters are
/// base64 too: the escape of each takes six bytes, and a bomb of them would take six times the
/// limit of decoded contents.
pub(super) enum Contents<'a> {
    Text(Cow<'a, str>),
    Binary(&'a [u8]),
}

impl<'a> Contents<'a> {
    /// Returns the body of a message; `None` if it is empty or not kept.
    pub(super) fn of(message: &'a Message) -> Option<Self> {
        let data = message.body.data.as_deref().filter(|data| !data.is_empty())?;
        Some(Self::new(&charset::content_type(message), data))
    }

    fn new(content_type: &str, data: &'a [u8]) -> Self {
        let is_control = |octet: u8| octet < b' ' && !matches!(octet, b'\t' | b'\n' | b'\r');
        // The count of a short part fits into an octet, which is much faster to add.
        let in_part = |part: &[u8]| -> u8 { part.iter().map(|&o| u8::from(is_control(o))).sum() };
        let controls: usize = data.chunks(128).map(|part| usize::from(in_part(part))).sum();
        let is_plain = controls <= data.len() / 16;
        match std::str::from_utf8(data) {
            // With few control characters it is text for a HAR, and for no one else.
            Ok(text) if is_plain && charset::is_utf8(content_type, data) => {
                Self::Text(Cow::Borrowed(text))
            }
            _ => charset::text(content_type, data).map_or(Self::Binary(data), Self::Text),
        }
    }

    pub(super) fn encoding(&self) -> Option<&'static str> {
        matches!(self, Self::Binary(_)).then_some("base64")
    }
}

impl Serialize for Contents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Binary(data) => serializer.collect_str(&Base64(data)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    #[test]
    fn many_control_characters_are_not_text() {
        let zeros = [0; 300];
        for (bytes, encoding) in [
            (&b""[..], None),
            (b"a\tb\r\n\tc\n\n\n", None),
            (b"\x1b[1mtitle\x1b[0m of a terminal, in colours", None),
            (b"\0", Some("base64")),
            (b"\xff", Some("base64")),
            (&zeros, Some("base64")),
        ] {
            let contents = Contents::new("text/plain", bytes);
            assert_eq!(contents.encoding(), encoding, "{}", bytes.escape_ascii());
            let json = serde_json::to_string(&contents).unwrap();
            assert!(json.len() <= 2 + bytes.len() * 3 / 2 + 12, "{json}");
        }
    }

    #[test]
    fn texts_are_decoded_from_their_character_sets() {
        for (content_type, bytes, expected) in [
            ("text/plain; charset=iso-8859-1", &b"gr\xfcn"[..], "grün"),
            ("text/plain; charset=utf-16le", b"h\0i\0", "hi"),
            ("text/html; charset=Shift_JIS", b"\x93\xfa\x96{", "日本"),
            // Valid UTF-8, and declared to be something else.
            ("text/plain; charset=gb18030", b"\xc4\xe3", "你"),
            ("text/plain; charset=iso-8859-1", b"\xc3\xbc", "Ã¼"),
            ("", "ü\u{1}, and so on and on".as_bytes(), "ü\u{1}, and so on and on"),
            ("application/json; charset=utf-8", b"\"\xe9", "Iuk="),
        ] {
            let json = serde_json::to_value(Contents::new(content_type, bytes)).unwrap();
            assert_eq!(json, expected, "{content_type}");
        }
    }
}
