//! The rules of a redaction, parsed from the texts that users write.

use std::fmt;
use std::str::FromStr;

use memchr::memchr3;
use regex_automata::MatchKind;
use regex_automata::util::prefilter::Prefilter;

use super::counts::Rule;
use super::header_name::header_name;
use super::patterns::Pattern;
use super::secrets;

/// The characters between a scheme and its credentials, in any spelling. A folded header field
/// counts.
macro_rules! space {
    () => {
        r#"(?:[\s:="'`\\]|\+|%(?:25)*(?:0[9ad]|2[027b]|3[ad])|\\u00(?:2[027]|3[ad]))+"#
    };
}

/// `Bearer` and a token (RFC 6750), anywhere. More than the token's own alphabet is included, since
/// some tokens violate it. The word itself is not a token: some programs write it twice.
const BEARER: &str = concat!(r"(?i)\b(?:bearer", space!(), r#")+([^\s"'<>\\&,;]+)"#);

/// `Basic` and the encoded user and password (RFC 7617).
const BASIC: &str = concat!(r"(?i)\b(?:basic", space!(), r")+([a-z0-9+/=_%-]{4,})");

/// A private key (RFC 7468), up to its last line.
const PRIVATE_KEY: &str = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----((?:[^-]|-[^-])*)";

/// User information in a URL (RFC 3986 section 3.2.1), up to the `@`.
const USER_INFO: &str = concat!(
    r#"(?://|\\/\\/|(?i:%(?:25)*2f%(?:25)*2f))([^\s/?#"'<>\\@]+?)"#,
    r"(?:@|(?i:%(?:25)*40|\\u0040))",
);

/// User information in a line that may be a Host field.
const HOST_INFO: &str = r#"(?i:\bhost:[ \t]*)([^\s/?#"'<>\\@]+)@"#;

/// Rules for a redaction; an empty set redacts nothing.
///
/// Names match in upper and lower case. Rules are parsed from texts such as `header:x-secret`;
/// [`Self::add`] combines several.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The texts that are written to the file.
    stated: Vec<String>,
    /// In lower case, like all names.
    pub(super) headers: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) query: Vec<String>,
    pub(super) form: Vec<String>,
    pub(super) json: Vec<String>,
    /// The beginnings of these names; `None` if a name has no suitable beginning.
    json_literals: Option<Prefilter>,
    /// Includes names and places of secrets that every capture may have; see [`super::secrets`].
    pub(super) builtin: bool,
    pub(super) patterns: Vec<Pattern>,
}

impl Rules {
    /// Adds the rules of another set.
    pub fn add(&mut self, other: Self) {
        self.stated.extend(other.stated);
        self.headers.extend(other.headers);
        self.cookies.extend(other.cookies);
        self.query.extend(other.query);
        self.form.extend(other.form);
        self.json.extend(other.json);
        self.json_literals = beginnings(&self.json);
        self.builtin |= other.builtin;
        self.patterns.extend(other.patterns);
    }

    /// Returns the rules as written to a redacted file. A regular expression of the user is not
    /// shown: it may contain the very secret.
    pub fn stated(&self) -> &[String] {
        &self.stated
    }

    /// Returns whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.stated.is_empty()
    }

    /// Returns whether a rule applies to contents, and not only to heads.
    pub(super) fn concerns_bodies(&self) -> bool {
        self.names_json() || self.names_pairs() || !self.patterns.is_empty()
    }

    /// Returns whether a rule names fields of JSON.
    pub(super) fn names_json(&self) -> bool {
        !self.json.is_empty()
    }

    /// Returns a search for the beginnings of the names of fields of JSON, which finds each name
    /// that is spelled without an escape; `None` if there is no such search.
    pub(super) fn json_literals(&self) -> Option<&Prefilter> {
        self.json_literals.as_ref()
    }

    /// Returns whether a rule names fields of queries or forms.
    pub(super) fn names_pairs(&self) -> bool {
        self.builtin || !self.query.is_empty() || !self.form.is_empty()
    }

    /// Returns whether the header field is secret. The name is folded; see [`header_name`].
    pub(super) fn is_header(&self, name: &[u8]) -> bool {
        self.headers.iter().any(|known| known.as_bytes() == name)
            || (self.builtin && secrets::is_secret_header(name))
    }

    /// Returns the length of the longest name of a field that matters.
    pub(super) fn longest_header(&self) -> usize {
        let longest = self.headers.iter().map(String::len).max();
        secrets::LONGEST_HEADER.max(longest.unwrap_or(0))
    }

    /// Returns whether the field of a query or form is secret. The name is decoded.
    pub(super) fn is_pair(&self, name: &[u8]) -> bool {
        is_one_of(&self.query, name)
            || is_one_of(&self.form, name)
            || (self.builtin && secrets::is_secret_name(name))
    }

    /// Returns whether the field of JSON is secret. The name is decoded.
    pub(super) fn is_json(&self, name: &[u8]) -> bool {
        is_one_of(&self.json, name)
    }

    /// Returns whether the cookie is secret. The name is decoded.
    pub(super) fn is_cookie(&self, name: &[u8]) -> bool {
        is_one_of(&self.cookies, name)
    }

    fn pattern(&mut self, rule: Rule, text: &str) -> Result<(), Error> {
        self.patterns.push(Pattern::new(rule, text).map_err(Error)?);
        Ok(())
    }
}

