//! Tunnels over IP and UDP.

use super::bytes::{u8_at, u16_at, u32_at, without_padding};
use super::ethernet::{ethernet, mpls};
use super::{Layer, Step, TCP, ip, ppp, wireless};

const UDP: u8 = 17;

/// Returns the layer of an IP protocol that can carry TCP inside of it.
pub(super) fn of_ip_protocol(protocol: u8) -> Option<Layer> {
    Some(match protocol {
        // IPv4, IPv6, and older numbers of IP in IP.
        4 | 41 | 94 | 98 => ip::any,
        UDP => udp,
        47 => gre,
        97 => ether_ip,
        115 => l2tp_over_ip,
        137 => mpls,
        143 => ethernet,
        145 => nsh,
        _ => return None,
    })
}

/// Returns the layer in a datagram to a registered port.
fn of_udp_port(port: u16) -> Option<Layer> {
    Some(match port {
        // 8472 is the default of Linux.
        4789 | 8472 => vxlan,
        4790 => vxlan_gpe,
        6081 => geneve,
        2152 => gtp,
        1701 => l2tp,
        6080 => gue,
        6635 => mpls,
        3544 => teredo,
        4341 => lisp,
        4754 => gre,
        5072 => ayiya,
        5247 => capwap,
        37008 => tzsp,
        _ => return None,
    })
}

/// Ports of tunnels whose answers come from the registered port to any other.
const ANSWERING: [u16; 3] = [1701, 3544, 5072];

/// Returns whether TCP may be inside of an IP packet whose contents begin with these bytes.
pub(super) fn may_carry_tcp(protocol: u8, first: &[u8]) -> bool {
    match protocol {
        TCP => true,
        UDP => matches!(udp(first), Some(Step::Next(..))),
        protocol => of_ip_protocol(protocol).is_some(),
    }
}

/// A datagram to a registered port of a tunnel.
fn udp(bytes: &[u8]) -> Option<Step<'_>> {
    const HEADER: usize = 8;
    let (src, dst) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let len = usize::from(u16_at(bytes, 4)?);
    // A length of 0 is filled in by the network card later.
    let len = if len < HEADER { bytes.len() } else { len };
    let contents = without_padding(bytes, len).get(HEADER..)?;
    let answer = || of_udp_port(src).filter(|_| ANSWERING.contains(&src));
    Some(match of_udp_port(dst).or_else(answer) {
        Some(layer) => Step::Next(layer, contents),
        None => Step::Other,
    })
}

/// GRE: version 0 (RFC 2784, 2890, 1701), or 1 of PPTP (RFC 2637).
fn gre(bytes: &[u8]) -> Option<Step<'_>> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGMENT: u16 = 0x0080;
    const ERSPAN: u16 = 0x88be;
    const PPP: u16 = 0x880b;
    let (flags, protocol) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let version = flags & 7;
    let has = |flag: u16| flags & flag != 0;
    let mut at = 4;
    if version == 0 && (has(CHECKSUM) || has(ROUTING)) {
        at += 4;
    }
    let declared = if version == 1 { Some(usize::from(u16_at(bytes, at)?)) } else { None };
    at += 4 * usize::from(has(KEY)) + 4 * usize::from(has(SEQUENCE));
    if version == 1 {
        at += 4 * usize::from(has(ACKNOWLEDGMENT));
    } else if has(ROUTING) {
        // Source routes, of which the last has no length.
        loop {
            let len = usize::from(u8_at(bytes, at + 3)?);
            at += 4 + len;
            if len == 0 {
                break;
            }
        }
    }
    let rest = bytes.get(at..)?;
    Some(match (version, protocol) {
        (1, PPP) => Step::Next(ppp::ppp, without_padding(rest, declared.unwrap_or(rest.len()))),
        (0, ERSPAN) if has(SEQUENCE) => Step::Next(erspan, rest),
        // ERSPAN type I has no header of its own.
        (0, ERSPAN) => Step::Next(ethernet, rest),
        (0, 0x22eb) => Step::Next(erspan, rest),
        // WCCP: a header for redirection, in its second version.
        (0, 0x883e) if u8_at(rest, 0)? >> 4 == 4 => Step::Next(ip::v4, rest),
        (0, 0x883e) => Step::Next(ip::v4, rest.get(4..)?),
        // Frames from access points of Aruba.
        (0, 0x8200..=0x82ff | 0x9000) => Step::Next(wireless::frame, rest),
        (0, protocol) => Step::EtherType(protocol, rest),
        _ => Step::Other,
    })
}

