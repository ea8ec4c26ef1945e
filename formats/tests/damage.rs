//! Files that were truncated, had bits flipped, or were edited by other programs.

// A test fails by a panic.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    REQUEST, close, connection, data, info, last_stats, process, random, read_pcapng, read_rawlog,
    small_capture, to_pcapng, to_rawlog,
};
use sslrec_formats::io::{Error, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::{RawLogReader, RawLogWriter};
use sslrec_formats::record::{Data, Direction, Gap, GapCause, Record, Role};

/// Returns a raw log of several frames, and the places of the frames.
fn frames(records: &[Record<'_>], per_frame: usize) -> (Vec<u8>, Vec<usize>) {
    let mut writer = RawLogWriter::new(Vec::new(), info(), 1).unwrap();
    let mut starts = vec![writer.bytes_written() as usize];
    for some in records.chunks(per_frame) {
        for record in some {
            writer.write(record).unwrap();
        }
        writer.flush().unwrap();
        starts.push(writer.bytes_written() as usize);
    }
    writer.finish().unwrap();
    (writer.into_inner(), starts)
}

#[test]
fn a_raw_log_reads_up_to_any_cut() {
    let records = small_capture();
    let (file, starts) = frames(&records, 4);
    for cut in 0..file.len() {
        let (read, error) = read_rawlog(&file[..cut]);
        assert!(records.starts_with(&read), "cut at {cut}");
        // Every complete frame is there.
        let whole = starts.iter().filter(|start| **start <= cut).count().saturating_sub(1);
        assert!(read.len() >= (whole * 4).min(records.len()), "cut at {cut}: {}", read.len());
        let at_boundary = starts.contains(&cut);
        match error {
            None => assert!(at_boundary || cut > starts[starts.len() - 1], "cut at {cut}"),
            Some(Error::Foreign { .. }) => assert!(cut < 14, "cut at {cut}"),
            Some(Error::Damaged { offset, .. }) => assert!(offset <= cut as u64, "cut at {cut}"),
            Some(Error::Io(error)) => panic!("cut at {cut}: {error}"),
        }
    }
}

#[test]
fn a_pcapng_reads_up_to_any_cut() {
    let records = small_capture();
    let file = to_pcapng(&records);
    let mut longest = 0;
    for cut in 0..file.len() {
        let (read, error) = read_pcapng(&file[..cut]);
        assert!(records.starts_with(&read), "cut at {cut}");
        assert!(read.len() >= longest, "cut at {cut}");
        longest = read.len();
        match error {
            None => {}
            Some(Error::Foreign { .. }) => assert!(cut < 4, "cut at {cut}"),
            Some(Error::Damaged { offset, .. }) => assert!(offset <= cut as u64, "cut at {cut}"),
            Some(Error::Io(error)) => panic!("cut at {cut}: {error}"),
        }
    }
    assert_eq!(longest, records.len() - 1, "all but the statistics at the very end");
}

#[test]
fn a_cut_is_an_error_with_the_place_of_the_last_block() {
    let file = to_pcapng(&small_capture());
    let Some(Error::Damaged { offset, .. }) = read_pcapng(&file[..file.len() - 1]).1 else {
        panic!("not reported");
    };
    let trailer: [u8; 4] = *file.last_chunk().unwrap();
    assert_eq!(offset as usize, file.len() - u32::from_le_bytes(trailer) as usize);
}

#[test]
fn no_flipped_bit_of_a_raw_log_changes_records() {
    let records = small_capture();
    let (file, _) = frames(&records, 6);
    for at in 0..file.len() {
        for flip in (0..8).map(|bit| 1 << bit).chain([0xFF, 0x55]) {
            let mut flipped = file.clone();
            flipped[at] ^= flip;
            let (read, error) = read_rawlog(&flipped);
            let (is_prefix, is_whole) = (records.starts_with(&read), read == records);
            assert!(is_prefix, "byte {at} xor {flip:#x}");
            assert!(error.is_some() || is_whole, "byte {at} xor {flip:#x}: lost in silence");
        }
    }
}

#[test]
fn no_flipped_bit_of_a_truncated_raw_log_changes_records() {
    // A frame of incompressible data with checkpoints inside, truncated in its middle, so that no
    // checksum of zstd covers it.
    let mut random = common::Random(77);
    let mut records = vec![
        process(1, "p"),
        Record::Connection(connection(1, 1, Role::Client, "10.0.0.1:5000", "10.0.0.2:443")),
    ];
    for n in 0..24 {
        let payload: Vec<u8> = (0..16384).map(|_| random.next() as u8).collect();
        records.push(data(1, Direction::Sent, n * 16384, &payload));
    }
    let file = to_rawlog(&records);
    let torn = &file[..file.len() - 3000];
    let (read, error) = read_rawlog(torn);
    assert!(records.starts_with(&read) && error.is_some());
    assert!(read.len() > 12, "a torn frame gives what its checkpoints vouch for: {}", read.len());
    for _ in 0..100 {
        let mut flipped = torn.to_vec();
        let at = random.below(flipped.len() as u64) as usize;
        flipped[at] ^= 1 << random.below(8);
        let (read, error) = read_rawlog(&flipped);
        assert!(records.starts_with(&read), "byte {at}");
        assert!(error.is_some(), "byte {at}");
    }
}

#[test]
fn a_missing_frame_is_detected() {
    let records = small_capture();
    let (file, starts) = frames(&records, 4);
    let mut without = file[..starts[1]].to_vec();
    without.extend_from_slice(&file[starts[2]..]);
    let (read, error) = read_rawlog(&without);
    assert_eq!(read, records[..4]);
    let offset = starts[1] as u64;
    assert!(matches!(error, Some(Error::Damaged { offset: at, .. }) if at == offset), "{error:?}");
}

#[test]
fn a_second_capture_after_the_first_is_detected() {
    let records = small_capture();
    for (file, read) in [
        (to_rawlog(&records), read_rawlog as fn(&[u8]) -> _),
        (to_pcapng(&records), read_pcapng as fn(&[u8]) -> _),
    ] {
        let (read, error) = read(&[&file[..], &file].concat());
        assert_eq!(read, records);
        assert!(matches!(error, Some(Error::Damaged { .. })));
    }
}

#[test]
fn a_frame_that_decompresses_without_end_is_refused() {
    let mut file = to_rawlog(&small_capture());
    let zeros = vec![0; 65 << 20];
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    bomb.include_checksum(true).unwrap();
    std::io::Write::write_all(&mut bomb, &zeros).unwrap();
    file.splice(16..16, bomb.finish().unwrap());
    let error = RawLogReader::new(&file[..]).err().unwrap();
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[test]
fn random_bytes_in_a_pcapng_never_panic() {
    let file = to_pcapng(&random::capture(5, 40).into_iter().map(shorten).collect::<Vec<_>>());
    let mut random = common::Random(99);
    for _ in 0..5_000 {
        let mut mutated = file.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(mutated.len() as u64) as usize;
            mutated[at] = random.next() as u8;
        }
        // All readable records can be written again, however odd.
        let (read, _) = read_pcapng(&mutated);
        let (again, error) = read_pcapng(&to_pcapng(&read));
        assert!(error.is_none(), "{error:?}");
        assert!(again.is_empty() == read.is_empty());
    }
}

/// Shortens payloads, so that mutations are likelier to affect other data.
fn shorten(record: Record<'static>) -> Record<'static> {
    match record {
        Record::Data(data) => {
            let payload = &data.payload[..data.payload.len().min(20)];
            Record::Data(Data { payload, ..data })
        }
        other => other,
    }
}

#[test]
fn removed_packets_leave_gaps() {
    let records = [
        process(1, "p"),
        Record::Connection(connection(1, 1, Role::Client, "10.0.0.1:5000", "10.0.0.2:443")),
        data(1, Direction::Sent, 0, REQUEST),
        data(1, Direction::Sent, REQUEST.len() as u64, b"taken out"),
        data(1, Direction::Sent, REQUEST.len() as u64 + 9, b"after"),
        close(1, REQUEST.len() as u64 + 14, 0),
        last_stats(),
    ];
    let file = to_pcapng(&records);
    let without = remove_block_with(&file, b"taken out");
    let (read, error) = read_pcapng(&without);
    assert!(error.is_none());
    let mut expected = records.to_vec();
    let Record::Data(after) = &expected[4] else { panic!("data") };
    expected[3] = Record::Gap(Gap {
        conn: 1,
        ts_ns: after.ts_ns,
        dir: Direction::Sent,
        offset: REQUEST.len() as u64,
        len: 9,
        cause: GapCause::Unknown,
    });
    assert_eq!(read, expected);
    // Without the packet that opens the connection, its library is known by name only.
    let (read, error) = read_pcapng(&remove_block_with(&file, b"ev=open"));
    assert!(error.is_none());
    let Record::Connection(found) = &read[1] else { panic!("no connection: {:?}", read[1]) };
    assert_eq!(found.lib.as_deref(), Some("libssl.so.3"));
    assert_eq!(read[2..], records[2..]);
}

/// Returns the file without the first block that contains these bytes.
fn remove_block_with(file: &[u8], needle: &[u8]) -> Vec<u8> {
    let mut at = 0;
    loop {
        let len = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        if file[at..at + len].windows(needle.len()).any(|window| window == needle) {
            return [&file[..at], &file[at + len..]].concat();
        }
        at += len;
    }
}

/// An output that accepts a limited number of bytes.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl Limited {
    fn to(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }
}

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.limit - self.bytes.len();
        if room == 0 {
            return Err(std::io::Error::from_raw_os_error(5)); // EIO
        }
        let taken = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes until a failure, flushing after every few records, and returns the number of flushed
/// records.
fn flushed(writer: &mut impl RecordWriter, records: &[Record<'_>]) -> usize {
    let mut flushed = 0;
    for some in records.chunks(3) {
        let written = some.iter().try_for_each(|record| writer.write(record));
        if written.and_then(|()| writer.flush()).is_err() {
            assert!(writer.flush().is_err() && writer.finish().is_err(), "nothing may follow");
            return flushed;
        }
        flushed += some.len();
    }
    flushed
}

#[test]
fn a_raw_log_whose_output_fails_at_any_byte_is_good_up_to_the_last_flush() {
    let records = small_capture();
    let mut whole = RawLogWriter::new(Limited::to(usize::MAX), info(), 1).unwrap();
    assert_eq!(flushed(&mut whole, &records), records.len());
    for limit in 0..whole.into_inner().bytes.len() {
        let Ok(mut writer) = RawLogWriter::new(Limited::to(limit), info(), 1) else {
            continue;
        };
        let flushed = flushed(&mut writer, &records);
        assert!(flushed < records.len(), "{limit}");
        let good = writer.bytes_written() as usize;
        let file = writer.into_inner().bytes;
        let (read, error) = read_rawlog(&file[..good]);
        assert_eq!(read, records[..flushed], "{limit}");
        assert!(error.is_none(), "{limit}: {error:?}");
        // Bytes that could not be removed, or were truncated by a loss of power, hide no record.
        assert!(read_rawlog(&file).0.starts_with(&read), "{limit}");
    }
}

#[test]
fn a_pcapng_whose_output_fails_at_any_byte_is_good_up_to_the_last_flush() {
    let records = small_capture();
    let new = |limit| PcapngWriter::new(Limited::to(limit), info(), PcapngOptions::default());
    let mut whole = new(usize::MAX).unwrap();
    assert_eq!(flushed(&mut whole, &records), records.len());
    for limit in 0..whole.into_inner().bytes.len() {
        let mut writer = new(limit).unwrap();
        let flushed = flushed(&mut writer, &records);
        assert!(flushed < records.len(), "{limit}");
        let good = writer.bytes_written() as usize;
        let file = writer.into_inner().bytes;
        let (read, error) = read_pcapng(&file[..good]);
        assert!(records[..flushed].starts_with(&read), "{limit}");
        assert!(read_pcapng(&file).0.starts_with(&read), "{limit}");
        // Records that no packet refers to yet wait for a packet.
        let waits = |record: &Record<'_>| {
            matches!(record, Record::Process(_) | Record::Connection(_) | Record::Handshake(_))
        };
        let data = records[..flushed].iter().rposition(|record| !waits(record));
        assert!(read.len() >= data.map_or(0, |last| last + 1), "{limit}: {}", read.len());
        assert!(error.is_none() || good == 0, "{limit}: {error:?}");
    }
}
