//! Files of packets in every variant: the exchange in them is the same.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::process::Command;

use sslrec_analyzer::Error;
use sslrec_analyzer::budget::{Budget, Limits};
use sslrec_analyzer::exchange::Exchange;
use sslrec_analyzer::input::{Flow, Input, RecordSink};
use sslrec_analyzer_testing::packets::{
    Listed, Pcap, Pcapng, START_S, ethernet, exchange, list, notes_of_one,
};
use sslrec_analyzer_testing::wireshark::have;
use sslrec_formats::record::Record;

/// Link type of Ethernet.
const ETHERNET: u16 = 1;

/// A nanosecond time in units of which `per_second` make a second.
fn units(ts_ns: u64, per_second: u128) -> u64 {
    u64::try_from(u128::from(ts_ns) * per_second / 1_000_000_000).unwrap()
}

fn first_ns(listed: &Listed) -> u64 {
    listed.exchanges[0].first_ns()
}

#[test]
fn every_variant_of_pcap_is_read() {
    let packets = ethernet(&exchange(5000));
    for big in [false, true] {
        for (magic, unit_ns, header) in [
            (0xa1b2_c3d4, 1000, 16),
            (0xa1b2_3c4d, 1, 16),
            (0xa1b2_cd34, 1000, 24),
            (0xa1b2_cd34, 1000, 28),
            (0xa1b2_c3d4, 1000, 24),
            (0xa1b2_c3d4, 1000, 20),
        ] {
            let pcap = Pcap { magic, big, unit_ns, header, link: 1 };
            let file = pcap.file(&packets);
            assert_eq!(notes_of_one(&file, 5000), [""; 0], "{pcap:?}");
            let listed = list(&file).unwrap();
            assert_eq!(first_ns(&listed), packets[3].0, "{pcap:?}");
            // As long as there are two packets, and with a damaged end.
            for count in 2..5 {
                let file = pcap.file(&packets[..count]);
                let outcome = list(&file).unwrap().outcome;
                assert!(outcome.damage.is_none() && outcome.notes.is_empty(), "{outcome:?}");
                let cut = list(&file[..file.len() - 1]).unwrap().outcome;
                assert!(matches!(cut.damage, Some(Error::Damaged { .. })), "{pcap:?} {count}");
            }
        }
    }
}

