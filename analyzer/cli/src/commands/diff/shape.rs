//! The shape of a body: its media type, and the names and types of its fields, without any values.

use serde_json::Value;
use sslrec_analyzer::exchange::Message;
use sslrec_analyzer::text::latin1;

use crate::template::path_template;

/// The longest body whose fields are told: as a value, JSON takes many times its length.
const MAX_BODY: usize = 4 << 20;

/// Maximum number of fields listed for a body; a longer list repeats the same shape.
const MAX_FIELDS: usize = 10_000;

/// Returns the parts of the shape, such as `application/json` and `items[].price: number`. An empty
/// body has none.
pub(super) fn of(message: &Message) -> Vec<String> {
    let Some(data) = message.body.data.as_deref().filter(|data| !data.is_empty()) else {
        return Vec::new();
    };
    let content_type = message.headers.first("content-type").map(latin1).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut parts = vec![if media.is_empty() { "of no stated type".to_owned() } else { media }];
    if parts[0] == "application/x-www-form-urlencoded" {
        parts.extend(form(data));
    } else if data.len() > MAX_BODY {
        parts.push("(not looked into: longer than 4 MiB)".to_owned());
    } else if let Ok(value) = serde_json::from_slice(data) {
        fields("", &value, &mut parts);
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
            format!("{}: text", path_template(&latin1(name)))
        })
        .collect()
}

/// Adds all fields of the value at `path`.
fn fields(path: &str, value: &Value, parts: &mut Vec<String>) {
    if parts.len() > MAX_FIELDS {
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(values) => {
            parts.push(format!("{path}[]"));
            let inside = format!("{path}[]");
            return values.iter().for_each(|value| fields(&inside, value, parts));
        }
        Value::Object(members) => {
            for (name, value) in members {
                // An object keyed by ids would have new field names each time.
                let name = path_template(name);
                let dot = if path.is_empty() { "" } else { "." };
                fields(&format!("{path}{dot}{name}"), value, parts);
            }
            if members.is_empty() {
                parts.push(format!("{path}: {{}}"));
            }
            return;
        }
    };
    parts.push(format!("{path}: {kind}"));
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
    fn other_bodies_are_described_by_their_type() {
        assert_eq!(shape("image/PNG", "\u{1}"), ["image/png"]);
        let form = shape("application/x-www-form-urlencoded", "a=b&c=&a=x");
        assert_eq!(form, ["a: text", "application/x-www-form-urlencoded", "c: text"]);
        assert_eq!(shape("", "plain"), ["of no stated type"]);
        assert_eq!(shape("text/plain", ""), [""; 0]);
    }
}
