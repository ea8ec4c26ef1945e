//! Undoes permessage-deflate (RFC 7692) for the messages of a side.
//!
//! The window is always 32 KiB. A sender that agreed on a smaller window refers to a part of it,
//! and a sender that resets its state for each message does not refer to earlier messages. So the
//! window is kept until a message is lost.

use miniz_oxide::inflate::TINFLStatus as Status;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags as flags};

use crate::budget::{Budget, Charge};
use crate::coding;
use crate::exchange::note::MessageProblem;

/// The bytes that a sender removes from the end of a message (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Maximum distance of references in DEFLATE (RFC 1951 section 2).
const WINDOW: usize = 32 << 10;

/// Maximum number of bytes decoded at a time.
const STEP: usize = 64 << 10;

/// Decompresses the messages of a direction.
pub(super) struct Inflate {
    decoder: Box<DecompressorOxide>,
    /// The end of the decoded data.
    window: Vec<u8>,
    /// Messages may refer to earlier messages.
    takeover: bool,
    /// Earlier data is unknown.
    lost: bool,
    taken: usize,
    given: usize,
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Inflate {
    pub(super) fn new(takeover: bool) -> Self {
        let (decoder, window) = (Box::default(), Vec::new());
        Self { decoder, window, takeover, lost: false, taken: 0, given: 0 }
    }

    /// Notes that a message, or a part of it, was not seen.
    pub(super) fn miss(&mut self) {
        self.lost = self.takeover;
        self.window.clear();
    }

    /// Decompresses a message. Returns its contents, and the reason if they are incomplete.
    ///
    /// # Errors
    /// Nothing can be decoded, for the returned reason.
    ///
    /// The contents are of `max_len` bytes at most, and count towards `held`.
    pub(super) fn message(
        &mut self,
        payload: &[u8],
        (max_len, held): (usize, &mut Charge),
    ) -> Result<(Vec<u8>, Option<MessageProblem>), MessageProblem> {
        if self.lost {
            return Err(MessageProblem::UnknownDictionary);
        }
        self.taken = self.taken.saturating_add(payload.len());
        let wanted = coding::limit(self.taken).saturating_sub(self.given).min(max_len);
        let left = held.budget().map_or(u64::MAX, Budget::decoded_left);
        let room = held.grow_up_to(wanted.min(usize::try_from(left).unwrap_or(usize::MAX)));
        let before = self.window.len();
        let mut output = std::mem::take(&mut self.window);
        // A message ends at a byte boundary and between two blocks.
        self.decoder.init();
        let mut problem = None;
        for part in [payload, &TAIL] {
            problem = problem.or_else(|| self.part(part, &mut output, before, room));
        }
        let message = output.split_off(before);
        self.given = self.given.saturating_add(message.len());
        held.shrink(room - message.len());
        held.budget().into_iter().for_each(|budget| budget.count_decoded(message.len()));
        self.window = output;
        append(&mut self.window, &message);
        if problem.is_some() {
            self.miss();
        }
        Ok((message, problem))
    }

    /// Decodes a part of a message and appends it; the first `before` bytes are from earlier
    /// messages.
    fn part(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        before: usize,
        room: usize,
    ) -> Option<MessageProblem> {
        // The buffer contains all earlier data, so that a reference beyond it is an error and not a
        // run of zeros.
        let flags =
            flags::TINFL_FLAG_HAS_MORE_INPUT | flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        loop {
            let at = output.len();
            // A further byte distinguishes data that fits from data that does not.
            let left = (room + 1).saturating_sub(at - before);
            output.resize(at + input.len().saturating_mul(4).clamp(256, STEP).min(left), 0);
            let (status, read, written) = decompress(&mut self.decoder, input, output, at, flags);
            output.truncate(at + written);
            input = &input[read..];
            let len = output.len() - before;
            if len > room {
                output.truncate(before + room);
                let given = self.given.saturating_add(room);
                return Some(MessageProblem::DeflateLimit(given as u64));
            }
            match status {
                Status::NeedsMoreInput => return None,
                Status::HasMoreOutput => {}
                // A block was marked as the last block, which is allowed (section 7.2.3.4).
                Status::Done => self.decoder.init(),
                _ => {
                    return Some(MessageProblem::DeflateDamaged(len));
                }
            }
        }
    }
}

/// Appends to a window, and keeps only its end.
fn append(window: &mut Vec<u8>, message: &[u8]) {
    let message = &message[message.len().saturating_sub(WINDOW)..];
    let excess = (window.len() + message.len()).saturating_sub(WINDOW);
    window.drain(..excess);
    window.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// A message without a limit on memory.
    fn inflated(
        inflate: &mut Inflate,
        payload: &[u8],
    ) -> Result<(Vec<u8>, Option<MessageProblem>), MessageProblem> {
        inflate.message(payload, (usize::MAX, &mut Charge::default()))
    }

    /// Compresses a message as in RFC 7692 section 7.2.1.
    fn deflate(encoder: &mut Compress, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() * 2 + 64);
        encoder.compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    }

