//! A field by its name, for those who want its values and compare them with nothing.

use std::str::FromStr;

use super::field::{self, Field, Kind, Plain};
use super::number::Unit;
use super::subject::{Subject, Value};
use crate::exchange::Item;

/// A field of an item, as a filter names it.
#[derive(Debug, Clone)]
pub(crate) struct NamedField {
    name: String,
    field: Field,
    kind: Kind,
}

impl NamedField {
    /// Its name, as given.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// It is the path of a request.
    pub(crate) fn is_path(&self) -> bool {
        self.field == Field::Plain(Plain::Path)
    }

    /// Its values are times or lengths of time, and hardly two of them alike.
    pub(crate) fn is_time(&self) -> bool {
        matches!(self.kind, Kind::Time | Kind::Number(Unit::Duration | Unit::Millis))
    }

    /// Hands all values that an item has of it to `see`; nothing where it is not known.
    pub(crate) fn values(&self, item: &Item, see: &mut dyn FnMut(Value<'_>)) {
        Subject::with(item, |subject| subject.values(&self.field, see));
    }
}

/// No field has this name; what is wrong, and what is allowed, for people.
#[derive(Debug)]
pub(crate) struct UnknownField(String);

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
                "`{name}` is no field{meant}\nallowed here: {}",
                field::list()
            )));
        };
        Ok(Self { name: name.to_owned(), field, kind })
    }
}
