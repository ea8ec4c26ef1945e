//! One direction of a web socket (RFC 6455 section 5): the payload of each frame is looked through as
//! a text of its own, without its mask.
//!
//! What cannot be looked through is blanked: compressed messages (RFC 7692), parts of messages,
//! and frames that are too long to be held.

use super::body::Body;
use super::fields::Contents;
use super::http1::Step;
use super::window::{Engine, FILL, Window};

/// The longest frame that is held.
const MAX_FRAME: u64 = 256 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    /// What is left of a frame that is blanked, its mask, and how far that has got.
    blanking: Option<(u64, [u8; 4], usize)>,
}

impl WebSocket {
    /// Reads what can be read from `at` on.
    pub(super) fn step(&mut self, window: &mut Window, at: &mut u64, engine: &mut Engine) -> Step {
        let available = window.end() - *at;
        if available == 0 {
            return Step::Wait;
        }
        if let Some((left, mask, turn)) = self.blanking.take() {
            let len = left.min(available);
            for (octet, turn) in window.get_mut(*at..*at + len).iter_mut().zip(turn..) {
                *octet = FILL ^ mask[turn % 4];
            }
            *at += len;
            let turn = (turn + (len % 4) as usize) % 4;
            self.blanking = (left > len).then_some((left - len, mask, turn));
            return Step::Again;
        }
        let Some(head) = Head::read(window.from(*at)) else { return Step::Wait };
        let payload = *at + head.len_bytes;
        if head.searchable && head.payload_len <= MAX_FRAME {
            if available < head.len_bytes + head.payload_len {
                return Step::Wait;
            }
            let range = payload..payload + head.payload_len;
            mask(window.get_mut(range.clone()), head.mask);
            let mut body = Body::new(engine, Contents::default());
            body.data(window, range.clone(), engine);
            body.finish(window, engine);
            mask(window.get_mut(range.clone()), head.mask);
            *at = range.end;
        } else {
            *at = payload;
            self.blanking = (head.payload_len > 0).then_some((head.payload_len, head.mask, 0));
        }
        Step::Again
    }
}

/// A frame header.
struct Head {
    len_bytes: u64,
    payload_len: u64,
    /// All zeros where there is none.
    mask: [u8; 4],
    /// A message, or a control frame, as a whole and not compressed.
    searchable: bool,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload_len, rest) = match second & 0x7f {
            126 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*len) & (u64::MAX >> 1), rest)
            }
            len => (u64::from(len), rest),
        };
        let (mask, rest) = match second & 0x80 {
            0 => ([0; 4], rest),
            _ => {
                let (mask, rest) = rest.split_first_chunk()?;
                (*mask, rest)
            }
        };
        // FIN set, no reserved bit, and no continuation.
        let searchable = first & 0xf0 == 0x80 && first & 0x0f != 0;
        Some(Self { len_bytes: (bytes.len() - rest.len()) as u64, payload_len, mask, searchable })
    }
}

/// Puts a mask on, or takes it off (section 5.3).
fn mask(bytes: &mut [u8], mask: [u8; 4]) {
    bytes.iter_mut().zip(mask.iter().cycle()).for_each(|(octet, key)| *octet ^= key);
}
