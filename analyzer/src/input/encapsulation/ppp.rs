//! PPP, its carriers, and Cisco HDLC.

use super::bytes::{u8_at, u16_at, without_padding};
use super::{Step, ethernet, ip};

/// Address and control field of HDLC, which may be left out (RFC 1661 section 6.6).
const ALL_STATIONS: [u8; 2] = [0xff, 0x03];

/// PPP, with HDLC's address and control field or without (RFC 1662).
pub(super) fn ppp(bytes: &[u8]) -> Option<Step<'_>> {
    let bytes = bytes.strip_prefix(&ALL_STATIONS).unwrap_or(bytes);
    let first = u8_at(bytes, 0)?;
    // An odd first byte is a compressed protocol number (RFC 1661 section 6.5).
    let (protocol, rest) = if first & 1 == 1 {
        (first.into(), bytes.get(1..)?)
    } else {
        (u16_at(bytes, 0)?, bytes.get(2..)?)
    };
    Some(match protocol {
        0x0021 => Step::Next(ip::v4, rest),
        0x0057 => Step::Next(ip::v6, rest),
        0x0281 | 0x0283 => Step::Next(ethernet::mpls, rest),
        0x0031 => return bridged(rest),
        0x003d => return multilink(rest),
        _ => Step::Other,
    })
}

/// A bridged frame (RFC 3518): flags, and the kind of the frame.
fn bridged(bytes: &[u8]) -> Option<Step<'_>> {
    let [_, kind] = *bytes.first_chunk()?;
    let frame = bytes.get(2..)?;
    Some(if kind == 1 { Step::Next(ethernet::ethernet, frame) } else { Step::Other })
}

/// Multilink PPP (RFC 1990) with long sequence numbers: a packet that is not split.
fn multilink(bytes: &[u8]) -> Option<Step<'_>> {
    const BEGIN_AND_END: u8 = 0xc0;
    Some(match *bytes.first_chunk::<4>()? {
        [BEGIN_AND_END, ..] => Step::Next(ppp, bytes.get(4..)?),
        _ => Step::Other,
    })
}

/// A session packet of PPPoE (RFC 2516).
pub(super) fn over_ethernet(bytes: &[u8]) -> Option<Step<'_>> {
    let [version, code] = *bytes.first_chunk()?;
    let (len, rest) = (u16_at(bytes, 4)?, bytes.get(6..)?);
    if (version, code) != (0x11, 0) {
        return Some(Step::Other);
    }
    // A length of 0 is filled in later.
    let len = if len == 0 { rest.len() } else { len.into() };
    Some(Step::Next(ppp, without_padding(rest, len)))
}

/// PPP in HDLC-like framing, or Cisco HDLC: the address tells.
pub(super) fn hdlc(bytes: &[u8]) -> Option<Step<'_>> {
    match u8_at(bytes, 0)? {
        0x0f | 0x8f => cisco_hdlc(bytes),
        _ => ppp(bytes),
    }
}

/// Cisco HDLC: address, control, EtherType. The type of 802.2 is known only as a protocol of ISO.
pub(super) fn cisco_hdlc(bytes: &[u8]) -> Option<Step<'_>> {
    match u16_at(bytes, 2)? {
        // CLNS: a byte of padding, then a network layer protocol identifier.
        0xfefe => Some(Step::Next(ethernet::nlpid, bytes.get(5..)?)),
        _ => ethernet::typed_at(bytes, 2),
    }
}

/// A byte for the direction, then PPP or Cisco HDLC.
pub(super) fn with_direction(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(hdlc, bytes.get(1..)?))
}

/// PPP of pppd, in which the direction replaces the address.
pub(super) fn of_pppd(bytes: &[u8]) -> Option<Step<'_>> {
    match *bytes.first_chunk()? {
        [0 | 1, 3] => Some(Step::Next(ppp, bytes.get(2..)?)),
        [0 | 1, _] => Some(Step::Next(ppp, bytes.get(1..)?)),
        _ => ppp(bytes),
    }
}

/// Frame Relay (RFC 2427, or Cisco's encapsulation).
pub(super) fn frame_relay(bytes: &[u8]) -> Option<Step<'_>> {
    // The last byte of the address has its lowest bit set.
    let address = 1 + bytes.iter().take(4).position(|byte| byte & 1 == 1)?;
    match u8_at(bytes, address)? {
        3 => Some(Step::Next(ethernet::nlpid, bytes.get(address + 1..)?)),
        _ => ethernet::typed_at(bytes, address),
    }
}

/// A byte for the direction, then Frame Relay.
pub(super) fn frame_relay_with_direction(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(frame_relay, bytes.get(1..)?))
}
