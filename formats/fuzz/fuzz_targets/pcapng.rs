//! Reads arbitrary bytes as a pcapng of sslrec, and writes the records read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sslrec_formats::io::{RecordReader, RecordWriter};
use sslrec_formats::pcapng::{PcapngOptions, PcapngReader, PcapngWriter};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = PcapngReader::new(bytes) else { return };
    let info = reader.info().clone();
    let mut writer = PcapngWriter::new(Vec::new(), info, PcapngOptions::default()).unwrap();
    while let Ok(Some(record)) = reader.next() {
        writer.write(&record).unwrap();
    }
    writer.finish().unwrap();
    let again = writer.into_inner();
    let mut reader = PcapngReader::new(&again[..]).unwrap();
    while reader.next().unwrap().is_some() {}
});
