//! Parses a captured packet into a TCP segment: link, network and transport headers.
//!
//! Lengths are interpreted leniently. Packets may be truncated by the capture's snaplen, and
//! captures made on the sending machine contain packets whose length fields the network card fills
//! in later.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

use crate::sink::Segment;

/// Link types, by their number in the tcpdump.org registry.
pub(super) mod linktype {
    pub(super) const NULL: u32 = 0;
    pub(super) const ETHERNET: u32 = 1;
    /// LINKTYPE_RAW, and the values that some systems use instead.
    pub(super) const RAW: [u32; 3] = [101, 12, 14];
    pub(super) const LOOP: u32 = 108;
    pub(super) const LINUX_SLL: u32 = 113;
    pub(super) const IPV4: u32 = 228;
    pub(super) const IPV6: u32 = 229;
    pub(super) const LINUX_SLL2: u32 = 276;
    /// Exported payloads instead of packets: see [`super::super::exported`].
    pub(in crate::input) const WIRESHARK_UPPER_PDU: u32 = 252;
}

/// The longest segment that Linux passes to a network card for segmentation (GSO_MAX_SIZE since
/// 5.19). A packet with a larger original length is damaged.
const MAX_SEGMENT: usize = 8 * 65_535;

/// The type of a packet.
#[derive(Debug)]
pub(crate) enum Packet<'a> {
    Tcp(Segment<'a>),
    /// A part of a TCP segment that IP fragmented.
    Fragment,
    /// Truncated within its headers.
    Cut,
    /// Of an unknown link type.
    UnknownLink,
    /// Not TCP.
    Other,
}

/// Parses a packet. `original_len` is its length before truncation.
pub(crate) fn dissect(link: u32, ts_ns: u64, bytes: &[u8], original_len: usize) -> Packet<'_> {
    let Ok(sliced) = slice(link, bytes) else { return Packet::UnknownLink };
    let Some(sliced) = sliced else { return Packet::Cut };
    let cut = original_len.saturating_sub(bytes.len());
    let Some(net) = &sliced.net else {
        return if sliced.stop_err.is_some() && cut > 0 { Packet::Cut } else { Packet::Other };
    };
    let Some(payload) = net.ip_payload_ref() else { return Packet::Other };
    if payload.ip_number != IpNumber::TCP {
        return Packet::Other;
    }
    if payload.fragmented {
        return Packet::Fragment;
    }
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return Packet::Cut };
    Packet::Tcp(segment(ts_ns, net, tcp, cut))
}

/// Slices the headers. The outer error is an unknown link type, the inner `None` a packet too short
/// for its first header.
fn slice(link: u32, bytes: &[u8]) -> Result<Option<LaxSlicedPacket<'_>>, ()> {
    let ip = |at: usize| bytes.get(at..).and_then(|ip| LaxSlicedPacket::from_ip(ip).ok());
    let typed = |type_at: usize, at: usize| {
        let [high, low] = *bytes.get(type_at..type_at + 2)? else { return None };
        let ether_type = EtherType(u16::from_be_bytes([high, low]));
        Some(LaxSlicedPacket::from_ether_type(ether_type, bytes.get(at..)?))
    };
    Ok(match link {
        linktype::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).ok(),
        // Four bytes of address family, in either byte order and with a different number for IPv6
        // on each system. The version in the IP header carries the same information.
        linktype::NULL | linktype::LOOP => ip(4),
        linktype::IPV4 | linktype::IPV6 => ip(0),
        link if linktype::RAW.contains(&link) => ip(0),
        linktype::LINUX_SLL => typed(14, 16),
        linktype::LINUX_SLL2 => typed(0, 20),
        _ => return Err(()),
    })
}

