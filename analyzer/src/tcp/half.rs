//! A direction of a TCP connection: turns segments in any order into bytes in order, and gaps.
//!
//! A half holds the pieces that cannot be output yet. The connection decides which half outputs
//! next, see [`Half::ready`] and [`Half::hole`].

use std::collections::{BTreeMap, VecDeque};

use sslrec_formats::record::GapCause;

use super::Age;
use crate::sink::Flow;

/// Number of the last output bytes that are kept, to detect a retransmission with other data.
const HISTORY: usize = 32 << 10;

/// Cost of a held piece besides its bytes. Counting it makes the bound on held bytes also a bound
/// on the number of pieces, which may have a single byte or none.
const PIECE_COST: usize = 512;

/// Maximum number of acknowledgments that are kept, of each direction, while bytes wait. Further
/// acknowledgments split no hole, and bytes do not wait for them.
const MAX_ACKNOWLEDGMENTS: usize = 4096;

/// Cost of an entry of `Half::after`.
const ENTRY_COST: usize = 64;

/// An output of the reassembly.
pub(super) enum Output<'a> {
    /// Bytes at this offset of the stream, captured at this time.
    Data { offset: u64, ts_ns: u64, bytes: &'a [u8] },
    /// So many bytes are missing at this offset.
    Gap { offset: u64, len: u64, cause: GapCause },
    /// The sender of the next bytes had received the other direction's bytes before this offset.
    Received { offset: u64 },
    /// A retransmission had different bytes; the first transmission was kept.
    Overlap,
}

/// Receives the output.
pub(super) type Emit<'a> = dyn FnMut(Output<'_>) -> Flow + 'a;

