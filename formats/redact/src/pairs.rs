//! Finds the values of `name=value` pairs that come in pieces: queries of URLs, and forms; and, in
//! heads, cookies.

use std::ops::Range;

/// The longest name, as it stands there, that is compared.
const MAX_NAME: usize = 512;

/// Where a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// At `&` only: a form, in which sloppy programs leave anything unescaped.
    AtAmpersand,
    /// Also where a URL within a text ends.
    WithTheUrl,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pairs {
    ends: Ends,
    /// What stands since the last separator; `None` where no name can be.
    name: Option<Vec<u8>>,
    secret: bool,
}

impl Pairs {
    /// For a text that begins with a name.
    pub(super) fn at_name(ends: Ends) -> Self {
        Self { ends, name: Some(Vec::new()), secret: false }
    }

    /// For one in which the first name follows a separator.
    pub(super) fn within(ends: Ends) -> Self {
        Self { name: None, ..Self::at_name(ends) }
    }

    /// Says for the next byte whether it is of a secret value. `names` are in lower case.
    pub(super) fn octet(&mut self, names: &[&[String]], octet: u8) -> bool {
        if self.secret {
            let is_end = match self.ends {
                Ends::AtAmpersand => octet == b'&',
                Ends::WithTheUrl => octet.is_ascii_whitespace() || b"&#\"'<>".contains(&octet),
            };
            if !is_end {
                return true;
            }
            self.secret = false;
        }
        match octet {
            b'?' | b'&' | b';' | b'#' => self.name = Some(Vec::new()),
            b'=' => {
                let name = self.name.take();
                self.secret = name.is_some_and(|name| is_one_of(names, &name));
            }
            _ if octet.is_ascii_whitespace() && self.ends == Ends::WithTheUrl => self.name = None,
            _ => {
                if let Some(name) = &mut self.name {
                    name.push(octet);
                }
                self.name.take_if(|name| name.len() > MAX_NAME);
            }
        }
        false
    }

    /// Blanks what is secret in the next bytes.
    pub(super) fn data(&mut self, names: &[&[String]], bytes: &mut [u8]) {
        for octet in bytes {
            if self.octet(names, *octet) {
                *octet = b'*';
            }
        }
    }
}

/// The name, with its escapes undone, is one of these.
fn is_one_of(names: &[&[String]], name: &[u8]) -> bool {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name.trim_ascii();
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|&octet| char::from(octet).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) => {
                plain.push(b' ');
                rest = tail;
            }
            _ => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    names.iter().copied().flatten().any(|known| plain.eq_ignore_ascii_case(known.as_bytes()))
}

/// The places of values of these cookies in a Cookie or Set-Cookie field (RFC 6265 section 4).
pub(super) fn cookies(names: &[String], value: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in value.split(|&octet| octet == b';') {
        let pair = part.iter().position(|&octet| octet == b'=');
        if let Some(at) = pair
            && is_one_of(&[names], &part[..at])
        {
            found.push(start + at + 1..start + part.len());
        }
        start += part.len() + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::single_range_in_vec_init, reason = "they are lists of ranges")]

    use super::*;

    fn blanked(mut pairs: Pairs, text: &str, split: usize) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let names = ["token".to_owned(), "a b".to_owned()];
        let (first, second) = bytes.split_at_mut(split.min(text.len()));
        pairs.data(&[&names], first);
        pairs.data(&[&names], second);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn values_in_urls_are_blanked_up_to_their_end() {
        for (text, expected) in [
            ("/a?x=1&token=s3c,ret&y=2", "/a?x=1&token=*******&y=2"),
            ("/a?TOK%45N=s#token=t", "/a?TOK%45N=*#token=*"),
            ("/a?a+b=s&a%20b=t", "/a?a+b=*&a%20b=*"),
            ("token=x /a?token=y z", "token=x /a?token=* z"),
            ("<https://h/?token=y>; rel=next", "<https://h/?token=*>; rel=next"),
            ("/a?mytoken=x&token", "/a?mytoken=x&token"),
        ] {
            for split in 0..=text.len() {
                assert_eq!(blanked(Pairs::within(Ends::WithTheUrl), text, split), expected);
            }
        }
    }

    #[test]
    fn values_in_forms_are_blanked_up_to_the_next_one() {
        for split in 0..30 {
            let form =
                blanked(Pairs::at_name(Ends::AtAmpersand), "token=a \"b\n#c&x=token=y", split);
            assert_eq!(form, "token=*******&x=token=y");
        }
    }

    #[test]
    fn cookies_go_by_name() {
        let names = ["sid".to_owned()];
        assert_eq!(cookies(&names, b"a=1; SID=xyz; sid=\"q\""), [9..12, 18..21]);
        assert_eq!(cookies(&names, b"sid=xyz; Path=/"), [4..7]);
        assert_eq!(cookies(&names, b"sid; asid=1"), [0..0; 0]);
    }
}
