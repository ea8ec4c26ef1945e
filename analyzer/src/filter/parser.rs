//! Parses tokens into an expression, by precedence climbing.

use std::ops::Range;

use regex::Regex;

use super::error::Error;
use super::field;
use super::lexer::{Lexer, Token};
use super::{Comparison, Expr, Order, Test};
use crate::exchange::field::Kind;
use crate::exchange::field::Unit;

/// Maximum nesting of parentheses and `not`: each level takes stack, in the parser and in each test
/// of an item.
const MAX_DEPTH: usize = 100;

/// The connective of two terms; a higher value binds closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Connective {
    Or,
    And,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Match,
    Order(Order),
}

pub(super) fn parse(text: &str) -> Result<Expr, Error> {
    let mut parser = Parser { lexer: Lexer::new(text), depth: 0 };
    let root = parser.expression(Connective::Or)?;
    match parser.lexer.token() {
        (Token::End, _) => Ok(root),
        (token, place) => {
            let problem = match token {
                Token::Close => "this parenthesis closes none",
                _ => "the filter was complete before this",
            };
            Err(parser.error(place, problem, "`and`, `or`, or the end; quote values with blanks"))
        }
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    depth: usize,
}

impl Parser<'_> {
    /// Parses terms joined by `weakest` or by connectives that bind closer.
    fn expression(&mut self, weakest: Connective) -> Result<Expr, Error> {
        let mut left = self.term()?;
        while let Some(connective) = self.connective().filter(|found| *found >= weakest) {
            self.lexer.token();
            let right = match connective {
                Connective::And => self.term()?,
                Connective::Or => self.expression(Connective::And)?,
            };
            left = join(connective, left, right);
        }
        Ok(left)
    }

    fn connective(&self) -> Option<Connective> {
        match self.lexer.peek().0 {
            Token::Word(word) if word.eq_ignore_ascii_case("and") => Some(Connective::And),
            Token::Word(word) if word.eq_ignore_ascii_case("or") => Some(Connective::Or),
            Token::Operator("&&") => Some(Connective::And),
            Token::Operator("||") => Some(Connective::Or),
            _ => None,
        }
    }

    fn term(&mut self) -> Result<Expr, Error> {
        let (token, place) = self.lexer.token();
        match token {
            Token::Word(word) if word.eq_ignore_ascii_case("not") => self.negation(place),
            Token::Operator("!") => self.negation(place),
            Token::Open => self.nested(place, |parser, place| {
                let inner = parser.expression(Connective::Or)?;
                match parser.lexer.token() {
                    (Token::Close, _) => Ok(inner),
                    (_, _) => Err(parser.error(
                        place,
                        "this parenthesis is not closed",
                        "`and`, `or` or `)` after what it holds",
                    )),
                }
            }),
            Token::Word(word) => self.condition(word, place),
            token => {
                let problem = match token {
                    Token::End => "a condition is missing",
                    Token::Close => "a condition is missing before `)`",
                    _ => "a condition cannot begin like this",
                };
                let allowed = format!("`not`, `(`, or {}", field::list());
                Err(self.error(place, problem, allowed))
            }
        }
    }

    fn negation(&mut self, place: Range<usize>) -> Result<Expr, Error> {
        self.nested(place, |parser, _| parser.term().map(|term| Expr::Not(Box::new(term))))
    }

    fn nested(
        &mut self,
        place: Range<usize>,
        inner: impl FnOnce(&mut Self, Range<usize>) -> Result<Expr, Error>,
    ) -> Result<Expr, Error> {
        if self.depth >= MAX_DEPTH {
            let problem = format!("more than {MAX_DEPTH} levels of `not` and parentheses");
            return Err(self.error(place, problem, "a condition"));
        }
        self.depth += 1;
        let result = inner(self, place);
        self.depth -= 1;
        result
    }

    /// Parses a field, alone or with a comparison.
    fn condition(&mut self, name: &str, place: Range<usize>) -> Result<Expr, Error> {
        let Some((field, kind)) = field::find(name) else {
            let problem = match field::nearest(name) {
                Some(known) => format!("unknown field `{name}`; did you mean `{known}`?"),
                None => format!("unknown field `{name}`"),
            };
            return Err(self.error(place, problem, field::list()));
        };
        let (negated, operator) = match self.lexer.peek().0 {
            Token::Operator("=" | "==") => (false, Operator::Order(Order::Equal)),
            Token::Operator("!=") => (true, Operator::Order(Order::Equal)),
            Token::Operator("<") => (false, Operator::Order(Order::Less)),
            Token::Operator("<=") => (false, Operator::Order(Order::LessOrEqual)),
            Token::Operator(">") => (false, Operator::Order(Order::Greater)),
            Token::Operator(">=") => (false, Operator::Order(Order::GreaterOrEqual)),
            Token::Operator("~" | "=~") => (false, Operator::Match),
            Token::Operator("!~") => (true, Operator::Match),
            _ => return Ok(Expr::Known(field)),
        };
        let (_, operator_place) = self.lexer.token();
        self.check(name, kind, operator, operator_place)?;
        let (value, place) = self.lexer.value()?;
        let expected = expected(kind, operator);
        let Some(value) = value else {
            return Err(self.error(place, "a value is missing", expected));
        };
        let test = self.test(kind, operator, value, place, expected)?;
        Ok(Expr::Compare(Comparison { field, test, negated }))
    }

    /// Checks that the operator can be used on a field of this kind.
    fn check(
        &self,
        name: &str,
        kind: Kind,
        operator: Operator,
        place: Range<usize>,
    ) -> Result<(), Error> {
        let equal = Operator::Order(Order::Equal);
        let (fits, what, allowed) = match kind {
            Kind::Header => return Ok(()),
            Kind::Text | Kind::OneOf(_) => {
                (matches!(operator, Operator::Match) || operator == equal, "text", "= != ~ !~")
            }
            Kind::Number(_) => (operator != Operator::Match, "a number", "= != < <= > >="),
            Kind::Time => (operator != Operator::Match, "a time", "= != < <= > >="),
            Kind::Bool => (operator == equal, "true or false", "= !="),
        };
        if fits {
            return Ok(());
        }
        Err(self.error(
            place,
            format!("`{name}` is {what}, which does not support this comparison"),
            allowed,
        ))
    }

    fn test(
        &self,
        kind: Kind,
        operator: Operator,
        value: String,
        place: Range<usize>,
        expected: String,
    ) -> Result<Test, Error> {
        let order = match operator {
            Operator::Order(order) => order,
            Operator::Match => {
                return Regex::new(&value)
                    .map(Test::Regex)
                    .map_err(|error| self.error(place, regex_problem(&error), expected));
            }
        };
        let test = match kind {
            Kind::Text => Some(Test::Text(value.clone())),
            Kind::Header if order == Order::Equal => Some(Test::Text(value.clone())),
            Kind::Header => Unit::Bytes.parse(&value).map(|number| Test::Number(order, number)),
            Kind::OneOf(values) => values.contains(&&*value).then(|| Test::Text(value.clone())),
            Kind::Number(unit) => unit.parse(&value).map(|number| Test::Number(order, number)),
            Kind::Bool => value.parse().ok().map(Test::Bool),
            Kind::Time => time(&value).map(|time| Test::Time(order, time)),
        };
        test.ok_or_else(|| self.error(place, format!("invalid value `{value}`"), expected))
    }

    fn error(
        &self,
        place: Range<usize>,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Error {
        Error::new(self.lexer.text(), place, problem, allowed)
    }
}

/// Adds a term to the chain that it continues.
fn join(connective: Connective, left: Expr, right: Expr) -> Expr {
    match (connective, left) {
        (Connective::And, Expr::All(mut terms)) => {
            terms.push(right);
            Expr::All(terms)
        }
        (Connective::Or, Expr::Any(mut terms)) => {
            terms.push(right);
            Expr::Any(terms)
        }
        (Connective::And, left) => Expr::All(vec![left, right]),
        (Connective::Or, left) => Expr::Any(vec![left, right]),
    }
}

/// Describes the values that a comparison accepts.
fn expected(kind: Kind, operator: Operator) -> String {
    match (kind, operator) {
        (_, Operator::Match) => {
            "a regular expression of Rust's regex crate, in quotes if it has blanks".into()
        }
        (Kind::Text, _) | (Kind::Header, Operator::Order(Order::Equal)) => {
            "text, in quotes if it has blanks or is empty".into()
        }
        (Kind::Header, _) => Unit::Bytes.example().into(),
        (Kind::OneOf(values), _) => values.join(", "),
        (Kind::Number(unit), _) => unit.example().into(),
        (Kind::Bool, _) => "true, false".into(),
        (Kind::Time, _) => {
            "a time in UTC or its beginning, such as 2026-11-23T04:21 or 2026-11-23".into()
        }
    }
}

/// Parses a time in the format of the JSON, or a prefix of it, without the `Z`.
fn time(text: &str) -> Option<String> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000000000";
    let text = text.strip_suffix('Z').unwrap_or(text);
    let fits = text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        shape => byte == *shape,
    });
    (fits && (4..=SHAPE.len()).contains(&text.len())).then(|| text.to_owned())
}

/// Returns the last line of the crate's message; the lines before it repeat the expression.
fn regex_problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or("").trim();
    format!("invalid regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
}
