//! HTTP/1 (RFC 9112) for observers.

use memchr::memchr;

/// Length of the head that `bytes` begins with, empty line included; the end is known not to be in
/// `bytes[..scanned]`. A bare LF ends a line (section 2.2).
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
