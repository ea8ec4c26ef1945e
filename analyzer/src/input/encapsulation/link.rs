//! Headers of link types that have no other place, most of them made by capture programs.

use super::bytes::{le16_at, le32_at, u8_at, u16_at, u32_at};
use super::{Step, ethernet, ip, ppp, wireless};

/// Exported payloads instead of packets: see [`super::super::exported`].
pub(in crate::input) const WIRESHARK_UPPER_PDU: u32 = 252;

/// Returns the number of bytes of the frame check sequence that a link type field of pcap declares,
/// and the link type (draft-ietf-opsawg-pcap, section 4).
pub(in crate::input) fn frame_check_sequence(field: u32) -> (usize, u32) {
    const PRESENT: u32 = 1 << 26;
    let words = if field & PRESENT != 0 { field >> 28 } else { 0 };
    (words as usize * 2, field & 0xffff)
}

/// Four bytes of address family, in either byte order and with a different number for IPv6 on each
/// system. The version in the IP header carries the same information.
pub(super) fn loopback(bytes: &[u8]) -> Option<Step<'_>> {
    ip::any(bytes.get(4..)?)
}

/// Access control, frame control, addresses, a route if the source address has its bit, LLC.
pub(super) fn token_ring(bytes: &[u8]) -> Option<Step<'_>> {
    let routed = u8_at(bytes, 8)? & 0x80 != 0;
    let route = if routed { usize::from(u8_at(bytes, 14)? & 0x1f) } else { 0 };
    Some(Step::Next(ethernet::llc, bytes.get(14 + route..)?))
}

/// Frame control, addresses, LLC.
pub(super) fn fddi(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ethernet::llc, bytes.get(13..)?))
}

pub(super) fn slip(bytes: &[u8]) -> Option<Step<'_>> {
    ip::any(bytes.get(16..)?)
}

pub(super) fn atm(bytes: &[u8]) -> Option<Step<'_>> {
    match u8_at(bytes, 0)? {
        0xaa | 0xfe | 0x06 => ethernet::llc(bytes),
        _ => ip::any(bytes),
    }
}

/// Flags and addresses of the circuit, then LLC.
pub(super) fn sun_atm(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(atm, bytes.get(4..)?))
}

/// Two addresses of 8 bytes, then LLC (RFC 4338).
pub(super) fn fibre_channel(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ethernet::llc, bytes.get(16..)?))
}

/// Two addresses of 8 bytes and an EtherType.
pub(super) fn firewire(bytes: &[u8]) -> Option<Step<'_>> {
    ethernet::typed_at(bytes, 16)
}

/// IPsec of OpenBSD: address family, parameters, flags.
pub(super) fn enc(bytes: &[u8]) -> Option<Step<'_>> {
    ip::any(bytes.get(12..)?)
}

/// The firewall log of BSD: its length, padded to 4 bytes.
pub(super) fn pflog(bytes: &[u8]) -> Option<Step<'_>> {
    let len = usize::from(u8_at(bytes, 0)?).next_multiple_of(4);
    ip::any(bytes.get(len..)?)
}

/// Cooked capture of Linux: the protocol after the type of the device and an address.
pub(super) fn linux_cooked(bytes: &[u8]) -> Option<Step<'_>> {
    cooked(u16_at(bytes, 2)?, u16_at(bytes, 14)?, bytes.get(16..)?)
}

pub(super) fn linux_cooked_2(bytes: &[u8]) -> Option<Step<'_>> {
    cooked(u16_at(bytes, 8)?, u16_at(bytes, 0)?, bytes.get(20..)?)
}