/// ERSPAN type II or III (draft-foschiano-erspan).
fn erspan(bytes: &[u8]) -> Option<Step<'_>> {
    const HAS_SUBHEADER: u8 = 1;
    const FRAME_TYPE: u8 = 0x7c;
    let (layer, at): (Layer, usize) = match u8_at(bytes, 0)? >> 4 {
        1 => (ethernet, 8),
        2 => {
            let last = u8_at(bytes, 11)?;
            let at = if last & HAS_SUBHEADER != 0 { 20 } else { 12 };
            // Mirrored frames, or IP packets.
            let layer = if u8_at(bytes, 10)? & FRAME_TYPE == 2 << 2 { ip::any } else { ethernet };
            (layer, at)
        }
        _ => return Some(Step::Other),
    };
    Some(Step::Next(layer, bytes.get(at..)?))
}

/// EtherIP (RFC 3378).
fn ether_ip(bytes: &[u8]) -> Option<Step<'_>> {
    match u8_at(bytes, 0)? >> 4 {
        3 => Some(Step::Next(ethernet, bytes.get(2..)?)),
        _ => Some(Step::Other),
    }
}

/// VXLAN (RFC 7348). Receivers ignore all reserved bits, in which extensions have other data.
fn vxlan(bytes: &[u8]) -> Option<Step<'_>> {
    const HAS_NETWORK: u8 = 0x08;
    let [flags, ..] = *bytes.first_chunk::<8>()?;
    if flags & HAS_NETWORK == 0 {
        return Some(Step::Other);
    }
    Some(Step::Next(ethernet, bytes.get(8..)?))
}

/// VXLAN with a protocol (draft-ietf-nvo3-vxlan-gpe).
fn vxlan_gpe(bytes: &[u8]) -> Option<Step<'_>> {
    const HAS_NETWORK: u8 = 0x08;
    const HAS_PROTOCOL: u8 = 0x04;
    let [flags, _, _, protocol, ..] = *bytes.first_chunk::<8>()?;
    if flags & HAS_NETWORK == 0 {
        return Some(Step::Other);
    }
    let protocol = if flags & HAS_PROTOCOL == 0 { 3 } else { protocol };
    next_protocol(protocol, bytes.get(8..)?)
}

/// The numbering of VXLAN-GPE and of NSH.
fn next_protocol(protocol: u8, bytes: &[u8]) -> Option<Step<'_>> {
    let layer: Layer = match protocol {
        1 => ip::v4,
        2 => ip::v6,
        3 => ethernet,
        4 => nsh,
        5 => mpls,
        _ => return Some(Step::Other),
    };
    Some(Step::Next(layer, bytes))
}

/// The network service header (RFC 8300).
pub(super) fn nsh(bytes: &[u8]) -> Option<Step<'_>> {
    let len = usize::from(u8_at(bytes, 1)? & 0x3f) * 4;
    if u8_at(bytes, 0)? >> 6 != 0 || len < 8 {
        return Some(Step::Other);
    }
    // NSH numbers NSH and MPLS as VXLAN-GPE does.
    next_protocol(u8_at(bytes, 3)?, bytes.get(len..)?)
}

/// Geneve (RFC 8926).
fn geneve(bytes: &[u8]) -> Option<Step<'_>> {
    const CONTROL: u8 = 0x80;
    let (first, flags) = (u8_at(bytes, 0)?, u8_at(bytes, 1)?);
    let options = usize::from(first & 0x3f) * 4;
    if first >> 6 != 0 || flags & CONTROL != 0 {
        return Some(Step::Other);
    }
    Some(Step::EtherType(u16_at(bytes, 2)?, bytes.get(8 + options..)?))
}

