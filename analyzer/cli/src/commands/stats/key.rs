//! The key by which exchanges are grouped.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::filter::{NamedField, Value};
use sslrec_cli::text::Printable;

use crate::template::path_template;

/// Maximum number of characters used of a text; longer texts are not names.
const MAX_CHARS: usize = 256;

/// The fields behind a name on the command line.
#[derive(Debug, Clone)]
pub(super) struct KeyFields(pub(super) Vec<NamedField>);

impl FromStr for KeyFields {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names: &[&str] = if name == "process" { &["comm", "pid"] } else { &[name] };
        let field = |name: &&str| {
            let field: NamedField = name.parse().map_err(|error| format!("{error}"))?;
            if field.is_time() {
                return Err(format!("cannot group by `{name}`: its values are hardly ever equal"));
            }
            Ok(field)
        };
        names.iter().map(field).collect::<Result<_, _>>().map(Self)
    }
}

/// A value for each field.
pub(super) type Key = Vec<Cell>;

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Cell {
    Text(Box<str>),
    Number(u64),
    Bool(bool),
    Unknown,
}

impl Cell {
    /// Returns the value of a field of an item; several values are joined as in RFC 9110 section
    /// 5.3.
    pub(super) fn of(field: &NamedField, item: &Item) -> Self {
        let mut cell = Cell::Unknown;
        field.values(item, &mut |value| {
            cell = match (std::mem::replace(&mut cell, Cell::Unknown), value) {
                (Cell::Text(first), Value::Text(text)) => Cell::text(&format!("{first}, {text}")),
                (_, Value::Text(path)) if field.is_path() => Cell::text(&path_template(&path)),
                (_, Value::Text(text)) => Cell::text(&text),
                (_, Value::Number(number)) => Cell::Number(number),
                (_, Value::Bool(value)) => Cell::Bool(value),
            };
        });
        cell
    }

    fn text(text: &str) -> Self {
        match text.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => Cell::Text(format!("{}…", &text[..end]).into()),
            None => Cell::Text(text.into()),
        }
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Text(text) => Printable(text).fmt(f),
            Cell::Number(number) => number.fmt(f),
            Cell::Bool(value) => value.fmt(f),
            Cell::Unknown => f.write_str("-"),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Number(number) => serializer.serialize_u64(*number),
            Cell::Bool(value) => serializer.serialize_bool(*value),
            Cell::Unknown => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_a_filter() {
        let names = |text: &str| {
            let fields = text.parse::<KeyFields>().map(|fields| fields.0);
            fields.map(|fields| fields.iter().map(|f| f.name().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names("process"), Ok(vec!["comm".to_owned(), "pid".into()]));
        assert_eq!(names("header.x-a"), Ok(vec!["header.x-a".to_owned()]));
        assert!(names("pth").is_err_and(|error| error.contains("did you mean `path`?")));
        assert!(names("duration").is_err() && names("time").is_err());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "é".repeat(300);
        assert_eq!(Cell::text(&text), Cell::Text(format!("{}…", "é".repeat(256)).into()));
    }
}
