//! IPv4, IPv6 and their extension headers.

use etherparse::{IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};

use super::bytes::{u8_at, without_padding};
use super::{Datagram, Fragment, Step};

/// Extension headers of IPv6 (RFC 8200 section 4, RFC 6275, 7401, 5533).
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HOST_IDENTITY: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

const IPV6_HEADER: usize = 40;

/// IP of the version in its first byte.
pub(super) fn any(bytes: &[u8]) -> Option<Step<'_>> {
    match u8_at(bytes, 0)? >> 4 {
        4 => v4(bytes),
        6 => v6(bytes),
        _ => Some(Step::Other),
    }
}

pub(super) fn v4(bytes: &[u8]) -> Option<Step<'_>> {
    if u8_at(bytes, 0)? >> 4 != 4 {
        return Some(Step::Other);
    }
    let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    let (declared, header_len) = (usize::from(header.total_len()), header.slice().len());
    // A length of 0 is filled in by the network card later.
    let declared = Some(declared).filter(|len| *len >= header_len);
    let payload = without_padding(bytes, declared.unwrap_or(bytes.len())).get(header_len..)?;
    let fragment = header.is_fragmenting_payload().then(|| Fragment {
        id: header.identification().into(),
        offset: usize::from(header.fragments_offset().value()) * 8,
        more: header.more_fragments(),
    });
    let datagram = Datagram {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol: header.protocol().0,
        payload,
        missing: declared.map(|len| len - header_len - payload.len()),
        fragment,
    };
    without_extensions(datagram).map(Step::Ip)
}

pub(super) fn v6(bytes: &[u8]) -> Option<Step<'_>> {
    if u8_at(bytes, 0)? >> 4 != 6 {
        return Some(Step::Other);
    }
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    // A length of 0 belongs to a jumbogram, or to a packet that the network card will split.
    let declared = Some(usize::from(header.payload_length())).filter(|len| *len > 0);
    let rest = bytes.get(IPV6_HEADER..)?;
    let payload = without_padding(rest, declared.unwrap_or(rest.len()));
    let datagram = Datagram {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol: header.next_header().0,
        payload,
        missing: declared.map(|len| len - payload.len()),
        fragment: None,
    };
    without_extensions(datagram).map(Step::Ip)
}

/// Skips extension headers, up to a header that makes this a fragment. Of IPv4 the authentication
/// header is one.
pub(super) fn without_extensions(mut datagram: Datagram<'_>) -> Option<Datagram<'_>> {
    let v6 = datagram.src.is_ipv6();
    while datagram.fragment.is_none() {
        let rest = datagram.payload;
        let len = match datagram.protocol {
            extension::AUTHENTICATION => IpAuthHeaderSlice::from_slice(rest).ok()?.slice().len(),
            extension::FRAGMENT if v6 => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest).ok()?;
                datagram.fragment = header.is_fragmenting_payload().then(|| Fragment {
                    id: header.identification(),
                    offset: usize::from(header.fragment_offset().value()) * 8,
                    more: header.more_fragments(),
                });
                header.slice().len()
            }
            extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::DESTINATION
            | extension::MOBILITY
            | extension::HOST_IDENTITY
            | extension::SHIM6
                if v6 =>
            {
                8 * (usize::from(u8_at(rest, 1)?) + 1)
            }
            _ => break,
        };
        datagram.protocol = u8_at(rest, 0)?;
        datagram.payload = rest.get(len..)?;
    }
    Some(datagram)
}
