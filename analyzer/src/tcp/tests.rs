//! Reassembly is compared with the bytes that were sent.

use std::collections::BTreeMap;

use sslrec_formats::record::{Close, CloseCause, Connection, Role};

use super::*;

/// The output.
#[derive(Debug, Default)]
struct Seen {
    connections: Vec<Connection>,
    /// Bytes of each connection and direction; missing bytes are `None`.
    streams: BTreeMap<(u64, bool), Vec<Option<u8>>>,
    closes: Vec<Close>,
    notes: Vec<String>,
}

impl Seen {
    fn stream(&self, conn: u64, sent: bool) -> &[Option<u8>] {
        self.streams.get(&(conn, sent)).map_or(&[], Vec::as_slice)
    }
}

impl RecordSink for Seen {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        match record {
            Record::Connection(connection) => self.connections.push(connection.clone()),
            Record::Data(data) => {
                let stream =
                    self.streams.entry((data.conn, data.dir == Direction::Sent)).or_default();
                assert_eq!(stream.len() as u64, data.offset);
                stream.extend(data.payload.iter().copied().map(Some));
            }
            Record::Gap(gap) => {
                let stream =
                    self.streams.entry((gap.conn, gap.dir == Direction::Sent)).or_default();
                assert_eq!(stream.len() as u64, gap.offset);
                stream.resize(stream.len() + gap.len as usize, None);
            }
            Record::Close(close) => self.closes.push(close.clone()),
            other => panic!("{other:?}"),
        }
        Flow::Continue(())
    }

    fn note(&mut self, _: u64, note: &Note) -> Flow {
        self.notes.push(note.to_string());
        Flow::Continue(())
    }
}

/// Pseudo-random numbers that are the same in each run (xorshift64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:80";

fn from(client: bool, seq: u32, payload: &[u8]) -> Segment<'_> {
    let (src, dst) = if client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    Segment {
        ts_ns: 1,
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        seq,
        ack: None,
        syn: false,
        fin: false,
        rst: false,
        payload,
        missing: 0,
    }
}

fn syn(client: bool, seq: u32, ack: Option<u32>) -> Segment<'static> {
    Segment { syn: true, ack, ..from(client, seq, &[]) }
}

fn reassemble(segments: &[Segment<'_>]) -> Seen {
    let mut seen = Seen::default();
    let mut tcp = Reassembler::new();
    for segment in segments {
        assert!(tcp.segment(segment, &mut seen).is_continue());
    }
    assert!(tcp.finish(&mut seen).is_continue());
    assert_eq!(seen.connections.len(), seen.closes.len());
    assert_eq!(tcp.pending_bytes, 0);
    seen
}

fn bytes(n: usize) -> Vec<u8> {
    let mut seeded = Seeded(n as u64 + 1);
    (0..n).map(|_| seeded.below(256) as u8).collect()
}

fn all(bytes: &[u8]) -> Vec<Option<u8>> {
    bytes.iter().copied().map(Some).collect()
}

/// Splits a stream into segments, some of which overlap.
fn cut(stream: &[u8], first_seq: u32, seeded: &mut Seeded) -> Vec<(u32, Vec<u8>)> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let len = 1 + seeded.below(200);
        let back = if seeded.below(4) == 0 { seeded.below(50).min(at) } else { 0 };
        let end = (at + len).min(stream.len());
        segments
            .push((first_seq.wrapping_add((at - back) as u32), stream[at - back..end].to_vec()));
        at = end;
    }
    segments
}

#[test]
fn shuffled_doubled_and_overlapping_segments_give_the_stream() {
    let stream = bytes(20_000);
    for seed in 1..200 {
        let mut seeded = Seeded(seed);
        // Most runs wrap around.
        let isn = u32::MAX - seeded.below(20_000) as u32;
        let mut parts = cut(&stream, isn.wrapping_add(1), &mut seeded);
        for _ in 0..20 {
            let doubled = parts[seeded.below(parts.len())].clone();
            let place = seeded.below(parts.len());
            parts.insert(place, doubled);
        }
        for _ in 0..parts.len() {
            let (a, b) = (seeded.below(parts.len()), seeded.below(parts.len()));
            parts.swap(a, b);
        }
        let mut segments = vec![syn(true, isn, None)];
        segments.extend(parts.iter().map(|(seq, part)| from(true, *seq, part)));
        let seen = reassemble(&segments);
        assert_eq!(seen.connections.len(), 1);
        assert_eq!(seen.stream(1, true), all(&stream), "seed {seed}");
        assert!(seen.notes.is_empty(), "{:?}", seen.notes);
    }
}

