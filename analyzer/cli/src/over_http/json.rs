//! Values that the JSON objects of protocols have in common.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::text::{Base64, Text};

/// Bytes as a JSON string.
pub(super) type Base64Text<'a> = Text<Base64<'a>>;

/// Returns bytes as a JSON string.
pub(super) fn base64(bytes: &[u8]) -> Base64Text<'_> {
    Text(Base64(bytes))
}

/// A list that is serialised element by element, each as the object that the function makes of it.
pub(super) struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, O: Serialize, F: Fn(&'a T) -> O> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0 {
            seq.serialize_element(&self.1(value))?;
        }
        seq.end()
    }
}

pub(super) type List<'a, T, O> = Option<Each<'a, T, fn(&'a T) -> O>>;

/// Returns the list of messages, if they were kept.
pub(super) fn list<'a, T, O>(
    messages: &'a Option<Vec<T>>,
    object: fn(&'a T) -> O,
) -> List<'a, T, O> {
    messages.as_deref().map(|messages| Each(messages, object))
}
