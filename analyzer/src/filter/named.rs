//! A field by its name, for callers that read its values without a comparison.

use std::str::FromStr;

use super::field::{self, Named};
use crate::exchange::Item;
use crate::exchange::field::{Kind, PATH, Subject, Unit, Value};

/// A field of an item, as a filter names it.
#[derive(Debug, Clone)]
pub struct NamedField {
    name: String,
    field: Named,
    kind: Kind,
}

impl NamedField {
    /// Returns the name as the user wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the field is the path of a request.
    pub fn is_path(&self) -> bool {
        matches!(self.field, Named::Plain(field) if *field == PATH)
    }

    /// Returns whether the values are times or durations, which are hardly ever equal.
    pub fn is_time(&self) -> bool {
        matches!(self.kind, Kind::Time | Kind::Number(Unit::Duration | Unit::Millis))
    }

    /// Calls `see` with each value of the field in an item; not at all if it is unknown.
    pub fn values(&self, item: &Item, see: &mut dyn FnMut(Value<'_>)) {
        self.field.values(&Subject::new(item), see);
    }
}

/// An unknown field name. Displays the name, the nearest field and all fields.
#[derive(Debug)]
pub struct UnknownField(String);

impl std::fmt::Display for UnknownField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownField {}

impl FromStr for NamedField {
    type Err = UnknownField;

    fn from_str(name: &str) -> Result<Self, UnknownField> {
        let Some((field, kind)) = field::find(name) else {
            let meant = field::nearest(name)
                .map_or(String::new(), |known| format!("; did you mean `{known}`?"));
            return Err(UnknownField(format!(
                "unknown field `{name}`{meant}\nallowed here: {}",
                field::list()
            )));
        };
        Ok(Self { name: name.to_owned(), field, kind })
    }
}
