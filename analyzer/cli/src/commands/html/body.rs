//! Bodies as text for the page, cut to a maximum length.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use sslrec_analyzer::exchange::Message;
use sslrec_cli::hexdump::Hexdump;

use crate::commands::charset;
use crate::pretty;

/// Number of bytes dumped of a binary body: enough to recognise its type.
const DUMPED: usize = 512;

/// The visible part of a body.
#[derive(Serialize, Debug, PartialEq, Eq)]
pub(super) struct ShownBody {
    /// `json` (laid out), `text`, or `binary` (shown as a dump).
    format: &'static str,
    text: String,
    /// Number of bytes of the body in the text, after layout.
    shown_bytes: usize,
    /// Number of bytes of the complete body.
    all_bytes: usize,
}

impl ShownBody {
    /// Returns at most `limit` bytes of a body without its content codings; `None` if it is empty.
    pub(super) fn of_message(message: &Message, data: &[u8], limit: usize) -> Option<Self> {
        Self::new(&charset::content_type(message), data, limit)
    }

    /// Returns at most `limit` of these bytes, whose type is unknown; `None` if there are none.
    pub(super) fn of_bytes(data: &[u8], limit: usize) -> Option<Self> {
        Self::new("", data, limit)
    }

    fn new(content_type: &str, data: &[u8], limit: usize) -> Option<Self> {
        if data.is_empty() {
            return None;
        }
        let Some(text) = charset::text(content_type, data) else { return Some(dump(data, limit)) };
        let (format, text) = match pretty::json(&text) {
            Some(laid_out) => ("json", Cow::Owned(laid_out)),
            None => ("text", text),
        };
        Some(cut(format, text, limit))
    }
}

fn cut(format: &'static str, text: Cow<'_, str>, limit: usize) -> ShownBody {
    let all_bytes = text.len();
    let text = match text {
        Cow::Owned(text) if all_bytes <= limit => text,
        text => start(&text, limit).to_owned(),
    };
    ShownBody { format, shown_bytes: text.len(), all_bytes, text }
}

/// At most `limit` bytes, without a part of a character.
fn start(text: &str, limit: usize) -> &str {
    let mut ends = (0..=limit.min(text.len())).rev();
    &text[..ends.find(|&end| text.is_char_boundary(end)).unwrap_or(0)]
}

/// Takes a text of any length, and keeps its beginning.
pub(super) struct Beginning {
    text: Vec<u8>,
    limit: usize,
    all_bytes: usize,
}

impl Beginning {
    pub(super) fn new(limit: usize) -> Self {
        Self { text: Vec::new(), limit, all_bytes: 0 }
    }

    /// What is shown of the text; `None` if it is empty.
    pub(super) fn into_shown(self) -> Option<ShownBody> {
        let all_bytes = self.all_bytes;
        // What is cut off within a character is replaced, and then cut off.
        let text = String::from_utf8_lossy(&self.text);
        let shown = ShownBody { all_bytes, ..cut("text", text, self.limit) };
        (all_bytes > 0).then_some(shown)
    }
}

impl Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.text.len()).min(bytes.len());
        self.text.extend_from_slice(&bytes[..room]);
        self.all_bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dump(data: &[u8], limit: usize) -> ShownBody {
    let shown = &data[..data.len().min(DUMPED).min(limit)];
    ShownBody {
        format: "binary",
        text: Hexdump { prefix: "", offset: 0, bytes: shown }.to_string(),
        shown_bytes: shown.len(),
        all_bytes: data.len(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    fn shown(
        content_type: &str,
        data: &[u8],
        limit: usize,
    ) -> (&'static str, String, usize, usize) {
        let body = ShownBody::new(content_type, data, limit).unwrap();
        (body.format, body.text, body.shown_bytes, body.all_bytes)
    }

    #[test]
    fn of_a_long_text_the_beginning_is_kept() {
        let shown = |limit: usize| {
            let mut text = Beginning::new(limit);
            ["a", "é", "", "bc"].iter().for_each(|part| write!(text, "{part}").unwrap());
            text.into_shown().map(|shown| (shown.text, shown.shown_bytes, shown.all_bytes))
        };
        assert_eq!(shown(9), Some(("aébc".into(), 5, 5)));
        assert_eq!(shown(4), Some(("aéb".into(), 4, 5)));
        assert_eq!(shown(2), Some(("a".into(), 1, 5)));
        assert_eq!(Beginning::new(9).into_shown(), None);
    }

    #[test]
    fn bodies_are_laid_out_dumped_and_cut() {
        let json = "{\n  \"a\": 1\n}";
        assert_eq!(shown("", b"{\"a\":1}", 99), ("json", json.into(), 12, 12));
        assert_eq!(shown("", b"{\"a\":1}", 4), ("json", json[..4].into(), 4, 12));
        assert_eq!(shown("", "aé".as_bytes(), 2), ("text", "a".into(), 1, 3));
        let latin1 = shown("text/plain; charset=ISO-8859-1", b"\xe9", 9);
        assert_eq!(latin1, ("text", "é".into(), 2, 2));
        let (format, text, shown_bytes, all_bytes) = shown("image/png", &[0; 2000], 9999);
        assert_eq!((format, shown_bytes, all_bytes), ("binary", 512, 2000));
        assert_eq!(text.lines().count(), 32);
        assert_eq!(ShownBody::new("", b"", 9), None);
    }
}
