//! Reads arbitrary bytes as a raw log, writes the records read, and reads them again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sslrec_formats::io::{RecordReader, RecordWriter};
use sslrec_formats::rawlog::{RawLogReader, RawLogWriter};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = RawLogReader::new(bytes) else { return };
    let mut writer = RawLogWriter::new(Vec::new(), reader.info().clone(), 1).unwrap();
    let mut count = 0;
    while let Ok(Some(record)) = reader.next() {
        writer.write(&record).unwrap();
        count += 1;
    }
    writer.finish().unwrap();
    let again = writer.into_inner();
    let mut reader = RawLogReader::new(&again[..]).unwrap();
    let mut read = 0;
    while reader.next().unwrap().is_some() {
        read += 1;
    }
    assert!(read >= count && reader.is_complete());
});