#[test]
fn kinds_that_editcap_writes_are_read() {
    if !have(&["editcap"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, Pcap::usual(1).file(&ethernet(&exchange(5000)))).unwrap();
    for kind in ["modpcap", "nokiapcap", "rh6_1pcap", "suse6_3pcap", "nsecpcap", "snoop", "pcapng"]
    {
        let status = Command::new("editcap").args(["-F", kind]).args([&from, &to]).status();
        assert!(status.unwrap().success());
        let file = std::fs::read(&to).unwrap();
        assert_eq!(notes_of_one(&file, 5000), [""; 0], "{kind}");
        assert_eq!(first_ns(&list(&file).unwrap()) / 1000, (START_S * 1000 + 3) * 1000, "{kind}");
        for cut in (0..file.len()).step_by(37) {
            match list(&file[..cut]) {
                Ok(listed) => assert!(listed.exchanges.len() <= 1),
                Err(error) => assert!(cut < 200, "{kind} {cut} {error}"),
            }
        }
    }
}

#[test]
fn a_snoop_file_of_another_version_is_refused() {
    let mut file = b"snoop\0\0\0".to_vec();
    file.extend([0, 0, 0, 3, 0, 0, 0, 4]);
    assert!(list(&file).unwrap_err().to_string().contains("a snoop file of version 3"));
}

#[test]
fn a_frame_check_sequence_is_no_content() {
    let mut packets = ethernet(&exchange(5000));
    // A length of 0, which the network card fills in, lets all bytes count.
    for (_, packet) in packets.iter_mut().filter(|(_, packet)| packet.len() > 60) {
        packet[16..18].fill(0);
    }
    let with_check: Vec<_> =
        packets.iter().map(|(ts_ns, packet)| (*ts_ns, [&packet[..], &[9; 4]].concat())).collect();
    let file = Pcap::usual(1 | 1 << 26 | 2 << 28).file(&with_check);
    assert_eq!(notes_of_one(&file, 5000), [""; 0]);
    let file = Pcap::usual(1 | 1 << 26).file(&packets);
    assert_eq!(notes_of_one(&file, 5000), [""; 0]);
    for (interface, packet) in [
        (vec![(13, &[4][..])], vec![]),
        (vec![(13, &[32])], vec![]),
        (vec![], vec![(2, &[0x80, 0, 0, 0][..])]),
    ] {
        let mut pcapng = Pcapng::new(false, &[]);
        pcapng.interface(ETHERNET, &interface);
        for (ts_ns, bytes) in &with_check {
            pcapng.packet(0, ts_ns / 1000, bytes, &packet);
        }
        assert_eq!(notes_of_one(&pcapng.file, 5000), [""; 0]);
    }
}

/// A pcapng of the exchange, in times of microseconds.
fn pcapng(big: bool, section: &[(u16, &[u8])], interface: &[(u16, &[u8])]) -> Pcapng {
    let mut pcapng = Pcapng::new(big, section);
    pcapng.interface(ETHERNET, interface);
    for (ts_ns, bytes) in ethernet(&exchange(5000)) {
        pcapng.packet(0, ts_ns / 1000, &bytes, &[]);
    }
    pcapng
}

#[test]
fn text_that_is_not_utf8_is_counted() {
    let latin: &[u8] = b"caf\xe9";
    let note = "1 texts of the pcapng are not UTF-8, and are skipped";
    for big in [false, true] {
        for code in [1, 2, 3, 4] {
            assert_eq!(notes_of_one(&pcapng(big, &[(code, latin)], &[]).file, 5000), [note]);
        }
        for code in [1, 2, 3, 12, 15] {
            assert_eq!(notes_of_one(&pcapng(big, &[], &[(code, latin)]).file, 5000), [note]);
        }
    }
    let mut pcapng = Pcapng::new(false, &[]);
    pcapng.interface(ETHERNET, &[]);
    for (ts_ns, bytes) in ethernet(&exchange(5000)) {
        pcapng.packet(0, ts_ns / 1000, &bytes, &[(1, latin)]);
    }
    let notes = notes_of_one(&pcapng.file, 5000);
    assert_eq!(notes, ["11 texts of the pcapng are not UTF-8, and are skipped"]);
}

#[test]
fn an_option_of_any_length_is_no_damage() {
    for len in 0..12 {
        let value = &vec![6; len][..];
        for code in 0..20 {
            for (section, interface) in
                [(vec![(code, value)], vec![]), (vec![], vec![(code, value)])]
            {
                // A zone or an offset of the time changes the time alone.
                let notes = notes_of_one(&pcapng(false, &section, &interface).file, 5000);
                assert!(notes.iter().all(|note| note.contains("have a wrong length")), "{notes:?}");
            }
        }
    }
    let note = "1 options of the pcapng have a wrong length, and are skipped";
    for (code, len) in [(4, 7), (5, 16), (6, 8), (8, 4), (9, 2), (10, 8), (13, 4), (14, 4)] {
        let value = &vec![1; len][..];
        assert_eq!(notes_of_one(&pcapng(false, &[], &[(code, value)]).file, 5000), [note]);
    }
}

#[test]
fn an_option_that_is_longer_than_its_block_is_skipped() {
    for declared in [5, 100, 0xffff_u16] {
        let mut pcapng = Pcapng::new(false, &[]);
        let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0];
        body.extend([[2, 0], declared.to_le_bytes()].concat());
        body.extend(b"eth0");
        pcapng.block(1, &body);
        for (ts_ns, bytes) in ethernet(&exchange(5000)) {
            pcapng.packet(0, ts_ns / 1000, &bytes, &[]);
        }
        let notes = notes_of_one(&pcapng.file, 5000);
        assert_eq!(notes, ["1 options of the pcapng have a wrong length, and are skipped"]);
    }
}

