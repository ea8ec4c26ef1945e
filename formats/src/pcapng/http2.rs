//! Just enough of HTTP/2 to recognise it in a connection that was joined in mid-stream.

pub(super) use sslrec_wire::http2::frame::PREFACE;

/// These bytes begin like a frame header (RFC 9113 section 4.1) of a kind, length and stream that
/// go together (section 6). Frames longer than the default limit of 16 KiB are not believed; all
/// others begin with a zero byte, which no text protocol does.
pub(super) fn is_frame(bytes: &[u8]) -> bool {
    let Some(&[l2, l1, l0, kind, _flags, s3, s2, s1, s0]) = bytes.first_chunk::<9>() else {
        return false;
    };
    let len = u32::from_be_bytes([0, l2, l1, l0]);
    let stream = u32::from_be_bytes([s3, s2, s1, s0]);
    if len > 16384 || stream >> 31 != 0 {
        return false;
    }
    match kind {
        0 | 1 | 9 => stream != 0,                  // DATA, HEADERS, CONTINUATION
        2 => stream != 0 && len == 5,              // PRIORITY
        3 => stream != 0 && len == 4,              // RST_STREAM
        4 => stream == 0 && len.is_multiple_of(6), // SETTINGS
        5 => stream != 0 && len >= 4,              // PUSH_PROMISE
        6 => stream == 0 && len == 8,              // PING
        7 => stream == 0 && len >= 8,              // GOAWAY
        8 => len == 4,                             // WINDOW_UPDATE
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_text_and_the_preface() {
        assert!(is_frame(&[0, 0, 6, 4, 0, 0, 0, 0, 0]));
        assert!(is_frame(&[0, 0, 20, 1, 5, 0, 0, 0, 3, 0x82]));
        assert!(!is_frame(&[0, 0, 20, 1, 5, 0, 0, 0, 0]));
        assert!(!is_frame(b"GET / HTTP/1.1\r\n"));
        assert!(!is_frame(PREFACE));
        assert!(!is_frame(&[0, 0, 6, 4]));
    }
}
