//! Reads a capture in a thread of its own, while this one works on what was read.
//!
//! What a reader does (read, decompress, take packets and comments apart, reassemble) is about as
//! much as what is then made of its records, so that two cores list a file in little more than
//! half of the time. With one core it would only be a copy more.

use std::thread;

use sslrec_formats::io::Error;

use super::batch::{Batch, Event, way};
use super::{Input, Outcome, RecordSink};

/// Batches that wait. A few, since reading and listing are not even from one to the next.
const QUEUE: usize = 4;

/// Hands all records of `input` to `sink`, as [`Input::read`] does.
///
/// Nothing is handed on before a batch is full, so that this is not for a capture that somebody
/// watches.
///
/// # Errors
/// As for [`Input::read`].
pub(crate) fn read_ahead(input: Input<'_>, sink: &mut dyn RecordSink) -> Result<Outcome, Error> {
    sink.source(input.kind());
    thread::scope(|scope| {
        let (mut filler, batches) = way(QUEUE);
        let reader = scope.spawn(move || {
            let outcome = input.read(&mut filler);
            filler.finish();
            outcome
        });
        let mut batch = Batch::default();
        while let Some(next) = batches.next(batch) {
            batch = next;
            if !hand_on(&mut batch, sink) {
                break;
            }
        }
        // A reader that has more finds nobody who takes it, and ends.
        drop(batches);
        let outcome = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What the reader met behind the last record that was wanted is nobody's concern.
        outcome.map(|outcome| Outcome {
            damage: outcome.damage.filter(|_| !sink.is_done()),
            ..outcome
        })
    })
}

/// Returns whether more is wanted.
fn hand_on(batch: &mut Batch, sink: &mut dyn RecordSink) -> bool {
    if let Some(info) = batch.info.take() {
        sink.info(&info);
    }
    for at in 0..batch.len() {
        if sink.is_done() {
            return false;
        }
        match batch.event(at) {
            Some(Event::Record(record)) => sink.record(&record),
            Some(Event::Note { conn, text }) => sink.note(conn, text),
            Some(Event::Reset { conn, dir }) => sink.reset(conn, dir),
            // The reader was not asked for segments.
            Some(Event::Segment(_)) | None => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use sslrec_formats::io::RecordWriter;
    use sslrec_formats::rawlog::RawLogWriter;
    use sslrec_formats::record::{CaptureInfo, Data, Direction, Record};

    use super::*;

    /// Takes so many records.
    struct First(usize, Vec<String>);

    impl RecordSink for First {
        fn record(&mut self, record: &Record<'_>) {
            self.1.push(format!("{record:?}"));
        }

        fn info(&mut self, info: &CaptureInfo) {
            self.1.push(format!("{info:?}"));
        }

        fn is_done(&self) -> bool {
            self.1.len() >= self.0
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
            let outcome = read_ahead(Input::open(bytes).unwrap(), &mut ahead).unwrap();
            assert!(here.1 == ahead.1 && here.1.len() > 1000, "{}", ahead.1.len());
            assert_eq!(format!("{expected:?}"), format!("{outcome:?}"));
        }
    }

    #[test]
    fn who_stops_does_not_hear_of_damage_behind_that() {
        let whole = raw_log();
        let bytes = &whole[..whole.len() * 2 / 3];
        for wanted in [1, 2, 1500] {
            let mut sink = First(wanted, vec![]);
            let outcome = read_ahead(Input::open(bytes).unwrap(), &mut sink).unwrap();
            assert!(outcome.damage.is_none());
            assert_eq!(sink.1.len(), wanted);
        }
    }
}
