//! The shape of a body: its media type, and the names and types of its fields, without any values.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sslrec_analyzer::exchange::Message;
use sslrec_analyzer::text::readable;

use crate::template::path_template;

/// The longest body whose fields are listed.
const MAX_BODY: usize = 4 << 20;

/// Maximum number of fields listed for a body; a longer list repeats the same shape.
const MAX_FIELDS: usize = 10_000;

/// Maximum number of characters of a text; a longer text is represented by its beginning.
const MAX_CHARS: usize = 500;

/// Maximum length of the path of an object or array whose fields are listed. Each of them repeats
/// the path.
const MAX_PATH: usize = 1000;

/// Returns the parts of the shape, such as `application/json` and `items[].price: number`. An empty
/// body has none.
pub(super) fn of(message: &Message) -> Vec<String> {
    let Some(data) = message.body.data.as_deref().filter(|data| !data.is_empty()) else {
        return Vec::new();
    };
    let content_type = message.headers.first("content-type").map(readable).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let media = shortened(&media);
    let mut parts = vec![if media.is_empty() { "of no stated type".to_owned() } else { media }];
    if parts[0] == "application/x-www-form-urlencoded" {
        parts.extend(form(data));
    } else if data.len() > MAX_BODY {
        parts.push("(not looked into: longer than 4 MiB)".to_owned());
    } else if let Some(fields) = json(data) {
        parts.extend(fields);
    }
    parts.sort_unstable();
    parts.dedup();
    parts
}

/// Returns the names of a form's fields.
fn form(data: &[u8]) -> Vec<String> {
    let pairs = data.split(|&b| b == b'&').filter(|pair| !pair.is_empty()).take(MAX_FIELDS);
    pairs
        .map(|pair| {
            let name = pair.split(|&b| b == b'=').next().unwrap_or_default();
            format!("{}: text", shortened(&path_template(&readable(name))))
        })
        .collect()
}

/// Returns the beginning of the text, with a mark if that is not all of it.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns the fields of JSON, and `None` if the data is something else.
fn json(data: &[u8]) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(data);
    Value { path: "", parts: &mut parts }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(parts)
}

/// Adds the fields of a value of JSON. The value itself is not kept: as a tree, JSON takes many
/// times its length.
struct Value<'p> {
    path: &'p str,
    parts: &'p mut Vec<String>,
}

impl Value<'_> {
    fn add(self, kind: &str) {
        if self.parts.len() <= MAX_FIELDS {
            self.parts.push(format!("{}: {kind}", self.path));
        }
    }

    /// Returns whether the values inside are listed. Of a long path only the beginning counts.
    fn is_open(&mut self) -> bool {
        let (is_full, is_long) = (self.parts.len() > MAX_FIELDS, self.path.len() > MAX_PATH);
        if is_long && !is_full {
            self.parts.push(format!("{}: not looked into", shortened(self.path)));
        }
        !is_full && !is_long
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.add("null");
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.add("boolean");
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.add("number");
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.add("number");
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.add("number");
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.add("text");
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<(), A::Error> {
        if !self.is_open() {
            while values.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let path = format!("{}[]", self.path);
        self.parts.push(path.clone());
        while values.next_element_seed(Value { path: &path, parts: self.parts })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        if !self.is_open() {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        let mut is_empty = true;
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            is_empty = false;
            // An object keyed by ids would have new field names each time.
            let path = format!("{}{dot}{}", self.path, shortened(&path_template(&name)));
            members.next_value_seed(Value { path: &path, parts: self.parts })?;
        }
        if is_empty {
            self.add("{}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(content_type: &str, body: &str) -> Vec<String> {
        let mut message = Message::default();
        message.headers.push(b"Content-Type", content_type.as_bytes());
        message.body.data = Some(body.into());
        of(&message)
    }

    #[test]
    fn json_is_described_by_fields_and_not_by_values() {
        let body = r#"{"items":[{"id":1,"price":2.5},{"id":2,"note":null}],"by":{"4711":{"n":true}},"e":{}}"#;
        assert_eq!(
            shape("application/json; charset=utf-8", body),
            [
                "application/json",
                "by.{id}.n: boolean",
                "e: {}",
                "items[]",
                "items[].id: number",
                "items[].note: null",
                "items[].price: number",
            ]
        );
    }

    #[test]
    fn what_is_listed_of_a_hostile_body_is_bounded() {
        let long = "a b/".repeat(100_000);
        let members: Vec<_> = (0..20_000).map(|at| format!("\"k{at:x} x\":[0]")).collect();
        let members = members.join(",");
        for body in [
            format!("{{\"{long}\":{{{members}}}}}"),
            format!("{}{{{members}}}{}", "{\"b c d e f g\":".repeat(100), "}".repeat(100)),
            format!("[{}]", "{\"\":{}},".repeat(100_000).trim_end_matches(',')),
        ] {
            let parts = shape("application/json", &body);
            let bytes: usize = parts.iter().map(String::len).sum();
            assert!(parts.len() > 1 && bytes < 20 << 20, "{} {bytes}", parts.len());
        }
        let deep = shape("", &format!("{{\"{}\":{{\"{0}\":{{\"{0}\":[1]}}}}}}", "a b".repeat(150)));
        assert!(deep[0].ends_with("…: not looked into"), "{deep:?}");
        assert_eq!(shape("", "{\"a\":1} x"), ["of no stated type"]);
    }

    #[test]
    fn other_bodies_are_described_by_their_type() {
        assert_eq!(shape("image/PNG", "\u{1}"), ["image/png"]);
        let form = shape("application/x-www-form-urlencoded", "a=b&c=&a=x");
        assert_eq!(form, ["a: text", "application/x-www-form-urlencoded", "c: text"]);
        assert_eq!(shape("", "plain"), ["of no stated type"]);
        assert_eq!(shape("text/plain", ""), [""; 0]);
    }
}