/// GTP-U (3GPP TS 29.281), version 1: a packet of a subscriber.
fn gtp(bytes: &[u8]) -> Option<Step<'_>> {
    const VERSION_AND_TYPE: u8 = 0xf0;
    const HAS_OPTIONAL: u8 = 0x07;
    const HAS_EXTENSION: u8 = 0x04;
    const PACKET: u8 = 255;
    let [flags, kind] = *bytes.first_chunk()?;
    if flags & VERSION_AND_TYPE != 0x30 || kind != PACKET {
        return Some(Step::Other);
    }
    let declared = usize::from(u16_at(bytes, 2)?);
    let rest = without_padding(bytes, if declared == 0 { bytes.len() } else { declared + 8 });
    let mut at = 8;
    if flags & HAS_OPTIONAL != 0 {
        at += 4;
        let mut next = if flags & HAS_EXTENSION != 0 { u8_at(rest, at - 1)? } else { 0 };
        while next != 0 {
            // In words of 4 bytes, of which the last byte is the next type.
            let len = usize::from(u8_at(rest, at)?) * 4;
            if len == 0 {
                return Some(Step::Other);
            }
            at += len;
            next = u8_at(rest, at - 1)?;
        }
    }
    // Sessions of Ethernet do not say so in the packet.
    let contents = rest.get(at..)?;
    Some(match u8_at(contents, 0)? >> 4 {
        4 | 6 => Step::Next(ip::any, contents),
        _ => Step::Next(ethernet, contents),
    })
}

/// L2TP over UDP: version 2 (RFC 2661) with PPP, or version 3 (RFC 3931).
fn l2tp(bytes: &[u8]) -> Option<Step<'_>> {
    const CONTROL: u16 = 0x8000;
    const HAS_LENGTH: u16 = 0x4000;
    const HAS_SEQUENCE: u16 = 0x0800;
    const HAS_OFFSET: u16 = 0x0200;
    let flags = u16_at(bytes, 0)?;
    if flags & CONTROL != 0 {
        return Some(Step::Other);
    }
    if flags & 15 == 3 {
        return pseudowire(bytes.get(8..)?);
    }
    if flags & 15 != 2 {
        return Some(Step::Other);
    }
    let mut at = 2;
    let mut rest = bytes;
    if flags & HAS_LENGTH != 0 {
        rest = without_padding(bytes, usize::from(u16_at(bytes, at)?));
        at += 2;
    }
    at += 4;
    if flags & HAS_SEQUENCE != 0 {
        at += 4;
    }
    if flags & HAS_OFFSET != 0 {
        at += 2 + usize::from(u16_at(rest, at)?);
    }
    Some(Step::Next(ppp::ppp, rest.get(at..)?))
}

/// L2TP version 3 over IP: a session, or 0 for control messages.
fn l2tp_over_ip(bytes: &[u8]) -> Option<Step<'_>> {
    if u32_at(bytes, 0)? == 0 {
        return Some(Step::Other);
    }
    pseudowire(bytes.get(4..)?)
}

/// The contents of an L2TPv3 session. The length of its cookie and the presence of a sublayer were
/// negotiated, and the kind of the contents too: the first place where a frame or packet begins.
fn pseudowire(bytes: &[u8]) -> Option<Step<'_>> {
    const PLACES: [usize; 6] = [0, 4, 8, 12, 16, 20];
    let places = || PLACES.into_iter().filter_map(|at| bytes.get(at..));
    let found = places()
        .find(|rest| is_packet(rest))
        .map(|rest| Step::Next(ip::any, rest))
        .or_else(|| {
            let frame = places().find(|rest| super::ethernet::is_likely(rest));
            frame.map(|rest| Step::Next(ethernet, rest))
        })
        .or_else(|| {
            let ppp = places().find(|rest| rest.starts_with(&[0xff, 3]));
            ppp.map(|rest| Step::Next(ppp::ppp, rest))
        });
    Some(found.unwrap_or(Step::Other))
}

