//! Fragments of IPv4 and IPv6 in every order.

use super::*;

/// An IPv4 packet with a segment of so many bytes, in fragments of so many bytes.
fn v4(id: u16, seq: u32, len: usize, size: usize) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    let payload: Vec<u8> = (0..len).map(|at| (at + seq as usize) as u8).collect();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.tcp(40_000, 80, seq, 100).ack(9).write(&mut whole, &payload).unwrap();
    let (header, rest) = whole.split_at(20);
    let last = rest.len().div_ceil(size) - 1;
    let parts = rest.chunks(size).enumerate().map(|(at, part)| {
        let mut fragment = header.to_vec();
        fragment[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        fragment[4..6].copy_from_slice(&id.to_be_bytes());
        let place = (at * size / 8) as u16 | if at < last { 0x2000 } else { 0 };
        fragment[6..8].copy_from_slice(&place.to_be_bytes());
        fragment.extend(part);
        fragment
    });
    parts.collect()
}

fn v6(id: u32, len: usize, size: usize) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64);
    builder.tcp(40_000, 80, 7, 100).ack(9).write(&mut whole, &vec![b'x'; len]).unwrap();
    let (header, rest) = whole.split_at(40);
    // Options that are fragmented with the segment.
    let rest = [&[6, 0, 1, 4, 0, 0, 0, 0], rest].concat();
    let last = rest.len().div_ceil(size) - 1;
    let parts = rest.chunks(size).enumerate().map(|(at, part)| {
        let mut fragment = header.to_vec();
        fragment[4..6].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
        fragment[6] = 44;
        let place = (at * size) as u16 | u16::from(at < last);
        fragment.extend([60, 0]);
        fragment.extend(place.to_be_bytes());
        fragment.extend(id.to_be_bytes());
        fragment.extend(part);
        fragment
    });
    parts.collect()
}

fn run(peeler: &mut Peeler, packets: &[Vec<u8>]) -> Vec<Tcp> {
    let seen = packets.iter().flat_map(|packet| peel_with(peeler, 101, 5, packet, packet.len()));
    seen.filter_map(|seen| match seen {
        Seen::Tcp(tcp) => Some(*tcp),
        Seen::Fragment => None,
        other => panic!("{other:?}"),
    })
    .collect()
}

const NONE: FragmentsLost = FragmentsLost { incomplete: 0, contradictory: 0, given_up: 0 };

fn payload(seq: u32, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at + seq as usize) as u8).collect()
}

#[test]
fn fragments_in_any_order_make_the_segment() {
    for (packets, expected) in
        [(v4(1, 7, 5000, 1480), payload(7, 5000)), (v6(1, 5000, 1448), vec![b'x'; 5000])]
    {
        assert_eq!(packets.len(), 4);
        for first in 0..4 {
            for second in (0..4).filter(|at| *at != first) {
                for third in (0..4).filter(|at| ![first, second].contains(at)) {
                    let fourth = 6 - first - second - third;
                    let order = [first, second, third, fourth].map(|at| packets[at].clone());
                    let mut peeler = Peeler::default();
                    let found = run(&mut peeler, &order);
                    assert_eq!(found.len(), 1);
                    assert_eq!((&found[0].payload, found[0].missing), (&expected, 0));
                    assert_eq!((found[0].seq, found[0].ack), (7, Some(9)));
                    assert_eq!(peeler.fragments_lost(), NONE);
                }
            }
        }
    }
}

#[test]
fn small_fragments_and_interleaved_packets_are_reassembled() {
    let (one, two) = (v4(1, 7, 3000, 8), v4(2, 9000, 3000, 16));
    let mut mixed = Vec::new();
    for (at, fragment) in one.iter().enumerate() {
        mixed.push(fragment.clone());
        mixed.extend(two.get(at).cloned());
    }
    let mut peeler = Peeler::default();
    let found = run(&mut peeler, &mixed);
    assert_eq!(found.iter().map(|tcp| tcp.seq).collect::<Vec<_>>(), [9000, 7]);
    assert_eq!(found[0].payload, payload(9000, 3000));
    assert_eq!(found[1].payload, payload(7, 3000));
    assert_eq!(peeler.fragments_lost(), NONE);
}

