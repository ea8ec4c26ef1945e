//! Reads a capture in a thread of its own, while the calling thread processes the records.
//!
//! Reading (input, decompression, parsing of packets and comments, reassembly) and the processing
//! of records each take a considerable part of the time, so that two cores need less time than one.
//! With a single core the thread would only add a copy.

use std::io;
use std::thread::{self, JoinHandle};

use sslrec_formats::io::Error;

use super::batch::{Batch, Batches, way};
use super::{Input, Outcome};
use crate::sink::{Flow, RecordSink};

/// Number of batches that may wait. Several are useful, because reading and listing take different
/// times for each batch.
const QUEUE: usize = 4;

/// A capture that is being read.
///
/// Records are passed on only in full batches, so this is not suitable for a capture that somebody
/// watches. The reader ends once this is dropped.
pub(crate) struct Ahead {
    batches: Batches,
    batch: Batch,
    /// Index of the next event in `batch`.
    next: usize,
    reader: JoinHandle<Result<Outcome, Error>>,
}

impl Ahead {
    /// Starts reading.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(crate) fn new(input: Input<'static>) -> io::Result<Self> {
        let (mut filler, batches) = way(QUEUE);
        let reader = thread::Builder::new().name("reader".into()).spawn(move || {
            let outcome = input.read(&mut filler);
            filler.finish();
            outcome
        })?;
        Ok(Self { batches, batch: Batch::default(), next: 0, reader })
    }

    /// Passes the next event to `sink`; `None` at the end.
    pub(crate) fn step(&mut self, sink: &mut dyn RecordSink) -> Option<Flow> {
        while self.next >= self.batch.len() {
            (self.batch, self.next) = (self.batches.next(std::mem::take(&mut self.batch))?, 0);
            if let Some(info) = self.batch.info.take() {
                return Some(sink.info(&info));
            }
        }
        let event = self.batch.event(self.next);
        self.next += 1;
        Some(event.map_or(Flow::Continue(()), |event| event.pass(sink)))
    }

    /// Ends the reading and returns its outcome.
    ///
    /// # Errors
    /// As for [`Input::read`].
    pub(crate) fn finish(self) -> Result<Outcome, Error> {
        // Disconnects the channel, so that the reader ends even if it has more.
        drop(self.batches);
        self.reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Passes all records of `input` to `sink`, as [`Input::read`] does, but reads in another thread.
///
/// # Errors
/// As for [`Input::read`].
pub fn read_ahead(input: Input<'static>, sink: &mut dyn RecordSink) -> Result<Outcome, Error> {
    let mut flow = sink.source(input.kind());
    let mut ahead = Ahead::new(input)?;
    while flow.is_continue() {
        let Some(next) = ahead.step(sink) else { return ahead.finish() };
        flow = next;
    }
    // Damage after the last record that the sink accepted is irrelevant.
    let outcome = ahead.finish()?;
    Ok(Outcome { damage: None, unclosed: false, stop: flow.break_value(), ..outcome })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use std::io::Cursor;

    use sslrec_formats::io::RecordWriter;
    use sslrec_formats::rawlog::RawLogWriter;
    use sslrec_formats::record::{CaptureInfo, Data, Direction, Record};

    use super::*;
    use crate::sink::Stop;

    /// Accepts so many records.
    struct First(usize, Vec<String>);

    impl RecordSink for First {
        fn record(&mut self, record: &Record<'_>) -> Flow {
            self.push(format!("{record:?}"))
        }

        fn info(&mut self, info: &CaptureInfo) -> Flow {
            self.push(format!("{info:?}"))
        }
    }

    impl First {
        fn push(&mut self, text: String) -> Flow {
            self.1.push(text);
            if self.1.len() < self.0 { Flow::Continue(()) } else { Flow::Break(Stop::Done) }
        }
    }

    fn raw_log() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = RawLogWriter::new(&mut bytes, CaptureInfo::default(), 1).unwrap();
        for call in 0..5000 {
            let payload = [call as u8; 300];
            let (func, dir) = if call % 3 == 0 {
                ("SSL_write", Direction::Sent)
            } else {
                ("SSL_read", Direction::Received)
            };
            let data = Data {
                conn: call % 7,
                ts_ns: call,
                tid: 1,
                dir,
                offset: call * 300,
                func,
                lat_ns: 1,
                call_len: 300,
                call_offset: 0,
                payload: &payload,
            };
            writer.write(&Record::Data(data)).unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        bytes
    }

    #[test]
    fn the_records_are_the_same_and_so_is_the_damage() {
        let whole = raw_log();
        for bytes in [&whole[..], &whole[..whole.len() * 2 / 3]] {
            let (mut here, mut ahead) = (First(usize::MAX, vec![]), First(usize::MAX, vec![]));
            let expected = Input::open(bytes).unwrap().read(&mut here).unwrap();
            let input = Input::open(Cursor::new(bytes.to_vec())).unwrap();
            let outcome = read_ahead(input, &mut ahead).unwrap();
            assert!(here.1 == ahead.1 && here.1.len() > 1000, "{}", ahead.1.len());
            assert_eq!(format!("{expected:?}"), format!("{outcome:?}"));
        }
    }

    #[test]
    fn damage_after_a_stop_is_not_reported() {
        let whole = raw_log();
        let bytes = &whole[..whole.len() * 2 / 3];
        for wanted in [1, 2, 1500] {
            let mut sink = First(wanted, vec![]);
            let input = Input::open(Cursor::new(bytes.to_vec())).unwrap();
            let outcome = read_ahead(input, &mut sink).unwrap();
            assert!(outcome.damage.is_none());
            assert_eq!(sink.1.len(), wanted);
        }
    }
}
