//! Finds the next frame of a WebSocket side whose place in the frames was lost.
//!
//! Frames have no marker, and contents can look like frames. Most ends write messages with a call
//! each, so that segments begin with messages. A segment, or call, is accepted as such only with a
//! proof: the bytes from its beginning to the end of a segment are whole messages, by every rule of
//! RFC 6455 section 5 that a reader can check. That must hold for two segments in a row, or for the
//! first one after missing bytes that began where a frame begins.

use sslrec_wire::websocket::{self as frame, Head, MAX_CONTROL};

use super::WebSocketKind;
use crate::budget::Charge;
use crate::exchange::Sender;

/// The most bytes that are held for a proof.
const MAX_HELD: usize = 64 << 10;

/// The most segments that are held for a proof.
const MAX_SEGMENTS: usize = 256;

/// The search for a frame.
#[derive(Debug)]
pub(super) struct Search {
    /// Bytes are missing, and not only unknown.
    pub(super) after_gap: bool,
    /// The bytes from the segment on that may begin with a message.
    held: Vec<u8>,
    /// Time and length of the held segments.
    segments: Vec<(u64, usize)>,
    /// Length of the whole frames at the beginning of `held`.
    checked: usize,
    /// The last of these frames leaves its message open.
    is_open: bool,
    /// A close frame is among them.
    is_closed: bool,
    /// Number of further segment ends that must be ends of messages.
    needed: u8,
    memory: Charge,
}

/// Bytes that begin with a frame.
pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    /// Time and length of their parts.
    pub(super) segments: Vec<(u64, usize)>,
}

/// What follows the checked bytes.
enum Next {
    /// Nothing, or nothing yet.
    End,
    /// A part of a frame.
    Part,
    /// No frame of this sender.
    Other,
}

impl Search {
    /// Begins a search. `at_frame`: bytes are missing, and the first of them began a frame.
    pub(super) fn new(after_gap: bool, at_frame: bool, memory: Charge) -> Self {
        Self {
            after_gap,
            held: Vec::new(),
            segments: Vec::new(),
            checked: 0,
            is_open: false,
            is_closed: false,
            needed: if at_frame { 1 } else { 2 },
            memory,
        }
    }

    /// Forgets the held bytes: others are missing after them.
    pub(super) fn gap(&mut self) {
        self.after_gap = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.memory.shrink(self.held.len());
        (self.held, self.segments) = (Vec::new(), Vec::new());
        (self.checked, self.is_open, self.is_closed, self.needed) = (0, false, false, 2);
    }

    /// Processes a segment. Returns the bytes from a frame on, once it is found.
    pub(super) fn segment(
        &mut self,
        bytes: &[u8],
        time_ns: u64,
        from: Sender,
        deflate: bool,
    ) -> Option<Found> {
        let was_held = !self.held.is_empty();
        if !self.goes_on(bytes, time_ns, from, deflate) {
            self.forget();
            // A message can begin here all the same.
            if !was_held || !self.goes_on(bytes, time_ns, from, deflate) {
                self.forget();
                return None;
            }
        }
        if self.needed > 0 {
            return None;
        }
        self.memory.shrink(self.held.len());
        let segments = std::mem::take(&mut self.segments);
        Some(Found { bytes: std::mem::take(&mut self.held), segments })
    }

    /// Adds a segment to the held ones. Returns whether they still may be whole messages.
    fn goes_on(&mut self, bytes: &[u8], time_ns: u64, from: Sender, deflate: bool) -> bool {
        let has_room =
            self.held.len() + bytes.len() <= MAX_HELD && self.segments.len() < MAX_SEGMENTS;
        if !has_room || !self.memory.grow(bytes.len()) {
            return false;
        }
        self.held.extend_from_slice(bytes);
        self.segments.push((time_ns, bytes.len()));
        match self.check(from, deflate) {
            Next::End if !self.is_open => self.needed = self.needed.saturating_sub(1),
            Next::End | Next::Part => {}
            Next::Other => return false,
        }
        true
    }

    /// Checks the frames that are whole.
    fn check(&mut self, from: Sender, deflate: bool) -> Next {
        loop {
            let rest = &self.held[self.checked..];
            if rest.is_empty() {
                return Next::End;
            }
            if self.is_closed || !self.may_begin(rest[0], deflate) {
                return Next::Other;
            }
            let len = frame::head_len(rest);
            let Some(bytes) = rest.get(..len) else { return Next::Part };
            let Some(head) = frame::head(bytes).filter(|head| is_regular(head, from)) else {
                return Next::Other;
            };
            let payload = usize::try_from(head.len).unwrap_or(usize::MAX);
            if payload > MAX_HELD {
                return Next::Other;
            }
            let Some(payload) = rest.get(len..len + payload) else { return Next::Part };
            if !fits(&head, payload) {
                return Next::Other;
            }
            self.checked += len + payload.len();
            if !head.is_control() {
                self.is_open = !head.fin;
            }
            self.is_closed = head.opcode == 8;
        }
    }

    /// Returns whether a frame with this first byte can follow those before.
    fn may_begin(&self, first: u8, deflate: bool) -> bool {
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let is_known = match opcode {
            // The first message of a proof is whole.
            0 => self.is_open,
            1 | 2 => !self.is_open,
            8..=10 => fin,
            _ => false,
        };
        let reserved = first & 0x70;
        is_known && (reserved == 0 || reserved == 0x40 && deflate && matches!(opcode, 1 | 2))
    }
}