#[test]
fn repeated_fragments_are_no_loss() {
    let packets = v4(1, 7, 5000, 1480);
    for copies in 2..4 {
        for at in 0..packets.len() {
            let mut repeated = packets.clone();
            (1..copies).for_each(|_| repeated.insert(at, packets[at].clone()));
            repeated.push(packets[at].clone());
            let mut peeler = Peeler::default();
            let found = run(&mut peeler, &repeated);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].payload, payload(7, 5000));
            assert_eq!(peeler.fragments_lost(), NONE);
        }
    }
    // All of them twice give the segment twice.
    let mut peeler = Peeler::default();
    assert_eq!(run(&mut peeler, &[&packets[..], &packets].concat()).len(), 2);
    assert_eq!(peeler.fragments_lost(), NONE);
}

#[test]
fn a_packet_with_the_number_of_an_earlier_packet_is_another() {
    let mut peeler = Peeler::default();
    let (one, two) = (v4(1, 7, 5000, 1480), v4(1, 9000, 5000, 1480));
    // A repetition of the first packet comes before the second.
    let all = [&one[..], &one[1..2], &two].concat();
    let found = run(&mut peeler, &all);
    assert_eq!(found.iter().map(|tcp| tcp.seq).collect::<Vec<_>>(), [7, 9000]);
    assert_eq!(found[1].payload, payload(9000, 5000));
    assert_eq!(peeler.fragments_lost(), NONE);
}

#[test]
fn fragments_that_contradict_each_other_are_left_out() {
    let packets = v4(1, 7, 5000, 1480);
    for (at, replace) in [(1, 100), (2, 1), (0, 30)] {
        let mut other = packets[at].clone();
        other[20 + replace] ^= 1;
        for order in [[&packets[at], &other], [&other, &packets[at]]] {
            let mut all = packets[..at].to_vec();
            all.extend(order.into_iter().cloned());
            all.extend(packets[at + 1..].to_vec());
            let mut peeler = Peeler::default();
            assert!(run(&mut peeler, &all).is_empty());
            assert_eq!(peeler.fragments_lost(), FragmentsLost { contradictory: 1, ..NONE });
        }
    }
    // An overlap with the same contents is none.
    let finer = v4(1, 7, 5000, 1000);
    let mut peeler = Peeler::default();
    let found = run(&mut peeler, &[&packets[..2], &finer[1..]].concat());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].payload, payload(7, 5000));
}

#[test]
fn incomplete_packets_are_counted_if_they_may_carry_tcp() {
    let packets = v4(1, 7, 5000, 1480);
    for absent in 0..4 {
        let mut some = packets.clone();
        some.remove(absent);
        let mut peeler = Peeler::default();
        assert!(run(&mut peeler, &some).is_empty());
        assert_eq!(peeler.fragments_lost(), FragmentsLost { incomplete: 3, ..NONE });
    }
    for (protocol, port, counted) in [(17, 53, 0), (17, 4789, 1), (1, 0, 0), (47, 0, 1)] {
        let mut packet = ip4(protocol, &udp(50_000, port, &[8; 32]));
        packet[6] = 0x20;
        let mut peeler = Peeler::default();
        assert!(run(&mut peeler, &[packet]).is_empty());
        assert_eq!(peeler.fragments_lost().incomplete, counted, "{protocol} {port}");
    }
}

#[test]
fn fragments_wait_for_half_a_minute_of_the_capture() {
    let packets = v4(1, 7, 5000, 1480);
    for (seconds, complete) in [(29, true), (31, false)] {
        let mut peeler = Peeler::default();
        let early = &packets[..3];
        early.iter().for_each(|packet| {
            peel_with(&mut peeler, 101, 1_000_000_000, packet, packet.len());
        });
        let late = (1 + seconds) * 1_000_000_000;
        let seen = peel_with(&mut peeler, 101, late, &packets[3], packets[3].len());
        assert_eq!(matches!(seen[..], [Seen::Tcp(_)]), complete);
        let lost = if complete { 0 } else { 4 };
        assert_eq!(peeler.fragments_lost().incomplete, lost);
    }
}