#[test]
fn missing_segments_become_gaps_of_their_size_at_their_place() {
    let stream = bytes(5_000);
    for seed in 1..200 {
        let mut seeded = Seeded(seed);
        let mut expected = all(&stream);
        let mut segments = vec![syn(true, 99, None), syn(false, 7, Some(100))];
        for (i, part) in stream.chunks(100).enumerate() {
            let at = i * 100;
            if seeded.below(4) == 0 {
                expected[at..at + 100].fill(None);
            } else {
                segments.push(from(true, 100 + at as u32, part));
            }
            // The server also acknowledges bytes that were not captured.
            let ack = 100 + (at + 100) as u32;
            segments.push(Segment { ack: Some(ack), ..from(false, 8, &[]) });
        }
        let seen = reassemble(&segments);
        assert_eq!(seen.stream(1, true), expected, "seed {seed}");
        assert_eq!(seen.closes[0].sent_bytes, 5_000);
    }
}

#[test]
fn a_gap_is_declared_while_the_connection_goes_on() {
    let mut tcp = Reassembler::new();
    let mut seen = Seen::default();
    for segment in [syn(true, 0, None), syn(false, 0, Some(1)), from(true, 11, b"after")] {
        assert!(tcp.segment(&segment, &mut seen).is_continue());
    }
    let count = REORDERED as u32 + 1;
    for i in 0..count {
        // The bytes wait until the lost bytes that they acknowledge are given up.
        assert!(seen.stream(1, false).is_empty() && seen.stream(1, true).is_empty());
        let segment = Segment { ack: Some(16), ..from(false, 1 + i, b"x") };
        assert!(tcp.segment(&segment, &mut seen).is_continue());
    }
    assert_eq!(seen.stream(1, true), [&[None; 10][..], &all(b"after")].concat());
    assert_eq!(seen.stream(1, false), all(&vec![b'x'; count as usize]));
}

#[test]
fn neighbours_that_a_capture_swapped_are_no_gap() {
    let segments = [
        syn(true, 0, None),
        // The acknowledgment comes before the acknowledged bytes.
        Segment { ack: Some(6), ..from(false, 1, b"") },
        from(true, 6, b"world"),
        from(true, 1, b"hello"),
    ];
    assert_eq!(reassemble(&segments).stream(1, true), all(b"helloworld"));
}

#[test]
fn more_than_the_cap_behind_a_hole_declares_it() {
    let part = bytes(60_000);
    let mut tcp = Reassembler::new();
    let mut seen = Seen::default();
    assert!(tcp.segment(&syn(true, 0, None), &mut seen).is_continue());
    let count = MAX_PENDING as u32 / 60_000 + 2;
    for i in 0..count {
        assert!(tcp.segment(&from(true, 101 + i * 60_000, &part), &mut seen).is_continue());
    }
    assert_eq!(seen.stream(1, true).iter().position(Option::is_some), Some(100));
}

/// Pieces with a single captured byte, or none, cost far more than their bytes.
#[test]
fn tiny_pieces_behind_a_hole_declare_it_too() {
    for payload in [&b"x"[..], b""] {
        let mut seen = Seen::default();
        let mut tcp = Reassembler::new();
        assert!(tcp.segment(&syn(true, 0, None), &mut seen).is_continue());
        for i in 0..40_000u32 {
            let segment = from(true, 3 + 3 * i, payload);
            assert!(tcp.segment(&Segment { missing: 1, ..segment }, &mut seen).is_continue());
            assert!(tcp.pending_bytes <= MAX_PENDING + 1024);
        }
        assert!(seen.stream(1, true).len() > 3 * 20_000);
    }
}

#[test]
fn a_scan_of_ever_new_connections_does_not_fill_the_memory() {
    let mut tcp = Reassembler::new();
    let mut seen = Seen::default();
    let scan = |i: u32| {
        let src = std::net::SocketAddr::from((std::net::Ipv4Addr::from(i), 1));
        Segment { ts_ns: u64::from(i), src, ..syn(true, 7, None) }
    };
    let total = MAX_FLOWS as u32 + 10;
    (0..total).for_each(|i| assert!(tcp.segment(&scan(i), &mut seen).is_continue()));
    assert!(tcp.flows.len() <= MAX_FLOWS / 2 + 10);
    // The longest idle connections.
    assert_eq!(seen.closes.len(), MAX_FLOWS / 2);
    assert!(seen.closes.iter().all(|close| close.conn <= MAX_FLOWS as u64 / 2));
    assert_eq!(seen.notes.len(), MAX_FLOWS / 2);
    assert!(tcp.finish(&mut seen).is_continue());
    assert_eq!(seen.closes.len(), total as usize);
}

