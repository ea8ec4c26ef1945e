//! Spellings of an octet: percent-encoding at any depth, escapes of JSON and JavaScript, and HTML
//! entities.

use memchr::memchr3;

/// The longest spelling; longer ones are read as they are.
const MAX_SPELLING: usize = 48;

/// An octet and its spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Octet {
    pub(crate) value: u8,
    /// Length of the spelling.
    pub(crate) len: usize,
    /// Number of times the octet is percent-encoded.
    pub(crate) depth: u8,
}

/// More bytes are needed to read a spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incomplete;

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, &digit| Some(n * 16 + char::from(digit).to_digit(16)?))
}

/// Reads the percent sign that `text` begins with, and the octet it encodes: `%41`, `%2541`,
/// `%252541`. With `last` nothing follows.
pub(crate) fn percent(text: &[u8], last: bool) -> Result<Octet, Incomplete> {
    let plain = Octet { value: b'%', len: 1, depth: 0 };
    let (mut at, mut depth) = (1, 1);
    loop {
        let digits = text.get(at..at + 2);
        let Some(value) = digits.map(hex) else {
            let rest = &text[at.min(text.len())..];
            let may_follow = !last && rest.iter().all(u8::is_ascii_hexdigit);
            return if may_follow && at < MAX_SPELLING {
                Err(Incomplete)
            } else {
                shorter(text, at)
            };
        };
        let Some(value) = value else {
            return if at == 1 { Ok(plain) } else { shorter(text, at) };
        };
        let here = Octet { value: value as u8, len: at + 2, depth };
        if value != u32::from(b'%') || at > MAX_SPELLING {
            return Ok(here);
        }
        (at, depth) = (at + 2, depth + 1);
    }
}

/// Returns the encoded percent sign before `at`, which no further digits follow.
fn shorter(text: &[u8], at: usize) -> Result<Octet, Incomplete> {
    let depth = ((at - 1) / 2) as u8;
    let value = if depth == 0 { text[0] } else { b'%' };
    Ok(Octet { value, len: at, depth })
}

/// An escape: backslashes and the characters after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Escape {
    /// The escaped character: for `\n`, `\r` and `\t` the control character.
    pub(crate) value: u8,
    pub(crate) len: usize,
    /// Number of backslashes at its beginning.
    pub(crate) slashes: usize,
}

impl Escape {
    /// Returns the number of strings around a quote of this spelling: `"` is of level 0, `\"` of
    /// level 1, `\\\"` of level 2. Backslashes that are content themselves do not count.
    pub(crate) fn level(&self) -> u32 {
        match self.len - self.slashes {
            1 => level(self.slashes),
            _ => 1 + self.slashes.trailing_zeros(),
        }
    }

    /// Returns the number of backslashes that are content, if this is a quote.
    pub(crate) fn content(&self) -> usize {
        (self.slashes + 1).saturating_sub(1 << level(self.slashes).min(16))
    }
}

/// Returns the level of a quote after this number of backslashes.
pub(crate) fn level(slashes: usize) -> u32 {
    (slashes + 1).trailing_zeros()
}

/// Reads the escape that `text` begins with.
pub(crate) fn escape(text: &[u8], last: bool) -> Result<Escape, Incomplete> {
    let slashes = text.iter().take_while(|&&octet| octet == b'\\').count();
    let plain = |value, more| Escape { value, len: slashes + more, slashes };
    let rest = &text[slashes..];
    if slashes > MAX_SPELLING {
        return Ok(plain(b'\\', 0));
    }
    let Some((&first, digits)) = rest.split_first() else {
        return if last { Ok(plain(b'\\', 0)) } else { Err(Incomplete) };
    };
    let count = match first {
        b'u' => 4,
        b'x' => 2,
        b'n' => return Ok(plain(b'\n', 1)),
        b'r' => return Ok(plain(b'\r', 1)),
        b't' => return Ok(plain(b'\t', 1)),
        other => return Ok(plain(other, 1)),
    };
    match digits.get(..count) {
        Some(digits) => Ok(match hex(digits) {
            Some(code) => plain(u8::try_from(code).unwrap_or(b'?'), 1 + count),
            None => plain(first, 1),
        }),
        None if !last && digits.iter().all(u8::is_ascii_hexdigit) => Err(Incomplete),
        None => Ok(plain(first, 1)),
    }
}

