//! Splits the text of a filter into tokens, one at a time.
//!
//! Values follow different rules from the rest: an unquoted value extends to the next blank, so
//! that `path=/a?b=1` needs no quotes. The parser knows the expected kind, and requests it.

use std::ops::Range;

use super::error::Error;

/// A token outside values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A field, or a word: `and`, `or`, `not`.
    Word(&'t str),
    /// A comparison, or `!`, `&&`, `||`.
    Operator(&'static str),
    Open,
    Close,
    /// A character that begins no token.
    Other,
    End,
}

/// An operator comes before its own prefixes.
const OPERATORS: [&str; 13] =
    ["&&", "||", "==", "=~", "!=", "!~", "<=", ">=", "=", "<", ">", "~", "!"];

/// Splits the text of a filter into tokens.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// Consumes the next token. Returns it with its place.
    pub(super) fn token(&mut self) -> (Token<'t>, Range<usize>) {
        let rest = self.rest();
        let (token, len) = match rest.chars().next() {
            None => (Token::End, 0),
            Some('(') => (Token::Open, 1),
            Some(')') => (Token::Close, 1),
            Some(first) => match OPERATORS.iter().find(|op| rest.starts_with(**op)) {
                Some(op) => (Token::Operator(op), op.len()),
                None => match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
                    0 => (Token::Other, first.len_utf8()),
                    len => (Token::Word(&rest[..len]), len),
                },
            },
        };
        let start = self.at;
        self.at += len;
        (token, start..self.at)
    }

    /// Returns the next token without consuming it.
    pub(super) fn peek(&self) -> (Token<'t>, Range<usize>) {
        self.clone().token()
    }

    /// Consumes a value. Returns it with its place; `None` if there is no value.
    pub(super) fn value(&mut self) -> Result<(Option<String>, Range<usize>), Error> {
        let rest = self.rest();
        let start = self.at;
        let (value, len) = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => match bare_len(rest) {
                0 => return Ok((None, start..start)),
                len => (rest[..len].to_owned(), len),
            },
        };
        self.at += len;
        Ok((Some(value), start..self.at))
    }

    /// Skips blanks and returns the rest of the text.
    fn rest(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    /// Parses a value in quotes. Returns it with its length, quotes included. In a regular
    /// expression a backslash keeps its meaning, except before the quote.
    fn quoted(&self, quote: char) -> Result<(String, usize), Error> {
        let body = &self.text[self.at + 1..];
        let mut value = String::new();
        let mut chars = body.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => return Ok((value, at + 2)),
                '\\' => match chars.next() {
                    Some((_, next)) if next == quote => value.push(next),
                    Some((_, next)) => value.extend(['\\', next]),
                    None => break,
                },
                c => value.push(c),
            }
        }
        let place = self.at..self.text.len();
        let problem = format!("the text after {quote} is not closed");
        Err(Error::new(self.text, place, problem, format!("text up to another {quote}")))
    }
}

/// Returns whether field and header names contain this character (RFC 9110 section 5.6.2, without
/// the characters that begin operators).
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-#$%*+^`".contains(c)
}

/// Returns the length of a value without quotes: up to a blank or a parenthesis that it did not
/// open.
fn bare_len(text: &str) -> usize {
    let mut open = 0usize;
    let end = text.find(|c: char| {
        match c {
            '(' => open += 1,
            ')' if open == 0 => return true,
            ')' => open -= 1,
            _ => {}
        }
        c.is_whitespace()
    });
    end.unwrap_or(text.len())
}