/// Returns whether the bytes are an IPv4 packet with a valid checksum, or IPv6 of the right length.
fn is_packet(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(0x45) => {
            let Some(header) = bytes.first_chunk::<20>() else { return false };
            let words = header.chunks_exact(2).map(|word| match word {
                [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
                _ => 0,
            });
            let sum: u32 = words.sum();
            (sum & 0xffff) + (sum >> 16) == 0xffff
        }
        Some(0x60..=0x6f) => {
            u16_at(bytes, 4).is_some_and(|len| usize::from(len) + 40 == bytes.len())
        }
        _ => false,
    }
}

/// Generic UDP encapsulation (draft-ietf-intarea-gue): a header and an IP protocol, or IP alone.
fn gue(bytes: &[u8]) -> Option<Step<'_>> {
    const CONTROL: u8 = 0x20;
    let first = u8_at(bytes, 0)?;
    Some(match first >> 6 {
        1 => Step::Next(ip::any, bytes),
        0 if first & CONTROL == 0 => {
            let contents = bytes.get(4 + usize::from(first & 0x1f) * 4..)?;
            match of_ip_protocol(u8_at(bytes, 1)?) {
                Some(layer) => Step::Next(layer, contents),
                None => Step::Other,
            }
        }
        _ => Step::Other,
    })
}

/// Teredo (RFC 4380): IPv6 after an authentication and an origin, each optional.
fn teredo(bytes: &[u8]) -> Option<Step<'_>> {
    let mut rest = bytes;
    if u16_at(rest, 0)? == 1 {
        let lens = usize::from(u8_at(rest, 2)?) + usize::from(u8_at(rest, 3)?);
        rest = rest.get(4 + lens + 9..)?;
    }
    if u16_at(rest, 0)? == 0 {
        rest = rest.get(8..)?;
    }
    Some(Step::Next(ip::v6, rest))
}

/// LISP (RFC 9300): a header of 8 bytes before IP.
fn lisp(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ip::any, bytes.get(8..)?))
}

/// AYIYA (draft-massar-v6ops-ayiya): identity and signature, then IPv6.
fn ayiya(bytes: &[u8]) -> Option<Step<'_>> {
    const FORWARD: u8 = 1;
    let [lens, signature, operation, next] = *bytes.first_chunk()?;
    let identity = 1usize << (lens >> 4);
    let at = 8 + identity + usize::from(signature >> 4) * 4;
    if operation & 15 != FORWARD || lens >> 4 > 8 {
        return Some(Step::Other);
    }
    let contents = bytes.get(at..)?;
    Some(of_ip_protocol(next).map_or(Step::Other, |layer| Step::Next(layer, contents)))
}

/// Data of CAPWAP (RFC 5415): frames of access points, not encrypted.
fn capwap(bytes: &[u8]) -> Option<Step<'_>> {
    const NATIVE: u32 = 0x100;
    const FRAGMENT: u32 = 0x80;
    const CONTROL: u32 = 0x08;
    let head = u32_at(bytes, 0)?;
    let len = (head >> 19 & 0x1f) as usize * 4;
    if head >> 24 != 0 || head & (FRAGMENT | CONTROL) != 0 || len < 8 {
        return Some(Step::Other);
    }
    let layer: Layer = if head & NATIVE != 0 { wireless::swapped_frame } else { ethernet };
    Some(Step::Next(layer, bytes.get(len..)?))
}

/// TZSP: a captured frame, sent to an analyzer.
fn tzsp(bytes: &[u8]) -> Option<Step<'_>> {
    const PADDING: u8 = 0;
    const END: u8 = 1;
    let [version, kind] = *bytes.first_chunk()?;
    let layer: Layer = match u16_at(bytes, 2)? {
        1 => ethernet,
        18 => wireless::frame,
        119 => wireless::prism,
        127 => wireless::avs,
        _ => return Some(Step::Other),
    };
    if version != 1 || kind > 1 {
        return Some(Step::Other);
    }
    let mut at = 4;
    loop {
        match u8_at(bytes, at)? {
            END => return Some(Step::Next(layer, bytes.get(at + 1..)?)),
            PADDING => at += 1,
            _ => at += 2 + usize::from(u8_at(bytes, at + 1)?),
        }
    }
}
