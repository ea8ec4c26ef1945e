//! Names of header fields, folded so that every spelling of a name is equal.

/// Returns the name of a header field without characters that cannot be part of a name: whitespace,
/// NUL and other control characters, quotes. In lower case, with `-` for `_`.
pub(super) fn header_name(text: &[u8]) -> Vec<u8> {
    let is_token = |octet: &&u8| sslrec_wire::http1::start::is_token(**octet);
    let fold = |octet: &u8| if *octet == b'_' { b'-' } else { octet.to_ascii_lowercase() };
    text.iter().filter(is_token).map(fold).collect()
}

/// Returns whether the field contains cookies.
pub(super) fn is_cookie_field(name: &[u8]) -> bool {
    [&b"cookie"[..], b"set-cookie", b"cookie2", b"set-cookie2"].contains(&name)
}
