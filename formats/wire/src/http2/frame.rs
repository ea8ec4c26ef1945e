//! Frames (RFC 9113 sections 4 and 6): their headers, and the fields of their payloads.
//!
//! Nothing here keeps state. An error that makes an endpoint close the connection is returned as a
//! defect, since an observer continues.

use crate::texts::texts;

/// The first bytes of a client (section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length of a frame header (section 4.1).
pub const HEADER_LEN: usize = 9;

/// The largest payload without an agreement (section 4.2).
pub const DEFAULT_MAX_LEN: u32 = 16384;

/// Flags; the type of a frame determines its possible flags.
pub mod flag {
    /// The sender ends the stream with this frame.
    pub const END_STREAM: u8 = 0x1;
    /// Acknowledges SETTINGS or PING.
    pub const ACK: u8 = 0x1;
    /// The field block ends with this frame.
    pub const END_HEADERS: u8 = 0x4;
    /// The payload begins with the length of its padding.
    pub const PADDED: u8 = 0x8;
    /// HEADERS with priority fields.
    pub const PRIORITY: u8 = 0x20;
}

/// Type of a frame (section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DATA.
    Data,
    /// HEADERS.
    Headers,
    /// PRIORITY.
    Priority,
    /// RST_STREAM.
    RstStream,
    /// SETTINGS.
    Settings,
    /// PUSH_PROMISE.
    PushPromise,
    /// PING.
    Ping,
    /// GOAWAY.
    GoAway,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// An extension, which is skipped (section 5.5).
    Other,
}

impl Kind {
    fn of(octet: u8) -> Self {
        match octet {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Other,
        }
    }
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Length of the payload.
    pub len: u32,
    /// Its type.
    pub kind: Kind,
    /// See [`flag`].
    pub flags: u8,
    /// The stream, without the reserved bit.
    pub stream: u32,
    /// The reserved bit, which senders leave unset.
    reserved: bool,
}

texts! {
    /// An invalid length or stream for a frame of its type.
    pub enum Defect {
        /// Section 6.1.
        DataOnConnection => "DATA on stream 0";
        /// Section 6.2.
        HeadersOnConnection => "HEADERS on stream 0";
        /// Section 6.6.
        PushPromiseOnConnection => "PUSH_PROMISE on stream 0";
        /// Section 6.10.
        ContinuationOnConnection => "CONTINUATION on stream 0";
        /// Section 6.3.
        PriorityOnConnection => "PRIORITY on stream 0";
        /// Section 6.3.
        PriorityLength => "PRIORITY of another length than 5";
        /// Section 6.4.
        RstStreamOnConnection => "RST_STREAM on stream 0";
        /// Section 6.4.
        RstStreamLength => "RST_STREAM of another length than 4";
        /// Section 6.5.
        SettingsOnStream => "SETTINGS on a stream";
        /// Section 6.5.
        SettingsAckLength => "acknowledgement of SETTINGS with a payload";
        /// Section 6.5.
        SettingsLength => "SETTINGS of a length that is not a multiple of 6";
        /// Section 6.7.
        PingOnStream => "PING on a stream";
        /// Section 6.7.
        PingLength => "PING of another length than 8";
        /// Section 6.8.
        GoAwayOnStream => "GOAWAY on a stream";
        /// Section 6.8.
        GoAwayLength => "GOAWAY of less than 8 bytes";
        /// Section 6.9.
        WindowUpdateLength => "WINDOW_UPDATE of another length than 4";
    }
}

impl Frame {
    /// Placeholder for a frame whose header is irrelevant.
    pub const UNKNOWN: Self =
        Self { len: 0, kind: Kind::Other, flags: 0, stream: 0, reserved: false };