#[test]
fn times_have_any_resolution() {
    let packets = ethernet(&exchange(5000));
    let expected = packets[3].0;
    for value in (0..=10).chain(0x80..=0x80 + 33) {
        let exponent = u32::from(value & 0x7f);
        let base: u128 = if value & 0x80 == 0 { 10 } else { 2 };
        let per_second = base.pow(exponent);
        let mut pcapng = Pcapng::new(value % 2 == 0, &[]);
        pcapng.interface(ETHERNET, &[(9, &[value])]);
        for (ts_ns, bytes) in &packets {
            pcapng.packet(0, units(*ts_ns, per_second), bytes, &[]);
        }
        assert_eq!(notes_of_one(&pcapng.file, 5000), [""; 0]);
        let listed = list(&pcapng.file).unwrap();
        let unit_ns = (1_000_000_000 / per_second).max(1) as u64;
        let found = first_ns(&listed);
        assert!(found <= expected + 1 && found + unit_ns + 1 > expected, "{value} {found}");
    }
    // Times since the first packet are as fine as wanted, and the interface has the rest.
    for value in [12, 15, 18, 20, 0x80 + 50, 0x80 + 63] {
        let exponent = u32::from(value & 0x7f);
        let base: u128 = if value & 0x80 == 0 { 10 } else { 2 };
        let mut pcapng = Pcapng::new(false, &[]);
        let offset = START_S.to_le_bytes();
        pcapng.interface(ETHERNET, &[(9, &[value]), (14, &offset)]);
        for (ts_ns, bytes) in &packets {
            let ts_ns = ts_ns - START_S * 1_000_000_000;
            pcapng.packet(0, units(ts_ns, base.pow(exponent)), bytes, &[]);
        }
        assert_eq!(notes_of_one(&pcapng.file, 5000), [""; 0], "{value}");
        assert!(first_ns(&list(&pcapng.file).unwrap()).abs_diff(expected) <= 1, "{value}");
    }
    for value in [127, 255, 100, 0x80 + 100] {
        let mut pcapng = Pcapng::new(false, &[]);
        pcapng.interface(ETHERNET, &[(9, &[value])]);
        for (_, bytes) in &packets {
            pcapng.packet(0, u64::MAX, bytes, &[]);
        }
        notes_of_one(&pcapng.file, 5000);
    }
}

#[test]
fn times_have_an_offset_of_any_sign() {
    for seconds in [3600i64, -3600, i64::MAX, i64::MIN, 0] {
        let file = pcapng(false, &[], &[(14, &seconds.to_le_bytes())]).file;
        notes_of_one(&file, 5000);
        if [3600, -3600].contains(&seconds) {
            let found = first_ns(&list(&file).unwrap());
            let expected = (START_S as i64 + seconds) * 1_000_000_000 + 3_000_000;
            assert_eq!(found as i64, expected);
        }
    }
}

#[test]
fn older_and_simple_packets_and_unknown_blocks_are_read() {
    let packets = ethernet(&exchange(5000));
    for big in [false, true] {
        let mut pcapng = Pcapng::new(big, &[]);
        pcapng.interface(ETHERNET, &[]);
        pcapng.block(0xbad, &[7; 33]);
        for (at, (ts_ns, bytes)) in packets.iter().enumerate() {
            let us = ts_ns / 1000;
            let len = bytes.len() as u32;
            match at % 3 {
                0 => pcapng.packet(0, us, bytes, &[]),
                1 => {
                    let numbers = [0, (us >> 32) as u32, us as u32, len, len];
                    let numbers = numbers.map(|number| pcapng.u32(number)).concat();
                    pcapng.block(2, &[&numbers[..], bytes].concat());
                }
                _ => pcapng.block(3, &[&pcapng.u32(len)[..], bytes].concat()),
            }
        }
        // Another section in the other order, without packets; longer than any block that is kept.
        pcapng.block(0xbad, &vec![7; 20 << 20]);
        let mut file = pcapng.file;
        file.extend(Pcapng::new(!big, &[]).file);
        assert_eq!(notes_of_one(&file, 5000), [""; 0]);
    }
}

