//! Synthetic packets: Ethernet, IPv4 or IPv6, and TCP, with valid checksums.
//!
//! The crate `etherparse` could build them, and checks them in the tests. Here the headers of one
//! direction are laid out once, and each packet copies them and sets the changed fields, which
//! costs no allocation and touches the payload once for the copy and once for the checksum.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// Flags of the TCP header (RFC 9293 section 3.1).
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

const ETHERNET_LEN: usize = 14;
const TCP_LEN: usize = 20;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;

/// Locally administered hardware addresses: the recorded process and its peer.
pub(super) const LOCAL_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const REMOTE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Options of a SYN: maximum segment size, a filler, and a window scale of 14, the largest allowed
/// (RFC 7323 section 2.3). The size is filled in.
const SYN_OPTIONS: [u8; 8] = [2, 4, 0, 0, 1, 3, 3, 14];

/// The headers of a direction of a connection.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    bytes: [u8; ETHERNET_LEN + IPV6_LEN + TCP_LEN],
    /// Place of the TCP header.
    tcp_at: usize,
    is_ipv4: bool,
    /// Sum of the pseudo header without the length.
    pseudo_sum: u64,
}

/// The fields that change from packet to packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
}

impl Headers {
    /// Returns headers for packets between these addresses. The addresses are of the same family;
    /// an IPv4 address beside an IPv6 address is written in its mapped form.
    pub(super) fn new(from: (SocketAddr, [u8; 6]), to: (SocketAddr, [u8; 6])) -> Self {
        let mut bytes = [0; ETHERNET_LEN + IPV6_LEN + TCP_LEN];
        bytes[..6].copy_from_slice(&to.1);
        bytes[6..12].copy_from_slice(&from.1);
        let (is_ipv4, ip_len) = match (from.0.ip(), to.0.ip()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                bytes[12..14].copy_from_slice(&[0x08, 0x00]);
                // Version and header length; do not fragment; time to live 64; TCP.
                bytes[14] = 0x45;
                bytes[20] = 0x40;
                bytes[22..24].copy_from_slice(&[64, 6]);
                bytes[26..30].copy_from_slice(&source.octets());
                bytes[30..34].copy_from_slice(&target.octets());
                (true, IPV4_LEN)
            }
            (source, target) => {
                bytes[12..14].copy_from_slice(&[0x86, 0xDD]);
                // Version; TCP; hop limit 64.
                bytes[14] = 0x60;
                bytes[20..22].copy_from_slice(&[6, 64]);
                bytes[22..38].copy_from_slice(&ipv6_octets(source));
                bytes[38..54].copy_from_slice(&ipv6_octets(target));
                (false, IPV6_LEN)
            }
        };
        let tcp_at = ETHERNET_LEN + ip_len;
        bytes[tcp_at..tcp_at + 2].copy_from_slice(&from.0.port().to_be_bytes());
        bytes[tcp_at + 2..tcp_at + 4].copy_from_slice(&to.0.port().to_be_bytes());
        bytes[tcp_at + 14..tcp_at + 16].copy_from_slice(&[0xFF, 0xFF]); // window
        let addresses = if is_ipv4 { 26..34 } else { 22..54 };
        let pseudo_sum = sum(&bytes[addresses]) + u64::from(u16::from_le_bytes([0, 6]));
        Self { bytes, tcp_at, is_ipv4, pseudo_sum }
    }

    /// Changes the window of the following packets by one unit.
    pub(super) fn nudge_window(&mut self) {
        self.bytes[self.tcp_at + 15] ^= 1;
    }

    /// Returns the most bytes of payload in a packet: the length fields of IP have 16 bits.
    pub(super) fn payload_limit(&self) -> usize {
        let ip_header = if self.is_ipv4 { IPV4_LEN } else { 0 };
        usize::from(u16::MAX) - ip_header - TCP_LEN
    }

    /// Returns the length of the packet that [`Self::append`] writes.
    pub(super) fn packet_len(&self, segment: &Segment<'_>) -> usize {
        self.tcp_at + TCP_LEN + options_len(segment.flags) + segment.payload.len()
    }

    /// Appends a packet. The payload must be within [`Self::payload_limit`].
    pub(super) fn append(&self, out: &mut Vec<u8>, segment: &Segment<'_>) {
        let options_len = options_len(segment.flags);
        let tcp_len = TCP_LEN + options_len + segment.payload.len();
        let mut headers = self.bytes;
        self.fill_ip(&mut headers, tcp_len as u16);
        let tcp = &mut headers[self.tcp_at..self.tcp_at + TCP_LEN];
        tcp[4..8].copy_from_slice(&segment.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&segment.ack.to_be_bytes());
        tcp[12] = (((TCP_LEN + options_len) / 4) as u8) << 4;
        tcp[13] = segment.flags;
        let mut options = SYN_OPTIONS;
        options[2..4].copy_from_slice(&(self.payload_limit() as u16).to_be_bytes());
        let options = &options[..options_len];
        let total = self.pseudo_sum
            + u64::from((tcp_len as u16).swap_bytes())
            + sum(tcp)
            + sum(options)
            + sum(segment.payload);
        tcp[16..18].copy_from_slice(&checksum(total).to_le_bytes());
        out.extend_from_slice(&headers[..self.tcp_at + TCP_LEN]);
        out.extend_from_slice(options);
        out.extend_from_slice(segment.payload);
    }

    fn fill_ip(&self, headers: &mut [u8], tcp_len: u16) {
        let ip = &mut headers[ETHERNET_LEN..self.tcp_at];
        if self.is_ipv4 {
            ip[2..4].copy_from_slice(&(tcp_len + IPV4_LEN as u16).to_be_bytes());
            let header_checksum = checksum(sum(ip));
            ip[10..12].copy_from_slice(&header_checksum.to_le_bytes());
        } else {
            ip[4..6].copy_from_slice(&tcp_len.to_be_bytes());
        }
    }
}