#[test]
fn bytes_beyond_the_snaplen_are_missing_from_the_segment() {
    let packets = v4(1, 7, 5000, 1480);
    let mut peeler = Peeler::default();
    let seen: Vec<_> = packets
        .iter()
        .flat_map(|packet| {
            peel_with(&mut peeler, 101, 5, &packet[..packet.len().min(1000)], packet.len())
        })
        .collect();
    let Some(Seen::Tcp(tcp)) = seen.last() else { panic!("{seen:?}") };
    // The first fragment has the header of 20 bytes.
    assert_eq!((tcp.payload.len(), tcp.missing), (960, 4040));
}

#[test]
fn fragments_of_a_tunnel_and_inside_of_it_are_reassembled() {
    let inner = v4(1, 7, 5000, 1480);
    let tunnel = |packet: &Vec<u8>| {
        let header = [8, 0, 0, 0, 0, 0, 1, 0];
        let vxlan = [&header[..], &ethernet(0x0800, packet)].concat();
        ip4(17, &udp(50_000, 4789, &vxlan))
    };
    let mut outer = Vec::new();
    for (id, packet) in inner.iter().map(tunnel).enumerate() {
        for (at, part) in packet[20..].chunks(800).enumerate() {
            let mut fragment = packet[..20].to_vec();
            let more = if (at + 1) * 800 < packet.len() - 20 { 0x20 } else { 0 };
            fragment[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
            fragment[5] = id as u8;
            fragment[6..8].copy_from_slice(&[more, at as u8 * 100]);
            outer.push([&fragment[..], part].concat());
        }
    }
    let mut peeler = Peeler::default();
    let found = run(&mut peeler, &outer);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].payload, payload(7, 5000));
    assert_eq!(peeler.fragments_lost(), NONE);
}

#[test]
fn the_memory_for_incomplete_packets_is_bounded() {
    let mut peeler = Peeler::default();
    let mut packet = v4(0, 7, 60_000, 59_000).remove(0);
    for id in 0..1000u16 {
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        assert_eq!(run(&mut peeler, std::slice::from_ref(&packet)), []);
    }
    let small = v4(0, 7, 30, 8).remove(0);
    for id in 0..20_000u16 {
        let mut packet = small.clone();
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[19] = 9;
        assert_eq!(run(&mut peeler, &[packet]), []);
    }
    let (held, packets) = peeler.fragments.held();
    assert!(held <= 8 << 20 && packets <= 4096, "{held} {packets}");
    let lost = peeler.fragments_lost();
    assert_eq!(lost.incomplete + lost.given_up, 21_000);
    assert!(lost.given_up > 15_000);
    assert_eq!(peeler.fragments.held(), (0, 0));
    // The same key again and again.
    let whole = v4(1, 7, 24, 8);
    for _ in 0..20_000 {
        assert_eq!(run(&mut peeler, &whole).len(), 1);
    }
    assert!(peeler.fragments.held().1 <= 1);
}

#[test]
fn impossible_fragments_are_counted_and_left_out() {
    let fragment = |len: usize, offset: u16, more: bool| {
        let mut packet = ip4(6, &vec![7; len]);
        packet[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
        packet
    };
    for (packet, valid) in [
        (fragment(0, 5, false), false),
        (fragment(9, 0, true), false),
        (fragment(8, 0, true), true),
        (fragment(9, 5, false), true),
        (fragment(7, 8191, false), true),
        (fragment(8, 8191, false), false),
    ] {
        let mut peeler = Peeler::default();
        assert_eq!(run(&mut peeler, &[packet]), []);
        assert_eq!(peeler.fragments.held().1, usize::from(valid));
        assert_eq!(peeler.fragments_lost(), FragmentsLost { incomplete: 1, ..NONE });
    }
    // The end of a packet that contradicts its other fragments.
    for (first, second) in [
        (fragment(8, 9, true), fragment(8, 2, false)),
        (fragment(8, 2, false), fragment(8, 9, true)),
        (fragment(8, 2, false), fragment(8, 3, false)),
        (fragment(8, 9, false), fragment(16, 9, false)),
    ] {
        let mut peeler = Peeler::default();
        assert_eq!(run(&mut peeler, &[first, second]), []);
        assert_eq!(peeler.fragments_lost(), FragmentsLost { contradictory: 1, ..NONE });
    }
}
