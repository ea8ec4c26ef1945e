//! Reassembles IP fragments (RFC 791, RFC 8200 section 4.5).
//!
//! Hosts differ in the treatment of fragments that overlap with different contents. Such a packet
//! is left out and counted, as RFC 5722 demands for IPv6. Fragments that repeat the same contents
//! are common, since captures on several interfaces have packets twice; they are no loss.
//!
//! Memory: [`MAX_BYTES`] and [`MAX_PACKETS`] of incomplete packets, [`MAX_AGE_NS`] of capture time.
//! Beyond that the oldest packet is given up.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;

use super::{Datagram, Fragment, FragmentsLost, tunnel};

/// How long a packet waits for its fragments, as in Linux.
const MAX_AGE_NS: u64 = 30_000_000_000;

/// Maximum number of incomplete packets.
const MAX_PACKETS: usize = 4096;

/// Maximum number of bytes of incomplete packets, and of complete packets that are compared with
/// repeated fragments.
const MAX_BYTES: usize = 8 << 20;

/// Memory for an entry, and for a part, besides its contents.
const ENTRY_COST: usize = 256;
const PART_COST: usize = 96;

/// The longest contents of an IP packet.
const MAX_LEN: usize = 65_535;

/// Identifies the fragments of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// Of IPv4; 0 for IPv6, where the fragments of a packet may differ in it.
    protocol: u8,
}

/// The contents of all fragments of a packet.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) payload: Arc<Vec<u8>>,
    /// Number of bytes at the end that were not captured.
    pub(super) missing: usize,
}

/// Incomplete packets.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    packets: HashMap<Key, Packet>,
    /// Keys in the order of their first fragment, with the number of the packet.
    order: VecDeque<(Key, u64)>,
    number: u64,
    held_bytes: usize,
    lost: FragmentsLost,
}

/// A packet of which fragments are missing, or that was completed before.
#[derive(Debug)]
struct Packet {
    number: u64,
    first_ns: u64,
    protocol: u8,
    /// Parts by their offset. They do not overlap.
    parts: BTreeMap<usize, Part>,
    /// Sum of the lengths of all parts.
    covered: usize,
    /// Known after the last fragment.
    len: Option<usize>,
    /// Number of fragments.
    fragments: u64,
    /// Fragments contradicted each other; all further fragments are ignored.
    contradictory: bool,
    /// Contents of the previous packet with the same key, which fragments may repeat.
    before: Option<Arc<Vec<u8>>>,
    /// All fragments so far repeat `before`.
    repeats: bool,
    /// What is counted in [`Fragments::held_bytes`].
    held_bytes: usize,
}

/// A part of the contents, of which the end may not have been captured.
#[derive(Debug)]
struct Part {
    len: usize,
    bytes: Vec<u8>,
}

impl Fragments {
    /// Adds a fragment. Returns the contents if they are complete.
    pub(super) fn add(
        &mut self,
        ts_ns: u64,
        datagram: &Datagram<'_>,
        fragment: Fragment,
    ) -> Option<Whole> {
        self.expire(ts_ns);
        let len = datagram.payload.len() + datagram.missing.unwrap_or(0);
        let end = fragment.offset + len;
        if len == 0 || end > MAX_LEN || (fragment.more && !len.is_multiple_of(8)) {
            let first = if fragment.offset == 0 { datagram.payload } else { &[] };
            self.lost.incomplete += u64::from(tunnel::may_carry_tcp(datagram.protocol, first));
            return None;
        }
        let v6 = datagram.src.is_ipv6();
        let protocol = if v6 { 0 } else { datagram.protocol };
        let key = Key { src: datagram.src, dst: datagram.dst, id: fragment.id, protocol };
        let packet = self.packets.entry(key).or_insert_with(|| {
            self.held_bytes += ENTRY_COST;
            Packet::new(datagram.protocol)
        });
        if packet.fragments == 0 {
            self.number += 1;
            (packet.number, packet.first_ns) = (self.number, ts_ns);
            self.order.push_back((key, packet.number));
        }
        self.held_bytes -= packet.held_bytes;
        if packet.add(fragment, len, datagram.payload).is_err() {
            self.lost.contradictory += 1;
        }
        let whole = packet.complete();
        self.held_bytes += packet.held_bytes;
        self.make_room();
        whole
    }

    /// Gives up packets that waited for too long.
    fn expire(&mut self, now_ns: u64) {
        while let Some((key, number)) = self.order.front() {
            match self.packets.get(key).filter(|packet| packet.number == *number) {
                Some(packet) if now_ns.saturating_sub(packet.first_ns) <= MAX_AGE_NS => return,
                _ => self.lost.incomplete += self.remove_oldest(),
            }
        }
    }

    fn make_room(&mut self) {
        while self.held_bytes > MAX_BYTES
            || self.packets.len() > MAX_PACKETS
            || self.order.len() > 2 * MAX_PACKETS
        {
            self.lost.given_up += self.remove_oldest();
        }
    }

    /// Removes the oldest packet. Returns the number of its fragments whose contents are lost.
    fn remove_oldest(&mut self) -> u64 {
        let Some((key, number)) = self.order.pop_front() else { return 0 };
        if self.packets.get(&key).is_none_or(|packet| packet.number != number) {
            return 0;
        }
        let Some(packet) = self.packets.remove(&key) else { return 0 };
        self.held_bytes -= packet.held_bytes;
        packet.lost()
    }

