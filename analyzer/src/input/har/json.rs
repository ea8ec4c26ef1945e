//! Values of JSON that are read whatever their type is.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::exchange::Fields;
use crate::text::octets;

/// Maximum number of header fields of a message.
const MAX_FIELDS: usize = 10_000;

/// Maximum number of texts of a list; further ones are ignored. Short ones take many times their
/// length.
const MAX_TEXTS: usize = 1000;

/// An object; the default if it is something else.
#[derive(Debug, Default, Clone)]
pub(super) struct Maybe<T>(pub(super) T);

/// A text, or a number as text; empty if it is something else.
#[derive(Debug, Default, Clone)]
pub(super) struct Text(pub(super) String);

/// A number, or a text of it; `None` if it is something else.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Number(pub(super) Option<f64>);

/// `true` or `false`; `None` if it is something else.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Bool(pub(super) Option<bool>);

/// The texts of a list, up to [`MAX_TEXTS`].
#[derive(Debug, Default, Clone)]
pub(super) struct Texts(pub(super) Vec<String>);

/// The objects of a list, up to a maximum number.
#[derive(Debug, Clone)]
pub(super) struct List<T, const MAX: usize> {
    pub(super) items: Vec<T>,
    /// Number of further items.
    pub(super) further: u64,
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self { items: Vec::new(), further: 0 }
    }
}

/// Header fields: a list of names and values.
#[derive(Debug, Default, Clone)]
pub(super) struct Headers {
    pub(super) fields: Fields,
    /// Pseudo-header fields of HTTP/2, which browsers list too.
    pub(super) pseudo: Fields,
    /// There were more than [`MAX_FIELDS`].
    pub(super) too_many: bool,
}

/// The name of a member of an object.
pub(super) struct Key(pub(super) String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        String::deserialize(json).map(Self)
    }
}

/// Implements the visits that a type ignores. `$this` is the value that stands for all of them.
macro_rules! ignore {
    (bool) => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (number) => {
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (text) => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (null) => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (list) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
    (object) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
    (expecting) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }
    };
}

/// A visitor of a type.
struct Any<T>(std::marker::PhantomData<T>);

/// Implements deserialization of any value by [`Any`].
macro_rules! from_any {
    ($($type:ty),+) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                json.deserialize_any(Any::<Self>(std::marker::PhantomData))
            }
        })+
    };
}

from_any!(Text, Number, Bool, Texts, Headers);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Any::<Self>(std::marker::PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Any<Maybe<T>> {
    type Value = Maybe<T>;
    ignore!(expecting);
    ignore!(bool);
    ignore!(number);
    ignore!(text);
    ignore!(null);
    ignore!(list);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Maybe)
    }
}

impl<'de, T: Deserialize<'de> + Default, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Any::<Self>(std::marker::PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Default, const MAX: usize> Visitor<'de> for Any<List<T, MAX>> {
    type Value = List<T, MAX>;
    ignore!(expecting);
    ignore!(bool);
    ignore!(number);
    ignore!(text);
    ignore!(null);
    ignore!(object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = List::default();
        while list.items.len() < MAX {
            let Some(Maybe(item)) = seq.next_element()? else { return Ok(list) };
            list.items.push(item);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            list.further += 1;
        }
        Ok(list)
    }
}

impl<'de> Visitor<'de> for Any<Text> {
    type Value = Text;
    ignore!(expecting);
    ignore!(bool);
    ignore!(null);
    ignore!(list);
    ignore!(object);

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.into()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
        Ok(Text(text))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }
}

impl<'de> Visitor<'de> for Any<Number> {
    type Value = Number;
    ignore!(expecting);
    ignore!(bool);
    ignore!(null);
    ignore!(list);
    ignore!(object);

    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        Ok(Number(text.parse().ok().filter(|number: &f64| number.is_finite())))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        Ok(Number(Some(number).filter(|number| number.is_finite())))
    }
}

impl<'de> Visitor<'de> for Any<Bool> {
    type Value = Bool;
    ignore!(expecting);
    ignore!(number);
    ignore!(text);
    ignore!(null);
    ignore!(list);
    ignore!(object);

    fn visit_bool<E: Error>(self, value: bool) -> Result<Bool, E> {
        Ok(Bool(Some(value)))
    }
}

impl<'de> Visitor<'de> for Any<Texts> {
    type Value = Texts;
    ignore!(expecting);
    ignore!(bool);
    ignore!(number);
    ignore!(text);
    ignore!(null);
    ignore!(object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(Text(text)) = seq.next_element()? {
            if !text.is_empty() && texts.len() < MAX_TEXTS {
                texts.push(text);
            }
        }
        Ok(Texts(texts))
    }
}

/// A header field.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Field {
    name: Text,
    value: Text,
}

impl<'de> Visitor<'de> for Any<Headers> {
    type Value = Headers;
    ignore!(expecting);
    ignore!(bool);
    ignore!(number);
    ignore!(text);
    ignore!(null);
    ignore!(object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::default();
        while let Some(Maybe(Field { name, value })) = seq.next_element::<Maybe<Field>>()? {
            let fields = &mut headers.fields;
            let fields = if name.0.starts_with(':') { &mut headers.pseudo } else { fields };
            if fields.len() < MAX_FIELDS {
                fields.push(&octets(&name.0), &octets(&value.0));
            } else {
                headers.too_many = true;
            }
        }
        Ok(headers)
    }
}
