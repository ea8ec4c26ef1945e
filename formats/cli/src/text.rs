//! Text made safe for a terminal.
//!
//! Names of processes, paths, and all data from a peer are chosen by others. Unescaped on a
//! terminal, they could move the cursor, change colours or the title, forge lines, or show
//! characters in another order. [`Printable`] escapes every such character:
//!
//! | input | output |
//! |---|---|
//! | line feed, carriage return, tab | `\n`, `\r`, `\t` |
//! | other control characters: C0, DEL, C1 | `\u{1b}` |
//! | characters that reorder others, are invisible, or separate lines | `\u{202e}` |
//! | bytes that are not UTF-8 | `\xff` |
//!
//! Everything else is unchanged, the backslash included: the output is for reading, and cannot be
//! parsed back.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Text on a single line: its line feeds are escaped in the output.
///
/// A width pads the output as it does for `str`.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

/// Text of several lines: line feeds and tabs are kept, and a carriage return before a line feed
/// is left out. The rest is escaped as by [`Printable`].
#[derive(Debug, Clone, Copy)]
pub struct PrintableLines<T>(pub T);

/// Any value that can be displayed; its output is escaped as by [`Printable`] during writing.
#[derive(Debug, Clone, Copy)]
pub struct PrintableDisplay<T>(pub T);

/// Text or bytes that may be printed.
pub trait Bytes {
    /// The bytes, usually UTF-8.
    fn bytes(&self) -> &[u8];
}

impl Bytes for [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl<const N: usize> Bytes for [u8; N] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Bytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Bytes for str {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Bytes for String {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Bytes for Cow<'_, str> {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Bytes for OsStr {
    fn bytes(&self) -> &[u8] {
        self.as_encoded_bytes()
    }
}

impl Bytes for Path {
    fn bytes(&self) -> &[u8] {
        self.as_os_str().as_encoded_bytes()
    }
}

impl Bytes for PathBuf {
    fn bytes(&self) -> &[u8] {
        self.as_path().bytes()
    }
}

impl<T: Bytes + ?Sized> Bytes for &T {
    fn bytes(&self) -> &[u8] {
        (**self).bytes()
    }
}

impl<T: Bytes + ?Sized> Bytes for Box<T> {
    fn bytes(&self) -> &[u8] {
        (**self).bytes()
    }
}

impl<T: Bytes + ?Sized> Bytes for Arc<T> {
    fn bytes(&self) -> &[u8] {
        (**self).bytes()
    }
}

impl<T: Bytes> Display for Printable<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = self.0.bytes();
        if f.width().is_some() || f.precision().is_some() {
            return f.pad(&line(bytes));
        }
        escape(f, bytes, Layout::Line)
    }
}

impl<T: Bytes> Display for PrintableLines<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        escape(f, self.0.bytes(), Layout::Lines)
    }
}

impl<T: Display> Display for PrintableDisplay<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        struct Escaper<'a, 'f>(&'a mut Formatter<'f>);
        impl Write for Escaper<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                escape(self.0, text.as_bytes(), Layout::Line)
            }
        }
        write!(Escaper(f), "{}", self.0)
    }
}

/// Returns the text as one line, borrowed if nothing in it is escaped.
pub fn line<T: Bytes + ?Sized>(text: &T) -> Cow<'_, str> {
    let bytes = text.bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if is_printable(text) => Cow::Borrowed(text),
        _ => Cow::Owned(Printable(bytes).to_string()),
    }
}

/// Appends the text as one line. For long data this takes a fraction of the time of [`Printable`].
pub fn push_line(line: &mut String, bytes: &[u8]) {
    // Writing to a String cannot fail.
    let _ = escape(line, bytes, Layout::Line);
}

/// Returns whether nothing in the text is escaped.
pub fn is_printable(text: &str) -> bool {
    text.bytes().all(is_plain) || !text.chars().any(is_special)
}