#[test]
fn bytes_beyond_the_snaplen_are_a_gap_unless_repeated() {
    let cut = Segment { missing: 5, ..from(true, 1, b"hello") };
    let seen = reassemble(&[syn(true, 0, None), cut.clone(), from(true, 11, b"!")]);
    assert_eq!(seen.stream(1, true), [&all(b"hello")[..], &[None; 5], &[Some(b'!')]].concat());
    let later = [syn(true, 0, None), from(true, 11, b"!"), cut];
    assert_eq!(reassemble(&later).stream(1, true).len(), 11);
}

#[test]
fn retransmission_with_other_data_loses_and_is_noted() {
    let segments = [syn(true, 0, None), from(true, 1, b"hello"), from(true, 3, b"LLO world")];
    let seen = reassemble(&segments);
    assert_eq!(seen.stream(1, true), all(b"hello world"));
    assert_eq!(seen.notes.len(), 1);
    // The same with segments that wait for an earlier segment.
    let segments = [
        syn(true, 0, None),
        from(true, 4, b"lo"),
        from(true, 3, b"lLO world"),
        from(true, 1, b"heX"),
    ];
    let seen = reassemble(&segments);
    assert_eq!(seen.stream(1, true), all(b"hello world"));
    assert_eq!(seen.notes.len(), 2, "{:?}", seen.notes);
}

#[test]
fn keep_alive_probes_are_neither_data_nor_noted() {
    let segments = [
        syn(true, 0, None),
        from(true, 1, b"hello"),
        from(true, 5, b"\0"),
        from(true, 5, b""),
        from(true, 6, b"!"),
    ];
    let seen = reassemble(&segments);
    assert_eq!(seen.stream(1, true), all(b"hello!"));
    assert!(seen.notes.is_empty());
}

#[test]
fn a_new_syn_with_another_number_is_a_new_connection() {
    let segments = [
        syn(true, 0, None),
        syn(true, 0, None),
        from(true, 1, b"first"),
        syn(true, 5000, None),
        from(true, 5001, b"second"),
    ];
    let seen = reassemble(&segments);
    assert_eq!(seen.stream(1, true), all(b"first"));
    assert_eq!(seen.stream(2, true), all(b"second"));
    assert_eq!(seen.connections.len(), 2);
}

#[test]
fn fins_of_both_ends_close_and_later_segments_are_ignored() {
    let segments = [
        syn(true, 0, None),
        syn(false, 50, Some(1)),
        Segment { fin: true, ..from(true, 1, b"ask") },
        Segment { fin: true, ack: Some(5), ..from(false, 51, b"answer") },
        Segment { ack: Some(58), ..from(true, 5, b"") },
        Segment { fin: true, ..from(true, 1, b"ask") },
    ];
    let seen = reassemble(&segments);
    assert_eq!((seen.connections.len(), seen.closes.len()), (1, 1));
    let close = &seen.closes[0];
    assert_eq!((close.cause, close.sent_bytes, close.received_bytes), (CloseCause::Shutdown, 3, 6));
}

#[test]
fn a_reset_closes_unless_it_is_forged() {
    let forged = Segment { rst: true, ..from(true, 0x7000_0000, b"") };
    let real = Segment { rst: true, ..from(true, 6, b"") };
    let segments = [syn(true, 0, None), from(true, 1, b"hello"), forged, from(true, 6, b"!"), real];
    let seen = reassemble(&segments);
    assert_eq!(seen.stream(1, true), all(b"hello!"));
    assert_eq!(
        (seen.closes[0].cause, &seen.notes[..]),
        (CloseCause::Freed, &["connection reset".to_owned()][..])
    );
}

