use etherparse::{LinuxSllHeader, LinuxSllPacketType, LinuxSllProtocolType, PacketBuilder};
use sslrec_analyzer_testing::wireshark::{have, tshark};

use super::*;

mod fragments;
mod wrap;

use self::wrap::{Wrap, ethernet, ip4, ip6, ipv4, ipv6, udp, wraps};

/// What was found in a packet; the payload is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Tcp(Box<Tcp>),
    Fragment,
    Cut,
    TooDeep,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tcp {
    ts_ns: u64,
    src: SocketAddr,
    dst: SocketAddr,
    seq: u32,
    ack: Option<u32>,
    payload: Vec<u8>,
    missing: usize,
}

fn seen(found: &Found<'_>) -> Seen {
    match found {
        Found::Tcp(segment) => Seen::Tcp(Box::new(Tcp {
            ts_ns: segment.ts_ns,
            src: segment.src,
            dst: segment.dst,
            seq: segment.seq,
            ack: segment.ack,
            payload: segment.payload.to_vec(),
            missing: segment.missing,
        })),
        Found::Fragment => Seen::Fragment,
        Found::Cut => Seen::Cut,
        Found::TooDeep => Seen::TooDeep,
        Found::Other => Seen::Other,
    }
}

fn peel_with(peeler: &mut Peeler, link: u32, ts_ns: u64, bytes: &[u8], len: usize) -> Vec<Seen> {
    let mut all = Vec::new();
    let layer = of_link_type(link).unwrap();
    let place = Place::new(ts_ns, layer, bytes, len - bytes.len());
    let flow = peeler.peel(place, &mut |found| {
        all.push(seen(&found));
        Flow::Continue(())
    });
    assert!(flow.is_continue());
    all
}

fn peel(link: u32, bytes: &[u8], len: usize) -> Seen {
    let mut all = peel_with(&mut Peeler::default(), link, 5, bytes, len);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn tcp(link: u32, bytes: &[u8]) -> Tcp {
    match peel(link, bytes, bytes.len()) {
        Seen::Tcp(segment) => *segment,
        other => panic!("{other:?}"),
    }
}

fn expected(wrap: &Wrap) -> (SocketAddr, SocketAddr) {
    let addresses =
        if wrap.six { ("[1::1]:40000", "[2::2]:80") } else { ("10.0.0.1:40000", "10.0.0.2:80") };
    (addresses.0.parse().unwrap(), addresses.1.parse().unwrap())
}

#[test]
fn every_link_type_and_tunnel_gives_the_same_segment() {
    for wrap in wraps() {
        let segment = tcp(wrap.link, &wrap.bytes);
        assert_eq!((segment.src, segment.dst), expected(&wrap), "{}", wrap.name);
        let fields = (segment.seq, segment.ack, &segment.payload[..]);
        assert_eq!(fields, (7, Some(9), &b"hello"[..]), "{}", wrap.name);
        assert_eq!((segment.missing, segment.ts_ns), (0, 5), "{}", wrap.name);
    }
}

#[test]
fn tshark_finds_the_same_segments() {
    if !have(&["tshark"]) {
        return;
    }
    let all: Vec<_> = wraps().into_iter().filter(|wrap| wrap.tshark).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), wrap::pcapng(&all)).unwrap();
    let fields = ["frame.number", "tcp.srcport", "tcp.payload"];
    let packets = tshark(file.path(), &[], "tcp.len == 5", &fields);
    let found: Vec<usize> = packets
        .iter()
        .filter(|packet| {
            packet[1].last().unwrap() == "40000" && packet[2].last().unwrap() == "68656c6c6f"
        })
        .map(|packet| packet[0][0].parse::<usize>().unwrap() - 1)
        .collect();
    let absent: Vec<_> =
        (0..all.len()).filter(|at| !found.contains(at)).map(|at| &all[at].name).collect();
    assert!(absent.is_empty(), "not found by tshark: {absent:?}");
    assert!(all.len() > 60, "{}", all.len());
}

#[test]
fn padding_of_short_frames_is_no_payload() {
    for wrap in wraps() {
        let bytes = [&wrap.bytes[..], &[0; 6]].concat();
        if wrap.padded {
            assert_eq!(tcp(wrap.link, &bytes).payload, b"hello", "{}", wrap.name);
        }
    }
}