fn segment<'a>(ts_ns: u64, net: &LaxNetSlice<'_>, tcp: &TcpSlice<'a>, cut: usize) -> Segment<'a> {
    let (src, dst, declared, present) = match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let extension = ip.extensions().auth.map_or(0, |auth| auth.slice().len());
            let present = header.slice().len() + extension + ip.payload().payload.len();
            let (src, dst) = (header.source_addr().into(), header.destination_addr().into());
            (src, dst, usize::from(header.total_len()), present)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            let present = ip.extensions().slice().len() + ip.payload().payload.len();
            let (src, dst) = (header.source_addr().into(), header.destination_addr().into());
            (src, dst, usize::from(header.payload_length()), present)
        }
        LaxNetSlice::Arp(_) => (IpAddr::from([0; 4]), IpAddr::from([0; 4]), 0, 0),
    };
    // A length of 0 is filled in by the network card later.
    let missing =
        if declared == 0 { cut.min(MAX_SEGMENT) } else { declared.saturating_sub(present) };
    Segment {
        ts_ns,
        src: SocketAddr::new(src, tcp.source_port()),
        dst: SocketAddr::new(dst, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
        missing,
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{LinuxSllHeader, LinuxSllPacketType, LinuxSllProtocolType, PacketBuilder};

    use super::*;

    fn ipv4() -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        builder.tcp(40_000, 80, 7, 100).ack(9).write(&mut bytes, b"hello").unwrap();
        bytes
    }

    fn ipv6() -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64);
        builder.tcp(40_000, 80, 7, 100).write(&mut bytes, b"hello").unwrap();
        bytes
    }

    fn tcp(link: u32, bytes: &[u8]) -> Segment<'_> {
        match dissect(link, 5, bytes, bytes.len()) {
            Packet::Tcp(segment) => segment,
            other => panic!("{other:?}"),
        }
    }

    fn with_header(header: &[u8], ip: &[u8]) -> Vec<u8> {
        [header, ip].concat()
    }

    #[test]
    fn every_link_type_gives_the_same_segment() {
        let sll = LinuxSllHeader {
            packet_type: LinuxSllPacketType::HOST,
            arp_hrd_type: etherparse::ArpHardwareId::ETHERNET,
            sender_address_valid_length: 6,
            sender_address: [0; 8],
            protocol_type: LinuxSllProtocolType::EtherType(EtherType::IPV4),
        };
        let mut ethernet = vec![2; 12];
        ethernet.extend([8, 0]);
        let mut vlan = vec![2; 12];
        vlan.extend([0x81, 0, 0, 1, 8, 0]);
        let mut double_vlan = vec![2; 12];
        double_vlan.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0]);
        let mut sll2 = vec![8, 0];
        sll2.extend([0; 18]);
        for (link, header) in [
            (0, vec![2, 0, 0, 0]),
            (0, vec![0, 0, 0, 2]),
            (108, vec![0, 0, 0, 2]),
            (1, ethernet),
            (1, vlan),
            (1, double_vlan),
            (101, vec![]),
            (12, vec![]),
            (14, vec![]),
            (228, vec![]),
            (113, sll.to_bytes().to_vec()),
            (276, sll2),
        ] {
            let bytes = with_header(&header, &ipv4());
            let segment = tcp(link, &bytes);
            assert_eq!(segment.src, "10.0.0.1:40000".parse().unwrap(), "link type {link}");
            assert_eq!(segment.dst, "10.0.0.2:80".parse().unwrap());
            assert_eq!((segment.seq, segment.ack, segment.payload), (7, Some(9), &b"hello"[..]));
            assert_eq!((segment.missing, segment.ts_ns), (0, 5));
        }
        let six = ipv6();
        for (link, header) in [(229, vec![]), (101, vec![]), (0, vec![30, 0, 0, 0])] {
            assert_eq!(tcp(link, &with_header(&header, &six)).payload, b"hello");
        }
    }

    #[test]
    fn padding_of_short_frames_is_no_payload() {
        let mut bytes = ipv4();
        bytes.extend([0; 6]);
        assert_eq!(tcp(101, &bytes).payload, b"hello");
    }

    #[test]
    fn bytes_beyond_the_snaplen_are_missing() {
        for whole in [ipv4(), ipv6()] {
            for cut in 1..=5 {
                let bytes = &whole[..whole.len() - cut];
                match dissect(101, 0, bytes, whole.len()) {
                    Packet::Tcp(segment) => {
                        assert_eq!(segment.missing, cut);
                        assert_eq!(segment.payload, &b"hello"[..5 - cut]);
                    }
                    other => panic!("{other:?}"),
                }
            }
            let headers_cut = &whole[..whole.len() - 6];
            assert!(matches!(dissect(101, 0, headers_cut, whole.len()), Packet::Cut));
        }
    }

    #[test]
    fn lengths_that_the_card_fills_in_later_are_not_believed() {
        let mut bytes = ipv4();
        bytes[2..4].fill(0);
        assert_eq!((tcp(101, &bytes).payload, tcp(101, &bytes).missing), (&b"hello"[..], 0));
    }

    #[test]
    fn fragments_are_recognised() {
        let mut bytes = ipv4();
        bytes[6] |= 0x20;
        assert!(matches!(dissect(101, 0, &bytes, bytes.len()), Packet::Fragment));
    }

    #[test]
    fn ipv6_extension_headers_are_skipped() {
        let mut bytes = ipv6();
        // Insert a hop-by-hop header with padding.
        bytes[6] = 0;
        bytes[5] += 8;
        let tail = bytes.split_off(40);
        bytes.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend(tail);
        assert_eq!(tcp(101, &bytes).payload, b"hello");
    }

    #[test]
    fn nothing_panics_on_any_cut_or_flip() {
        let mut ethernet = vec![2; 12];
        ethernet.extend([0x81, 0, 0, 1, 8, 0]);
        let whole = with_header(&ethernet, &ipv4());
        for link in [0, 1, 12, 101, 108, 113, 228, 229, 276, 9999] {
            for end in 0..=whole.len() {
                dissect(link, 0, &whole[..end], whole.len());
            }
            for at in 0..whole.len() {
                for value in [0, 1, 0x45, 0x60, 0x7f, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] = value;
                    dissect(link, 0, &bytes, bytes.len());
                }
            }
        }
    }
}
