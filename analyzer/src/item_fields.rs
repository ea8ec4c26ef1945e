//! The fields of items, with those of protocols on top of HTTP.

use crate::exchange::field::{FIELDS, Field, JSON_ONLY};
use crate::over_http::DOORS;

/// Returns all fields but those of headers and trailers, in the order of the help.
pub fn all() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().chain(DOORS.iter().flat_map(|door| door.fields))
}

/// Returns the places in the JSON that no filter names, with a dot for each level.
pub fn json_only() -> impl Iterator<Item = &'static str> {
    let carried = DOORS.iter().flat_map(|door| door.json_only);
    JSON_ONLY.iter().chain(carried).copied()
}