#[test]
fn bytes_beyond_the_snaplen_are_missing() {
    for wrap in wraps().iter().filter(|wrap| wrap.ends_with_payload) {
        let whole = &wrap.bytes;
        for cut in 1..=5 {
            match peel(wrap.link, &whole[..whole.len() - cut], whole.len()) {
                Seen::Tcp(segment) => {
                    assert_eq!(segment.missing, cut, "{}", wrap.name);
                    assert_eq!(segment.payload, &b"hello"[..5 - cut], "{}", wrap.name);
                }
                other => panic!("{}: {other:?}", wrap.name),
            }
        }
        let headers_cut = &whole[..whole.len() - 6];
        assert_eq!(peel(wrap.link, headers_cut, whole.len()), Seen::Cut, "{}", wrap.name);
    }
}

#[test]
fn lengths_that_the_card_fills_in_later_are_not_believed() {
    let mut bytes = ipv4();
    bytes[2..4].fill(0);
    let segment = tcp(101, &bytes);
    assert_eq!((&segment.payload[..], segment.missing), (&b"hello"[..], 0));
    match peel(101, &bytes[..bytes.len() - 2], bytes.len()) {
        Seen::Tcp(segment) => assert_eq!((&segment.payload[..], segment.missing), (&b"hel"[..], 2)),
        other => panic!("{other:?}"),
    }
    // Of both headers of a tunnel, and of the datagram between them.
    let mut inner = ethernet(0x0800, &ipv4());
    inner[16..18].fill(0);
    let mut tunnel = ip4(17, &udp(50_000, 4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], &inner[..]].concat()));
    tunnel[2..4].fill(0);
    tunnel[24..26].fill(0);
    assert_eq!(tcp(101, &tunnel).payload, b"hello");
}

#[test]
fn a_packet_that_ends_within_a_header_is_cut_only_if_the_snaplen_cut_it() {
    let packet = ethernet(0x0800, &ip4(47, &[&[0, 0, 0x08, 0], &ipv4()[..]].concat()));
    for end in 0..packet.len() - 25 {
        assert_eq!(peel(1, &packet[..end], packet.len()), Seen::Cut, "{end}");
        assert_eq!(peel(1, &packet[..end], end), Seen::Other, "{end}");
    }
}

