//! A direction of a TCP connection: turns segments in any order into bytes in order, and gaps.

use std::collections::BTreeMap;

use crate::sink::Flow;

/// Number of the last output bytes that are kept, to detect a retransmission with other data.
const HISTORY: usize = 32 << 10;

/// Cost of a held piece besides its bytes. Counting it makes the bound on held bytes also a bound
/// on the number of pieces, which may have a single byte or none.
const PIECE_COST: usize = 512;

/// An output of the reassembly.
pub(super) enum Output<'a> {
    /// Bytes at this offset of the stream, captured at this time.
    Data { offset: u64, ts_ns: u64, bytes: &'a [u8] },
    /// So many bytes are missing at this offset.
    Gap { offset: u64, len: u64 },
    /// A retransmission had different bytes; the first transmission was kept.
    Overlap,
}

/// Receives the output.
pub(super) type Emit<'a> = dyn FnMut(Output<'_>) -> Flow + 'a;

/// A segment that arrived early.
#[derive(Debug)]
struct Piece {
    ts_ns: u64,
    bytes: Vec<u8>,
    /// Number of bytes after it that the snaplen cut off.
    missing: u64,
}

impl Piece {
    fn len(&self) -> u64 {
        self.bytes.len() as u64 + self.missing
    }
}

/// A direction of a TCP connection. Offsets are 64-bit numbers from the first byte of the stream,
/// so that sequence numbers may wrap any number of times.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Sequence number of the byte at `offset`, if known.
    next_seq: Option<u32>,
    offset: u64,
    pending: BTreeMap<u64, Piece>,
    pending_bytes: usize,
    /// The end that the other side acknowledged.
    acked: u64,
    /// Number of segments since an acknowledgment of the byte at `offset` was seen.
    since_acked: u32,
    /// Length of the stream, once its FIN was seen.
    end: Option<u64>,
    /// The last bytes before `offset`, up to the last gap.
    history: Vec<u8>,
}

impl Half {
    /// Sets the sequence number of the first byte.
    pub(super) fn begin(&mut self, seq: u32) {
        self.next_seq.get_or_insert(seq);
    }

    pub(super) fn is_known(&self) -> bool {
        self.next_seq.is_some()
    }

    /// Returns the distance of a sequence number from the next byte; it is negative before that
    /// byte.
    pub(super) fn distance(&self, seq: u32) -> Option<i32> {
        Some(seq.wrapping_sub(self.next_seq?).cast_signed())
    }

    /// Frees the memory of the direction; only its offset is kept.
    pub(super) fn retire(&mut self) {
        self.history = Vec::new();
        self.pending = BTreeMap::new();
        self.pending_bytes = 0;
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the approximate memory of early segments.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Returns whether everything up to the FIN was output.
    pub(super) fn is_ended(&self) -> bool {
        self.end.is_some_and(|end| self.offset >= end)
    }

    /// Returns whether a FIN was seen.
    pub(super) fn has_fin(&self) -> bool {
        self.end.is_some()
    }

    /// Sets the sequence number of the end.
    pub(super) fn fin(&mut self, seq: u32) {
        let Some(distance) = self.distance(seq) else { return };
        if let Some(end) = self.offset.checked_add_signed(i64::from(distance)) {
            self.end.get_or_insert(end);
        }
    }

    /// Notes that the other side has received everything before this sequence number.
    pub(super) fn acknowledge(&mut self, seq: u32) {
        let Some(distance) = self.distance(seq) else { return };
        let Ok(ahead) = u64::try_from(distance) else { return };
        // The FIN takes a sequence number, but is not a byte.
        let acked = (self.offset + ahead).min(self.end.unwrap_or(u64::MAX));
        if acked > self.acked.max(self.offset) {
            if self.acked <= self.offset {
                self.since_acked = 0;
            }
            self.acked = acked;
        }
    }

    /// Counts a segment of the connection. After `patience` of them, an acknowledged byte that is
    /// still missing is given up: captures are assumed to be out of order by at most that many
    /// segments.
    pub(super) fn tick(&mut self, patience: u32, output: &mut Emit<'_>) -> Flow {
        if self.acked <= self.offset {
            return Flow::Continue(());
        }
        self.since_acked += 1;
        if self.since_acked > patience {
            self.give_up_before(self.acked, output)?;
        }
        Flow::Continue(())
    }

    /// Processes the bytes of a segment, of which the last `missing` were not captured.
    pub(super) fn segment(
        &mut self,
        seq: u32,
        ts_ns: u64,
        bytes: &[u8],
        missing: u64,
        output: &mut Emit<'_>,
    ) -> Flow {
        let Some(distance) = self.distance(seq) else { return Flow::Continue(()) };
        if distance > 0 {
            return self.keep(
                self.offset + u64::from(distance.unsigned_abs()),
                ts_ns,
                bytes,
                missing,
                output,
            );
        }
        let known = u64::from(distance.unsigned_abs());
        let seen = usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len());
        // A keep-alive probe repeats the last byte, often as a 0 (RFC 9293 section 3.8.4).
        let is_probe = known == 1 && bytes.len() == 1;
        if !is_probe && self.differs_from_history(known, &bytes[..seen]) {
            output(Output::Overlap)?;
        }
        let missing = missing.saturating_sub(known.saturating_sub(bytes.len() as u64));
        self.hand_on(ts_ns, &bytes[seen..], missing, output)?;
        self.drain(output)
    }

