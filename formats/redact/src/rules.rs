//! What is to be redacted, as users say it.

use std::fmt;
use std::str::FromStr;

use super::patterns::Pattern;

/// The names that `default` stands for, besides bearer tokens.
const DEFAULT_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "x-api-key", "cookie", "set-cookie"];

/// `Bearer` and a token (RFC 6750), wherever they stand. More than the token's own alphabet is
/// taken, since not all keep to it. The word itself is no token: some write it twice.
const BEARER: &str = r#"(?i)\b(?:bearer(?:[ \t]|%20|\+)+)+([^\s"'<>\\&,;]+)"#;

/// `Basic` and what holds user and password (RFC 7617).
const BASIC: &str = r"(?i)\b(?:basic(?:[ \t]|%20|\+)+)+([a-z0-9+/=_%-]{4,})";

/// Rules for a redaction; empty, nothing is redacted.
///
/// Names match whatever their case. Made of texts such as `header:x-secret`; [`Self::add`] joins
/// several.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// As they are stated in the file.
    stated: Vec<String>,
    /// In lower case, as all names.
    pub(super) headers: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) query: Vec<String>,
    pub(super) form: Vec<String>,
    pub(super) json: Vec<String>,
    pub(super) patterns: Vec<Pattern>,
}

impl Rules {
    /// Adds the rules of another one.
    pub fn add(&mut self, other: Self) {
        self.stated.extend(other.stated);
        self.headers.extend(other.headers);
        self.cookies.extend(other.cookies);
        self.query.extend(other.query);
        self.form.extend(other.form);
        self.json.extend(other.json);
        self.patterns.extend(other.patterns);
    }

    /// The rules as they are stated in a redacted file. A regular expression of the user's is not
    /// shown: it may spell out the very secret.
    pub fn stated(&self) -> &[String] {
        &self.stated
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.stated.is_empty()
    }

    /// Some rule concerns contents, and not only heads.
    pub(super) fn concerns_bodies(&self) -> bool {
        !(self.json.is_empty()
            && self.form.is_empty()
            && self.query.is_empty()
            && self.patterns.is_empty())
    }

    fn pattern(&mut self, text: &str) -> Result<(), Error> {
        self.patterns.push(Pattern::new(text).map_err(Error)?);
        Ok(())
    }
}

impl FromStr for Rules {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut rules = Self { stated: vec![text.to_owned()], ..Self::default() };
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        let lower = name.map(str::to_ascii_lowercase).filter(|name| !name.is_empty());
        match (kind, lower) {
            ("default", None) => {
                rules.headers = DEFAULT_HEADERS.map(str::to_owned).to_vec();
                rules.pattern(BEARER)?;
            }
            ("bearer", None) => rules.pattern(BEARER)?,
            ("basic", None) => rules.pattern(BASIC)?,
            ("cookie", None) if name.is_none() => {
                rules.headers = vec!["cookie".into(), "set-cookie".into()];
            }
            ("cookie", Some(name)) => rules.cookies.push(name),
            ("header", Some(name)) => rules.headers.push(name),
            ("query", Some(name)) => rules.query.push(name),
            ("form", Some(name)) => rules.form.push(name),
            ("json", Some(name)) => rules.json.push(name),
            ("regex", Some(_)) => {
                rules.stated = vec!["regex".into()];
                rules.pattern(name.unwrap_or_default())?;
            }
            _ => {
                return Err(Error(format!(
                    "`{text}` is no rule; give default, header:NAME, cookie, cookie:NAME, \
                     query:NAME, json:NAME, form:NAME, bearer, basic or regex:RE"
                )));
            }
        }
        Ok(rules)
    }
}

/// A rule that is none: what is wrong, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_one_of_those_that_are_named() {
        for text in [
            "default",
            "cookie",
            "bearer",
            "basic",
            "cookie:a",
            "header:A",
            "json:a:b",
            "regex:a:b",
        ] {
            assert!(text.parse::<Rules>().is_ok(), "{text}");
        }
        for text in ["", "defaults", "header", "header:", "cookie:", "default:x", "json", "regex:("]
        {
            let error = text.parse::<Rules>().unwrap_err().to_string();
            assert!(error.contains("header:NAME") || error.contains("regular"), "{text}: {error}");
        }
    }

    #[test]
    fn a_regular_expression_is_not_stated() {
        let mut rules: Rules = "header:X-Secret".parse().unwrap();
        rules.add("regex:hunter2".parse().unwrap());
        assert_eq!(rules.stated(), ["header:X-Secret", "regex"]);
    }
}
