//! A recording in several files: each file is complete, and together they are equal to a single
//! file.

// A test fails by a panic.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use common::{info, random, read_pcapng, read_rawlog, small_capture, to_pcapng, to_rawlog};
use sslrec_formats::io::{Error, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{Direction, Gap, GapCause, Record};

/// Files that are written in succession.
struct Files(Vec<Vec<u8>>);

impl Files {
    fn new() -> Self {
        Self(vec![Vec::new()])
    }

    fn next(&mut self) {
        self.0.push(Vec::new());
    }
}

impl Write for Files {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.last_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn next(files: &mut Files) -> io::Result<()> {
    files.next();
    Ok(())
}

/// Begins a new file after every `each` records.
fn rawlogs(records: &[Record<'_>], each: usize) -> Vec<Vec<u8>> {
    let mut writer = RawLogWriter::new(Files::new(), info(), 1).unwrap();
    for (i, record) in records.iter().enumerate() {
        if i > 0 && i % each == 0 {
            writer.next_file(next).unwrap();
        }
        writer.write(record).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().0
}

fn pcapngs(records: &[Record<'_>], each: usize) -> Vec<Vec<u8>> {
    let mut writer = PcapngWriter::new(Files::new(), info(), PcapngOptions::default()).unwrap();
    for (i, record) in records.iter().enumerate() {
        if i > 0 && i % each == 0 {
            writer.next_file(next).unwrap();
        }
        writer.write(record).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().0
}

type Read = fn(&[u8]) -> (Vec<Record<'static>>, Option<Error>);

/// Returns the events on each connection, without records that only mark a continuation.
fn events(records: &[Record<'static>]) -> BTreeMap<u64, Vec<Record<'static>>> {
    let mut by_connection: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for record in records {
        match record {
            Record::Process(_) | Record::Connection(_) | Record::Stats(_) => {}
            Record::Gap(gap) if gap.cause == GapCause::EarlierFile => {}
            _ => by_connection.entry(record.conn().unwrap()).or_default().push(record.clone()),
        }
    }
    by_connection
}

/// Reads each file separately. Asserts that the file contains the number of earlier bytes of each
/// stream.
fn read_each(files: &[Vec<u8>], read: Read) -> Vec<Record<'static>> {
    let mut all = Vec::new();
    let mut reached: HashMap<(u64, Direction), u64> = HashMap::new();
    for (number, file) in files.iter().enumerate() {
        let (records, error) = read(file);
        assert!(error.is_none(), "file {number}: {error:?}");
        let mut described = Vec::new();
        let mut here: HashMap<(u64, Direction), u64> = HashMap::new();
        for record in &records {
            if let Record::Connection(connection) = record {
                described.push(connection.conn);
            }
            let conn = record.conn();
            assert!(conn.is_none_or(|conn| described.contains(&conn)), "{number}: {record:?}");
            let (stream, offset, len) = match record {
                Record::Data(d) => ((d.conn, d.dir), d.offset, d.payload.len() as u64),
                Record::Gap(gap) => ((gap.conn, gap.dir), gap.offset, gap.len),
                _ => continue,
            };
            if let Record::Gap(Gap { cause: GapCause::EarlierFile, .. }) = record {
                assert_eq!(reached.get(&stream), Some(&len), "file {number}: {record:?}");
            }
            assert_eq!(offset, here.get(&stream).copied().unwrap_or(0), "{number}: {record:?}");
            here.insert(stream, offset + len);
        }
        reached.extend(here);
        all.extend(records);
    }
    all
}

fn check(records: &[Record<'static>], each: usize, what: &str) {
    let parts: [(Vec<Vec<u8>>, Vec<u8>, Read); 2] = [
        (rawlogs(records, each), to_rawlog(records), read_rawlog),
        (pcapngs(records, each), to_pcapng(records), read_pcapng),
    ];
    for (files, whole, read) in parts {
        assert_eq!(files.len(), records.len().div_ceil(each));
        let together = events(&read_each(&files, read));
        assert!(together == events(&read(&whole).0), "{what}, {each} records a file");
    }
}

#[test]
fn several_files_together_equal_a_single_file() {
    for each in 1..=small_capture().len() {
        check(&small_capture(), each, "small capture");
    }
    for seed in 1..20 {
        let records = random::capture(seed, 200);
        for each in [7, 50] {
            check(&records, each, &format!("seed {seed}"));
        }
    }
}

#[test]
fn a_connection_keeps_its_addresses_and_sequence_numbers() {
    let records = small_capture();
    let (one, other) = (&pcapngs(&records, records.len())[0], pcapngs(&records, 4));
    let segments = |file: &[u8]| {
        let mut reader = pcap_file::pcapng::PcapNgReader::new(file).unwrap();
        let mut segments = Vec::new();
        while let Some(block) = reader.next_block() {
            if let pcap_file::pcapng::Block::EnhancedPacket(packet) = block.unwrap().0 {
                let sliced = etherparse::SlicedPacket::from_ethernet(&packet.data).unwrap();
                let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!() };
                if !tcp.payload().is_empty() {
                    let ports = (tcp.source_port(), tcp.destination_port());
                    segments.push((ports, tcp.sequence_number(), tcp.payload().to_vec()));
                }
            }
        }
        segments
    };
    let parts: Vec<_> = other.iter().flat_map(|file| segments(file)).collect();
    assert_eq!(parts, segments(one));
    assert!(other.len() > 2);
}

#[test]
fn an_output_that_cannot_be_switched_is_an_error() {
    let refuse = |_: &mut Files| Err(io::Error::other("no more files"));
    let mut rawlog = RawLogWriter::new(Files::new(), info(), 1).unwrap();
    assert!(rawlog.next_file(refuse).is_err());
    assert!(rawlog.write(&small_capture()[0]).is_err(), "the file before is complete");
    let mut pcapng = PcapngWriter::new(Files::new(), info(), PcapngOptions::default()).unwrap();
    assert!(pcapng.next_file(refuse).is_err());
    assert!(pcapng.write(&small_capture()[0]).is_err(), "the file before is complete");
}