/// The protocol of a cooked capture is an EtherType, or a value of Linux that is less than any.
fn cooked(device: u16, protocol: u16, bytes: &[u8]) -> Option<Step<'_>> {
    const IEEE80211: u16 = 801;
    const IEEE80211_RADIOTAP: u16 = 803;
    match (device, protocol) {
        (IEEE80211, _) => Some(Step::Next(wireless::frame, bytes)),
        (IEEE80211_RADIOTAP, _) => Some(Step::Next(wireless::radiotap, bytes)),
        // ETH_P_802_3, without LLC, and ETH_P_ALL.
        (_, 1 | 3) => Some(Step::Other),
        // ETH_P_802_2, and ETH_P_PPP_MP and the like.
        (_, 4) => Some(Step::Next(ethernet::llc, bytes)),
        (_, 6..=9) => Some(Step::Next(ppp::ppp, bytes)),
        (_, protocol) => Some(ethernet::typed(protocol, bytes)),
    }
}

/// Endace's extensible record format: its type, extension headers, and padding before Ethernet.
pub(super) fn endace(bytes: &[u8]) -> Option<Step<'_>> {
    const MORE: u8 = 0x80;
    let kind = u8_at(bytes, 8)?;
    let mut at = 16;
    let mut more = kind & MORE != 0;
    while more {
        more = u8_at(bytes, at)? & MORE != 0;
        at += 8;
    }
    let contents = bytes.get(at..)?;
    Some(match kind & !MORE {
        1 => Step::Next(ppp::hdlc, contents),
        2 | 11 | 16 | 20 => Step::Next(ethernet::ethernet, contents.get(2..)?),
        22 | 23 => Step::Next(ip::any, contents),
        _ => Step::Other,
    })
}

/// IP between zones of Solaris.
pub(super) fn ipnet(bytes: &[u8]) -> Option<Step<'_>> {
    ip::any(bytes.get(24..)?)
}

/// The log of netfilter: attributes, in the byte order of the capturing machine.
pub(super) fn nflog(bytes: &[u8]) -> Option<Step<'_>> {
    let attributes = bytes.get(4..)?;
    match nflog_payload(attributes, le16_at) {
        Some(payload) => Some(Step::Next(ip::any, payload)),
        None => nflog_payload(attributes, u16_at).map(|payload| Step::Next(ip::any, payload)),
    }
}

fn nflog_payload(mut attributes: &[u8], number: fn(&[u8], usize) -> Option<u16>) -> Option<&[u8]> {
    const PAYLOAD: u16 = 9;
    loop {
        let len = usize::from(number(attributes, 0)?);
        let value = attributes.get(4..len).or_else(|| attributes.get(4..).filter(|_| len > 4))?;
        if number(attributes, 2)? == PAYLOAD {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// Four bytes of a Hilscher netANALYZER, then a frame.
pub(super) fn net_analyzer(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ethernet::ethernet, bytes.get(4..)?))
}

pub(super) fn net_analyzer_transparent(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(preamble, bytes.get(4..)?))
}

/// A frame after its preamble of 8 bytes.
pub(super) fn preamble(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ethernet::ethernet, bytes.get(8..)?))
}

/// Packets of macOS with the process beside them, in the byte order of the capturing machine.
pub(super) fn pktap(bytes: &[u8]) -> Option<Step<'_>> {
    const HEADER: u32 = 108;
    let parse = |number: fn(&[u8], usize) -> Option<u32>| {
        let len = number(bytes, 0).filter(|len| (12..4 * HEADER).contains(len))?;
        let contents = bytes.get(usize::try_from(len).ok()?..)?;
        Some(Step::Link(number(bytes, 8)?, contents))
    };
    parse(le32_at).or_else(|| parse(u32_at))
}

/// A tag of a switch chip before the EtherType (Marvell, Broadcom).
pub(super) fn switch_tag<const LEN: usize>(bytes: &[u8]) -> Option<Step<'_>> {
    ethernet::typed_at(bytes, 12 + LEN)
}

/// A tag of a switch chip before the frame.
pub(super) fn before_frame<const LEN: usize>(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ethernet::ethernet, bytes.get(LEN..)?))
}
