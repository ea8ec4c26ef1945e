//! Records written to a file are the records read from it.

// A test fails by a panic.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{
    REQUEST, close, connection, data, gap, info, last_stats, process, random, read_pcapng,
    read_rawlog, small_capture, to_pcapng, to_rawlog, write_all,
};
use sslrec_formats::io::{Error, RecordReader, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngReader, PcapngWriter, is_sslrec_pcapng};
use sslrec_formats::rawlog::{RawLogReader, RawLogWriter, is_raw_log};
use sslrec_formats::record::{
    Connection, Coverage, CoveredLib, Data, Direction, Exit, GapCause, Handshake, PerDirection,
    Process, Record, Role, Unrecorded,
};

#[test]
fn the_raw_log_returns_every_record() {
    let records = small_capture();
    let file = to_rawlog(&records);
    let reader = RawLogReader::new(&file[..]).unwrap();
    assert_eq!(reader.info(), &info());
    let (read, error) = common::drain(reader);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(read, records);
}

/// The pcapng has the connections that were not recorded, and nothing else of it.
#[test]
fn coverage_is_returned_by_both_files_as_far_as_they_have_it() {
    let lib = CoveredLib {
        path: "/lib/libssl.so.3".into(),
        found: "mapped".into(),
        functions: 20,
        called: vec!["SSL_read".into(), "SSL_write".into()],
        bytes: 1 << 40,
    };
    let known = Unrecorded {
        local: "10.0.0.5:51234".parse().unwrap(),
        remote: "[2001:db8::1]:8443".parse().unwrap(),
        role: Role::Client,
        sni: Some("example.org".into()),
        alpn: vec!["h2".into(), "http/1.1".into()],
        version: Some("TLSv1.3".into()),
        bytes: Some(PerDirection { sent: 1 << 40, received: 3 }),
        quic: false,
    };
    let (role, alpn) = (Role::Unknown, Vec::new());
    let unknown = Unrecorded { role, sni: None, alpn, version: None, bytes: None, ..known.clone() };
    let unknown = Unrecorded { quic: true, ..unknown };
    let coverage = Coverage {
        ts_ns: 7,
        pid: 1234,
        comm: "curl".into(),
        exe: Some("/usr/bin/curl".into()),
        libs: vec![lib, CoveredLib::default()],
        missed: Some("a reason".into()),
        seen: 9,
        unrecorded: 2,
        connections: vec![known, unknown],
    };
    let mut records = small_capture();
    let without = records.clone();
    let at = records.len() - 1;
    records.insert(at, Record::Coverage(coverage.clone()));
    records.insert(at, Record::Coverage(Coverage::default()));
    let (read, error) = read_rawlog(&to_rawlog(&records));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(read, records);
    let with_account = to_pcapng(&records);
    let (read, error) = read_pcapng(&with_account);
    assert!(error.is_none(), "{error:?}");
    let (accounts, others): (Vec<_>, Vec<_>) =
        read.into_iter().partition(|record| matches!(record, Record::Coverage(_)));
    assert_eq!(accounts, [Record::Coverage(Coverage { libs: Vec::new(), ..coverage })]);
    assert_eq!(others, read_pcapng(&to_pcapng(&without)).0);
}

#[test]
fn the_pcapng_returns_every_record() {
    let records = small_capture();
    let file = to_pcapng(&records);
    let reader = PcapngReader::new(&file[..]).unwrap();
    assert_eq!(reader.info(), &info());
    let (read, error) = common::drain(reader);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(read, records);
}

#[test]
fn random_captures_survive_the_raw_log() {
    for seed in 1..40 {
        let records = random::capture(seed, 300);
        let (read, error) = read_rawlog(&to_rawlog(&records));
        assert!(error.is_none(), "seed {seed}: {error:?}");
        assert_eq!(read, records, "seed {seed}");
    }
}

#[test]
fn random_captures_survive_the_pcapng() {
    for seed in 1..40 {
        let records = random::capture(seed, 300);
        let (read, error) = read_pcapng(&to_pcapng(&records));
        assert!(error.is_none(), "seed {seed}: {error:?}");
        let (expected, read) = (by_connection(&records), by_connection(&read));
        for (conn, expected) in &expected {
            let read = read.get(conn).map_or(&[][..], Vec::as_slice);
            for (read, expected) in read.iter().zip(expected) {
                assert_eq!(brief(read), brief(expected), "seed {seed}, connection {conn:?}");
            }
            assert!(read == expected, "seed {seed}, connection {conn:?}");
        }
        assert_eq!(read.len(), expected.len(), "seed {seed}");
    }
}