/// Returns whether `names` contains the name, or a part of it between brackets and dots
/// (`user[password]`, `a.password[]`). `+` is a space.
fn is_one_of(names: &[String], name: &[u8]) -> bool {
    if names.is_empty() {
        return false;
    }
    let same = |known: &String, name: &[u8]| {
        let known = known.as_bytes();
        let octet = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b' ' && *b == b'+');
        known.len() == name.len() && known.iter().zip(name).all(octet)
    };
    let name = name.trim_ascii();
    let has_parts = memchr3(b'[', b']', b'.', name).is_some();
    names.iter().any(|known| {
        same(known, name)
            || has_parts && name.split(|octet| b"[].".contains(octet)).any(|part| same(known, part))
    })
}

/// Returns a search for the first letters and digits of names, in upper and lower case.
fn beginnings(names: &[String]) -> Option<Prefilter> {
    /// More letters have more spellings, which makes the search slow.
    const MAX_LEN: usize = 4;
    let mut literals = Vec::new();
    for name in names {
        let octets = name.bytes().take_while(u8::is_ascii_alphanumeric).take(MAX_LEN);
        let mut spellings = vec![Vec::new()];
        for octet in octets {
            let mut cases = vec![octet.to_ascii_lowercase(), octet.to_ascii_uppercase()];
            cases.dedup();
            spellings = spellings
                .iter()
                .flat_map(|text| cases.iter().map(|&octet| [&text[..], &[octet]].concat()))
                .collect();
        }
        literals.extend(spellings);
    }
    if literals.iter().any(Vec::is_empty) {
        return None;
    }
    Prefilter::new(MatchKind::LeftmostFirst, &literals)
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
                rules.builtin = true;
                rules.pattern(Rule::Bearer, BEARER)?;
                rules.pattern(Rule::Token, &secrets::TOKENS.join("|"))?;
                rules.pattern(Rule::Token, PRIVATE_KEY)?;
                rules.pattern(Rule::UserInfo, USER_INFO)?;
                rules.pattern(Rule::UserInfo, HOST_INFO)?;
            }
            ("bearer", None) => rules.pattern(Rule::Bearer, BEARER)?,
            ("basic", None) => rules.pattern(Rule::Basic, BASIC)?,
            ("cookie", None) if name.is_none() => {
                rules.headers = vec!["cookie".into(), "set-cookie".into()];
            }
            ("cookie", Some(name)) => rules.cookies.push(name),
            ("header", Some(name)) => {
                let name = header_name(name.as_bytes());
                rules.headers.push(String::from_utf8_lossy(&name).into_owned());
            }
            ("query", Some(name)) => rules.query.push(name),
            ("form", Some(name)) => rules.form.push(name),
            ("json", Some(name)) => {
                rules.json.push(name);
                rules.json_literals = beginnings(&rules.json);
            }
            ("regex", Some(_)) => {
                rules.stated = vec!["regex".into()];
                rules.pattern(Rule::Regex, name.unwrap_or_default())?;
            }
            _ => {
                return Err(Error(format!(
                    "invalid rule `{text}`; expected default, header:NAME, cookie, cookie:NAME, \
                     query:NAME, json:NAME, form:NAME, bearer, basic or regex:RE"
                )));
            }
        }
        Ok(rules)
    }
}

/// The error of an invalid rule, with the valid forms.
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
    fn only_documented_rules_are_accepted() {
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
    fn names_match_in_every_spelling() {
        let rules: Rules = "query:a b".parse().unwrap();
        for name in ["a b", "A+B", "x[a b]", "a b[]", "x.a b"] {
            assert!(rules.is_pair(name.as_bytes()), "{name}");
        }
        assert!(!rules.is_pair(b"aab") && !rules.is_pair(b"") && !rules.is_json(b"a b"));
        assert!("header:X_Own".parse::<Rules>().unwrap().is_header(b"x-own"));
        let default: Rules = "default".parse().unwrap();
        assert!(default.is_header(b"x-vault-token") && default.is_pair(b"password"));
        assert!(!default.is_json(b"password") && !default.is_header(b"host"));
    }

    #[test]
    fn a_regular_expression_is_not_stated() {
        let mut rules: Rules = "header:X-Secret".parse().unwrap();
        rules.add("regex:hunter2".parse().unwrap());
        assert_eq!(rules.stated(), ["header:X-Secret", "regex"]);
    }
}
