use std::io::Cursor;

use sslrec_formats::io::RecordWriter;
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{Close, CloseCause, Connection, Data};

use super::*;
use sslrec_formats::record::Direction;

/// Returns a capture of a connection: a process, and a byte sent at each of these times.
fn records(comm: &str, times: &[u64]) -> Vec<Record<'static>> {
    let process = Process { ts_ns: times[0], pid: 9, comm: comm.into(), ..Process::default() };
    let connection = Connection { conn: 1, ts_ns: times[0], pid: 9, ..Connection::default() };
    let mut records = vec![Record::Process(process), Record::Connection(connection)];
    for (offset, &ts_ns) in (0..).zip(times) {
        records.push(Record::Data(Data {
            conn: 1,
            ts_ns,
            tid: 9,
            dir: Direction::Sent,
            offset,
            func: "SSL_write",
            lat_ns: 1,
            call_len: 1,
            call_offset: 0,
            payload: b"x",
        }));
    }
    let ts_ns = times[times.len() - 1];
    let (cause, sent_bytes) = (CloseCause::Freed, times.len() as u64);
    records.push(Record::Close(Close { conn: 1, ts_ns, cause, sent_bytes, received_bytes: 0 }));
    let stats = Stats { ts_ns, last: true, dropped_events: 2, ..Stats::default() };
    records.push(Record::Stats(stats));
    records
}

fn raw_log(start_ns: u64, records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = CaptureInfo { start_ns, ..CaptureInfo::default() };
    let mut writer = RawLogWriter::new(&mut bytes, info, 1).unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// The calls of the sink, in short.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
    dropped_events: u64,
    done_after: Option<usize>,
}

impl RecordSink for Told {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        self.lines.push(match record {
            Record::Process(process) => format!("{} {}", process.pid, process.comm),
            Record::Connection(c) => format!("conn {} of {}", c.conn, c.pid),
            Record::Data(d) => format!("{} {} {} {}", d.ts_ns, d.conn, d.func, d.payload.len()),
            Record::Close(close) => format!("close {}", close.conn),
            Record::Stats(stats) => {
                self.dropped_events = stats.dropped_events;
                format!("stats {}", stats.ts_ns)
            }
            Record::Gap(_) | Record::Handshake(_) | Record::Exit(_) | Record::Coverage(_) => {
                "other".into()
            }
        });
        match self.done_after.is_some_and(|lines| self.lines.len() >= lines) {
            true => Flow::Break(Stop::Done),
            false => Flow::Continue(()),
        }
    }
}

fn told(files: &[Vec<u8>]) -> (Told, Merged) {
    let inputs = files.iter().map(|file| Input::open(Cursor::new(file)).unwrap()).collect();
    let mut told = Told::default();
    let merged = merge(inputs, &mut told);
    (told, merged)
}

#[test]
fn records_come_by_time_with_new_numbers_and_the_right_names() {
    let files = [raw_log(1, &records("late", &[20, 40])), raw_log(2, &records("early", &[10, 30]))];
    let (told, merged) = told(&files);
    assert_eq!(
        told.lines,
        [
            "9 early",
            "conn 1 of 9",
            "10 1 SSL_write 1",
            "9 late",
            "conn 2 of 9",
            "20 2 SSL_write 1",
            "30 1 SSL_write 1",
            "close 1",
            "40 2 SSL_write 1",
            "close 2",
            "stats 40",
        ]
    );
    assert_eq!(told.dropped_events, 4);
    assert!(merged.closed && merged.outcomes.iter().all(Result::is_ok));
}

#[test]
fn process_numbers_are_those_of_their_own_capture() {
    let (mut one, two) = (records("one", &[10, 50]), records("two", &[20, 30]));
    let again = Connection { conn: 2, ts_ns: 40, pid: 9, ..Connection::default() };
    one.insert(3, Record::Connection(again));
    let (told, _) = told(&[raw_log(1, &one), raw_log(2, &two)]);
    let at = told.lines.iter().position(|line| line == "conn 3 of 9").unwrap();
    assert_eq!(told.lines[at - 1], "9 one", "{:?}", told.lines);
}

#[test]
fn two_files_of_one_recording_are_one_capture() {
    let records = records("both", &[10, 20]);
    let mut pcapng = Vec::new();
    let info = CaptureInfo { start_ns: 5, ..CaptureInfo::default() };
    let mut writer = PcapngWriter::new(&mut pcapng, info, PcapngOptions::default()).unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    drop(writer);
    let (told, _) = told(&[raw_log(5, &records), pcapng]);
    assert!(told.lines.iter().all(|line| !line.contains("conn 2")), "{:?}", told.lines);
    assert_eq!(told.dropped_events, 2);
}

#[test]
fn one_damaged_file_does_not_end_the_others() {
    let whole = raw_log(1, &records("a", &[10, 20]));
    let cut = raw_log(2, &records("b", &[15, 25]));
    let (told, merged) = told(&[whole, cut[..cut.len() - 40].to_vec()]);
    let damages = merged.outcomes.iter().map(|o| o.as_ref().is_ok_and(|o| o.damage.is_some()));
    assert_eq!(damages.collect::<Vec<_>>(), [false, true]);
    assert!(told.lines.contains(&"20 1 SSL_write 1".to_owned()), "{:?}", told.lines);
}

#[test]
fn readers_end_when_the_sink_stops() {
    let times: Vec<u64> = (1..200_000).collect();
    let files = [raw_log(1, &records("a", &times)), raw_log(2, &records("b", &times))];
    let inputs = files.iter().map(|file| Input::open(Cursor::new(file)).unwrap()).collect();
    let mut told = Told { done_after: Some(10), ..Told::default() };
    merge(inputs, &mut told);
    assert_eq!(told.lines.len(), 10);
}