    /// Outputs all held bytes, with gaps for missing bytes.
    pub(super) fn flush(&mut self, output: &mut Emit<'_>) -> Flow {
        let last = self.pending.last_key_value().map_or(0, |(at, piece)| at + piece.len());
        let end = self.end.unwrap_or(0).max(last).max(self.acked);
        self.give_up_before(end, output)
    }

    /// Outputs a gap for the bytes before the first held piece.
    pub(super) fn skip_hole(&mut self, output: &mut Emit<'_>) -> Flow {
        if let Some((&at, _)) = self.pending.first_key_value() {
            self.give_up_before(at, output)?;
        }
        Flow::Continue(())
    }

    /// Advances to `end`, with gaps for missing bytes.
    fn give_up_before(&mut self, end: u64, output: &mut Emit<'_>) -> Flow {
        while self.offset < end {
            let hole_end = self.pending.first_key_value().map_or(end, |(&at, _)| at.min(end));
            if hole_end > self.offset {
                self.lose(hole_end - self.offset, output)?;
            }
            self.drain(output)?;
        }
        Flow::Continue(())
    }

    /// Holds early bytes. The first transmission wins, as on most receivers.
    fn keep(
        &mut self,
        at: u64,
        ts_ns: u64,
        bytes: &[u8],
        missing: u64,
        output: &mut Emit<'_>,
    ) -> Flow {
        let (mut at, mut bytes, mut missing) = (at, bytes, missing);
        while !bytes.is_empty() || missing > 0 {
            let before =
                self.pending.range(..=at).next_back().filter(|(start, p)| *start + p.len() > at);
            if let Some((start, piece)) = before {
                let skip = usize::try_from(at - start).unwrap_or(usize::MAX);
                let same =
                    piece.bytes.get(skip..).unwrap_or(&[]).iter().zip(bytes).all(|(a, b)| a == b);
                if !same {
                    output(Output::Overlap)?;
                }
                let covered = start + piece.len() - at;
                let cut = usize::try_from(covered).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[cut..];
                missing = missing.saturating_sub(covered - cut as u64);
                at += covered;
                continue;
            }
            let room = self.pending.range(at..).next().map_or(u64::MAX, |(next, _)| next - at);
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let take_missing =
                if take == bytes.len() { missing.min(room - take as u64) } else { 0 };
            let piece = Piece { ts_ns, bytes: bytes[..take].to_vec(), missing: take_missing };
            self.pending_bytes += take + PIECE_COST;
            let len = piece.len();
            self.pending.insert(at, piece);
            bytes = &bytes[take..];
            missing -= take_missing;
            at += len;
        }
        Flow::Continue(())
    }

    /// Outputs the held bytes that are now in order.
    fn drain(&mut self, output: &mut Emit<'_>) -> Flow {
        while let Some(first) = self.pending.first_entry() {
            let at = *first.key();
            if at > self.offset {
                break;
            }
            let piece = first.remove();
            self.pending_bytes -= piece.bytes.len() + PIECE_COST;
            let known = self.offset - at;
            let seen = usize::try_from(known).unwrap_or(usize::MAX).min(piece.bytes.len());
            if self.differs_from_history(known, &piece.bytes[..seen]) {
                output(Output::Overlap)?;
            }
            let missing =
                piece.missing.saturating_sub(known.saturating_sub(piece.bytes.len() as u64));
            self.hand_on(piece.ts_ns, &piece.bytes[seen..], missing, output)?;
        }
        Flow::Continue(())
    }

    fn hand_on(&mut self, ts_ns: u64, bytes: &[u8], missing: u64, output: &mut Emit<'_>) -> Flow {
        if !bytes.is_empty() {
            output(Output::Data { offset: self.offset, ts_ns, bytes })?;
            self.remember(bytes);
            self.advance(bytes.len() as u64);
        }
        // A retransmission may contain the bytes that the snaplen cut off.
        let hole = self
            .pending
            .first_key_value()
            .map_or(missing, |(at, _)| missing.min(at.saturating_sub(self.offset)));
        if hole > 0 {
            self.lose(hole, output)?;
        }
        Flow::Continue(())
    }

    fn lose(&mut self, len: u64, output: &mut Emit<'_>) -> Flow {
        output(Output::Gap { offset: self.offset, len })?;
        self.history.clear();
        self.advance(len);
        Flow::Continue(())
    }

    fn advance(&mut self, len: u64) {
        self.offset += len;
        // Sequence numbers count modulo 2^32.
        self.next_seq = self.next_seq.map(|seq| seq.wrapping_add(len as u32));
        self.since_acked = 0;
    }

    fn remember(&mut self, bytes: &[u8]) {
        if bytes.len() >= HISTORY {
            self.history.clear();
        } else if self.history.len() > HISTORY {
            self.history.drain(..self.history.len() - HISTORY / 2);
        }
        self.history.extend_from_slice(&bytes[bytes.len().saturating_sub(HISTORY)..]);
    }

    /// Compares `bytes`, which begin `back` bytes before the next byte, with the output there, as
    /// far as it is kept. Returns whether they differ.
    fn differs_from_history(&self, back: u64, bytes: &[u8]) -> bool {
        let back = usize::try_from(back).unwrap_or(usize::MAX);
        let forgotten = back.saturating_sub(self.history.len());
        let from = self.history.len().saturating_sub(back);
        let Some(bytes) = bytes.get(forgotten..) else { return false };
        self.history[from..].iter().zip(bytes).any(|(kept, new)| kept != new)
    }
}
