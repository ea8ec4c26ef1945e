//! The filter language: which exchanges, streams and handshakes are listed.
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
//! Fields are those of the JSON, with short names for the frequent ones (`field`). What is not
//! known, `null` in the JSON, fulfils no comparison, not even `!=`: a filter never lists something
//! by what nobody saw. A field alone asks whether it is known, or, for `complete`, whether it is
//! true. Where a field has several values, as headers can, one of them has to fulfil `=`, `~` or
//! an order, and none may fulfil the opposite of `!=` and `!~`.
//!
//! Most filters are about exchanges, and `not status=200` is not meant to list every handshake. So
//! handshakes are wanted only by a filter that names `type` or a field that only they have.
//!
//! Nothing here does input or output. Regular expressions run in linear time (crate `regex`), and
//! nesting has a cap, so that no text of a filter or of a peer makes it run away.

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

/// A filter that was understood.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Expr,
    /// It names a field that tells of handshakes.
    about_handshakes: bool,
}

impl Filter {
    /// Understands the text of a filter.
    ///
    /// # Errors
    /// If it is none: where it stopped making sense, and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let root = parser::parse(text)?;
        let about_handshakes = root.names(&|field| match field {
            Named::Plain(field) => field.of_handshakes,
            Named::Part { .. } => false,
        });
        Ok(Self { root, about_handshakes })
    }

    /// The filter names a field of handshakes, without which it matches none.
    pub fn is_about_handshakes(&self) -> bool {
        self.about_handshakes
    }

    /// The item is one of those that are wanted.
    pub fn matches(&self, item: &Item) -> bool {
        let asked = self.about_handshakes || !matches!(item, Item::Handshake(_));
        asked && self.root.holds(&Subject::new(item))
    }
}

/// What is asked of an item. Chains of `and` and of `or` are flat, so that long ones do not nest.
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

    /// One of the fields that it names is such a one.
    fn names(&self, is_such: &dyn Fn(&Named) -> bool) -> bool {
        match self {
            Expr::All(terms) | Expr::Any(terms) => terms.iter().any(|term| term.names(is_such)),
            Expr::Not(term) => term.names(is_such),
            Expr::Known(field) => is_such(field),
            Expr::Compare(comparison) => is_such(&comparison.field),
        }
    }
}

/// A field and what its values are held against.
#[derive(Debug, Clone)]
struct Comparison {
    field: Named,
    test: Test,
    /// No value may pass the test, and there has to be one.
    negated: bool,
}

#[derive(Debug, Clone)]
enum Test {
    Text(String),
    Regex(Regex),
    Bool(bool),
    Number(Order, u64),
    /// A point in time as the JSON writes it, cut anywhere; as much of the value is looked at.
    Time(Order, String),
}

/// How a value has to stand to the operand.
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
            // A header can be compared as a number where it is one.
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
