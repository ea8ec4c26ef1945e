//! The filter language, which selects exchanges, streams and handshakes.
//!
//! ```text
//! filter     = or
//! or         = and { ("or" | "||") and }
//! and        = term { ("and" | "&&") term }
//! term       = ("not" | "!") term | "(" filter ")" | FIELD [OPERATOR VALUE]
//! OPERATOR   = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "=~" | "!~"
//! VALUE      = "text" | 'text' | anything up to a blank or an unmatched ")"
//! ```
//!
//! Fields are those of the JSON, with short names for the frequent fields (`field`). A comparison
//! with an unknown value (`null` in the JSON) is always false, even `!=`: a filter never lists an
//! item because of a value that nobody saw. A field without a comparison tests whether it is known,
//! or, for `complete`, whether it is true. If a field has several values, as headers can, `=`, `~`
//! and the orders match if any value does; `!=` and `!~` match only if no value equals or matches.
//!
//! Most filters are about exchanges, and `not status=200` is not meant to list every handshake. So
//! handshakes are matched only by filters that name `type` or a field of handshakes.
//!
//! The filter does no input or output. Regular expressions run in linear time (crate `regex`), and
//! nesting is limited, so that no text of a filter or of a peer takes unbounded time or stack.

mod error;
mod field;
mod lexer;
mod named;
mod number;
mod parser;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;

use regex::Regex;

pub use self::error::Error;
use self::field::Named;
pub use self::named::{NamedField, UnknownField};
use crate::exchange::Item;
use crate::exchange::field::Subject;
pub use crate::exchange::field::Value;

/// A parsed filter.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Expr,
    /// The filter names a field that selects handshakes.
    about_handshakes: bool,
}

impl Filter {
    /// Parses the text of a filter.
    ///
    /// # Errors
    /// The text is not a filter. The error has the place of the problem, and the allowed input
    /// there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let root = parser::parse(text)?;
        let about_handshakes = root.names(&|field| match field {
            Named::Plain(field) => field.of_handshakes,
            Named::Part { .. } => false,
        });
        Ok(Self { root, about_handshakes })
    }

    /// Returns whether the filter names a field of handshakes. Other filters match no handshake.
    pub fn is_about_handshakes(&self) -> bool {
        self.about_handshakes
    }

    /// Returns whether the item matches.
    pub fn matches(&self, item: &Item) -> bool {
        let asked = self.about_handshakes || !matches!(item, Item::Handshake(_));
        asked && self.root.holds(&Subject::new(item))
    }
}

/// A condition on an item. Chains of `and` and of `or` are flat, so that long chains do not nest.
#[derive(Debug, Clone)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    /// The field is known and not false.
    Known(Named),
    Compare(Comparison),
}

impl Expr {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Expr::All(terms) => terms.iter().all(|term| term.holds(subject)),
            Expr::Any(terms) => terms.iter().any(|term| term.holds(subject)),
            Expr::Not(term) => !term.holds(subject),
            Expr::Known(field) => {
                let mut holds = false;
                field.values(subject, &mut |value| holds |= !matches!(value, Value::Bool(false)));
                holds
            }
            Expr::Compare(comparison) => comparison.holds(subject),
        }
    }

    /// Returns whether the predicate is true for any field named here.
    fn names(&self, is_such: &dyn Fn(&Named) -> bool) -> bool {
        match self {
            Expr::All(terms) | Expr::Any(terms) => terms.iter().any(|term| term.names(is_such)),
            Expr::Not(term) => term.names(is_such),
            Expr::Known(field) => is_such(field),
            Expr::Compare(comparison) => is_such(&comparison.field),
        }
    }
}

/// A field and the test of its values.
#[derive(Debug, Clone)]
struct Comparison {
    field: Named,
    test: Test,
    /// No value may pass the test, and at least one value must exist.
    negated: bool,
}

#[derive(Debug, Clone)]
enum Test {
    Text(String),
    Regex(Regex),
    Bool(bool),
    Number(Order, u64),
    /// A point in time in the format of the JSON, or a prefix of it; the same number of characters
    /// of the value is compared.
    Time(Order, String),
}

/// The required order of value and operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Order::Equal => ordering.is_eq(),
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Comparison {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let (mut known, mut passed) = (false, false);
        self.field.values(subject, &mut |value| {
            known = true;
            passed |= self.test.passes(&value);
        });
        if self.negated { known && !passed } else { passed }
    }
}

impl Test {
    fn passes(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Test::Text(wanted), Value::Text(text)) => text == wanted,
            (Test::Regex(regex), Value::Text(text)) => regex.is_match(text),
            (Test::Bool(wanted), Value::Bool(value)) => value == wanted,
            (Test::Number(order, wanted), Value::Number(value)) => order.accepts(value.cmp(wanted)),
            // A numeric header value can be compared as a number.
            (Test::Number(order, wanted), Value::Text(text)) => {
                let number: Option<u64> = text.trim().parse().ok();
                number.is_some_and(|number| order.accepts(number.cmp(wanted)))
            }
            (Test::Time(order, wanted), Value::Text(Cow::Owned(time))) => {
                let shown = time.get(..wanted.len()).unwrap_or(time);
                order.accepts(shown.cmp(wanted))
            }
            _ => false,
        }
    }
}