/// Returns a record without its payload, to be printed.
fn brief(record: &Record<'_>) -> String {
    match record {
        Record::Data(data) => {
            format!("{} bytes: {:?}", data.payload.len(), Data { payload: &[], ..data.clone() })
        }
        other => format!("{other:?}"),
    }
}

/// Returns the records of each connection, processes and statistics apart, as the pcapng keeps
/// them: descriptions precede the first packet that needs them, so of several in a row the last is
/// used, and the handshakes before the first data follow the description.
fn by_connection<'a>(records: &[Record<'a>]) -> BTreeMap<(u8, u64), Vec<Record<'a>>> {
    let mut sorted: BTreeMap<(u8, u64), Vec<Record<'a>>> = BTreeMap::new();
    let mut waiting: BTreeMap<u64, Connection> = BTreeMap::new();
    let mut held: BTreeMap<u64, Vec<Handshake<'a>>> = BTreeMap::new();
    let mut open = std::collections::BTreeSet::new();
    for record in records {
        match record {
            // Only the last is certain to be there: no event need occur between two.
            Record::Process(process) => {
                let last = Process { ts_ns: 0, ..process.clone() };
                sorted.insert((0, process.pid.into()), vec![Record::Process(last)]);
            }
            Record::Coverage(_) | Record::Stats(_) => {
                sorted.entry((1, 0)).or_default().push(record.clone())
            }
            Record::Connection(connection) => {
                waiting.insert(connection.conn, connection.clone());
            }
            Record::Handshake(handshake) if !open.contains(&handshake.conn) => {
                held.entry(handshake.conn).or_default().push(handshake.clone());
            }
            _ => {
                let conn = record.conn().unwrap();
                open.insert(conn);
                let list = sorted.entry((2, conn)).or_default();
                let update = waiting.remove(&conn).map(Record::Connection);
                let before = list.iter().rev().find(|r| matches!(r, Record::Connection(_)));
                if before != update.as_ref() {
                    list.extend(update);
                }
                list.extend(held.remove(&conn).into_iter().flatten().map(Record::Handshake));
                list.push(record.clone());
            }
        }
    }
    sorted
}

#[test]
fn formats_are_recognised_by_their_first_bytes() {
    let (raw, pcapng) = (to_rawlog(&[]), to_pcapng(&[]));
    assert!(is_raw_log(&raw) && is_raw_log(&raw[..16]));
    assert!(is_sslrec_pcapng(&pcapng));
    assert!(!is_raw_log(&pcapng) && !is_sslrec_pcapng(&raw));
    let mut foreign = pcapng.clone();
    let at = foreign.windows(7).position(|window| window == b"sslrec=").unwrap();
    foreign[at] = b'x';
    assert!(!is_sslrec_pcapng(&foreign));
    for bytes in [&foreign[..], &raw, b"", b"not a capture at all, but long enough"] {
        let error = PcapngReader::new(bytes).err().unwrap();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    }
    for bytes in [&pcapng[..], b"", b"\x28\xB5\x2F\xFD and whatever else is in it"] {
        let error = RawLogReader::new(bytes).err().unwrap();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    }
}

#[test]
fn an_empty_capture_is_complete() {
    for (records, error) in [read_rawlog(&to_rawlog(&[])), read_pcapng(&to_pcapng(&[]))] {
        assert!(records.is_empty() && error.is_none());
    }
    let stats = [last_stats()];
    assert_eq!(read_pcapng(&to_pcapng(&stats)).0, stats);
    assert_eq!(read_rawlog(&to_rawlog(&stats)).0, stats);
}