/// Returns whether the character is escaped: a terminal would obey it, or a reader would not see it
/// in its place.
///
/// Beside control characters, these are the characters of Unicode that choose or change the
/// direction of text (UAX #9), separate lines or paragraphs, or are invisible, such as zero-width
/// spaces and tags. A joiner between two letters is among them: an escaped name is better than two
/// different names that look the same.
pub fn is_special(c: char) -> bool {
    match c {
        ' '..='~' => false,
        c if c.is_control() => true,
        // Soft hyphen; Arabic letter mark; Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        // Hangul fillers.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => true,
        // Zero-width characters and directional marks.
        '\u{200b}'..='\u{200f}' => true,
        // Line and paragraph separators, then embeddings and overrides.
        '\u{2028}'..='\u{202e}' => true,
        // Invisible operators, isolates and deprecated format characters.
        '\u{2060}'..='\u{206f}' => true,
        // Byte order mark; interlinear annotations.
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        // Tags.
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Line,
    Lines,
}

fn escape(out: &mut impl Write, bytes: &[u8], layout: Layout) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        escape_text(out, chunk.valid(), layout)?;
        for &byte in chunk.invalid() {
            let [high, low] = [byte >> 4, byte & 15].map(digit);
            out.write_str("\\x")?;
            out.write_char(high)?;
            out.write_char(low)?;
        }
    }
    Ok(())
}

fn escape_text(out: &mut impl Write, text: &str, layout: Layout) -> fmt::Result {
    if text.bytes().all(is_plain) {
        return out.write_str(text);
    }
    let mut rest = text;
    while let Some(at) = find_special(rest) {
        let (plain, special) = rest.split_at(at);
        out.write_str(plain)?;
        let mut chars = special.chars();
        let Some(c) = chars.next() else { break };
        rest = chars.as_str();
        match c {
            '\n' | '\t' if layout == Layout::Lines => out.write_char(c)?,
            '\r' if layout == Layout::Lines && rest.starts_with('\n') => {}
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c => escape_unicode(out, c)?,
        }
    }
    out.write_str(rest)
}

/// Returns the place of the first special character.
fn find_special(text: &str) -> Option<usize> {
    // Most bytes are plain, and need not be decoded.
    let from = text.bytes().position(|byte| !is_plain(byte))?;
    let found = text[from..].char_indices().find(|&(_, c)| is_special(c));
    found.map(|(at, _)| from + at)
}

/// Writes the character as `\u{1b}`.
fn escape_unicode(out: &mut impl Write, c: char) -> fmt::Result {
    let code = u32::from(c);
    out.write_str("\\u{")?;
    let digits = (u32::BITS - code.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.write_char(digit((code >> (4 * place)) as u8 & 15))?;
    }
    out.write_char('}')
}

/// Returns a hexadecimal digit.
fn digit(value: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(value & 15)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line_without_control_characters() {
        for (text, shown) in [
            ("plain text", "plain text"),
            ("名前 café \\n", "名前 café \\n"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("\u{1b}[31m\u{7f}\0", "\\u{1b}[31m\\u{7f}\\u{0}"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("exe\u{202e}gpj.\u{202c}", "exe\\u{202e}gpj.\\u{202c}"),
            ("\u{2066}\u{2069}\u{200e}\u{61c}", "\\u{2066}\\u{2069}\\u{200e}\\u{61c}"),
            ("pay\u{200b}pal\u{feff}", "pay\\u{200b}pal\\u{feff}"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
            assert_eq!(PrintableDisplay(text).to_string(), shown);
            assert_eq!(line(text), shown);
            let mut pushed = "> ".to_owned();
            push_line(&mut pushed, text.as_bytes());
            assert_eq!(pushed, format!("> {shown}"));
            assert_eq!(matches!(line(text), Cow::Borrowed(_)), text == shown, "{text:?}");
            assert_eq!(is_printable(text), text == shown);
        }
    }

    #[test]
    fn lines_keep_line_feeds_and_tabs_only() {
        let text = PrintableLines("a\r\n\tb\rc\u{1b}\u{9b}\u{202e}\n").to_string();
        assert_eq!(text, "a\n\tb\\rc\\u{1b}\\u{9b}\\u{202e}\n");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_escaped_by_number() {
        let bytes = b"a\xff\xc3\xa9\x9b1m\xe2\x82";
        assert_eq!(Printable(bytes).to_string(), "a\\xffé\\x9b1m\\xe2\\x82");
        assert_eq!(line(bytes), "a\\xffé\\x9b1m\\xe2\\x82");
    }

    #[test]
    fn every_character_is_safe() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        let shown = Printable(&all).to_string();
        assert!(!shown.chars().any(is_special));
        assert!(shown.chars().filter(|c| !c.is_ascii()).count() > 1_000_000);
    }

    #[test]
    fn a_width_counts_escaped_characters() {
        assert_eq!(format!("[{:<8}]", Printable("a\nb")), "[a\\nb    ]");
        assert_eq!(format!("[{:<3}]", Printable("abc")), "[abc]");
    }

    #[test]
    fn paths_are_printable() {
        assert_eq!(Printable(Path::new("/tmp/a\nb")).to_string(), "/tmp/a\\nb");
    }
}
