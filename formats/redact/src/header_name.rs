//! Names of header fields, folded so that every spelling of a name is equal.

use std::ops::Deref;

use sslrec_wire::http1::start::is_token;

/// Names up to this length take no memory of their own: longer than any known name.
const MAX_SHORT: usize = 64;

/// A folded name.
#[derive(Debug)]
pub(super) enum HeaderName {
    Short { octets: [u8; MAX_SHORT], len: usize },
    Long(Vec<u8>),
}

impl Deref for HeaderName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { octets, len } => &octets[..*len],
            Self::Long(octets) => octets,
        }
    }
}

/// Returns the name of a header field without characters that cannot be part of a name: whitespace,
/// NUL and other control characters, quotes. In lower case, with `-` for `_`.
pub(super) fn header_name(text: &[u8]) -> HeaderName {
    let folded =
        || text.iter().map(|&octet| FOLDED[usize::from(octet)]).filter(|&octet| octet != 0);
    let (mut octets, mut len) = ([0; MAX_SHORT], 0);
    for octet in folded() {
        let Some(place) = octets.get_mut(len) else {
            return HeaderName::Long(folded().collect());
        };
        *place = octet;
        len += 1;
    }
    HeaderName::Short { octets, len }
}

/// Returns the folded name of a field in a section of HTTP/1 or HTTP/2. Pseudo-header fields (RFC
/// 9113 section 8.3), whose colon cannot be part of another name, stay as they are.
pub(super) fn field_name(text: &[u8]) -> HeaderName {
    if text.first() != Some(&b':') {
        return header_name(text);
    }
    let mut octets = [0; MAX_SHORT];
    match octets.get_mut(..text.len()) {
        Some(place) => {
            place.copy_from_slice(text);
            HeaderName::Short { octets, len: text.len() }
        }
        None => HeaderName::Long(text.to_vec()),
    }
}

/// Each octet folded; 0 if the octet cannot be part of a name.
static FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut octet = 0;
    while octet < folded.len() {
        let value = octet as u8;
        if is_token(value) {
            folded[octet] = if value == b'_' { b'-' } else { value.to_ascii_lowercase() };
        }
        octet += 1;
    }
    folded
};

/// Returns whether the field contains cookies.
pub(super) fn is_cookie_field(name: &[u8]) -> bool {
    [&b"cookie"[..], b"set-cookie", b"cookie2", b"set-cookie2"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_length_are_folded() {
        for len in [0, 1, MAX_SHORT, MAX_SHORT + 1, 1000] {
            let text = ["_\0\"", &"A".repeat(len)].concat();
            let expected = ["-", &"a".repeat(len)].concat();
            assert_eq!(*header_name(text.as_bytes()), *expected.as_bytes(), "{len}");
            let pseudo = [":", &"A".repeat(len)].concat();
            assert_eq!(*field_name(pseudo.as_bytes()), *pseudo.as_bytes(), "{len}");
        }
        assert_eq!(*field_name(b"X_A"), *b"x-a");
    }
}