#[test]
fn large_payloads_are_returned_in_pieces() {
    let payload: Vec<u8> = (0..3_000_000u32).map(|i| (i % 253) as u8).collect();
    let records = [
        process(1, "big"),
        Record::Connection(connection(1, 1, Role::Client, "10.0.0.1:5000", "10.0.0.2:443")),
        data(1, Direction::Sent, 0, &payload),
        close(1, payload.len() as u64, 0),
    ];
    for (read, error) in [read_rawlog(&to_rawlog(&records)), read_pcapng(&to_pcapng(&records))] {
        assert!(error.is_none());
        let mut joined = Vec::new();
        for record in &read {
            if let Record::Data(Data { offset, call_offset, call_len, payload, .. }) = record {
                assert_eq!((*offset, *call_offset), (joined.len() as u64, joined.len() as u64));
                assert_eq!(*call_len, 3_000_000);
                joined.extend_from_slice(payload);
            }
        }
        assert!(joined == payload);
    }
}

#[test]
fn data_beyond_the_expected_place_shows_a_gap() {
    let records = [
        process(1, "p"),
        Record::Connection(connection(1, 1, Role::Client, "10.0.0.1:5000", "10.0.0.2:443")),
        data(1, Direction::Sent, 10, b"x"),
        close(1, 11, 7),
    ];
    let (read, _) = read_pcapng(&to_pcapng(&records));
    let gaps: Vec<_> = read
        .iter()
        .filter_map(|record| match record {
            Record::Gap(gap) => Some((gap.dir, gap.offset, gap.len, gap.cause)),
            _ => None,
        })
        .collect();
    let unknown = GapCause::Unknown;
    assert_eq!(gaps, [(Direction::Sent, 0, 10, unknown), (Direction::Received, 0, 7, unknown)]);
}

#[test]
fn a_loopback_connection_is_once_in_the_pcapng_and_twice_in_the_raw_log() {
    let handshake = |conn| {
        let (ts_ns, func) = (common::START_NS, "SSL_do_handshake");
        Record::Handshake(Handshake {
            conn,
            ts_ns,
            tid: 1,
            func,
            lat_ns: 1,
            ok: true,
            result: None,
        })
    };
    let records = [
        process(1, "server"),
        Record::Connection(connection(1, 1, Role::Server, "127.0.0.1:443", "127.0.0.1:5000")),
        handshake(1),
        process(2, "client"),
        Record::Connection(connection(2, 2, Role::Client, "127.0.0.1:5000", "127.0.0.1:443")),
        handshake(2),
        data(2, Direction::Sent, 0, REQUEST),
        data(1, Direction::Received, 0, REQUEST),
        close(1, 0, REQUEST.len() as u64),
        close(2, REQUEST.len() as u64, 0),
        last_stats(),
    ];
    assert_eq!(read_rawlog(&to_rawlog(&records)).0, records);
    let (read, error) = read_pcapng(&to_pcapng(&records));
    assert!(error.is_none());
    let expected: Vec<_> =
        [3, 4, 5, 6, 9, 0, 10].into_iter().map(|at: usize| records[at].clone()).collect();
    assert_eq!(read, expected);
}

#[test]
fn many_handshakes_do_not_open_a_connection_that_turns_out_to_be_a_shadow() {
    let handshake = |n| {
        let (ts_ns, func) = (common::START_NS + n, "SSL_do_handshake");
        Record::Handshake(Handshake {
            conn: 1,
            ts_ns,
            tid: 1,
            func,
            lat_ns: 1,
            ok: true,
            result: None,
        })
    };
    let server = connection(1, 1, Role::Server, "127.0.0.1:443", "127.0.0.1:5000");
    let mut records = vec![process(1, "server"), Record::Connection(server)];
    records.extend((0..20).map(handshake));
    let mut paired = records.clone();
    paired.extend([
        process(2, "client"),
        Record::Connection(connection(2, 2, Role::Client, "127.0.0.1:5000", "127.0.0.1:443")),
        data(2, Direction::Sent, 0, REQUEST),
        close(1, 0, REQUEST.len() as u64),
        close(2, REQUEST.len() as u64, 0),
    ]);
    let (read, error) = read_pcapng(&to_pcapng(&paired));
    assert!(error.is_none(), "{error:?}");
    assert!(read.iter().all(|record| record.conn() != Some(1)), "{read:?}");
    // Alone the connection is shown, with the last handshakes and the number of the others.
    records.push(close(1, 0, 0));
    let file = to_pcapng(&records);
    let (read, _) = read_pcapng(&file);
    assert_eq!(read[2..], records[14..]);
    assert!(file.windows(22).any(|window| window == b" handshakes_dropped=12"));
}