    /// Reads the header at the beginning of `bytes`.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[l2, l1, l0, kind, flags, s3, s2, s1, s0] = bytes.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            len: u32::from_be_bytes([0, l2, l1, l0]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
            reserved: s3 & 0x80 != 0,
        })
    }

    /// Returns whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns the defect of the header, if the length or stream is invalid for a frame of this
    /// type.
    pub fn defect(&self) -> Option<Defect> {
        let on_stream = self.stream != 0;
        match self.kind {
            Kind::Data if !on_stream => Some(Defect::DataOnConnection),
            Kind::Headers if !on_stream => Some(Defect::HeadersOnConnection),
            Kind::PushPromise if !on_stream => Some(Defect::PushPromiseOnConnection),
            Kind::Continuation if !on_stream => Some(Defect::ContinuationOnConnection),
            Kind::Priority if !on_stream => Some(Defect::PriorityOnConnection),
            Kind::Priority if self.len != 5 => Some(Defect::PriorityLength),
            Kind::RstStream if !on_stream => Some(Defect::RstStreamOnConnection),
            Kind::RstStream if self.len != 4 => Some(Defect::RstStreamLength),
            Kind::Settings if on_stream => Some(Defect::SettingsOnStream),
            Kind::Settings if self.has(flag::ACK) && self.len != 0 => {
                Some(Defect::SettingsAckLength)
            }
            Kind::Settings if !self.len.is_multiple_of(6) => Some(Defect::SettingsLength),
            Kind::Ping if on_stream => Some(Defect::PingOnStream),
            Kind::Ping if self.len != 8 => Some(Defect::PingLength),
            Kind::GoAway if on_stream => Some(Defect::GoAwayOnStream),
            Kind::GoAway if self.len < 8 => Some(Defect::GoAwayLength),
            Kind::WindowUpdate if self.len != 4 => Some(Defect::WindowUpdateLength),
            _ => None,
        }
    }

    /// Returns whether the frame can be the first frame of a server: SETTINGS (section 3.4) of
    /// usual length and without flags. `PREFACE` precedes the first frame of a client.
    pub fn is_first_of_server(&self) -> bool {
        self.kind == Kind::Settings
            && self.flags == 0
            && self.len < 256
            && !self.reserved
            && self.defect().is_none()
    }

    /// Returns whether programs send such frames, for places where the beginning of a frame is
    /// uncertain.
    ///
    /// In random bytes 1 in 2^22 places passes: the length must be at most 2^14 (1 in 2^10), the
    /// type a known type (1 in 2^5), the reserved bit and all flags that the type does not have
    /// unset, and the stream and the length fit the type. Streams must be those of clients, hence
    /// odd; pushed streams are too rare to widen the rule for. An empty DATA frame that does not
    /// end its stream is rejected too: runs of zeros look like that.
    pub fn is_plausible(&self) -> bool {
        let flags = match self.kind {
            Kind::Data => flag::END_STREAM | flag::PADDED,
            Kind::Headers => flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            Kind::Settings | Kind::Ping => flag::ACK,
            Kind::PushPromise => flag::END_HEADERS | flag::PADDED,
            Kind::Continuation => flag::END_HEADERS,
            Kind::Priority | Kind::RstStream | Kind::GoAway | Kind::WindowUpdate => 0,
            Kind::Other => return false,
        };
        let empty = self.len == 0
            && match self.kind {
                Kind::Data => !self.has(flag::END_STREAM),
                Kind::Headers | Kind::PushPromise => true,
                _ => false,
            };
        self.len <= DEFAULT_MAX_LEN
            && !self.reserved
            && self.flags & !flags == 0
            && !empty
            && (self.stream == 0 || self.stream % 2 == 1)
            && self.defect().is_none()
    }
}

/// Removes the padding (sections 6.1, 6.2 and 6.6) of a complete payload.
pub fn unpad<'b>(frame: &Frame, payload: &'b [u8]) -> Option<&'b [u8]> {
    if !frame.has(flag::PADDED) {
        return Some(payload);
    }
    let (&pad, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(pad))?)
}

/// Returns the part of a field block in a HEADERS frame, after padding and priority (section 6.2).
pub fn headers<'b>(frame: &Frame, payload: &'b [u8]) -> Option<&'b [u8]> {
    let rest = unpad(frame, payload)?;
    if frame.has(flag::PRIORITY) { rest.get(5..) } else { Some(rest) }
}

/// Returns the promised stream and the part of a field block in a PUSH_PROMISE frame (section 6.6).
pub fn push_promise<'b>(frame: &Frame, payload: &'b [u8]) -> Option<(u32, &'b [u8])> {
    let (promised, block) = unpad(frame, payload)?.split_first_chunk()?;
    Some((u32::from_be_bytes(*promised) & 0x7fff_ffff, block))
}

/// Returns the code of a RST_STREAM frame (section 6.4).
pub fn reset_code(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|code| u32::from_be_bytes(*code))
}

/// Returns the last stream that is or may be processed, and the code, of a GOAWAY frame (section
/// 6.8).
pub fn go_away(payload: &[u8]) -> Option<(u32, u32)> {
    let (last, rest) = payload.split_first_chunk()?;
    Some((u32::from_be_bytes(*last) & 0x7fff_ffff, reset_code(rest)?))
}