/// As a middlebox or an attacker sends it, and a receiver ignores it for a reason of its own.
#[test]
fn a_reset_does_not_count_if_bytes_after_it_show_that_the_connection_goes_on() {
    let opening = [syn(true, 0, None), syn(false, 100, Some(1)), acking(true, 1, b"", 101)];
    let going_on = [
        acking(true, 1, b"ask", 101),
        acking(false, 101, b"", 4),
        Segment { fin: true, ..acking(false, 101, b"answer", 4) },
        Segment { fin: true, ..acking(true, 4, b"", 108) },
    ];
    for reset in [
        acking(true, 1, b"", 101),
        acking(false, 101, b"", 1),
        // The number of a refusal, which is none after a SYN.
        acking(false, 0, b"", 1),
    ] {
        let reset = Segment { rst: true, ..reset };
        let seen = reassemble(&[&opening[..], &[reset], &going_on].concat());
        assert_eq!(seen.stream(1, true), all(b"ask"));
        assert_eq!(seen.stream(1, false), all(b"answer"));
        assert_eq!((seen.closes.len(), seen.closes[0].cause), (1, CloseCause::Shutdown));
        assert!(seen.notes.is_empty(), "{:?}", seen.notes);
    }
    // The end that seems to have sent the reset sends more, which nobody acknowledges.
    let reset = Segment { rst: true, ..acking(true, 1, b"", 101) };
    let seen = reassemble(&[&opening[..], &[reset, acking(true, 1, b"ask", 101)]].concat());
    assert_eq!(seen.stream(1, true), all(b"ask"));
    // Bytes of the other end, which acknowledges only the FIN before the reset.
    let real = Segment { rst: true, ..acking(true, 4, b"", 101) };
    let fin = Segment { fin: true, ..acking(true, 1, b"ask", 101) };
    let late = [fin, real, acking(false, 101, b"answer", 5)];
    let seen = reassemble(&[&opening[..], &late].concat());
    assert_eq!((seen.stream(1, true), seen.stream(1, false)), (&all(b"ask")[..], &all(b"")[..]));
    assert_eq!(seen.closes[0].cause, CloseCause::Freed);
}

#[test]
fn without_a_syn_the_role_is_unknown_and_the_connection_joined() {
    let seen = reassemble(&[from(false, 700, b"middle"), from(true, 3, b"go")]);
    let connection = &seen.connections[0];
    assert_eq!((connection.role, connection.joined), (Role::Unknown, true));
    assert_eq!(connection.local, Some(CLIENT.parse().unwrap()));
    assert_eq!(
        (seen.stream(1, false), seen.stream(1, true)),
        (&all(b"middle")[..], &all(b"go")[..])
    );
}

#[test]
fn a_syn_ack_alone_determines_the_server() {
    let seen = reassemble(&[syn(false, 9, Some(1)), from(false, 10, b"hi"), from(true, 1, b"yo")]);
    assert_eq!(seen.connections[0].role, Role::Client);
    assert_eq!(seen.connections[0].local, Some(CLIENT.parse().unwrap()));
    assert_eq!(seen.stream(1, false), all(b"hi"));
    assert_eq!(seen.stream(1, true), all(b"yo"));
}

#[test]
fn any_sequence_of_segments_is_survived() {
    let payload = bytes(300);
    let mut seeded = Seeded(42);
    for _ in 0..300 {
        let mut segments = Vec::new();
        for _ in 0..60 {
            let near = seeded.below(3) > 0;
            let seq = if near { seeded.below(600) as u32 } else { (seeded.below(8) as u32) << 16 };
            let ack = (seeded.below(2) == 0).then(|| seeded.below(2000) as u32);
            let len = seeded.below(payload.len());
            segments.push(Segment {
                ack,
                syn: seeded.below(12) == 0,
                fin: seeded.below(12) == 0,
                rst: seeded.below(30) == 0,
                missing: if seeded.below(8) == 0 { seeded.below(50) } else { 0 },
                ..from(seeded.below(2) == 0, seq, &payload[..len])
            });
        }
        // The sink asserts order and contiguity.
        reassemble(&segments);
    }
}

/// The records in their order: direction, and bytes or the length of a gap.
#[derive(Default)]
struct Order(Vec<String>);

impl RecordSink for Order {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        match record {
            Record::Data(data) => {
                self.0.push(format!("{} {}", data.dir, data.payload.escape_ascii()));
            }
            Record::Gap(gap) => self.0.push(format!("{} gap {}", gap.dir, gap.len)),
            _ => {}
        }
        Flow::Continue(())
    }
}

fn order(segments: &[Segment<'_>]) -> Vec<String> {
    let mut order = Order::default();
    let mut tcp = Reassembler::new();
    for segment in segments {
        assert!(tcp.segment(segment, &mut order).is_continue());
    }
    assert!(tcp.finish(&mut order).is_continue());
    order.0
}

fn acking<'a>(client: bool, seq: u32, payload: &'a [u8], ack: u32) -> Segment<'a> {
    Segment { ack: Some(ack), ..from(client, seq, payload) }
}

