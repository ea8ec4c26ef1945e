//! Ethernet, the tags and labels between its header and the network layer, and LLC.

use etherparse::MacsecHeaderSlice;

use super::bytes::{u8_at, u16_at, u32_at, without_padding};
use super::{Step, ip};

/// Two addresses and a type.
const HEADER: usize = 14;

/// The largest value of the type field that is a length (IEEE 802.3).
const MAX_LENGTH: u16 = 1500;

/// EtherTypes of stacked tags (802.1Q, 802.1ad, and values that preceded 802.1ad).
pub(super) const VLAN: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// The contents after an EtherType.
pub(super) fn typed(ether_type: u16, bytes: &[u8]) -> Step<'_> {
    if ether_type <= MAX_LENGTH {
        return Step::Next(llc, without_padding(bytes, ether_type.into()));
    }
    Step::EtherType(ether_type, bytes)
}

/// The contents after an EtherType at this place.
pub(super) fn typed_at(bytes: &[u8], at: usize) -> Option<Step<'_>> {
    Some(typed(u16_at(bytes, at)?, bytes.get(at + 2..)?))
}

/// An Ethernet frame, without preamble.
pub(super) fn ethernet(bytes: &[u8]) -> Option<Step<'_>> {
    typed_at(bytes, HEADER - 2)
}

/// Returns whether the bytes begin like an Ethernet frame, for layers that do not declare their
/// contents: with a type that is common in tunnels.
pub(super) fn is_likely(bytes: &[u8]) -> bool {
    const ARP: u16 = 0x0806;
    u16_at(bytes, HEADER - 2).is_some_and(|ether_type| {
        matches!(ether_type, 0x0800 | 0x86dd | ARP | 0x8847 | 0x8848 | 0x8863 | 0x8864)
            || VLAN.contains(&ether_type)
    })
}

/// A stack of VLAN tags of any height, from the first tag on.
pub(super) fn vlan(bytes: &[u8]) -> Option<Step<'_>> {
    let mut at = 2;
    while VLAN.contains(&u16_at(bytes, at)?) {
        at += 4;
    }
    typed_at(bytes, at)
}

/// A stack of MPLS labels (RFC 3032). The contents are not declared (RFC 4928).
pub(super) fn mpls(bytes: &[u8]) -> Option<Step<'_>> {
    const LAST: u32 = 0x100;
    let mut at = 0;
    while u32_at(bytes, at)? & LAST == 0 {
        at += 4;
    }
    let inner = bytes.get(at + 4..)?;
    Some(match u8_at(inner, 0)? >> 4 {
        4 if is_ipv4(inner) => Step::Next(ip::v4, inner),
        6 if is_ipv6(inner) => Step::Next(ip::v6, inner),
        // A pseudowire of Ethernet (RFC 4448), with a control word or without.
        0 if inner.get(4..).is_some_and(is_likely) => Step::Next(ethernet, inner.get(4..)?),
        _ if is_likely(inner) => Step::Next(ethernet, inner),
        0 => Step::Next(ethernet, inner.get(4..)?),
        _ => Step::Other,
    })
}

/// Returns whether the first byte can be of IPv4, rather than of a hardware address.
fn is_ipv4(bytes: &[u8]) -> bool {
    let header_len = bytes.first().map_or(0, |byte| usize::from(byte & 15) * 4);
    let declared = u16_at(bytes, 2).map_or(0, usize::from);
    header_len >= 20 && (declared == 0 || declared >= header_len)
        // A hardware address beginning with 45 precedes an EtherType.
        && !(is_likely(bytes) && declared > bytes.len())
}

fn is_ipv6(bytes: &[u8]) -> bool {
    let declared = u16_at(bytes, 4).map_or(0, usize::from);
    !(is_likely(bytes) && declared + 40 > bytes.len())
}

/// MACsec (IEEE 802.1AE) without encryption.
pub(super) fn macsec(bytes: &[u8]) -> Option<Step<'_>> {
    let header = MacsecHeaderSlice::from_slice(bytes).ok()?;
    let Some(ether_type) = header.next_ether_type() else { return Some(Step::Other) };
    let contents = bytes.get(header.header_len()..)?;
    let len = header.expected_payload_len().unwrap_or(contents.len());
    Some(typed(ether_type.0, without_padding(contents, len)))
}

/// Provider backbone bridges (IEEE 802.1ah): the tag, then the customer's frame.
pub(super) fn provider_backbone(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ethernet, bytes.get(4..)?))
}

/// Cisco FabricPath: a tag, then the frame.
pub(super) fn fabric_path(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(ethernet, bytes.get(2..)?))
}

/// Cisco VN-Tag.
pub(super) fn vn_tag(bytes: &[u8]) -> Option<Step<'_>> {
    typed_at(bytes, 4)
}

/// IEEE 802.1BR.
pub(super) fn e_tag(bytes: &[u8]) -> Option<Step<'_>> {
    typed_at(bytes, 6)
}

/// IEEE 802.1CB.
pub(super) fn redundancy_tag(bytes: &[u8]) -> Option<Step<'_>> {
    typed_at(bytes, 4)
}

/// TRILL (RFC 6325): options in words, then the frame.
pub(super) fn trill(bytes: &[u8]) -> Option<Step<'_>> {
    let options = usize::from(u16_at(bytes, 0)? >> 6 & 0x1f) * 4;
    Some(Step::Next(ethernet, bytes.get(6 + options..)?))
}

/// LLC in frames that are too long for a length field: the length, then LLC.
pub(super) fn jumbo_llc(bytes: &[u8]) -> Option<Step<'_>> {
    Some(Step::Next(llc, bytes))
}

/// LLC (IEEE 802.2) with unnumbered information.
pub(super) fn llc(bytes: &[u8]) -> Option<Step<'_>> {
    let rest = bytes.get(3..)?;
    Some(match bytes.first_chunk()? {
        [0xaa | 0xab, 0xaa | 0xab, 3] => Step::Next(snap, rest),
        [0x06, 0x06, 3] => Step::Next(ip::v4, rest),
        [0xfe, 0xfe, 3] => Step::Next(nlpid, rest),
        _ => Step::Other,
    })
}

/// The protocol identifier of LLC's SNAP: an organisation, and a type of it.
pub(super) fn snap(bytes: &[u8]) -> Option<Step<'_>> {
    let (kind, rest) = (u16_at(bytes, 3)?, bytes.get(5..)?);
    Some(match bytes.first_chunk()? {
        // RFC 1042, and 802.1H bridge tunnels; Cisco uses EtherTypes too.
        [0, 0, 0] | [0, 0, 0xf8] | [0, 0, 0x0c] => typed(kind, rest),
        // RFC 2684 section 5.2: bridged Ethernet, padded.
        [0, 0x80, 0xc2] if matches!(kind, 1 | 7) => {
            let padded = if is_likely(rest) { rest } else { rest.get(2..)? };
            Step::Next(ethernet, padded)
        }
        _ => Step::Other,
    })
}

/// A network layer protocol identifier (ISO/IEC TR 9577).
pub(super) fn nlpid(bytes: &[u8]) -> Option<Step<'_>> {
    let rest = bytes.get(1..)?;
    Some(match u8_at(bytes, 0)? {
        // Padding to an even length (RFC 2427).
        0 => Step::Next(nlpid, rest),
        0x80 => Step::Next(snap, rest),
        0xcc => Step::Next(ip::v4, rest),
        0x8e => Step::Next(ip::v6, rest),
        // PPP (RFC 1973).
        0xcf => Step::EtherType(0x880b, rest),
        _ => Step::Other,
    })
}
