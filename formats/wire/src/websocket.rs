//! Frame heads and masks of WebSocket (RFC 6455 section 5).

/// The longest head: two bytes, eight of length, four of mask.
pub const MAX_HEAD: usize = 14;

/// The longest contents of a control frame (section 5.5).
pub const MAX_CONTROL: u64 = 125;

/// A frame head: everything before the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The frame is the last of its message.
    pub fin: bool,
    /// The first reserved bit, which marks compression (RFC 7692 section 6).
    pub rsv1: bool,
    /// Either of the other two reserved bits, which have no meaning here.
    pub rsv23: bool,
    /// Type of the frame.
    pub opcode: u8,
    /// Key of the mask, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Length of the payload.
    pub len: u64,
    /// The length takes more bytes than it needs, which section 5.2 forbids.
    pub long_form: bool,
}

impl Head {
    /// Returns whether the frame is a control frame and not a part of a message.
    pub fn is_control(&self) -> bool {
        self.opcode & 8 != 0
    }
}

/// Returns the length of the head that begins with these bytes, or the number of bytes needed to
/// compute it.
pub fn head_len(bytes: &[u8]) -> usize {
    let Some(second) = bytes.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 != 0 { 4 } else { 0 }
}

/// Reads a head of exactly [`head_len`] bytes. Returns `None` if the length has the highest bit
/// set, or if bytes are missing.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (len, least, rest) = match second & 0x7f {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*len)), 126, rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*len), 0x1_0000, rest)
        }
        len => (u64::from(len), 0, rest),
    };
    let mask = match second & 0x80 {
        0 => None,
        _ => Some(*rest.first_chunk()?),
    };
    let head = Head {
        fin: first & 0x80 != 0,
        rsv1: first & 0x40 != 0,
        rsv23: first & 0x30 != 0,
        opcode: first & 0x0f,
        mask,
        len,
        long_form: len < least,
    };
    (len >> 63 == 0).then_some(head)
}

/// Appends these bytes without their mask; the first byte is at `at` of the payload.
pub fn unmask(bytes: &[u8], mask: Option<[u8; 4]>, at: u64, out: &mut Vec<u8>) {
    let Some(mut mask) = mask else { return out.extend_from_slice(bytes) };
    mask.rotate_left((at % 4) as usize);
    let begin = out.len();
    out.extend_from_slice(bytes);
    for group in out[begin..].chunks_mut(4) {
        group.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    #[test]
    fn heads_of_each_length_are_read() {
        let cases: [(&[u8], u64, bool, bool); 8] = [
            (&[0x81, 5], 5, false, false),
            (&[0x81, 0x85, 1, 2, 3, 4], 5, true, false),
            (&[0x82, 126, 1, 0], 256, false, false),
            (&[0x82, 126, 0, 125], 125, false, true),
            (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536, false, false),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 65_535, false, true),
            (&[0x82, 0xfe, 0xff, 0xff, 9, 9, 9, 9], 65_535, true, false),
            (
                &[0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 9, 9, 9, 9],
                i64::MAX as u64,
                true,
                false,
            ),
        ];
        for (bytes, len, masked, long_form) in cases {
            assert_eq!(head_len(bytes), bytes.len());
            let read = head(bytes).unwrap();
            assert_eq!((read.len, read.mask.is_some(), read.long_form), (len, masked, long_form));
            for cut in 0..bytes.len() {
                assert!(head_len(&bytes[..cut]) > cut && head(&bytes[..cut]).is_none());
            }
        }
        assert_eq!(head(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_mask_continues_where_the_last_piece_ended() {
        let (mask, text) = (Some([1, 2, 3, 4]), b"a longer text than the mask");
        let mut masked = Vec::new();
        unmask(text, mask, 0, &mut masked);
        for split in 0..text.len() {
            let mut back = Vec::new();
            unmask(&masked[..split], mask, 0, &mut back);
            unmask(&masked[split..], mask, split as u64, &mut back);
            assert_eq!(back, text);
        }
    }
}
