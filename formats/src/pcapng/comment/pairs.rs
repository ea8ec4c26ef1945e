//! The grammar of comments: `key=value` pairs with one space between them.
//!
//! In keys and values, space, `%`, control characters, and characters that reorder text or are
//! invisible are percent-escaped byte by byte; in keys `=` is escaped too. All other characters,
//! including other scripts, are written as they are.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sslrec_cli::text::is_special;

/// Key of a pair that is missing or wrong.
pub(crate) type BadKey = &'static str;

/// Longest text value in bytes. Longer text is truncated and ends with `…`, so that a hostile name
/// cannot overflow a block.
/// Linux paths have at most 4096 bytes.
const TEXT_LIMIT: usize = 4096;

/// Appends a pair with a text value.
pub(crate) fn push_text(out: &mut String, key: &str, value: &str) {
    push_key(out, key);
    escape(out, &cut(value), false);
}

/// Returns the text up to the limit.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_LIMIT {
        return Cow::Borrowed(text);
    }
    let mut end = TEXT_LIMIT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Appends a pair whose value needs no escapes, such as a number.
pub(crate) fn push(out: &mut String, key: &str, value: impl Display) {
    push_key(out, key);
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

fn push_key(out: &mut String, key: &str) {
    if !out.is_empty() {
        out.push(' ');
    }
    escape(out, key, true);
    out.push('=');
}

fn escape(out: &mut String, text: &str, in_key: bool) {
    let is_escaped = |c: char| c == ' ' || is_escaped_in_field(c) || (in_key && c == '=');
    escape_if(out, text, is_escaped);
}

fn is_escaped_in_field(c: char) -> bool {
    c == '%' || is_special(c)
}

/// Returns text for another option of a block, such as the name of an interface. Readers show it as
/// it is, so control characters and characters that reorder text are escaped; spaces are kept.
pub(crate) fn field(text: &str) -> Cow<'_, str> {
    let text = cut(text);
    if !text.contains(is_escaped_in_field) {
        return text;
    }
    let mut out = String::new();
    escape_if(&mut out, &text, is_escaped_in_field);
    Cow::Owned(out)
}

/// Writes the bytes of each chosen character as `%XX`.
fn escape_if(out: &mut String, text: &str, is_escaped: impl Fn(char) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.find(&is_escaped) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let len = special.chars().next().map_or(0, char::len_utf8);
        for byte in &special.as_bytes()[..len] {
            let _ = write!(out, "%{byte:02X}");
        }
        rest = &special[len..];
    }
    out.push_str(rest);
}

/// A comment to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs<'a>(pub(crate) &'a str);

impl<'a> Pairs<'a> {
    /// Returns all pairs in order, still escaped. Words without `=` are skipped.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        // Pairs are short, and there are ten in each packet: a search with a set-up for long texts
        // costs more than it saves.
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                let at = rest.bytes().position(|byte| matches!(byte, b'=' | b' '))?;
                let (key, after) = (&rest[..at], &rest[at + 1..]);
                if rest.as_bytes()[at] == b' ' {
                    rest = after;
                    continue;
                }
                let end = after.bytes().position(|byte| byte == b' ').unwrap_or(after.len());
                rest = after.get(end + 1..).unwrap_or_default();
                return Some((key, &after[..end]));
            }
        })
    }

    /// Returns the value of the first pair with this key, still escaped.
    pub(crate) fn raw(self, key: &str) -> Option<&'a str> {
        self.iter().find_map(|(k, value)| (k == key).then_some(value))
    }

    /// Returns a value without escapes, such as a number.
    ///
    /// # Errors
    /// The key, if the pair is present and its value has the wrong type.
    pub(crate) fn value<T: FromStr>(self, key: BadKey) -> Result<Option<T>, BadKey> {
        value(self.raw(key), key)
    }

    /// Returns a value without escapes, of a pair that must be present.
    pub(crate) fn required<T: FromStr>(self, key: BadKey) -> Result<T, BadKey> {
        required(self.raw(key), key)
    }

    /// Returns a text value.
    ///
    /// # Errors
    /// The key, if the pair is present and its escapes are invalid.
    pub(crate) fn text(self, key: BadKey) -> Result<Option<Cow<'a, str>>, BadKey> {
        text(self.raw(key), key)
    }
}

/// Parses a value without escapes, such as a number.
///
/// # Errors
/// The key, if the value is present and has the wrong type.
pub(crate) fn value<T: FromStr>(raw: Option<&str>, key: BadKey) -> Result<Option<T>, BadKey> {
    raw.map(|value| value.parse().map_err(|_| key)).transpose()
}

/// Parses a value without escapes that must be present.
pub(crate) fn required<T: FromStr>(raw: Option<&str>, key: BadKey) -> Result<T, BadKey> {
    value(raw, key)?.ok_or(key)
}

/// Parses a text value.
///
/// # Errors
/// The key, if the value is present and its escapes are invalid.
pub(crate) fn text<'a>(raw: Option<&'a str>, key: BadKey) -> Result<Option<Cow<'a, str>>, BadKey> {
    raw.map(|value| unescape(value).ok_or(key)).transpose()
}

/// Undoes the escapes; returns `None` if they are invalid.
pub(crate) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let is_escape = |after: &str| {
        after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    text.split('%').skip(1).all(is_escape).then(|| percent_decode_str(text).decode_utf8().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_escaping() {
        for text in [
            "",
            "plain",
            "a b%c\n\u{85}\u{7f}",
            "a\u{202e}b\u{200b}",
            "crypto/tls.(*Conn).Write",
            "名前=x",
            "%41",
        ] {
            let mut comment = String::new();
            push(&mut comment, "n", 1);
            push_text(&mut comment, "text", text);
            push(&mut comment, "after", "z");
            assert!(!comment.chars().any(is_special), "{comment:?}");
            let field = field(text);
            assert!(!field.chars().any(is_special), "{field:?}");
            assert_eq!(unescape(&field).unwrap(), text);
            assert_eq!(Pairs(&comment).text("text").unwrap().unwrap(), text);
            assert_eq!(Pairs(&comment).value::<u8>("n"), Ok(Some(1)));
            assert_eq!(Pairs(&comment).raw("after"), Some("z"));
        }
    }

    #[test]
    fn keys_are_escaped_too() {
        let mut comment = String::new();
        push(&mut comment, "a=b c", 7);
        assert_eq!(comment, "a%3Db%20c=7");
    }

    #[test]
    fn long_text_is_truncated_and_marked() {
        let mut comment = String::new();
        push_text(&mut comment, "k", &"é".repeat(3000));
        let value = Pairs(&comment).text("k").unwrap().unwrap();
        assert!(value.ends_with('…') && value.len() <= TEXT_LIMIT + '…'.len_utf8());
    }

    #[test]
    fn words_that_are_not_pairs_are_skipped() {
        let pairs = |text| Pairs(text).iter().collect::<Vec<_>>();
        assert_eq!(pairs("x  a= y b=c=d z"), [("a", ""), ("b", "c=d")]);
        assert_eq!(pairs("x y "), [("", ""); 0]);
    }

    #[test]
    fn invalid_escapes_are_errors() {
        for text in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(Pairs(&format!("k={text}")).text("k"), Err("k"), "{text}");
        }
        assert_eq!(Pairs("k=x").value::<u64>("k"), Err("k"));
        assert_eq!(Pairs("k=1").value::<u64>("other"), Ok(None));
    }
}
