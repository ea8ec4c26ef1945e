//! The first segments of a connection: who the client is, and the number of the first byte of each
//! direction.

use std::net::SocketAddr;

use super::{Age, MAX_PENDING, MAX_WINDOW};
use crate::sink::Segment;

/// A segment of the beginning.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) age: Age,
    pub(super) segment: Segment<'static>,
    pub(super) payload: Vec<u8>,
}

impl Held {
    pub(super) fn new(segment: &Segment<'_>, age: Age) -> Self {
        let payload = segment.payload.to_vec();
        Self { age, segment: Segment { payload: &[], ..*segment }, payload }
    }

    pub(super) fn segment(&self) -> Segment<'_> {
        Segment { payload: &self.payload, ..self.segment }
    }
}

/// Returns whether the connection of this SYN is not the connection of a held segment.
pub(super) fn is_before(syn: &Segment<'_>, held: &Held) -> bool {
    let held = &held.segment();
    if held.src != syn.src || !(held.syn || held.has_bytes()) {
        return false;
    }
    let distance = held.seq.wrapping_sub(syn.seq);
    if held.syn { distance != 0 } else { distance == 0 || distance > MAX_WINDOW }
}

/// Returns whether the first number of a sender without a captured SYN is that after its SYN: it
/// was acknowledged by the first byte of the peer, whose SYN has this number. Later acknowledgments
/// may be of bytes. Without an acknowledgment nothing is known, and nothing contradicts.
pub(super) fn begins_at_syn(
    segments: &[Segment<'_>],
    sender: SocketAddr,
    of_peer: Option<u32>,
) -> bool {
    let first = of_peer.map(|syn| syn.wrapping_add(1));
    let acks = || segments.iter().filter(|s| s.dst == sender && s.ack.is_some());
    acks().next().is_none() || acks().any(|s| s.syn || Some(s.seq) == first)
}

/// Returns the address of the client. Without a SYN, servers are assumed to listen on low ports.
pub(super) fn local(segments: &[Segment<'_>]) -> Option<SocketAddr> {
    let syn = |segment: &&Segment<'_>| segment.syn;
    if let Some(syn) = segments.iter().find(syn) {
        return Some(if syn.ack.is_none() { syn.src } else { syn.dst });
    }
    let first = segments.first()?;
    Some(if first.src.port() > first.dst.port() { first.src } else { first.dst })
}

/// Returns the sequence number of the first byte of a sender: by its SYN, or else the lowest that
/// is in its segments or that the other side expected next.
pub(super) fn first_number(segments: &[Segment<'_>], sender: SocketAddr) -> Option<u32> {
    let (own, others): (Vec<_>, Vec<_>) =
        segments.iter().partition(|segment| segment.src == sender);
    if let Some(syn) = own.iter().find(|segment| segment.syn) {
        return Some(syn.seq.wrapping_add(1));
    }
    // An acknowledgment alone may be of bytes that were sent before the capture began.
    let has_syn = others.iter().any(|segment| segment.syn);
    let expected = others
        .iter()
        .filter(|segment| !segment.rst && (has_syn || segment.has_bytes()))
        .filter_map(|segment| segment.ack);
    let sent = own.iter().filter(|segment| segment.has_bytes() || segment.fin);
    let mut numbers = sent.map(|segment| segment.seq).chain(expected);
    let first = numbers.next()?;
    let back = |seq: u32| {
        let back = first.wrapping_sub(seq);
        if back as usize > MAX_PENDING { 0 } else { back }
    };
    Some(first.wrapping_sub(numbers.map(back).max().unwrap_or(0)))
}