/// Returns the values of SETTINGS_HEADER_TABLE_SIZE in a SETTINGS frame (section 6.5.2). Of several
/// values the last is in effect (6.5.3), and the largest was allowed for a moment; both are
/// returned.
pub fn table_sizes(payload: &[u8]) -> impl Iterator<Item = u32> {
    payload.chunks_exact(6).filter_map(|setting| match *setting {
        [0, 1, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    })
}

/// Returns the name of an error code (section 7).
pub fn error_name(code: u32) -> Option<&'static str> {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(usize::try_from(code).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: u32, kind: u8, flags: u8, stream: u32) -> Frame {
        let mut bytes = len.to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        Frame::read(&bytes).unwrap()
    }

    #[test]
    fn header_is_read_field_by_field() {
        let read = frame(0x01_0203, 1, 0x25, 0x8000_0005);
        assert_eq!((read.len, read.kind, read.stream), (0x01_0203, Kind::Headers, 5));
        assert!(read.has(flag::END_STREAM) && read.has(flag::PRIORITY) && !read.has(flag::PADDED));
        assert_eq!(Frame::read(&[0; 8]), None);
    }

    #[test]
    fn each_rule_about_length_and_stream_is_checked() {
        for (len, kind, flags, stream, fine) in [
            (0, 0, 0, 0, false),
            (0, 0, 0, 1, true),
            (9, 1, 4, 0, false),
            (5, 2, 0, 1, true),
            (4, 2, 0, 1, false),
            (5, 2, 0, 0, false),
            (4, 3, 0, 1, true),
            (5, 3, 0, 1, false),
            (4, 3, 0, 0, false),
            (12, 4, 0, 0, true),
            (12, 4, 0, 1, false),
            (13, 4, 0, 0, false),
            (0, 4, 1, 0, true),
            (6, 4, 1, 0, false),
            (9, 5, 4, 1, true),
            (9, 5, 4, 0, false),
            (8, 6, 0, 0, true),
            (8, 6, 0, 1, false),
            (9, 6, 0, 0, false),
            (8, 7, 0, 0, true),
            (7, 7, 0, 0, false),
            (8, 7, 0, 3, false),
            (4, 8, 0, 0, true),
            (4, 8, 0, 7, true),
            (5, 8, 0, 0, false),
            (1, 9, 0, 1, true),
            (1, 9, 0, 0, false),
            (1 << 20, 0xfa, 0xff, 2, true),
        ] {
            let got = frame(len, kind, flags, stream).defect();
            assert_eq!(got.is_none(), fine, "{len} {kind} {flags} {stream}: {got:?}");
        }
    }

    #[test]
    fn plausible_is_stricter_than_possible() {
        for (len, kind, flags, stream, plausible) in [
            (100, 0, 1, 7, true),
            (0, 0, 1, 7, true),
            (0, 0, 0, 7, false),
            (100, 0, 4, 7, false),
            (16_385, 0, 0, 7, false),
            (100, 0, 0, 8, false),
            (100, 0, 0, 0x8000_0007, false),
            (100, 1, 0x25, 7, true),
            (0, 1, 4, 7, false),
            (0, 9, 4, 7, true),
            (0, 4, 1, 0, true),
            (4, 8, 1, 0, false),
            (10, 10, 0, 1, false),
        ] {
            assert_eq!(frame(len, kind, flags, stream).is_plausible(), plausible, "{len} {kind}");
        }
    }

    #[test]
    fn frames_are_distinguished_from_text_and_the_preface() {
        let is_frame = |bytes: &[u8]| Frame::read(bytes).is_some_and(|frame| frame.is_plausible());
        assert!(is_frame(&[0, 0, 6, 4, 0, 0, 0, 0, 0]));
        assert!(is_frame(&[0, 0, 20, 1, 5, 0, 0, 0, 3, 0x82]));
        assert!(!is_frame(&[0, 0, 20, 1, 5, 0, 0, 0, 0]));
        assert!(!is_frame(b"GET / HTTP/1.1\r\n"));
        assert!(!is_frame(PREFACE));
        assert!(!is_frame(&[0, 0, 6, 4]));
    }

    #[test]
    fn random_places_are_rarely_plausible() {
        let mut state = 1u64;
        let mut bytes = Vec::new();
        for _ in 0..1 << 19 {
            // xorshift64*.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        let found = bytes.windows(HEADER_LEN).filter(|w| Frame::read(w).unwrap().is_plausible());
        assert!(found.count() <= 6, "of 2^22 places one is expected");
    }

    #[test]
    fn payloads_are_parsed_and_short_payloads_refused() {
        let padded = frame(0, 1, flag::PADDED | flag::PRIORITY, 1);
        assert_eq!(headers(&padded, b"\x02prio5blockpp"), Some(&b"block"[..]));
        assert_eq!(headers(&padded, b"\x00prio5"), Some(&b""[..]));
        assert_eq!(headers(&padded, b"\x01prio5"), None);
        assert_eq!(headers(&padded, b"\x07prio5"), None);
        assert_eq!(headers(&padded, b""), None);
        let promise = frame(0, 5, 0, 1);
        assert_eq!(push_promise(&promise, b"\x80\0\0\x02b"), Some((2, &b"b"[..])));
        assert_eq!(push_promise(&promise, b"\0\0\0"), None);
        assert_eq!(go_away(b"\x80\0\0\x05\0\0\0\x0bdebug"), Some((5, 11)));
        assert_eq!(go_away(b"\0\0\0\x05\0\0\0"), None);
        let settings = b"\0\x03\0\0\0\x64\0\x01\0\0\x20\0\0\x01\0\0\0\0";
        assert_eq!(table_sizes(settings).collect::<Vec<_>>(), [8192, 0]);
        assert_eq!(
            (error_name(8), error_name(13), error_name(14)),
            (Some("CANCEL"), Some("HTTP_1_1_REQUIRED"), None)
        );
    }
}