fn options_len(flags: u8) -> usize {
    if flags & SYN != 0 { SYN_OPTIONS.len() } else { 0 }
}

fn ipv6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Returns the sum of the 16-bit words of `bytes`, not folded.
///
/// The Internet checksum does not depend on the byte order of the computation (RFC 1071 section 2
/// B), so words are read as little endian, four bytes at a time.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut tail = [0; 4];
    tail[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum::<u64>()
        + u64::from(u32::from_le_bytes(tail))
}

/// Folds a sum into a checksum, to be stored as little endian.
fn checksum(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

/// Returns the place of the payload in a packet that [`Headers::append`] wrote. It may end beyond
/// the packet if the packet was truncated afterwards.
pub(super) fn payload_range(packet: &[u8]) -> Option<Range<usize>> {
    const ETHERNET_LEN: usize = 14;
    let ip = packet.get(ETHERNET_LEN..)?;
    let be16 = |at: usize| Some(usize::from(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?])));
    let (ip_len, end) = match packet[12..ETHERNET_LEN] {
        [0x08, 0x00] => (usize::from(ip.first()? & 0x0F) * 4, be16(2)?),
        [0x86, 0xDD] => (40, 40 + be16(4)?),
        _ => return None,
    };
    let start = ip_len + usize::from(ip.get(ip_len + 12)? >> 4) * 4;
    (start <= end).then_some(ETHERNET_LEN + start..ETHERNET_LEN + end)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    fn check(from: &str, to: &str, flags: u8, payload: &[u8]) {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let headers = Headers::new((from, LOCAL_MAC), (to, REMOTE_MAC));
        let segment = Segment { seq: 0xFFFF_FFF0, ack: 77, flags, payload };
        let mut packet = Vec::new();
        headers.append(&mut packet, &segment);
        assert_eq!(packet.len(), headers.packet_len(&segment));
        let sliced = SlicedPacket::from_ethernet(&packet).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("no TCP") };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (from.port(), to.port()));
        assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (segment.seq, 77));
        assert_eq!((tcp.syn(), tcp.ack()), (flags & SYN != 0, flags & ACK != 0));
        assert_eq!(tcp.payload(), payload);
        let expected = match sliced.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                assert_eq!(
                    ip.header().to_header().calc_header_checksum(),
                    ip.header().header_checksum()
                );
                assert_eq!(IpAddr::from(ip.header().source_addr()), from.ip());
                tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                assert_eq!(IpAddr::from(ip.header().destination_addr()), to.ip());
                tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
            }
            NetSlice::Arp(_) => panic!("ARP"),
        };
        assert_eq!(tcp.checksum(), expected, "{from} {to} {} bytes", payload.len());
    }

    #[test]
    fn checksums_agree_with_etherparse() {
        let ones = vec![0xFF; 65535];
        let counted: Vec<u8> = (0..65535u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for (from, to, limit) in [
            ("10.0.0.5:51234", "93.184.216.34:80", 65495),
            ("[fe80::1]:51234", "[2001:db8::7]:443", 65515),
        ] {
            for len in [0, 1, 2, 3, 4, 5, 255, 1460, 16384, 16385, limit - 1, limit] {
                check(from, to, PSH | ACK, &ones[..len]);
                check(from, to, ACK, &counted[..len]);
            }
            check(from, to, SYN, &[]);
            check(to, from, SYN | ACK, &[]);
        }
    }
}
