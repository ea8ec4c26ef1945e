//! Lines of heads, trailer sections and chunked contents (RFC 9112 sections 2.2, 5 and 7.1).

use memchr::memchr;

/// Returns the length of the head at the beginning of `bytes`, empty line included; the end is not
/// in `bytes[..scanned]`. A bare LF ends a line (RFC 9112 section 2.2).
pub fn find_end_of_head(bytes: &[u8], scanned: usize) -> Option<usize> {
    // The end is LF LF or LF CR LF, and may have begun in the scanned part.
    let mut at = scanned.saturating_sub(2);
    while let Some(found) = memchr(b'\n', &bytes[at..]) {
        at += found + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Reads a chunk size (RFC 9112 section 7.1): hexadecimal digits, then perhaps extensions. The
/// grammar allows any number of leading zeros; the bound of the line limits them.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii();
    if digits == 0 || !(rest.is_empty() || rest[0] == b';') {
        return None;
    }
    let zeros = line[..digits].iter().take_while(|&&b| b == b'0').count();
    line[zeros..digits].iter().try_fold(0u64, |size, &digit| {
        let value = u64::from(char::from(digit).to_digit(16)?);
        (size >> 60 == 0).then_some(size << 4 | value)
    })
}

/// A line of a head or trailer section, after the start line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'b> {
    /// `name: value`, without whitespace around the value; the name may end with whitespace.
    Field {
        /// Everything before the colon.
        name: &'b [u8],
        /// The value.
        value: &'b [u8],
    },
    /// The continuation of a field value (obsolete line folding, section 5.2), or an indented line
    /// before the first field, which section 2.2 calls an attempt at request smuggling.
    Folded(&'b [u8]),
    /// A line without a colon.
    Other(&'b [u8]),
}

/// Returns the complete lines of a head after its start line, up to the empty line.
pub fn of_head(mut bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    std::iter::from_fn(move || {
        let end = memchr(b'\n', bytes)?;
        let line = &bytes[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        bytes = &bytes[end + 1..];
        match (line.first()?, memchr(b':', line)) {
            (b' ' | b'\t', _) => Some(Line::Folded(line.trim_ascii())),
            (_, Some(colon)) => {
                Some(Line::Field { name: &line[..colon], value: line[colon + 1..].trim_ascii() })
            }
            (_, None) => Some(Line::Other(line)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_found_wherever_the_scan_resumes() {
        for (bytes, end) in [
            (&b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody"[..], 24),
            (b"GET / HTTP/1.1\nA: b\n\nbody", 21),
            (b"GET / HTTP/1.1\nA: b\n\r\nbody", 22),
        ] {
            for scanned in 0..end {
                assert_eq!(find_end_of_head(bytes, scanned), Some(end), "{scanned}");
                assert_eq!(find_end_of_head(&bytes[..scanned], 0), None, "{scanned}");
            }
        }
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_with_extensions() {
        for (line, size) in [
            (&b"0\r"[..], Some(0)),
            (b"aF", Some(0xaf)),
            (b"5;a=b\r", Some(5)),
            (b"5 ; a\r", Some(5)),
            (b"ffffffffffffffff", Some(u64::MAX)),
            (b"10000000000000000", None),
            (b"00000000000000000000000000000a\r", Some(10)),
            (b"0000000000000000ffffffffffffffff", Some(u64::MAX)),
            (b"000000000000000010000000000000000", None),
            (b"00000000000000000000", Some(0)),
            (b"", None),
            (b"-1", None),
            (b"5 5", None),
            (b"0x5", None),
        ] {
            assert_eq!(chunk_size(line), size, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn lines_end_with_the_empty_line() {
        let head = b"A: b \r\n c:d\r\n\te\nnone\nf :\r\n\r\ng: h\r\n";
        let expected = [
            Line::Field { name: b"A", value: b"b" },
            Line::Folded(b"c:d"),
            Line::Folded(b"e"),
            Line::Other(b"none"),
            Line::Field { name: b"f ", value: b"" },
        ];
        assert_eq!(of_head(head).collect::<Vec<_>>(), expected);
        assert_eq!(of_head(b"cut: off").next(), None);
    }
}
