//! A segment in each link type and tunnel.

use super::*;

/// A packet with a segment of `hello`.
pub(super) struct Wrap {
    pub(super) name: &'static str,
    pub(super) link: u32,
    pub(super) bytes: Vec<u8>,
    /// The segment is in IPv6.
    pub(super) six: bool,
    /// tshark recognises it without configuration.
    pub(super) tshark: bool,
    /// Bytes may follow.
    pub(super) padded: bool,
    pub(super) ends_with_payload: bool,
}

pub(super) fn ipv4() -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.tcp(40_000, 80, 7, 100).ack(9).write(&mut bytes, b"hello").unwrap();
    bytes
}

pub(super) fn ipv6() -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    (src[1], src[15], dst[1], dst[15]) = (1, 1, 2, 2);
    let builder = PacketBuilder::ipv6(src, dst, 64);
    builder.tcp(40_000, 80, 7, 100).ack(9).write(&mut bytes, b"hello").unwrap();
    bytes
}

/// IPv4 between the ends of a tunnel.
pub(super) fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = 20 + payload.len() as u16;
    let mut header =
        etherparse::Ipv4Header::new(len - 20, 64, protocol.into(), [1; 4], [2; 4]).unwrap();
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

pub(super) fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend([0xfd; 16]);
    bytes.extend([0xfc; 16]);
    bytes.extend(payload);
    bytes
}

pub(super) fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [src, dst, 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat();
    bytes.extend(payload);
    bytes
}

pub(super) fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    [&header[..], &ether_type.to_be_bytes(), payload].concat()
}

/// An Ethernet frame with a length.
fn ieee_8023(payload: &[u8]) -> Vec<u8> {
    ethernet(payload.len() as u16, payload)
}

/// A pcapng with each packet on an interface of its own.
pub(super) fn pcapng(wraps: &[Wrap]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let len = 12 + body.len() as u32;
        file.extend([kind.to_le_bytes(), len.to_le_bytes()].concat());
        file.extend(body);
        file.extend(len.to_le_bytes());
    };
    let mut section = vec![0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    section.extend([0xff; 8]);
    block(0x0a0d_0d0a, &section);
    for wrap in wraps {
        block(1, &[&wrap.link.to_le_bytes()[..], &[0; 4]].concat());
    }
    for (at, wrap) in wraps.iter().enumerate() {
        let len = wrap.bytes.len();
        let head = [at as u32, 0, at as u32 * 1_000_000, len as u32, len as u32];
        let padding = vec![0; len.next_multiple_of(4) - len];
        block(6, &[&head.map(u32::to_le_bytes).concat()[..], &wrap.bytes, &padding].concat());
    }
    file
}

#[derive(Default)]
struct All(Vec<Wrap>);

impl All {
    fn add(&mut self, name: &'static str, link: u32, header: &[u8]) -> &mut Wrap {
        self.with(name, link, [header, &ipv4()].concat())
    }

    fn with(&mut self, name: &'static str, link: u32, bytes: Vec<u8>) -> &mut Wrap {
        let (six, tshark, padded, ends_with_payload) = (false, true, true, true);
        self.0.push(Wrap { name, link, bytes, six, tshark, padded, ends_with_payload });
        self.0.last_mut().unwrap()
    }

    /// Of an IP protocol, over Ethernet.
    fn over_ip(
        &mut self,
        name: &'static str,
        protocol: u8,
        header: &[u8],
        inner: &[u8],
    ) -> &mut Wrap {
        let packet = ip4(protocol, &[header, inner].concat());
        self.with(name, 1, ethernet(0x0800, &packet))
    }

    fn over_udp(
        &mut self,
        name: &'static str,
        port: u16,
        header: &[u8],
        inner: &[u8],
    ) -> &mut Wrap {
        let datagram = udp(50_000, port, &[header, inner].concat());
        self.with(name, 1, ethernet(0x0800, &ip4(17, &datagram)))
    }
}

impl Wrap {
    fn no_tshark(&mut self) {
        self.tshark = false;
    }

    fn six(&mut self) -> &mut Self {
        self.six = true;
        self
    }
}

const SNAP: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];

pub(super) fn wraps() -> Vec<Wrap> {
    let mut all = All::default();
    links(&mut all);
    wireless(&mut all);
    link_layers(&mut all);
    tunnels(&mut all);
    datagrams(&mut all);
    all.0
}