    /// Gives up all packets, and returns the losses of the capture.
    pub(super) fn finish(&mut self) -> FragmentsLost {
        while !self.order.is_empty() {
            self.lost.incomplete += self.remove_oldest();
        }
        self.lost
    }
}

/// Two fragments contradict each other.
struct Contradiction;

impl Packet {
    fn new(protocol: u8) -> Self {
        Self {
            number: 0,
            first_ns: 0,
            protocol,
            parts: BTreeMap::new(),
            covered: 0,
            len: None,
            fragments: 0,
            contradictory: false,
            before: None,
            repeats: true,
            held_bytes: ENTRY_COST,
        }
    }

    fn add(&mut self, fragment: Fragment, len: usize, bytes: &[u8]) -> Result<(), Contradiction> {
        if self.contradictory {
            return Ok(());
        }
        if !self.fits(fragment, len, bytes) {
            // Repetitions of the previous packet may precede the fragments of this one.
            self.forget_repetitions();
        }
        if !self.fits(fragment, len, bytes) {
            let counted = self.may_carry_tcp();
            self.clear();
            (self.contradictory, self.fragments) = (true, 1);
            return if counted { Err(Contradiction) } else { Ok(()) };
        }
        self.fragments += 1;
        self.repeats &= self.before.as_ref().is_some_and(|before| {
            before.get(fragment.offset..).is_some_and(|rest| rest.starts_with(bytes))
        });
        if !fragment.more {
            self.len = Some(fragment.offset + len);
        }
        self.fill(fragment.offset, len, bytes);
        Ok(())
    }

    /// Returns whether a fragment agrees with the others.
    fn fits(&self, fragment: Fragment, len: usize, bytes: &[u8]) -> bool {
        let end = fragment.offset + len;
        let end_so_far = self.parts.last_key_value().map_or(0, |(at, part)| at + part.len);
        match self.len {
            Some(total) if end > total || (!fragment.more && end != total) => return false,
            None if !fragment.more && end < end_so_far => return false,
            _ => {}
        }
        self.overlapping(fragment.offset, end).all(|(at, part)| {
            let from = at.max(fragment.offset);
            let here = bytes.get(from - fragment.offset..).unwrap_or(&[]);
            let there = part.bytes.get(from - at..).unwrap_or(&[]);
            here.iter().zip(there).all(|(a, b)| a == b)
        })
    }

    /// Removes the parts that repeat the previous packet.
    fn forget_repetitions(&mut self) {
        let Some(before) = &self.before else { return };
        let Self { parts, covered, len, fragments, held_bytes, .. } = self;
        parts.retain(|at, part| {
            let repeated = before.get(*at..).is_some_and(|rest| rest.starts_with(&part.bytes));
            if repeated {
                *covered -= part.len;
                *held_bytes -= PART_COST + part.bytes.len();
                *fragments = fragments.saturating_sub(1);
                *len = len.filter(|len| *len != at + part.len);
            }
            !repeated
        });
    }

    /// Returns the parts that overlap with this range.
    fn overlapping(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, &Part)> {
        let before = self.parts.range(..start).next_back();
        let before = before.filter(move |(at, part)| *at + part.len > start);
        before.into_iter().chain(self.parts.range(start..end)).map(|(at, part)| (*at, part))
    }

    /// Adds the part of the range that no other part covers.
    fn fill(&mut self, start: usize, len: usize, bytes: &[u8]) {
        let end = start + len;
        let mut at = start;
        let mut gaps = Vec::new();
        for (other, part) in self.overlapping(start, end) {
            if other > at {
                gaps.push(at..other);
            }
            at = at.max(other + part.len);
        }
        if at < end {
            gaps.push(at..end);
        }
        for gap in gaps {
            let captured = bytes.get(gap.start - start..).unwrap_or(&[]);
            let captured = &captured[..captured.len().min(gap.len())];
            self.covered += gap.len();
            self.held_bytes += PART_COST + captured.len();
            self.parts.insert(gap.start, Part { len: gap.len(), bytes: captured.to_vec() });
        }
    }

    /// Returns the contents if all fragments are there.
    fn complete(&mut self) -> Option<Whole> {
        let len = self.len.filter(|len| self.covered == *len)?;
        let mut payload = Vec::with_capacity(len);
        for part in self.parts.values() {
            payload.extend_from_slice(&part.bytes);
            if part.bytes.len() < part.len {
                break;
            }
        }
        let payload = Arc::new(payload);
        self.clear();
        self.held_bytes = ENTRY_COST + payload.len();
        self.before = Some(Arc::clone(&payload));
        Some(Whole { missing: len - payload.len(), payload })
    }

    fn clear(&mut self) {
        self.parts.clear();
        (self.covered, self.len, self.fragments, self.repeats) = (0, None, 0, true);
        self.held_bytes = ENTRY_COST + self.before.as_ref().map_or(0, |before| before.len());
    }

    /// Returns the number of fragments whose contents are lost, and may have held TCP.
    fn lost(&self) -> u64 {
        let repeated = self.before.is_some() && self.repeats;
        let counted = !repeated && !self.contradictory && self.may_carry_tcp();
        if counted { self.fragments } else { 0 }
    }

    fn may_carry_tcp(&self) -> bool {
        let first = self.parts.get(&0).map_or(&[][..], |part| &part.bytes);
        tunnel::may_carry_tcp(self.protocol, first)
    }
}

#[cfg(test)]
impl Fragments {
    /// Returns the number of bytes that are held, and of packets.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.held_bytes, self.packets.len())
    }
}