#[test]
fn an_address_that_becomes_known_late_is_kept() {
    let known = connection(1, 1, Role::Client, "10.0.0.1:5000", "10.0.0.2:443");
    let unknown = Connection {
        local: None,
        remote: None,
        addr: sslrec_formats::record::AddrKind::Unknown,
        ..known.clone()
    };
    let records = [
        process(1, "p"),
        Record::Connection(unknown),
        data(1, Direction::Sent, 0, b"early"),
        Record::Connection(known),
        data(1, Direction::Sent, 5, b"late"),
        close(1, 9, 0),
        last_stats(),
    ];
    let file = to_pcapng(&records);
    assert_eq!(read_pcapng(&file).0, records);
}

#[test]
fn flushed_records_can_be_read_without_finishing() {
    let records = small_capture();
    let mut raw = RawLogWriter::new(Vec::new(), info(), 1).unwrap();
    let mut pcapng = PcapngWriter::new(Vec::new(), info(), PcapngOptions::default()).unwrap();
    for record in &records[..10] {
        raw.write(record).unwrap();
        pcapng.write(record).unwrap();
        raw.flush().unwrap();
        pcapng.flush().unwrap();
    }
    let (read, error) = read_pcapng(&pcapng.into_inner());
    assert!(error.is_none());
    assert_eq!(read, records[..10]);
    let bytes = raw.into_inner();
    let mut reader = RawLogReader::new(&bytes[..]).unwrap();
    let mut count = 0;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 10);
    assert!(!reader.is_complete());
}

#[test]
fn the_times_of_frames_never_decrease() {
    let mut writer = RawLogWriter::new(Vec::new(), info(), 1).unwrap();
    let mut boundaries = vec![writer.bytes_written() as usize];
    // A process may have been seen before the capture began.
    let early = Process { ts_ns: 5, pid: 1, ..Process::default() };
    let mut records = vec![Record::Process(early)];
    records.extend(small_capture());
    for record in &records {
        writer.write(record).unwrap();
        writer.flush().unwrap();
        boundaries.push(writer.bytes_written() as usize);
    }
    writer.finish().unwrap();
    let file = writer.into_inner();
    // The closing frame reaches up to the seek table: a head of 8, an entry for the opening, frame
    // 0, each of the records and itself, and a foot of 9.
    boundaries.push(file.len() - 8 - 8 * (records.len() + 3) - 9);
    let mut latest = common::START_NS;
    for pair in boundaries.windows(2) {
        let contents = zstd::decode_all(&file[pair[0]..pair[1]]).unwrap();
        let ts_ns = u64::from_le_bytes(contents[24..32].try_into().unwrap());
        assert!(ts_ns >= latest, "{ts_ns} after {latest}");
        latest = ts_ns;
    }
    assert_eq!(latest, common::START_NS + 950_000_000);
    assert_eq!(read_rawlog(&file).0, records);
}

/// A reused number is another process: in the raw log, and as another interface.
#[test]
fn a_reused_process_number_is_another_process() {
    let mut records = Vec::new();
    for conn in 1..=3 {
        records.push(process(7, "curl"));
        let local = format!("10.0.0.5:{}", 50_000 + conn);
        let connection = connection(conn, 7, Role::Client, &local, "10.0.0.6:443");
        records.push(Record::Connection(connection));
        records.push(data(conn, Direction::Sent, 0, b"GET /"));
        records.push(close(conn, 5, 0));
        records.push(Record::Exit(Exit { ts_ns: common::START_NS + 910_000_000, pid: 7 }));
    }
    records.push(last_stats());
    assert_eq!(read_rawlog(&to_rawlog(&records)).0, records);

    let file = to_pcapng(&records);
    let (read, error) = read_pcapng(&file);
    assert!(error.is_none(), "{error:?}");
    records.retain(|record| !matches!(record, Record::Exit(_)));
    assert_eq!(by_connection(&read), by_connection(&records));
    let (mut interfaces, mut statistics) = (0, Vec::new());
    let mut blocks = pcap_file::pcapng::PcapNgReader::new(&file[..]).unwrap();
    while let Some(block) = blocks.next_block() {
        match block.unwrap().0 {
            pcap_file::pcapng::Block::InterfaceDescription(_) => interfaces += 1,
            pcap_file::pcapng::Block::InterfaceStatistics(block) => {
                statistics.push((block.interface_id, interfaces));
            }
            _ => {}
        }
    }
    assert_eq!(statistics, [(1, 2), (2, 3), (0, 3)], "each once, where its process ends");
}