fn links(all: &mut All) {
    let sll = LinuxSllHeader {
        packet_type: LinuxSllPacketType::HOST,
        arp_hrd_type: etherparse::ArpHardwareId::ETHERNET,
        sender_address_valid_length: 6,
        sender_address: [0; 8],
        protocol_type: LinuxSllProtocolType::EtherType(etherparse::EtherType::IPV4),
    };
    let sll2 = [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6][..], &[0; 8]].concat();
    all.add("NULL, little endian", 0, &[2, 0, 0, 0]);
    all.add("NULL, big endian", 0, &[0, 0, 0, 2]);
    all.with("NULL, IPv6", 0, [&[30, 0, 0, 0], &ipv6()[..]].concat()).six();
    all.add("LOOP", 108, &[0, 0, 0, 2]);
    all.add("RAW", 101, &[]);
    all.with("RAW, IPv6", 101, ipv6()).six();
    all.add("RAW of BSD", 12, &[]).no_tshark();
    all.add("RAW of OpenBSD", 14, &[]).no_tshark();
    all.add("IPV4", 228, &[]);
    all.with("IPV6", 229, ipv6()).six();
    all.add("LINUX_SLL", 113, &sll.to_bytes());
    all.add("LINUX_SLL2", 276, &sll2);
    all.add("SLIP", 8, &[0; 16]).no_tshark();
    all.add("PPP", 9, &[0xff, 3, 0, 0x21]);
    all.add("PPP without address", 9, &[0, 0x21]);
    all.add("PPP, compressed protocol", 9, &[0x21]);
    all.with("PPP, IPv6", 9, [&[0xff, 3, 0, 0x57], &ipv6()[..]].concat()).six();
    all.add("PPP, MPLS", 9, &[0xff, 3, 2, 0x81, 0, 1, 1, 64]);
    all.add("PPP, multilink", 9, &[0xff, 3, 0, 0x3d, 0xc0, 0, 0, 1, 0, 0x21]).no_tshark();
    all.with("PPP, bridged", 9, [&[0, 0x31, 0, 1], &ethernet(0x0800, &ipv4())[..]].concat());
    all.add("PPP_HDLC", 50, &[0xff, 3, 0, 0x21]);
    all.add("PPP_HDLC, Cisco", 50, &[0x0f, 0, 8, 0]);
    all.add("PPP_ETHER", 51, &[&[0x11, 0, 0, 1, 0, 47, 0, 0x21][..]].concat());
    all.add("PPP_PPPD", 166, &[1, 3, 0, 0x21]).no_tshark();
    all.add("PPP_WITH_DIR", 204, &[1, 0xff, 3, 0, 0x21]);
    all.add("C_HDLC", 104, &[0x0f, 0, 8, 0]);
    all.with("C_HDLC, IPv6", 104, [&[0x0f, 0, 0x86, 0xdd], &ipv6()[..]].concat()).six();
    all.add("C_HDLC_WITH_DIR", 205, &[0, 0x8f, 0, 8, 0]).no_tshark();
    all.add("FRELAY", 107, &[0x18, 0x41, 3, 0xcc]);
    all.add("FRELAY, SNAP", 107, &[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0]);
    all.with("FRELAY, IPv6", 107, [&[0x18, 0x41, 3, 0x8e], &ipv6()[..]].concat()).six();
    all.add("FRELAY, PPP", 107, &[0x18, 0x41, 3, 0xcf, 0, 0x21]).no_tshark();
    all.add("FRELAY, Cisco", 107, &[0x18, 0x41, 8, 0]).no_tshark();
    all.add("FRELAY_WITH_DIR", 206, &[0, 0x18, 0x41, 3, 0xcc]).no_tshark();
    all.add("ENC", 109, &[2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    all.add("PFLOG", 117, &[&[61, 2][..], &[0; 62]].concat());
    all.add("PFLOG of OpenBSD", 117, &[&[100, 2][..], &[0; 98]].concat());
    all.add("TOKEN_RING", 6, &[&[0x10, 0x40][..], &[2; 12], &SNAP].concat());
    let route = [&[0x10, 0x40][..], &[2; 6], &[0x82; 6], &[6, 0, 0, 1, 0, 2], &SNAP].concat();
    all.add("TOKEN_RING with a route", 6, &route);
    all.add("FDDI", 10, &[&[0x50][..], &[2; 12], &SNAP].concat());
    all.add("ATM_RFC1483", 100, &SNAP);
    all.add("ATM_RFC1483, routed", 100, &[0xfe, 0xfe, 3, 0xcc]);
    all.add("ATM_CLIP", 19, &SNAP).no_tshark();
    all.add("SUNATM", 123, &[&[0x02, 0, 0, 100][..], &SNAP].concat());
    all.add("IP_OVER_FC", 122, &[&[0; 16][..], &SNAP].concat());
    all.add("APPLE_IP_OVER_IEEE1394", 138, &[&[0; 16][..], &[8, 0]].concat());
    all.add("MPLS", 219, &[0, 1, 1, 64]).no_tshark();
    all.add("IPNET", 226, &[&[1, 2][..], &[0; 22]].concat()).no_tshark();
    nflog_and_pktap(all);
    let frame = ethernet(0x0800, &ipv4());
    let erf = |kind: u8, rest: &[u8]| [&[0; 8][..], &[kind, 0, 0, 80, 0, 0, 0, 80], rest].concat();
    all.with("ERF, Ethernet", 197, erf(2, &[&[0, 0], &frame[..]].concat()));
    all.with("ERF, IPv4", 197, erf(22, &ipv4()));
    let extension = [&[0x83, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 1][..], &ipv4()].concat();
    all.with("ERF, extension headers", 197, erf(22 | 0x80, &extension));
    let preamble = [0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xd5];
    all.with("NETANALYZER", 240, [&[0; 4], &frame[..]].concat()).no_tshark();
    let transparent = [&[0; 4], &preamble[..], &frame[..]].concat();
    all.with("NETANALYZER_TRANSPARENT", 241, transparent).no_tshark();
    all.with("ETHERNET_MPACKET", 274, [&preamble[..], &frame[..]].concat()).no_tshark();
    all.with("EPON", 259, [&preamble[..], &frame[..]].concat()).no_tshark();
    for (name, link, len) in
        [("DSA_TAG_BRCM", 281, 4), ("DSA_TAG_DSA", 283, 4), ("DSA_TAG_EDSA", 284, 8)]
    {
        let tagged = [&frame[..12], &[0; 8][..len], &frame[12..]].concat();
        all.with(name, link, tagged).no_tshark();
    }
    all.with("DSA_TAG_BRCM_PREPEND", 282, [&[0; 4], &frame[..]].concat()).no_tshark();
}

fn nflog_and_pktap(all: &mut All) {
    let len = ipv4().len() as u16 + 4;
    for big in [false, true] {
        let number = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut nflog = vec![2, 0, 0, 0];
        for (len, kind, value) in [(8, 1, &[8, 0, 0, 1][..]), (5, 10, &[0, 0, 0, 0]), (len, 9, &[])]
        {
            nflog.extend(number(len));
            nflog.extend(number(kind));
            nflog.extend(value);
        }
        // The byte order of a pcapng section is the same for all of its interfaces.
        all.add(if big { "NFLOG, big endian" } else { "NFLOG" }, 239, &nflog).tshark = !big;
        let number = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        for (link, inner) in [(12, ipv4()), (1, ethernet(0x0800, &ipv4()))] {
            let mut pktap = [number(108), number(1), number(link)].concat();
            pktap.resize(108, 0);
            let name = if big { "PKTAP, big endian" } else { "PKTAP" };
            all.with(name, 258, [&pktap[..], &inner].concat()).tshark = !big;
        }
    }
}

fn wireless(all: &mut All) {
    let data = |kind: u8, flags: u8, more: &[u8]| {
        [&[kind, flags, 0, 0][..], &[2; 18], &[0, 0], more, &SNAP].concat()
    };
    let plain = data(0x08, 1, &[]);
    all.add("802.11", 105, &plain);
    all.add("802.11, QoS", 105, &data(0x88, 1, &[0, 0]));
    all.add("802.11, QoS and HT control", 105, &data(0x88, 0x82, &[0, 0, 0, 0, 0, 0]));
    all.add("802.11, between access points", 105, &data(0x08, 3, &[3; 6]));
    let radiotap = |present: u32, fields: &[u8]| {
        let len = 8 + fields.len() as u16;
        [&[0, 0][..], &len.to_le_bytes(), &present.to_le_bytes(), fields].concat()
    };
    all.add("radiotap", 127, &[&radiotap(0, &[])[..], &plain].concat());
    let time_and_flags = radiotap(3, &[0, 0, 0, 0, 0, 0, 0, 0, 0]);
    all.add("radiotap with time and flags", 127, &[&time_and_flags[..], &plain].concat());
    let check = [&radiotap(2, &[0x10])[..], &plain, &ipv4(), &[1, 2, 3, 4]].concat();
    all.with("radiotap with a check sequence", 127, check).ends_with_payload = false;
    let more = radiotap(0x8000_0001, &[[1u8, 0, 0, 0], [0; 4], [0; 4], [0; 4], [0; 4]].concat());
    all.add("radiotap with more bits", 127, &[&more[..], &plain].concat()).no_tshark();
    let padded = [&data(0x88, 1, &[0, 0])[..26], &[0, 0], &SNAP].concat();
    all.add("radiotap with padding", 127, &[&radiotap(2, &[0x20])[..], &padded].concat());
    let ppi = |link: u8| [0, 0, 8, 0, link, 0, 0, 0];
    all.add("PPI, 802.11", 192, &[&ppi(105)[..], &plain].concat());
    all.add("PPI, Ethernet", 192, &[&ppi(1)[..], &ethernet(0x0800, &[])].concat());
    all.add("PPI, NULL", 192, &[&ppi(0)[..], &[2, 0, 0, 0]].concat());
    let mut prism = vec![0x44, 0, 0, 0, 144, 0, 0, 0];
    prism.resize(144, 0);
    all.add("PRISM", 119, &[&prism[..], &plain].concat());
    let mut avs = vec![0x80, 0x21, 0x10, 1, 0, 0, 0, 64];
    avs.resize(64, 0);
    all.add("AVS", 163, &[&avs[..], &plain].concat());
    all.add("PRISM, AVS", 119, &[&avs[..], &plain].concat());
}

fn link_layers(all: &mut All) {
    let frame = ethernet(0x0800, &ipv4());
    all.with("Ethernet", 1, frame.clone());
    all.with("Ethernet, IPv6", 1, ethernet(0x86dd, &ipv6())).six();
    all.with("VLAN", 1, ethernet(0x8100, &[&[0, 1, 8, 0], &ipv4()[..]].concat()));
    let tags = [0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 0];
    all.with("QinQ", 1, ethernet(0x88a8, &[&tags[..], &ipv4()].concat()));
    all.with("QinQ, older type", 1, ethernet(0x9100, &[&tags[..], &ipv4()].concat()));
    all.with("LLC and SNAP", 1, ieee_8023(&[&SNAP[..], &ipv4()].concat()));
    let tagged = [0, 1, 0, 53];
    let vlan_llc = ethernet(0x8100, &[&tagged[..], &SNAP, &ipv4()].concat());
    all.with("VLAN, LLC", 1, vlan_llc);
    all.with("LLC, IP", 1, ieee_8023(&[&[6, 6, 3], &ipv4()[..]].concat()));
    let bridged = [&[0xaa, 0xaa, 3, 0, 0x80, 0xc2, 0, 7], &frame[..]].concat();
    all.with("LLC, bridged", 1, ieee_8023(&bridged)).no_tshark();
    for (name, labels) in
        [("MPLS, a label", &[0, 1, 1, 64][..]), ("MPLS, two", &[0, 1, 0, 64, 0, 2, 1, 9])]
    {
        all.with(name, 1, ethernet(0x8847, &[labels, &ipv4()].concat()));
    }
    all.with("MPLS, IPv6", 1, ethernet(0x8847, &[&[0, 1, 1, 64], &ipv6()[..]].concat())).six();
    let pseudowire = [&[0, 1, 1, 64, 0, 0, 0, 0], &frame[..]].concat();
    all.with("pseudowire, control word", 1, ethernet(0x8847, &pseudowire)).no_tshark();
    let pseudowire = [&[0, 1, 1, 64], &frame[..]].concat();
    all.with("pseudowire", 1, ethernet(0x8847, &pseudowire)).no_tshark();
    for (name, first) in
        [("pseudowire to 00:", 0), ("pseudowire to 45:", 0x45), ("pseudowire to 60:", 0x60)]
    {
        let mut inner = frame.clone();
        (inner[0], inner[2], inner[3], inner[4], inner[5]) = (first, 0xff, 0xee, 0xff, 0xfe);
        all.with(name, 1, ethernet(0x8847, &[&[0, 1, 1, 64], &inner[..]].concat())).no_tshark();
    }
    let session = [&[0x11, 0, 0, 7, 0, 47, 0, 0x21], &ipv4()[..]].concat();
    all.with("PPPoE", 1, ethernet(0x8864, &session));
    let session = [&[0x11, 0, 0, 7, 0, 0, 0, 0x21], &ipv4()[..]].concat();
    all.with("PPPoE without length", 1, ethernet(0x8864, &session)).tshark = false;
    let macsec = [&[0, 0, 0, 0, 0, 1, 8, 0], &ipv4()[..]].concat();
    all.with("MACsec without encryption", 1, ethernet(0x88e5, &macsec)).tshark = false;
    all.with("802.1ah", 1, ethernet(0x88e7, &[&[0, 0, 0, 1], &frame[..]].concat()));
    all.with("FabricPath", 1, ethernet(0x8903, &[&[0, 1], &frame[..]].concat())).no_tshark();
    all.with("VN-Tag", 1, ethernet(0x8926, &[&[0, 0, 0, 0, 8, 0], &ipv4()[..]].concat()));
    let tag = [&[0, 0, 0, 0, 0, 0, 8, 0], &ipv4()[..]].concat();
    all.with("802.1BR", 1, ethernet(0x893f, &tag));
    all.with("802.1CB", 1, ethernet(0xf1c1, &[&[0, 0, 0, 1, 8, 0], &ipv4()[..]].concat()));
    all.with("TRILL", 1, ethernet(0x22f3, &[&[0, 1, 0, 2, 0, 3], &frame[..]].concat()));
    let options = [&[0, 0x81, 0, 2, 0, 3][..], &[0; 8], &frame].concat();
    all.with("TRILL with options", 1, ethernet(0x22f3, &options)).no_tshark();
    let jumbo = [&SNAP[..], &ipv4()].concat();
    all.with("LLC in a jumbo frame", 1, ethernet(0x8870, &jumbo)).no_tshark();
    all.with("NSH", 1, ethernet(0x894f, &[&[0, 6, 1, 1][..], &[0; 20], &ipv4()].concat()));
    let nsh = [&[0, 2, 2, 3, 0, 0, 1, 255], &frame[..]].concat();
    all.with("NSH, Ethernet", 1, ethernet(0x894f, &nsh));
}

fn tunnels(all: &mut All) {
    let frame = ethernet(0x0800, &ipv4());
    all.over_ip("IP in IP", 4, &[], &ipv4());
    all.over_ip("6in4", 41, &[], &ipv6()).six();
    all.with("4in6", 1, ethernet(0x86dd, &ip6(4, &ipv4())));
    all.with("6in6", 1, ethernet(0x86dd, &ip6(41, &ipv6()))).six();
    let options = [4, 0, 1, 4, 0, 0, 0, 0];
    all.with("4in6 with options", 1, ethernet(0x86dd, &ip6(60, &[&options[..], &ipv4()].concat())));
    for (name, header) in [
        ("GRE", &[0, 0, 8, 0][..]),
        ("GRE, key", &[0x20, 0, 8, 0, 0, 0, 0, 9]),
        ("GRE, checksum", &[0x80, 0, 8, 0, 0, 0, 0, 0]),
        ("GRE, sequence", &[0x10, 0, 8, 0, 0, 0, 0, 1]),
        ("GRE, all", &[0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]),
        ("GRE, route", &[0x40, 0, 8, 0, 0, 0, 0, 0, 8, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0]),
        ("PPTP", &[0x30, 0x01, 0x88, 0x0b, 0, 49, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21]),
        ("PPTP, ack", &[0x30, 0x81, 0x88, 0x0b, 0, 47, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0x21]),
        ("PPTP, ack alone", &[0x20, 0x81, 0x88, 0x0b, 0, 46, 0, 1, 0, 0, 0, 2, 0x21]),
        ("GRE, MPLS", &[0, 0, 0x88, 0x47, 0, 1, 1, 64]),
        ("GRE, PPP", &[0, 0, 0x88, 0x0b, 0xff, 3, 0, 0x21]),
    ] {
        all.over_ip(name, 47, header, &ipv4());
    }
    all.over_ip("GRE, WCCP", 47, &[0, 0, 0x88, 0x3e, 0, 0, 0, 0], &ipv4());
    all.over_ip("GRE, WCCP of version 1", 47, &[0, 0, 0x88, 0x3e], &ipv4()).no_tshark();
    all.over_ip("GRE, IPv6", 47, &[0, 0, 0x86, 0xdd], &ipv6()).six();
    let vlan = ethernet(0x8100, &[&[0, 1, 8, 0], &ipv4()[..]].concat());
    all.over_ip("gretap", 47, &[0, 0, 0x65, 0x58], &frame);
    all.over_ip("gretap, VLAN", 47, &[0x20, 0, 0x65, 0x58, 0, 0, 0, 1], &vlan);
    all.over_ip("ERSPAN I", 47, &[0, 0, 0x88, 0xbe], &frame);
    let two = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 0];
    all.over_ip("ERSPAN II", 47, &two, &frame);
    let mut three = vec![0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    all.over_ip("ERSPAN III", 47, &three, &frame);
    three[19] = 1;
    three.extend([0x0c, 0, 0, 0, 0, 0, 0, 0]);
    all.over_ip("ERSPAN III with a subheader", 47, &three, &frame);
    all.over_ip("EtherIP", 97, &[0x30, 0], &frame);
    all.over_ip("MPLS in IP", 137, &[0, 1, 1, 64], &ipv4());
    all.with("Ethernet in IPv6", 1, ethernet(0x86dd, &ip6(143, &frame))).no_tshark();
    all.over_ip("L2TPv3, Ethernet", 115, &[0, 0, 0, 9], &frame).no_tshark();
    all.over_ip("L2TPv3, cookie", 115, &[0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8], &frame).no_tshark();
    all.over_ip("L2TPv3, IP", 115, &[0, 0, 0, 9, 1, 2, 3, 4], &ipv4()).no_tshark();
    let authentication =
        [6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let segment = &ipv4()[20..];
    let mut packet = ip4(51, &[&authentication[..], segment].concat());
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    all.with("authentication header", 101, packet);
    let options = [6, 0, 1, 4, 0, 0, 0, 0];
    let segment = &ipv6()[40..];
    let mut packet = ip6(0, &[&options[..], segment].concat());
    packet[8..40].copy_from_slice(&ipv6()[8..40]);
    all.with("hop-by-hop options", 101, packet).six();
}

fn datagrams(all: &mut All) {
    let frame = ethernet(0x0800, &ipv4());
    let vxlan = [8, 0, 0, 0, 0, 0, 1, 0];
    all.over_udp("VXLAN", 4789, &vxlan, &frame);
    all.over_udp("VXLAN, port of Linux", 8472, &vxlan, &frame).no_tshark();
    all.over_udp("VXLAN, policy", 4789, &[0x88, 0, 0, 5, 0, 0, 1, 0], &frame);
    all.over_udp("VXLAN, reserved bits", 4789, &[0xff, 1, 2, 3, 0, 0, 1, 4], &frame);
    all.over_udp("VXLAN-GPE, IPv4", 4790, &[0x0c, 0, 0, 1, 0, 0, 1, 0], &ipv4());
    all.over_udp("VXLAN-GPE, Ethernet", 4790, &[0x0c, 0, 0, 3, 0, 0, 1, 0], &frame);
    let nsh = [0x0c, 0, 0, 4, 0, 0, 1, 0, 0, 2, 2, 1, 0, 0, 1, 255];
    all.over_udp("VXLAN-GPE, NSH", 4790, &nsh, &ipv4());
    all.over_udp("Geneve", 6081, &[0, 0, 0x65, 0x58, 0, 0, 1, 0], &frame);
    all.over_udp("Geneve, IPv4", 6081, &[0, 0, 8, 0, 0, 0, 1, 0], &ipv4());
    let options = [2, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 2, 3, 1, 9, 9, 9, 9];
    all.over_udp("Geneve, options", 6081, &options, &frame);
    let gtp = |flags: u8, more: &[u8]| {
        let len = (more.len() + ipv4().len()) as u16;
        [&[flags, 255][..], &len.to_be_bytes(), &[0, 0, 0, 7], more].concat()
    };
    all.over_udp("GTP-U", 2152, &gtp(0x30, &[]), &ipv4());
    all.over_udp("GTP-U, sequence", 2152, &gtp(0x32, &[0, 1, 0, 0]), &ipv4());
    let extension = gtp(0x34, &[0, 0, 0, 0x85, 1, 0, 9, 0]);
    all.over_udp("GTP-U, extension", 2152, &extension, &ipv4());
    let extensions = gtp(0x34, &[0, 0, 0, 0x85, 1, 0, 9, 0xc0, 1, 0, 1, 0]);
    all.over_udp("GTP-U, two extensions", 2152, &extensions, &ipv4());
    for (name, header) in [
        ("L2TP", &[0, 2, 0, 7, 0, 8, 0xff, 3, 0, 0x21][..]),
        ("L2TP, length", &[0x40, 2, 0, 57, 0, 7, 0, 8, 0xff, 3, 0, 0x21]),
        ("L2TP, sequence", &[8, 2, 0, 7, 0, 8, 0, 1, 0, 1, 0xff, 3, 0, 0x21]),
        ("L2TP, offset", &[2, 2, 0, 7, 0, 8, 0, 2, 0, 0, 0xff, 3, 0, 0x21]),
    ] {
        all.over_udp(name, 1701, header, &ipv4());
    }
    let answer = udp(1701, 50_000, &[&[0, 2, 0, 7, 0, 8, 0, 0x21], &ipv4()[..]].concat());
    all.with("L2TP, answer", 1, ethernet(0x0800, &ip4(17, &answer)));
    all.over_udp("L2TPv3 over UDP", 1701, &[0, 3, 0, 0, 0, 0, 0, 9], &frame).no_tshark();
    all.over_udp("GUE, IPv4 alone", 6080, &[], &ipv4()).no_tshark();
    all.over_udp("GUE", 6080, &[0, 4, 0, 0], &ipv4()).no_tshark();
    all.over_udp("GUE, GRE", 6080, &[1, 47, 0, 0, 1, 2, 3, 4, 0, 0, 8, 0], &ipv4()).no_tshark();
    all.over_udp("MPLS over UDP", 6635, &[0, 1, 1, 64], &ipv4());
    all.over_udp("GRE over UDP", 4754, &[0, 0, 8, 0], &ipv4()).no_tshark();
    all.over_udp("Teredo", 3544, &[], &ipv6()).six();
    let origin = [&[0, 1, 0, 0][..], &[0; 9], &[0, 0, 1, 2, 3, 4, 5, 6]].concat();
    all.over_udp("Teredo, authentication and origin", 3544, &origin, &ipv6()).six();
    all.over_udp("LISP", 4341, &[0; 8], &ipv4());
    let ayiya = [&[0x44, 0x52, 0x11, 41, 0, 0, 0, 0][..], &[0; 36]].concat();
    all.over_udp("AYIYA", 5072, &ayiya, &ipv6()).six().no_tshark();
    let station = [&[0x08, 1, 0, 0][..], &[2; 18], &[0, 0], &SNAP].concat();
    let swapped = [&[1, 0x08][..], &station[2..]].concat();
    all.over_udp("CAPWAP", 5247, &[&[0, 0x10, 3, 0, 0, 0, 0, 0], &station[..]].concat(), &ipv4())
        .no_tshark();
    let cisco = [&[0, 0x10, 3, 0, 0, 0, 0, 0], &swapped[..]].concat();
    all.over_udp("CAPWAP, swapped", 5247, &cisco, &ipv4()).no_tshark();
    all.over_udp("CAPWAP, 802.3", 5247, &[0, 0x10, 0x02, 0, 0, 0, 0, 0], &frame);
    all.over_udp("TZSP", 37008, &[1, 0, 0, 1, 1], &frame);
    let tags = [&[1, 0, 0, 18, 0, 10, 1, 9, 1], &station[..]].concat();
    all.over_udp("TZSP, 802.11", 37008, &tags, &ipv4());
}