#[test]
fn bytes_come_after_the_bytes_that_they_acknowledge() {
    // Two exchanges, each with the response first in the capture, and the SYNs last.
    let segments = [
        acking(false, 101, b"r1", 3),
        acking(true, 1, b"q1", 101),
        acking(false, 103, b"r2", 5),
        acking(true, 3, b"q2", 103),
        syn(false, 100, Some(1)),
        syn(true, 0, None),
    ];
    assert_eq!(order(&segments), ["sent q1", "received r1", "sent q2", "received r2"]);
}

#[test]
fn a_gap_stands_before_the_bytes_that_acknowledge_it_and_is_split_between_them() {
    // Two responses are lost, and a request between them.
    let segments = [
        syn(true, 0, None),
        syn(false, 100, Some(1)),
        acking(true, 1, b"q1", 101),
        acking(true, 3, b"q2", 104),
        acking(true, 7, b"q4", 107),
        acking(false, 107, b"r4", 9),
    ];
    // Of two gaps whose order nothing shows, the client's is first.
    let expected = [
        "sent q1",
        "received gap 3",
        "sent q2",
        "sent gap 2",
        "received gap 3",
        "sent q4",
        "received r4",
    ];
    let mut segments = segments.to_vec();
    assert_eq!(order(&segments), expected);
    // The acknowledgments may come out of order.
    segments.swap(3, 4);
    assert_eq!(order(&segments), expected);
}

#[test]
fn a_retransmission_does_not_wait_for_what_was_received_after_the_first_transmission() {
    let segments = [
        syn(true, 0, None),
        syn(false, 100, Some(1)),
        acking(true, 3, b"q2", 101),
        acking(false, 101, b"r", 5),
        // Lost before the capture, or dropped by it, and repeated after the response came.
        acking(true, 1, b"q1", 102),
    ];
    assert_eq!(order(&segments), ["sent q1", "sent q2", "received r"]);
}

#[test]
fn a_fin_is_no_missing_byte_even_if_it_comes_late_or_not_at_all() {
    let fin = Segment { fin: true, ..acking(true, 3, b"", 103) };
    let segments = [
        syn(true, 0, None),
        syn(false, 100, Some(1)),
        acking(true, 1, b"q1", 101),
        acking(false, 101, b"r1", 3),
        Segment { fin: true, ..acking(false, 103, b"", 4) },
        acking(true, 4, b"", 104),
    ];
    let late = [&segments[..], &[fin]].concat();
    for segments in [&segments[..], &late] {
        assert_eq!(order(segments), ["sent q1", "received r1"]);
        let seen = reassemble(segments);
        assert_eq!(seen.closes[0].cause, CloseCause::Shutdown);
        assert_eq!((seen.closes[0].sent_bytes, seen.closes[0].received_bytes), (2, 2));
    }
}

#[test]
fn bytes_that_contradict_each_other_are_output_all_the_same() {
    let segments = [
        syn(true, 0, None),
        syn(false, 100, Some(1)),
        acking(true, 1, b"a", 102),
        acking(false, 101, b"b", 2),
    ];
    let mut seen = order(&segments);
    seen.sort();
    assert_eq!(seen, ["received b", "sent a"]);
}

#[test]
fn bytes_before_a_reset_are_output_even_if_they_come_after_it() {
    let segments = [
        syn(true, 0, None),
        syn(false, 100, Some(1)),
        acking(true, 1, b"q1", 101),
        Segment { rst: true, ..acking(true, 3, b"", 103) },
        acking(false, 101, b"r1", 3),
        acking(false, 103, b"beyond", 3),
    ];
    assert_eq!(order(&segments), ["sent q1", "received r1"]);
    assert_eq!(reassemble(&segments).closes[0].cause, CloseCause::Freed);
}

#[test]
fn acknowledgments_are_kept_up_to_a_bound() {
    let mut tcp = Reassembler::new();
    let mut seen = Seen::default();
    for segment in [syn(true, 0, None), syn(false, 0, Some(1))] {
        assert!(tcp.segment(&segment, &mut seen).is_continue());
    }
    // Each acknowledges more, from further ahead. The bytes between never come, and the server
    // acknowledges none.
    for i in 1..100_000 {
        let segment = acking(true, 1 + 10 * i, b"", 1 + 20 * i);
        assert!(tcp.segment(&segment, &mut seen).is_continue());
        assert!(tcp.pending_bytes <= 64 * 4096, "{}", tcp.pending_bytes);
    }
    assert!(tcp.finish(&mut seen).is_continue());
}
