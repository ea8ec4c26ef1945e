//! The page around the data: markup, style and script, each in a file of its own.
//!
//! The data of a capture is embedded as JSON, in elements that browsers neither run nor show.
//! Nothing in the data can end such an element: each `<` is written as `\u003c`. The script of the
//! page only ever creates text from it. Should one of these protections fail, the content security
//! policy of the page still allows only that script, identified by its hash, and no loads.

use std::io::{self, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};
use sslrec_cli::text;

use crate::safe_json;
use crate::text::Base64;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    include_str!("page/format.js"),
    include_str!("page/filter.js"),
    include_str!("page/table.js"),
    include_str!("page/detail.js"),
    include_str!("page/main.js"),
);

/// Number of bytes of rows that are collected before they are written: the browser reads rows
/// together.
const ROWS: usize = 64 << 10;

/// An unfinished page.
pub(super) struct Page<W: Write> {
    out: W,
    items: u64,
    /// Rows not yet written, with commas between them.
    rows: Vec<u8>,
}

impl<W: Write> Page<W> {
    /// Writes the page up to the data. `name` is the name of the capture.
    pub(super) fn begin(mut out: W, name: &str) -> io::Result<Self> {
        let (before, _) = template();
        let before = before
            .replace("{{policy}}", &policy())
            .replace("{{style}}", STYLE)
            .replace("{{name}}", &escape(&text::line(name)));
        out.write_all(before.as_bytes())?;
        Ok(Self { out, items: 0, rows: Vec::new() })
    }

    /// Writes an item: its row, and for the detail view a JSON object with all its fields and its
    /// contents.
    pub(super) fn item(
        &mut self,
        row: &impl Serialize,
        object: &[u8],
        contents: &impl Serialize,
    ) -> io::Result<()> {
        write!(self.out, "<script type=\"application/json\" id=\"item-{}\">", self.items)?;
        let mut data = Data(&mut self.out);
        data.write_all(b"{\"item\":")?;
        data.write_all(object)?;
        data.write_all(b",\"contents\":")?;
        safe_json::to_writer(&mut data, contents)?;
        data.write_all(b"}")?;
        self.out.write_all(b"</script>\n")?;
        self.items += 1;
        self.rows.extend((!self.rows.is_empty()).then_some(b','));
        safe_json::to_writer(&mut self.rows, row)?;
        if self.rows.len() >= ROWS { self.rows() } else { Ok(()) }
    }

    fn rows(&mut self) -> io::Result<()> {
        self.out.write_all(b"<script type=\"application/json\" class=\"rows\">[")?;
        Data(&mut self.out).write_all(&self.rows)?;
        self.rows.clear();
        self.out.write_all(b"]</script>\n")
    }

    /// Writes the rest of the page.
    pub(super) fn finish(mut self, summary: &impl Serialize) -> io::Result<W> {
        self.rows()?;
        self.out.write_all(b"<script type=\"application/json\" id=\"summary\">")?;
        safe_json::to_writer(&mut Data(&mut self.out), summary)?;
        self.out.write_all(b"</script>\n")?;
        let (_, after) = template();
        self.out.write_all(after.replace("{{script}}", SCRIPT).as_bytes())?;
        Ok(self.out)
    }
}

/// Returns the template before and after the data.
fn template() -> (&'static str, &'static str) {
    TEMPLATE.split_once("{{data}}").unwrap_or((TEMPLATE, ""))
}

/// Returns the content security policy: no loads and no requests, and only the script with this
/// hash runs. The script cannot create markup from a text (Trusted Types).
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", Base64(&Sha256::digest(text)));
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// Escapes text for markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Writes JSON for an element: escapes `<`, which occurs only in strings.
struct Data<'a, W>(&'a mut W);

impl<W: Write> Write for Data<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        for (at, part) in bytes.split(|&b| b == b'<').enumerate() {
            if at > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use serde_json::json;

    use super::*;

    #[test]
    fn data_cannot_end_its_element() {
        let hostile = "</script><!--<script>\u{2028}]]>";
        let mut page = Page::begin(Vec::new(), hostile).unwrap();
        let object = serde_json::to_vec(&json!({ hostile: hostile })).unwrap();
        page.item(&json!([hostile]), &object, &json!({})).unwrap();
        let page = String::from_utf8(page.finish(&json!({"a": hostile})).unwrap()).unwrap();
        assert!(!page.contains(hostile));
        // As without hostile data: an element each for the item, the rows, the summary and the
        // script.
        assert_eq!(page.matches("</script>").count(), 4, "{page}");
        assert_eq!(page.matches("<!--").count(), 0);
        let item = page.split("id=\"item-0\">").nth(1).unwrap().split("</script>").next().unwrap();
        let item: serde_json::Value = serde_json::from_str(item).unwrap();
        assert_eq!(item["item"][hostile], hostile);
    }

    #[test]
    fn the_page_is_complete_and_has_no_references() {
        let page = Page::begin(Vec::new(), "a & b").unwrap().finish(&json!({})).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("a &amp; b") && page.trim_end().ends_with("</html>"));
        for mark in ["{{", "}}", "http:", "https:", "src=", "@import", "url(", "\r", "innerHTML"] {
            assert!(!page.contains(mark), "{mark}");
        }
        // A script or style that contains its own end tag would be truncated there.
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
    }
}