/// Returns whether an endpoint would accept a frame with this head.
fn is_regular(head: &Head, from: Sender) -> bool {
    head.mask.is_some() == (from == Sender::Client)
        && !head.long_form
        && (!head.is_control() || head.len <= MAX_CONTROL)
}

/// Returns whether a frame can have this payload.
fn fits(head: &Head, payload: &[u8]) -> bool {
    let mut plain = Vec::new();
    let mut text = |payload: &[u8], at: u64| {
        frame::unmask(payload, head.mask, at, &mut plain);
        std::str::from_utf8(&plain).is_ok()
    };
    match WebSocketKind::of_opcode(head.opcode) {
        WebSocketKind::Text if head.fin && !head.rsv1 => text(payload, 0),
        // Section 5.5.1: nothing, or a status code and a reason.
        WebSocketKind::Close => match payload.len() {
            0 => true,
            1 => false,
            _ => text(&payload[2..], 2),
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Limits, Share};

    fn search(at_frame: bool) -> Search {
        let budget = Budget::new(Limits::DEFAULT);
        Search::new(true, at_frame, budget.charge(Share::Contents))
    }

    /// Returns the number of the segment with which the proof was complete, and the first byte that
    /// was found.
    fn found(mut search: Search, segments: &[&[u8]], from: Sender) -> Option<(usize, u8)> {
        segments.iter().enumerate().find_map(|(number, segment)| {
            let found = search.segment(segment, number as u64, from, false)?;
            let total: usize = found.segments.iter().map(|(_, len)| len).sum();
            assert_eq!(total, found.bytes.len());
            Some((number, found.bytes[0]))
        })
    }

    #[test]
    fn a_segment_of_whole_messages_is_a_proof_after_a_gap_that_began_with_a_frame() {
        for (segment, is_proof) in [
            (&b"\x81\x02hi"[..], true),
            (b"\x82\x01\xff\x89\x00", true),
            (b"\x01\x01a\x89\x00\x80\x01b", true),
            (b"\x88\x00", true),
            (b"\x88\x02\x03\xe8", true),
            // More, or less, than is announced.
            (b"\x81\x03hi", false),
            (b"\x81\x01hi", false),
            (b"\x81\x02hi\x81", false),
            // Contents that would be chains of empty or open frames.
            (b"\0\0\0\0", false),
            (b"\0\x02\0\x02\0\x02\0\x02", false),
            (b"\x01\x01a\x00\x01b", false),
            (b"\x80\x01b", false),
            (b"\x01\x01a\x01\x01b", false),
            // No text, no close code, a mask, reserved bits and opcodes, a long form.
            (b"\x81\x01\xff", false),
            (b"\x88\x01\x03", false),
            (b"\x88\x00\x81\x00", false),
            (b"\x81\x80abcd", false),
            (b"\xc1\x01a", false),
            (b"\x91\x01a", false),
            (b"\x83\x01a", false),
            (b"\x09\x00", false),
            (b"\x81\x7e\x00\x01a", false),
            (b"\x89\x7e\x00\x7e", false),
        ] {
            let found = found(search(true), &[segment], Sender::Server);
            assert_eq!(found.is_some(), is_proof, "{}", segment.escape_ascii());
        }
    }

    #[test]
    fn elsewhere_two_segments_in_a_row_must_end_with_messages() {
        let (text, binary, other) = (&b"\x81\x02hi"[..], &b"\x82\x01x"[..], &b"contents"[..]);
        let server = |segments: &[&[u8]]| found(search(false), segments, Sender::Server);
        assert_eq!(server(&[text]), None);
        assert_eq!(server(&[text, binary]), Some((1, 0x81)));
        assert_eq!(server(&[text, other, binary]), None);
        assert_eq!(server(&[other, binary, text]), Some((2, 0x82)));
        // What may follow the head of a message is also tried as a beginning.
        assert_eq!(
            server(&[b"\x82\x7e\x01\x00", text, &[b'x'; 256], binary, text]),
            Some((4, 0x82))
        );
        // A message in several segments.
        assert_eq!(server(&[b"\x81\x04a", b"bc", b"d", binary]), Some((3, 0x81)));
        // The first segment after the gap was no frame.
        assert_eq!(found(search(true), &[other, text], Sender::Server), None);
        let mut after_another_gap = search(true);
        after_another_gap.gap();
        assert_eq!(found(after_another_gap, &[text], Sender::Server), None);
    }

    #[test]
    fn contents_of_a_client_must_be_masked() {
        let masked = b"\x81\x82\x01\x02\x03\x04ik";
        assert_eq!(found(search(true), &[masked], Sender::Client), Some((0, 0x81)));
        assert_eq!(found(search(true), &[b"\x81\x02hi"], Sender::Client), None);
        // The mask makes this 0xff.
        assert_eq!(found(search(true), &[b"\x81\x81\x01\x02\x03\x04\xfe"], Sender::Client), None);
    }

    #[test]
    fn held_bytes_are_bounded() {
        let mut search = search(false);
        for _ in 0..4 {
            assert!(search.segment(b"\x82\x7e\xff\xff", 0, Sender::Server, false).is_none());
            for _ in 0..40 {
                search.segment(&[0xfe; 4000], 0, Sender::Server, false);
                assert!(search.held.len() <= MAX_HELD);
                assert_eq!(search.memory.bytes(), search.held.len());
            }
        }
    }
}
