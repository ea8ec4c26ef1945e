//! JSON with line breaks.
//!
//! Only the layout changes: it works on the text and not on parsed values, so that the order of
//! keys, duplicate keys and the digits of numbers stay as sent.

use serde::de::IgnoredAny;

/// The longest layout. Each line is indented, so that a text can become a hundred times as long.
const MAX_LEN: usize = 16 << 20;

/// Returns the text with line breaks, or `None` if it is not JSON or becomes longer than 16 MiB.
pub(crate) fn json(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity((text.len() * 2).min(MAX_LEN));
    let mut depth = 0usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > MAX_LEN {
            return None;
        }
        match c {
            '"' => string(&mut chars, &mut out),
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(close) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                    continue;
                }
                depth += 1;
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    Some(out)
}

/// Copies the rest of a string unchanged.
fn string(chars: &mut impl Iterator<Item = char>, out: &mut String) {
    out.push('"');
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            '"' => return,
            '\\' => out.extend(chars.next()),
            _ => {}
        }
    }
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    (0..depth).for_each(|_| out.push_str("  "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_layout_changes() {
        let laid_out = json(r#"{"b":1.10,"a":[ ],"a":["x\",{}", {"n":null}],"o":{ }}"#);
        let wanted = "{\n  \"b\": 1.10,\n  \"a\": [],\n  \"a\": [\n    \"x\\\",{}\",\n    {\n      \
                      \"n\": null\n    }\n  ],\n  \"o\": {}\n}";
        assert_eq!(laid_out.as_deref(), Some(wanted));
    }

    #[test]
    fn a_layout_has_a_limit() {
        let text = |count: usize| {
            let items = vec!["1"; count].join(",");
            format!("{}{items}{}", "[".repeat(100), "]".repeat(100))
        };
        let len = json(&text(70_000)).map(|laid_out| laid_out.len());
        assert!(len.is_some_and(|len| len > 14_000_000 && len <= MAX_LEN), "{len:?}");
        assert_eq!(json(&text(90_000)), None);
    }

    #[test]
    fn text_that_is_not_json_is_rejected() {
        for text in ["", "{", "{a:1}", "[1]x", "\"a"] {
            assert_eq!(json(text), None, "{text}");
        }
    }
}