#[test]
fn no_segment_is_longer_than_the_system_makes_them() {
    let mut bytes = ipv4();
    bytes[2..4].fill(0);
    for (cut, missing) in [(1000, 1000), (524_280, 524_280), (524_281, 524_280), (1 << 30, 524_280)]
    {
        match peel(101, &bytes, bytes.len() + cut) {
            Seen::Tcp(segment) => assert_eq!(segment.missing, missing),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_control_word_comes_before_an_address_that_looks_like_a_type() {
    let mut frame = ethernet(0x0800, &ipv4());
    // With a control word before it, this is where a frame has its type.
    frame[8..10].copy_from_slice(&[0x08, 0x00]);
    let packet = [&[0, 1, 1, 64, 0, 0, 0, 0], &frame[..]].concat();
    assert_eq!(tcp(219, &packet).payload, b"hello");
}

#[test]
fn an_address_that_looks_like_a_type_makes_no_frame_of_a_packet() {
    let label = [0, 1, 1, 64];
    let mut four = ipv4();
    four[12..14].copy_from_slice(&[0x08, 0x00]);
    let segment = tcp(219, &[&label, &four[..]].concat());
    assert_eq!((segment.src.ip(), &segment.payload[..]), ([8, 0, 0, 1].into(), &b"hello"[..]));
    let mut six = ipv6();
    six[12..14].copy_from_slice(&[0x08, 0x00]);
    assert_eq!(tcp(219, &[&label, &six[..]].concat()).payload, b"hello");
    // Nor does a length that the network card fills in later.
    four[2..4].fill(0);
    assert_eq!(tcp(219, &[&label, &four[..]].concat()).payload, b"hello");
}

#[test]
fn a_datagram_to_another_port_is_no_tunnel() {
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(0x0800, &ipv4())[..]].concat();
    assert_eq!(tcp(101, &ip4(17, &udp(53, 4789, &vxlan))).payload, b"hello");
    for (src, dst) in [(53, 4788), (4789, 53), (4789, 5353), (6081, 1234), (2152, 9)] {
        let packet = ip4(17, &udp(src, dst, &vxlan));
        assert_eq!(peel(101, &packet, packet.len()), Seen::Other, "{src} {dst}");
    }
    // Nor are other contents at a port of a tunnel.
    for port in [4789, 8472, 4790, 6081, 2152, 1701, 6080, 3544, 4341, 5072, 5247, 37008] {
        for text in [&b"hello, world: this is no tunnel at all, only text of some length"[..], b""]
        {
            let packet = ip4(17, &udp(50_000, port, text));
            assert_eq!(peel(101, &packet, packet.len()), Seen::Other, "{port}");
        }
    }
}

#[test]
fn tunnels_are_nested_up_to_the_limit() {
    for depth in [1, 5, 20, MAX_LAYERS - 1] {
        let packet = (0..depth).fold(ipv4(), |inner, _| ip4(4, &inner));
        let expected = if depth < MAX_LAYERS { b"hello" } else { &b""[..] };
        assert_eq!(tcp(101, &packet).payload, expected, "{depth}");
    }
    let packet = (0..MAX_LAYERS).fold(ipv4(), |inner, _| ip4(4, &inner));
    assert_eq!(peel(101, &packet, packet.len()), Seen::TooDeep);
    // Different kinds of tunnels.
    let gre = ip4(47, &[&[0, 0, 0x08, 0], &ipv4()[..]].concat());
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(0x0800, &gre)[..]].concat();
    let six = ip6(41, &ip6(17, &udp(1, 4789, &vxlan)));
    assert_eq!(tcp(1, &ethernet(0x86dd, &six)).payload, b"hello");
}

#[test]
fn a_stack_of_tags_has_any_height() {
    for height in [1, 2, 3, 40, 300] {
        let mut frame = vec![2; 12];
        (0..height).for_each(|at| frame.extend([0x81, 0, 0, at as u8]));
        frame.extend([8, 0]);
        frame.extend(ipv4());
        assert_eq!(tcp(1, &frame).payload, b"hello", "{height}");
        let mut labels = vec![];
        (0..height).for_each(|at| labels.extend([0, 1, if at == height - 1 { 1 } else { 0 }, 64]));
        labels.extend(ipv4());
        assert_eq!(tcp(219, &labels).payload, b"hello", "{height}");
    }
}

#[test]
fn all_frames_of_an_aggregate_are_read() {
    let llc = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ipv4()[..]].concat();
    let mut subframe = vec![4; 12];
    subframe.extend((llc.len() as u16).to_be_bytes());
    subframe.extend(&llc);
    let padded =
        [&subframe[..], &vec![0; subframe.len().next_multiple_of(4) - subframe.len()]].concat();
    let mut frame = vec![0x88, 1, 0, 0];
    frame.extend([3; 18]);
    frame.extend([0, 0, 0x80, 0]);
    for count in 1..80 {
        let all = [&frame[..], &padded.repeat(count - 1), &subframe].concat();
        let seen = peel_with(&mut Peeler::default(), 105, 5, &all, all.len());
        assert_eq!(seen.len(), count);
        assert!(seen.iter().all(|seen| matches!(seen, Seen::Tcp(tcp) if tcp.payload == b"hello")));
    }
}

#[test]
fn a_frame_that_is_encrypted_or_has_no_data_is_other() {
    let llc = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ipv4()[..]].concat();
    for (kind, flags) in [(0x08, 0x41), (0x48, 1), (0x80, 0), (0xb4, 0)] {
        let frame = [&[kind, flags], &[0; 22][..], &llc].concat();
        assert_eq!(peel(105, &frame, frame.len()), Seen::Other);
    }
}

#[test]
fn the_check_sequence_of_a_pcap_is_declared_in_its_link_type() {
    assert_eq!(frame_check_sequence(1), (0, 1));
    assert_eq!(frame_check_sequence(0x0400_0001), (0, 1));
    assert_eq!(frame_check_sequence(0x2400_0001), (4, 1));
    assert_eq!(frame_check_sequence(0x2000_0001), (0, 1));
    assert_eq!(frame_check_sequence(0x1400_0071), (2, 0x71));
}

#[test]
fn nothing_panics_on_any_cut_or_flip() {
    for wrap in wraps() {
        let whole = &wrap.bytes;
        for end in 0..=whole.len() {
            peel_with(&mut Peeler::default(), wrap.link, 0, &whole[..end], whole.len());
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x45, 0x60, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                peel_with(&mut Peeler::default(), wrap.link, 0, &bytes, bytes.len());
            }
        }
    }
    // Random bytes in every layer.
    let mut state = 1u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for round in 0..2000 {
        let bytes: Vec<u8> = (0..round % 200).map(|_| random()).collect();
        for link in (0..300).filter(|link| of_link_type(*link).is_some()) {
            peel_with(&mut Peeler::default(), link, 0, &bytes, bytes.len());
        }
        let packet = ip4(random(), &bytes);
        peel_with(&mut Peeler::default(), 101, 0, &packet, packet.len());
    }
}