    fn encoder() -> Compress {
        Compress::new(Compression::default(), false)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // Sections 7.2.3.1 to 7.2.3.5.
        let plain = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let shared = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        let mut inflate = Inflate::new(true);
        let messages = [&plain[..], &shared, &stored, &last, &shared, &last, &two, &shared];
        for message in messages {
            assert_eq!(inflated(&mut inflate, message).unwrap(), (b"Hello".to_vec(), None));
        }
        let mut inflate = Inflate::new(false);
        for message in [&plain[..], &stored, &last, &two] {
            assert_eq!(inflated(&mut inflate, message).unwrap(), (b"Hello".to_vec(), None));
        }
    }

    #[test]
    fn messages_of_any_length_refer_to_earlier_messages() {
        let (mut encoder, mut inflate) = (encoder(), Inflate::new(true));
        for len in [0, 1, 5, 300, 70_000, 200_000, 40_000, 3, 0, 100_000] {
            let message: Vec<u8> = (0..len).map(|i: u32| (i / 7 % 251) as u8).collect();
            let decoded = inflated(&mut inflate, &deflate(&mut encoder, &message)).unwrap();
            assert!(decoded == (message, None), "{len}");
        }
    }

    #[test]
    fn after_a_miss_only_a_sender_without_takeover_is_read() {
        let (mut sender, text) = (encoder(), b"the same text in each of them");
        let messages = [(); 3].map(|()| deflate(&mut sender, text));
        for takeover in [true, false] {
            let mut inflate = Inflate::new(takeover);
            assert!(inflated(&mut inflate, &messages[0]).is_ok());
            inflate.miss();
            assert_eq!(inflated(&mut inflate, &messages[0]).is_ok(), !takeover);
        }
        let mut inflate = Inflate::new(true);
        let problem = inflated(&mut inflate, &messages[1]).unwrap().1;
        assert!(
            matches!(problem, Some(MessageProblem::DeflateDamaged(_))),
            "it refers to a message before the first"
        );
        assert!(inflated(&mut inflate, &messages[2]).is_err());
    }

    #[test]
    fn a_bomb_is_left_out_beyond_the_limit() {
        let bomb = deflate(&mut encoder(), &vec![0; 20 << 20]);
        let mut inflate = Inflate::new(true);
        let (output, problem) = inflated(&mut inflate, &bomb).unwrap();
        assert_eq!(output.len(), 16 << 20);
        assert!(problem.unwrap().to_string().starts_with("more than 16M"));
        assert!(inflated(&mut inflate, b"\xf2\0\x11\0\0").is_err());
        let blocks = inflated(&mut Inflate::new(true), &b"\x03\0".repeat(100)).unwrap();
        assert_eq!(blocks, (vec![], None));
    }
}
