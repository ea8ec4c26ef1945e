//! One direction of a WebSocket (RFC 6455 section 5): the payload of each frame is searched as a
//! separate text, without its mask.
//!
//! Payloads that cannot be searched are blanked: compressed messages (RFC 7692), parts of messages,
//! and frames that are too long to be held.

use sslrec_wire::websocket::{self as wire, Head};

use super::body::Body;
use super::counts::{Place, Rule};
use super::http1::Step;
use super::window::{Engine, FILL, Window};

/// The longest frame that is held.
const MAX_FRAME: u64 = 256 << 10;

/// One direction of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    /// The rest of a frame that is blanked, its mask, and the position in the mask.
    blanking: Option<(u64, [u8; 4], usize)>,
}

impl WebSocket {
    /// Reads as far as possible from `at`.
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
        let bytes = window.from(*at);
        let head_len = wire::head_len(bytes);
        let Some(head) = bytes.get(..head_len) else { return Step::Wait };
        // An invalid length: no byte after it can be read.
        let Some(head) = wire::head(head) else { return Step::Lost };
        let payload = *at + head_len as u64;
        let key = head.mask.unwrap_or_default();
        if is_searchable(&head) && head.len <= MAX_FRAME {
            let range = payload..payload + head.len;
            if window.end() < range.end {
                return Step::Wait;
            }
            mask(window.get_mut(range.clone()), key);
            let mut body = Body::text(engine, Place::WebSocket);
            body.data(window, range.clone(), engine);
            body.finish(window, engine);
            mask(window.get_mut(range.clone()), key);
            *at = range.end;
        } else {
            engine.counts.add(Rule::Unsearchable, Place::WebSocket, 1, head.len);
            *at = payload;
            self.blanking = (head.len > 0).then_some((head.len, key, 0));
        }
        Step::Again
    }
}

/// Returns whether the frame is an uncompressed control frame or a complete message.
fn is_searchable(head: &Head) -> bool {
    head.fin && !head.rsv1 && !head.rsv23 && head.opcode != 0
}

/// Applies or removes a mask (section 5.3).
fn mask(bytes: &mut [u8], mask: [u8; 4]) {
    bytes.iter_mut().zip(mask.iter().cycle()).for_each(|(octet, key)| *octet ^= key);
}
