//! JSON that is safe on a terminal. Characters that control a terminal, reorder text or are
//! invisible are written as `\u` escapes, which a parser reads as the same characters.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use sslrec_cli::text::is_special;

/// Writes a value as compact JSON.
///
/// # Errors
/// The value cannot be serialised, or the output cannot be written.
pub(crate) fn to_writer<W: Write>(
    out: W,
    value: &(impl Serialize + ?Sized),
) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, SafeFormatter))
}

/// Writes a character of a string as a `\u` escape, or as two escapes beyond the first 65,536
/// characters.
pub(crate) fn write_escape(out: &mut (impl Write + ?Sized), c: char) -> io::Result<()> {
    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
}

struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        escape(out, text)
    }

    /// Outside strings JSON is ASCII only, so all other characters of a fragment can be escaped.
    fn write_raw_fragment<W: Write + ?Sized>(&mut self, out: &mut W, json: &str) -> io::Result<()> {
        escape(out, json)
    }
}

/// Escapes special characters. `serde_json` itself escapes the control characters below the space.
fn escape(out: &mut (impl Write + ?Sized), text: &str) -> io::Result<()> {
    if text.is_ascii() && !text.as_bytes().contains(&0x7f) {
        return out.write_all(text.as_bytes());
    }
    let mut rest = text;
    while let Some(at) = rest.find(|c| c >= '\u{7f}' && is_special(c)) {
        let (plain, special) = rest.split_at(at);
        out.write_all(plain.as_bytes())?;
        let mut chars = special.chars();
        chars.next().map_or(Ok(()), |c| write_escape(out, c))?;
        rest = chars.as_str();
    }
    out.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn special_characters_are_escaped_and_read_back() {
        let text: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        let raw = RawValue::from_string(serde_json::to_string(&text).unwrap()).unwrap();
        let mut json = Vec::new();
        to_writer(&mut json, &(&text, &raw)).unwrap();
        let json = String::from_utf8(json).unwrap();
        assert!(!json.chars().any(is_special));
        let (first, second): (String, String) = serde_json::from_str(&json).unwrap();
        assert!(first == text && second == text);
        let mut json = Vec::new();
        to_writer(&mut json, "a\u{9b}\u{202e}\u{e0041}é\n").unwrap();
        assert_eq!(json, "\"a\\u009b\\u202e\\udb40\\udc41é\\n\"".as_bytes());
    }
}