#[test]
fn a_packet_of_an_unknown_interface_is_counted() {
    let mut pcapng = pcapng(false, &[], &[]);
    pcapng.packet(7, 0, &[1, 2, 3], &[]);
    assert_eq!(
        notes_of_one(&pcapng.file, 5000),
        ["1 packets are of interfaces that the capture does not describe, and are not read"]
    );
}

#[test]
fn damage_ends_the_reading_at_its_place() {
    let whole = pcapng(false, &[], &[]);
    let end = whole.file.len() as u64;
    type Damage<'a> = (&'a str, &'a dyn Fn(&mut Pcapng));
    let damages: [Damage<'_>; 4] = [
        ("shorter than its contents", &|pcapng| pcapng.block(6, &[0; 12])),
        ("shorter than its contents", &|pcapng| {
            let numbers = [0, 0, 0, 1000, 1000].map(|number| pcapng.u32(number)).concat();
            pcapng.block(6, &numbers);
        }),
        ("two different lengths", &|pcapng| {
            pcapng.block(6, &[0; 40]);
            *pcapng.file.last_mut().unwrap() = 9;
        }),
        ("not complete", &|pcapng| pcapng.file.extend([5, 0, 0, 0, 20, 0, 0, 0, 1])),
    ];
    for (expected, damage) in damages {
        let mut damaged = whole.clone();
        damage(&mut damaged);
        let listed = list(&damaged.file).unwrap();
        assert_eq!(listed.exchanges.len(), 1);
        match listed.outcome.damage {
            Some(Error::Damaged { offset, reason }) => {
                assert_eq!(offset, end, "{expected}");
                assert!(reason.contains(expected), "{reason}");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_never_fails_otherwise() {
    let files = [Pcap::usual(1).file(&ethernet(&exchange(200))), {
        let mut pcapng = Pcapng::new(true, &[(1, b"comment"), (4, b"application")]);
        pcapng.interface(ETHERNET, &[(2, b"eth0"), (9, &[6])]);
        for (ts_ns, bytes) in ethernet(&exchange(200)) {
            pcapng.packet(0, ts_ns / 1000, &bytes, &[(2, &[0; 4])]);
        }
        pcapng.file
    }];
    for file in files {
        for end in 0..file.len() {
            if let Ok(listed) = list(&file[..end]) {
                assert!(listed.exchanges.len() <= 1, "{end}");
            }
        }
        for at in 0..file.len() {
            for bit in [0x01, 0x10, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= bit;
                // Listed, refused or damaged.
                let _ = list(&changed);
            }
        }
    }
}

/// A HAR with these entries.
fn har(entries: &str) -> Vec<u8> {
    format!(r#"{{"log":{{"version":"1.2","entries":[{entries}]}}}}"#).into_bytes()
}

const ENTRY: &str = r#"{"startedDateTime":"2023-11-14T22:13:20.004Z","time":1,"connection":"7",
    "request":{"method":"GET","url":"https://h/a","httpVersion":"HTTP/1.1","bodySize":0,
        "headers":[{"name":"Host","value":"h"}]},
    "response":{"status":200,"statusText":"OK","httpVersion":"HTTP/1.1","bodySize":2,
        "headers":[{"name":"a","value":"b"}],"content":{"size":2,"text":"hi"}},
    "timings":{"send":0,"wait":1,"receive":0},"serverIPAddress":"10.0.0.2"}"#;

#[test]
fn values_of_other_types_in_a_har_are_ignored() {
    assert_eq!(notes_of_one(&har(ENTRY), 2), [""; 0]);
    let entry: serde_json::Value = serde_json::from_str(ENTRY).unwrap();
    let mut places = vec![vec![]];
    let mut at = 0;
    // Every member of every object.
    while let Some(place) = places.get(at).cloned() {
        let value = place.iter().fold(&entry, |value, key: &String| &value[key.as_str()]);
        if let Some(object) = value.as_object() {
            places.extend(object.keys().map(|key| [place.clone(), vec![key.clone()]].concat()));
        }
        at += 1;
    }
    assert!(places.len() > 20);
    for place in places {
        for other in ["null", "true", "-1", "1e308", "\"x\"", "[]", "{}", "[[{}]]", "{\"a\":[1]}"] {
            let mut changed = entry.clone();
            let value = place.iter().fold(&mut changed, |value, key| &mut value[key.as_str()]);
            *value = serde_json::from_str(other).unwrap();
            let listed = list(&har(&changed.to_string())).unwrap();
            assert!(listed.outcome.damage.is_none(), "{place:?} {other} {listed:?}");
            assert!(listed.exchanges.len() <= 1);
        }
    }
}

#[test]
fn a_har_that_is_cut_or_changed_anywhere_never_fails_otherwise() {
    let whole = har(&[ENTRY, ENTRY].join(","));
    for end in 0..whole.len() {
        if let Ok(listed) = list(&whole[..end]) {
            assert!(listed.outcome.damage.is_some() && listed.exchanges.len() <= 2, "{end}");
        }
    }
    for at in 0..whole.len() {
        for byte in [b'"', b'{', b']', b',', 0, 0xff] {
            let mut changed = whole.clone();
            changed[at] = byte;
            let _ = list(&changed);
        }
    }
    let marked = [b"\xef\xbb\xbf", &whole[..]].concat();
    assert_eq!(list(&marked).unwrap().exchanges.len(), 2);
}

#[test]
fn a_har_that_makes_much_of_itself_is_bounded() {
    for name in ["x", "_comm", "request", "timings"] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            let listed = list(&har(&format!("{ENTRY},{{\"{name}\":{deep}}}"))).unwrap();
            assert_eq!(listed.exchanges.len(), 1);
        }
    }
    let fields = r#"{"name":"a","value":"b"},"#.repeat(20_000);
    let many = ENTRY.replace(r#"{"name":"a","value":"b"}"#, fields.trim_end_matches(','));
    let listed = list(&har(&many)).unwrap();
    let exchange = &listed.exchanges[0];
    assert_eq!(exchange.response.as_ref().unwrap().message.headers.len(), 10_000);
    assert_eq!(exchange.notes.len(), 1);
    let notes = (0..20_000).map(|at| format!("\"{at}\"")).collect::<Vec<_>>().join(",");
    let many = ENTRY.replacen('{', &format!("{{\"_notes\":[{notes}],"), 1);
    assert_eq!(list(&har(&many)).unwrap().exchanges[0].notes.len(), 1000);
    // Longer than a sixteenth of the memory.
    let long = ENTRY.replace("\"hi\"", &format!("\"{}\"", "x".repeat(33 << 20)));
    let listed = list(&har(&[ENTRY, &long].join(","))).unwrap();
    let damage = listed.outcome.damage.unwrap().to_string();
    assert!(damage.contains("an entry of more than 32 MiB; raise --max-memory"), "{damage}");
    assert_eq!(listed.exchanges.len(), 1);
}

#[test]
fn connections_of_a_har_are_remembered_as_far_as_there_is_memory() {
    /// Counts the exchanges that begin a connection.
    struct New(usize);
    impl RecordSink for New {
        fn record(&mut self, _: &Record<'_>) -> Flow {
            Flow::Continue(())
        }
        fn exchange(&mut self, _: Box<Exchange>, is_new: bool) -> Flow {
            self.0 += usize::from(is_new);
            Flow::Continue(())
        }
    }
    let entry = |id: usize| ENTRY.replace("\"7\"", &format!("\"{id}{}\"", "c".repeat(30_000)));
    let entries: Vec<_> = (0..20).chain(0..20).map(entry).collect();
    let bytes = har(&entries.join(","));
    for (max_memory, expected) in [(64 << 20, 20..=20), (1 << 20, 30..=35)] {
        let budget = Budget::new(Limits { max_memory, max_decoded: 0 });
        let mut new = New(0);
        let outcome = Input::open(&bytes[..]).unwrap().with_budget(&budget).read(&mut new);
        assert!(outcome.unwrap().damage.is_none());
        assert!(expected.contains(&new.0), "{max_memory}: {}", new.0);
    }
}
