//! IEEE 802.11 frames, and the headers that capture programs put before them.

use super::bytes::{le16_at, le32_at, u8_at, u16_at, u32_at};
use super::{Step, ethernet};

/// A data frame of IEEE 802.11 that is not encrypted.
pub(super) fn frame(bytes: &[u8]) -> Option<Step<'_>> {
    data_frame(bytes, *bytes.first_chunk()?, false)
}

/// The same; the header is padded to a multiple of 4 bytes.
fn padded_frame(bytes: &[u8]) -> Option<Step<'_>> {
    data_frame(bytes, *bytes.first_chunk()?, true)
}

/// A data frame with this frame control field.
fn data_frame(bytes: &[u8], control: [u8; 2], padded: bool) -> Option<Step<'_>> {
    const TYPE: u8 = 0x0c;
    const DATA: u8 = 0x08;
    const NO_DATA: u8 = 0x40;
    const QOS: u8 = 0x80;
    const BETWEEN_STATIONS: u8 = 0x03;
    const PROTECTED: u8 = 0x40;
    const ORDER: u8 = 0x80;
    const AGGREGATE: u8 = 0x80;
    let [kind, flags] = control;
    if kind & TYPE != DATA || kind & NO_DATA != 0 || flags & PROTECTED != 0 {
        return Some(Step::Other);
    }
    // A later fragment of a frame begins in the middle of its contents.
    if le16_at(bytes, 22)? & 15 != 0 {
        return Some(Step::Other);
    }
    let mut len = 24;
    if flags & BETWEEN_STATIONS == BETWEEN_STATIONS {
        len += 6;
    }
    let mut aggregate = false;
    if kind & QOS != 0 {
        aggregate = u8_at(bytes, len)? & AGGREGATE != 0;
        len += 2;
        if flags & ORDER != 0 {
            len += 4;
        }
    }
    if padded {
        len = len.next_multiple_of(4);
    }
    let contents = bytes.get(len..)?;
    Some(Step::Next(if aggregate { subframes } else { ethernet::llc }, contents))
}

/// The frames of an A-MSDU: addresses, length and LLC, padded to a multiple of 4 bytes.
fn subframes(bytes: &[u8]) -> Option<Step<'_>> {
    let len = usize::from(u16_at(bytes, 12)?);
    let rest = bytes.get(14..)?;
    let first = rest.get(..len).unwrap_or(rest);
    match bytes.get((14 + len).next_multiple_of(4)..) {
        Some(more) if !more.is_empty() => {
            Some(Step::Split([(ethernet::llc, first), (subframes, more)]))
        }
        _ => Some(Step::Next(ethernet::llc, first)),
    }
}

/// Radiotap (radiotap.org): fields that bits declare, of which only the flags matter here.
pub(super) fn radiotap(bytes: &[u8]) -> Option<Step<'_>> {
    const TIME: u32 = 1;
    const FLAGS: u32 = 2;
    const MORE: u32 = 1 << 31;
    const HAS_PADDING: u8 = 0x20;
    let len = usize::from(le16_at(bytes, 2)?);
    let header = bytes.get(..len)?;
    let present = le32_at(header, 4)?;
    let mut at = 8;
    let mut word = present;
    while word & MORE != 0 {
        word = le32_at(header, at)?;
        at += 4;
    }
    if present & TIME != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    let flags = if present & FLAGS != 0 { u8_at(header, at)? } else { 0 };
    let contents = bytes.get(len..)?;
    Some(Step::Next(if flags & HAS_PADDING != 0 { padded_frame } else { frame }, contents))
}

/// Per-Packet Information (CACE): fields, then a packet of another link type.
pub(super) fn ppi(bytes: &[u8]) -> Option<Step<'_>> {
    let len = usize::from(le16_at(bytes, 2)?);
    let link = le32_at(bytes, 4)?;
    Some(if len < 8 { Step::Other } else { Step::Link(link, bytes.get(len..)?) })
}

/// The header of Prism cards: a message code and the length, in the capturing machine's order; or
/// the header of AVS.
pub(super) fn prism(bytes: &[u8]) -> Option<Step<'_>> {
    const AVS: u32 = 0x8021_1000;
    if u32_at(bytes, 0)? & 0xffff_ff00 == AVS {
        return avs(bytes);
    }
    let len = [le32_at(bytes, 4)?, u32_at(bytes, 4)?].into_iter().min()?;
    header_of(bytes, len)
}

/// The header of AVS: version and length.
pub(super) fn avs(bytes: &[u8]) -> Option<Step<'_>> {
    header_of(bytes, u32_at(bytes, 4)?)
}

fn header_of(bytes: &[u8], len: u32) -> Option<Step<'_>> {
    let len = usize::try_from(len).ok().filter(|len| *len >= 8)?;
    Some(Step::Next(frame, bytes.get(len..)?))
}

/// A frame whose first two bytes are swapped, as controllers of Cisco expect it in CAPWAP.
pub(super) fn swapped_frame(bytes: &[u8]) -> Option<Step<'_>> {
    let [first, second] = *bytes.first_chunk()?;
    let plain = first & 0x0f == 0x08;
    match second & 0x0f == 0x08 && !plain {
        true => data_frame(bytes, [second, first], false),
        false => frame(bytes),
    }
}