#[test]
fn a_complete_raw_log_is_marked_complete() {
    let file = to_rawlog(&small_capture());
    let mut reader = RawLogReader::new(&file[..]).unwrap();
    while reader.next().unwrap().is_some() {}
    assert!(reader.is_complete());
}

#[test]
fn nothing_can_be_written_after_the_end() {
    let mut raw = RawLogWriter::new(Vec::new(), info(), 1).unwrap();
    write_all(&mut raw, &small_capture());
    assert!(raw.write(&last_stats()).is_err());
    let mut pcapng = PcapngWriter::new(Vec::new(), info(), PcapngOptions::default()).unwrap();
    write_all(&mut pcapng, &small_capture());
    assert!(pcapng.write(&last_stats()).is_err());
}

#[test]
fn every_frame_describes_its_connections_and_processes() {
    // A flush ends a frame, so each record is in a separate frame.
    let records = small_capture();
    let mut writer = RawLogWriter::new(Vec::new(), info(), 1).unwrap();
    let mut boundaries = Vec::new();
    for record in &records {
        writer.write(record).unwrap();
        writer.flush().unwrap();
        boundaries.push(writer.bytes_written());
    }
    assert!(boundaries.windows(2).all(|pair| pair[0] < pair[1]));
    let file = writer.into_inner();
    // The contents of the frame of the last close name the connection's library and process.
    let frame = &file[boundaries[13] as usize..boundaries[14] as usize];
    let contents = zstd::decode_all(frame).unwrap();
    for needle in [&b"libssl.so.3"[..], b"odd name %"] {
        assert!(contents.windows(needle.len()).any(|window| window == needle));
    }
    assert_eq!(read_rawlog(&file).0, records);
}

#[test]
fn gaps_of_any_size_keep_their_place() {
    let mut records = vec![
        process(1, "p"),
        Record::Connection(connection(1, 1, Role::Client, "10.0.0.1:5000", "10.0.0.2:443")),
    ];
    let mut offset = 0;
    for len in [1, (1 << 30) - 1, 1 << 30, 3 << 30, 1 << 32, (1 << 32) + 1, 1 << 50] {
        records.push(gap(1, Direction::Received, offset, len, GapCause::Snaplen));
        records.push(data(1, Direction::Received, offset + len, b"abc"));
        offset += len + 3;
    }
    records.push(close(1, 0, offset));
    assert_eq!(read_pcapng(&to_pcapng(&records)).0, records);
}

#[test]
fn a_frame_ends_by_itself_after_a_second_and_at_its_size() {
    let mut writer = RawLogWriter::new(Vec::new(), info(), 1).unwrap();
    let shown = connection(1, 1, Role::Client, "10.0.0.1:5000", "10.0.0.2:443");
    writer.write(&process(1, "p")).unwrap();
    writer.write(&Record::Connection(shown)).unwrap();
    let at = |ts_ns, offset, payload| {
        let Record::Data(data) = data(1, Direction::Sent, offset, payload) else { panic!("data") };
        Record::Data(Data { ts_ns, ..data })
    };
    let opening = writer.bytes_written();
    writer.write(&at(common::START_NS + 999_000_000, 0, b"x")).unwrap();
    assert_eq!(writer.bytes_written(), opening, "within a second");
    writer.write(&at(common::START_NS + 1_100_000_000, 1, b"y")).unwrap();
    let after_a_second = writer.bytes_written();
    assert!(after_a_second > opening, "the first frame is out");
    let payload = vec![b'z'; 16384];
    for n in 0..64 {
        writer.write(&at(common::START_NS + 1_100_000_000, 2 + n * 16384, &payload)).unwrap();
        assert_eq!(writer.bytes_written(), after_a_second, "below 1 MiB");
    }
    writer.write(&at(common::START_NS + 1_100_000_000, 2 + 64 * 16384, b"z")).unwrap();
    assert!(writer.bytes_written() > after_a_second);
}