/// A segment that waits.
#[derive(Debug)]
struct Piece {
    age: Age,
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

/// A place in the order of the capture: pieces that are ready go out in this order.
pub(super) type Rank = (u64, u64);

/// A direction of a TCP connection. Offsets are 64-bit numbers from the first byte of the stream,
/// so that sequence numbers may wrap any number of times.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Sequence number of the byte at `offset`, if known.
    next_seq: Option<u32>,
    offset: u64,
    pending: BTreeMap<u64, Piece>,
    pending_bytes: usize,
    /// Ends that the other side acknowledged and that are beyond `offset`, in increasing order,
    /// with the segment that was the first to acknowledge them.
    acked: VecDeque<(u64, Age)>,
    /// The byte at `offset` was sent after its sender had received the other direction up to here.
    needs: u64,
    /// The same of bytes further ahead. Keys and values increase.
    after: BTreeMap<u64, u64>,
    /// End of the segments seen so far.
    highest: u64,
    /// Length of the stream, once its FIN was seen.
    end: Option<u64>,
    /// The last byte that the other side acknowledged is the FIN, which was not captured.
    unseen_fin: bool,
    /// What the sender had received of the other direction, as far as it was output.
    received: Option<u64>,
    /// Its packets have acknowledgments; exported data has none.
    has_acks: bool,
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
        let (next_seq, offset) = (self.next_seq, self.offset);
        *self = Self { next_seq, offset, ..Self::default() };
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the approximate memory of what waits.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes + self.after.len() * ENTRY_COST
    }

    /// Returns whether everything up to the FIN was output.
    pub(super) fn is_ended(&self) -> bool {
        self.end.is_some_and(|end| self.offset >= end)
    }

    /// Returns whether a FIN was sent.
    pub(super) fn has_fin(&self) -> bool {
        self.end.is_some() || self.unseen_fin
    }

    /// Sets the sequence number of the end.
    pub(super) fn fin(&mut self, seq: u32) {
        let Some(distance) = self.distance(seq) else { return };
        if let Some(end) = self.offset.checked_add_signed(i64::from(distance)) {
            self.end.get_or_insert(end);
            self.unseen_fin = false;
            // The FIN takes a sequence number, but is not a byte.
            for (acked, _) in &mut self.acked {
                *acked = (*acked).min(end);
            }
            self.advance(0);
        }
    }

    /// Returns the offset of a sequence number, unless it is before the first byte or further away
    /// than the largest window.
    pub(super) fn offset_of(&self, seq: u32) -> Option<u64> {
        let distance = self.distance(seq)?;
        if distance.unsigned_abs() > super::MAX_WINDOW {
            return None;
        }
        self.offset.checked_add_signed(i64::from(distance))
    }

    /// Notes that the other side has received everything before this offset.
    pub(super) fn acknowledge(&mut self, acked: u64, age: Age) {
        let acked = acked.min(self.end.unwrap_or(u64::MAX));
        // Nothing comes after a FIN.
        self.unseen_fin &= acked <= self.offset + 1;
        // Acknowledgments come out of order too. Each is a place where a hole is split.
        let at = self.acked.partition_point(|&(known, _)| known < acked);
        if acked <= self.offset || self.acked.get(at).is_some_and(|&(known, _)| known == acked) {
            return;
        }
        if self.acked.len() < MAX_ACKNOWLEDGMENTS {
            self.acked.insert(at, (acked, age));
        } else if let Some((last, _)) = self.acked.back_mut() {
            *last = acked.max(*last);
        }
    }

    /// Notes that bytes from `offset` on were sent after the other direction's bytes before
    /// `other`. The acknowledgment of a retransmission is newer than the bytes; it counts for the
    /// bytes after the last that was seen.
    pub(super) fn sent_after(&mut self, offset: u64, other: u64) {
        self.has_acks = true;
        let offset = offset.max(self.offset);
        if self.required(offset) >= other || self.after.len() >= MAX_ACKNOWLEDGMENTS {
            return;
        }
        let latest = self.after.last_key_value().map_or(self.needs, |(_, &then)| then);
        let place = match offset < self.highest && latest < other {
            true => self.highest,
            false => offset,
        };
        if place <= self.offset {
            self.needs = other;
        } else {
            self.after.insert(place, other);
        }
        while let Some((&later, _)) =
            self.after.range(place + 1..).next().filter(|&(_, &then)| then <= other)
        {
            self.after.remove(&later);
        }
    }

    /// Returns up to where the other direction must be output before the byte at `offset`.
    fn required(&self, offset: u64) -> u64 {
        if self.after.is_empty() {
            return self.needs;
        }
        self.after.range(..=offset).next_back().map_or(self.needs, |(_, &other)| other)
    }

    /// Returns up to where the other direction's requirements are met.
    fn reached(&self) -> u64 {
        if self.is_ended() || self.unseen_fin { u64::MAX } else { self.offset }
    }

    /// Returns whether the byte at `offset` was sent after bytes of `other` that are not output
    /// yet.
    pub(super) fn must_wait(&self, other: &Self) -> bool {
        self.required(self.offset) > other.reached()
    }

    /// Returns the rank of the piece that continues the output, if there is one.
    pub(super) fn ready(&self) -> Option<Rank> {
        let (&at, piece) = self.pending.first_key_value()?;
        (at <= self.offset).then_some((piece.ts_ns, piece.age.segment))
    }

    /// Returns whether nothing waits and no hole is known.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.acked.is_empty()
    }

    /// Returns whether pieces wait for bytes before them.
    pub(super) fn is_stuck(&self) -> bool {
        self.pending.first_key_value().is_some_and(|(&at, _)| at > self.offset)
    }

    /// Returns whether the first bytes after the hole were sent without the next bytes of `other`.
    pub(super) fn follows_without(&self, other: &Self) -> bool {
        let next = self.pending.first_key_value();
        next.is_some_and(|(&at, _)| self.required(at) <= other.reached())
    }

    /// Returns the age of the hole at `offset`: the segment that was the first to acknowledge
    /// bytes in it. `None` if there is no hole, or its bytes may still be sent.
    pub(super) fn hole(&self) -> Option<Age> {
        if self.unseen_fin || self.ready().is_some() {
            return None;
        }
        self.acked.iter().map(|&(_, age)| age).min_by_key(|age| age.segment)
    }

    /// Outputs the hole at `offset` as a gap: up to the next piece, and not beyond a place that was
    /// acknowledged, or before which the other direction is not output.
    pub(super) fn lose_hole(&mut self, other: &Self, output: &mut Emit<'_>) -> Flow {
        let Some(&(acked, _)) = self.acked.front() else { return Flow::Continue(()) };
        if acked == self.offset + 1 && self.acked.len() == 1 && self.pending.is_empty() {
            // A byte that ends the stream is hardly ever a byte.
            self.unseen_fin = true;
            return Flow::Continue(());
        }
        let mut end = acked;
        if let Some((&at, _)) = self.pending.first_key_value() {
            end = end.min(at);
        }
        let reached = other.reached();
        let next = self.after.range(self.offset + 1..).find(|&(_, &then)| then > reached);
        if let Some((&at, _)) = next {
            end = end.min(at);
        }
        self.lose(end - self.offset, GapCause::Unknown, output)
    }

    /// Processes the bytes of a segment, of which the last `missing` were not captured: outputs
    /// them, or holds them if they are early or must `wait`.
    pub(super) fn segment(
        &mut self,
        seq: u32,
        (ts_ns, age): (u64, Age),
        (bytes, missing): (&[u8], u64),
        wait: bool,
        output: &mut Emit<'_>,
    ) -> Flow {
        let Some(distance) = self.distance(seq) else { return Flow::Continue(()) };
        let len = bytes.len() as u64 + missing;
        if let Some(at) = self.offset.checked_add_signed(i64::from(distance)) {
            self.highest = self.highest.max(at + len);
        }
        if distance > 0 {
            // Bytes follow, so that the byte before them was no FIN.
            self.unseen_fin = false;
            let at = self.offset + u64::from(distance.unsigned_abs());
            return self.keep(at, (ts_ns, age), bytes, missing, output);
        }
        let known = u64::from(distance.unsigned_abs());
        let seen = usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len());
        // A keep-alive probe repeats the last byte, often as a 0 (RFC 9293 section 3.8.4).
        let is_probe = known == 1 && bytes.len() == 1;
        if !is_probe && self.differs_from_history(known, &bytes[..seen]) {
            output(Output::Overlap)?;
        }
        let missing = missing.saturating_sub(known.saturating_sub(bytes.len() as u64));
        let bytes = &bytes[seen..];
        if bytes.is_empty() && missing == 0 {
            return Flow::Continue(());
        }
        self.unseen_fin = false;
        if wait || !self.pending.is_empty() {
            return self.keep(self.offset, (ts_ns, age), bytes, missing, output);
        }
        self.hand_on(ts_ns, bytes, missing, output)
    }

    /// Returns the end of what was seen or acknowledged.
    pub(super) fn known_end(&self) -> u64 {
        self.highest.max(self.acked.back().map_or(self.offset, |&(acked, _)| acked))
    }

    /// Makes the holes up to the end of what is known certain.
    pub(super) fn expect_end(&mut self, age: Age) {
        let last = self.pending.last_key_value().map_or(0, |(at, piece)| at + piece.len());
        self.acknowledge(self.end.unwrap_or(0).max(last), age);
    }

    /// Makes a hole before the first piece certain.
    pub(super) fn give_up_first(&mut self, age: Age) {
        if let Some((&at, _)) = self.pending.first_key_value()
            && at > self.offset
            && self.acked.front().is_none_or(|&(acked, _)| acked > at)
        {
            self.acked.push_front((at, age));
        }
    }

    /// Holds early bytes. The first transmission wins, as on most receivers.
    fn keep(
        &mut self,
        at: u64,
        (ts_ns, age): (u64, Age),
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
            let piece = Piece { age, ts_ns, bytes: bytes[..take].to_vec(), missing: take_missing };
            self.pending_bytes += take + PIECE_COST;
            let len = piece.len();
            self.pending.insert(at, piece);
            bytes = &bytes[take..];
            missing -= take_missing;
            at += len;
        }
        Flow::Continue(())
    }

    /// Outputs the piece that continues the output.
    pub(super) fn output_ready(&mut self, output: &mut Emit<'_>) -> Flow {
        let Some(first) = self.pending.first_entry() else { return Flow::Continue(()) };
        let piece = first.remove();
        self.pending_bytes -= piece.bytes.len() + PIECE_COST;
        self.hand_on(piece.ts_ns, &piece.bytes, piece.missing, output)
    }

    fn hand_on(&mut self, ts_ns: u64, bytes: &[u8], missing: u64, output: &mut Emit<'_>) -> Flow {
        if !bytes.is_empty() {
            let received = self.required(self.offset);
            if self.has_acks && self.received.replace(received) != Some(received) {
                output(Output::Received { offset: received })?;
            }
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
            self.lose(hole, GapCause::Snaplen, output)?;
        }
        Flow::Continue(())
    }

    fn lose(&mut self, len: u64, cause: GapCause, output: &mut Emit<'_>) -> Flow {
        output(Output::Gap { offset: self.offset, len, cause })?;
        self.history.clear();
        self.advance(len);
        Flow::Continue(())
    }

    fn advance(&mut self, len: u64) {
        self.offset += len;
        // Sequence numbers count modulo 2^32.
        self.next_seq = self.next_seq.map(|seq| seq.wrapping_add(len as u32));
        while self.acked.front().is_some_and(|&(acked, _)| acked <= self.offset) {
            self.acked.pop_front();
        }
        while let Some(first) = self.after.first_entry().filter(|first| *first.key() <= self.offset)
        {
            self.needs = first.remove();
        }
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