/// HTML entities for the octets that matter here.
const ENTITIES: [(&[u8], u8); 12] = [
    (b"&quot;", b'"'),
    (b"&#34;", b'"'),
    (b"&#x22;", b'"'),
    (b"&apos;", b'\''),
    (b"&#39;", b'\''),
    (b"&#x27;", b'\''),
    (b"&amp;", b'&'),
    (b"&#38;", b'&'),
    (b"&#x26;", b'&'),
    (b"&#61;", b'='),
    (b"&#x3d;", b'='),
    (b"&#58;", b':'),
];

/// Reads the entity that `text` begins with; returns `None` for all entities that do not matter.
pub(crate) fn entity(text: &[u8], last: bool) -> Result<Option<Octet>, Incomplete> {
    for (name, value) in ENTITIES {
        let len = name.len().min(text.len());
        if text[..len].eq_ignore_ascii_case(&name[..len]) {
            if len == name.len() {
                return Ok(Some(Octet { value, len, depth: 0 }));
            }
            if !last {
                return Err(Incomplete);
            }
        }
    }
    Ok(None)
}

/// Undoes all spellings, including spellings that appear only after decoding.
pub(crate) fn decode(text: &[u8]) -> Vec<u8> {
    let mut plain = text.to_vec();
    for _ in 0..4 {
        if memchr3(b'%', b'\\', b'&', &plain).is_none() {
            break;
        }
        plain = once(&plain);
    }
    plain
}

fn once(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&first) = rest.first() {
        let (value, len) = match first {
            b'%' => percent(rest, true).map_or((first, 1), |octet| (octet.value, octet.len)),
            b'\\' => escape(rest, true).map_or((first, 1), |escape| (escape.value, escape.len)),
            b'&' => match entity(rest, true) {
                Ok(Some(octet)) => (octet.value, octet.len),
                _ => (first, 1),
            },
            other => (other, 1),
        };
        plain.push(value);
        rest = &rest[len.max(1)..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_any_depth_are_undone() {
        for (text, plain) in [
            ("%41", "A"),
            ("%2541%252541", "AA"),
            ("a%2", "a%2"),
            ("%zz%25%25zz", "%zz%%zz"),
            (r"\u0026\/\x3d\n", "&/=\n"),
            (r#"\\\"a\\u0026"#, "\"a&"),
            ("&quot;&amp;quot;&#x3D;&nope;", "\"\"=&nope;"),
            ("%5C%22", "\""),
            (r"\", r"\"),
        ] {
            assert_eq!(String::from_utf8(decode(text.as_bytes())).unwrap(), plain, "{text}");
        }
    }

    #[test]
    fn a_truncated_spelling_waits_for_its_end() {
        for cut in [&b"%"[..], b"%2", b"%25", b"%252"] {
            assert_eq!(percent(cut, false), Err(Incomplete), "{cut:?}");
            assert!(percent(cut, true).is_ok());
        }
        assert_eq!(percent(b"%25x", false), Ok(Octet { value: b'%', len: 3, depth: 1 }));
        assert_eq!(percent(b"%2526", false), Ok(Octet { value: b'&', len: 5, depth: 2 }));
        assert_eq!(percent(b"%g", false), Ok(Octet { value: b'%', len: 1, depth: 0 }));
        assert_eq!(percent(b"%gg", false), Ok(Octet { value: b'%', len: 1, depth: 0 }));
        for cut in [&b"\\"[..], b"\\\\", b"\\u", b"\\u00", b"\\x2"] {
            assert_eq!(escape(cut, false), Err(Incomplete), "{cut:?}");
            assert!(escape(cut, true).is_ok());
        }
        assert_eq!(entity(b"&quo", false), Err(Incomplete));
        assert_eq!(entity(b"&quo", true), Ok(None));
        assert!(
            percent(
                &b"%".iter().chain(b"25".iter().cycle().take(200)).copied().collect::<Vec<_>>(),
                false
            )
            .is_ok()
        );
        assert!(escape(&[b'\\'; 100], false).is_ok());
    }

    #[test]
    fn levels_of_quotes_follow_from_their_backslashes() {
        for (text, level, content) in [
            (r#"\""#, 1, 0),
            (r#"\\""#, 0, 2),
            (r#"\\\""#, 2, 0),
            (r#"\\\\\""#, 1, 4),
            (r"\u0022", 1, 0),
        ] {
            let escape = escape(text.as_bytes(), true).unwrap();
            assert_eq!((escape.value, escape.level()), (b'"', level), "{text}");
            if escape.len - escape.slashes == 1 {
                assert_eq!(escape.content(), content, "{text}");
            }
        }
    }
}
