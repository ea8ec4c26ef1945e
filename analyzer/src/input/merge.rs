//! Merges several captures by time into one.
//!
//! Each file is read by a thread of its own, which copies its records into batches. The merger
//! takes the earliest record of all files. Within a file the order is kept, whatever its times are.
//!
//! Connection numbers are unique only within a capture, so they are assigned anew, in order of
//! appearance. Files with the same head are parts or views of the same capture (`sslrec -w x.pcapng
//! -w x.zst`), and share their connections. Process numbers are unique only on a machine: a
//! connection has the process name of its own capture.
//!
//! Packet captures are merged before their connections are reassembled. Captures of the same
//! machine are mostly the parts of a ring buffer (`dumpcap -b`, `tcpdump -C`), and connections
//! continue from one part to the next.
//!
//! Memory: per file, a few batches and the state of its reader.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::thread;

use sslrec_formats::io::Error;
use sslrec_formats::record::{CaptureInfo, Direction, Process, Record, Stats};

use super::batch::{Batch, Batches, Event, way};
use super::{Input, Outcome};
use crate::budget::Budget;
use crate::exchange::Note;
use crate::sink::{Flow, Kind, RecordSink, Stop};
use crate::tcp::Reassembler;

/// Number of batches of each file that may wait for the other files.
const QUEUE: usize = 2;

/// Number of the capture for records reassembled from all packet captures.
const WIRE: usize = usize::MAX;

/// The result of reading several captures.
#[derive(Debug, Default)]
pub struct Merged {
    /// The outcome of each file, in the order of the arguments.
    pub outcomes: Vec<Result<Outcome, Error>>,
    /// Every capture that records its end was closed.
    pub closed: bool,
    /// Why the sink stopped, if it did.
    pub stop: Option<Stop>,
}

/// Passes the records of all inputs to `sink`, in the order of time.
pub fn merge(inputs: Vec<Input<'_>>, sink: &mut dyn RecordSink) -> Merged {
    thread::scope(|scope| {
        let budget = inputs.first().map(|input| input.budget.clone());
        let mut sources = Vec::new();
        let mut threads = Vec::new();
        for input in inputs {
            let (mut filler, batches) = way(QUEUE);
            filler.segments = true;
            sources.push(Source::new(input.kind(), batches));
            threads.push(scope.spawn(move || {
                let outcome = input.read(&mut filler);
                filler.finish();
                outcome
            }));
        }
        let (closed, stop) = match Merger::new(sources, budget.as_ref()).run(sink) {
            ControlFlow::Continue(closed) => (closed, None),
            ControlFlow::Break(stop) => (false, Some(stop)),
        };
        // The sources are dropped now, so that a thread that is still reading ends.
        let outcomes = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        Merged { outcomes: outcomes.collect(), closed, stop }
    })
}

/// An input file.
struct Source {
    kind: Kind,
    batches: Batches,
    /// Head of the file, once read.
    info: Option<CaptureInfo>,
    batch: Batch,
    /// Index of the next event in `batch`.
    next: usize,
    /// Latest time so far. A record is never merged in before an earlier record of its file.
    now_ns: u64,
    /// Number of its capture.
    capture: usize,
    stats: Option<Stats>,
}

impl Source {
    fn new(kind: Kind, batches: Batches) -> Self {
        Self {
            kind,
            batches,
            info: None,
            batch: Batch::default(),
            next: 0,
            now_ns: 0,
            capture: 0,
            stats: None,
        }
    }

    /// Returns the time of the next event; `None` at the end.
    fn time(&mut self) -> Option<u64> {
        while self.next >= self.batch.len() {
            self.batch = self.batches.next(std::mem::take(&mut self.batch))?;
            self.next = 0;
            // A head without a start time does not identify its capture.
            let info = self.batch.info.take().filter(|info| info.start_ns > 0);
            self.info = self.info.take().or(info);
        }
        self.now_ns = self.now_ns.max(self.batch.ts_ns(self.next));
        Some(self.now_ns)
    }
}

/// Merges the records of several files by time.
struct Merger {
    sources: Vec<Source>,
    /// Reassembles the connections of the packet captures.
    tcp: Reassembler,
    /// Heads of the distinct captures.
    captures: Vec<Option<CaptureInfo>>,
    /// New numbers of connections, by capture and number in it.
    numbers: HashMap<(usize, u64), u64>,
    processes: HashMap<(usize, u32), Process>,
    /// The capture whose process name the sink has for a process number.
    known: HashMap<u32, usize>,
    /// The source whose kind was last reported to the sink.
    at: Option<usize>,
}

impl Merger {
    fn new(sources: Vec<Source>, budget: Option<&Budget>) -> Self {
        Self {
            sources,
            tcp: budget.map(Reassembler::within).unwrap_or_default(),
            captures: Vec::new(),
            numbers: HashMap::new(),
            processes: HashMap::new(),
            known: HashMap::new(),
            at: None,
        }
    }

    /// Merges all files. Returns whether all captures were closed.
    fn run(mut self, sink: &mut dyn RecordSink) -> ControlFlow<Stop, bool> {
        let mut heads = BinaryHeap::new();
        for (at, source) in self.sources.iter_mut().enumerate() {
            let time = source.time();
            source.capture = capture_of(&mut self.captures, source.info.take());
            heads.extend(time.map(|time| Reverse((time, at))));
        }
        while let Some(Reverse((_, at))) = heads.pop() {
            self.event(at, sink)?;
            heads.extend(self.sources[at].time().map(|time| Reverse((time, at))));
        }
        self.finish(sink)
    }

    fn event(&mut self, at: usize, sink: &mut dyn RecordSink) -> Flow {
        let source = &mut self.sources[at];
        let kind = source.kind;
        if self.at.replace(at).is_none_or(|before| before != at) {
            sink.source(kind)?;
        }
        let event = source.next;
        source.next += 1;
        let capture = source.capture;
        let batch = std::mem::take(&mut source.batch);
        let flow = match batch.event(event) {
            // The counters of all captures are summed at the end.
            Some(Event::Record(Record::Stats(stats))) => {
                self.sources[at].stats = Some(stats);
                Flow::Continue(())
            }
            Some(Event::Record(record)) => self.record(capture, record, sink),
            Some(Event::Segment(segment)) => {
                self.reassemble(sink, |tcp, sink| tcp.segment(&segment, sink))
            }
            Some(Event::Note { conn, note }) => sink.note(self.number(capture, conn), note),
            Some(Event::Received { conn, dir, offset }) => {
                sink.received(self.number(capture, conn), dir, offset)
            }
            Some(Event::Reset { conn, dir }) => sink.reset(self.number(capture, conn), dir),
            Some(Event::Exchange { mut exchange, is_new }) => {
                let conn = exchange.connection.record.conn;
                exchange.renumber(self.number(capture, conn));
                sink.exchange(exchange, is_new)
            }
            None => Flow::Continue(()),
        };
        self.sources[at].batch = batch;
        flow
    }

    fn reassemble(
        &mut self,
        sink: &mut dyn RecordSink,
        step: impl FnOnce(&mut Reassembler, &mut dyn RecordSink) -> Flow,
    ) -> Flow {
        let mut tcp = std::mem::take(&mut self.tcp);
        let flow = step(&mut tcp, &mut Wire { merger: self, sink });
        self.tcp = tcp;
        flow
    }

    fn record(
        &mut self,
        capture: usize,
        mut record: Record<'_>,
        sink: &mut dyn RecordSink,
    ) -> Flow {
        match &mut record {
            Record::Process(process) => {
                self.processes.insert((capture, process.pid), process.clone());
                self.known.insert(process.pid, capture);
            }
            Record::Connection(connection) => {
                connection.conn = self.number(capture, connection.conn);
                self.name(capture, connection.pid, sink)?;
            }
            Record::Data(data) => data.conn = self.number(capture, data.conn),
            Record::Gap(gap) => gap.conn = self.number(capture, gap.conn),
            Record::Handshake(handshake) => {
                handshake.conn = self.number(capture, handshake.conn);
            }
            Record::Close(close) => close.conn = self.number(capture, close.conn),
            Record::Exit(_) | Record::Coverage(_) | Record::Stats(_) => {}
        }
        sink.record(&record)
    }

    fn number(&mut self, capture: usize, conn: u64) -> u64 {
        let next = self.numbers.len() as u64 + 1;
        *self.numbers.entry((capture, conn)).or_insert(next)
    }

    /// Repeats the name of a process if the sink has another process under its number.
    fn name(&mut self, capture: usize, pid: u32, sink: &mut dyn RecordSink) -> Flow {
        if self.known.get(&pid).is_some_and(|known| *known != capture)
            && let Some(process) = self.processes.get(&(capture, pid))
        {
            self.known.insert(pid, capture);
            sink.record(&Record::Process(process.clone()))?;
        }
        Flow::Continue(())
    }

    /// Ends open connections, and sums the last counters of each capture.
    fn finish(mut self, sink: &mut dyn RecordSink) -> ControlFlow<Stop, bool> {
        self.reassemble(sink, Reassembler::finish)?;
        let mut latest: HashMap<usize, &Stats> = HashMap::new();
        for source in &self.sources {
            let Some(stats) = &source.stats else { continue };
            let entry = latest.entry(source.capture).or_insert(stats);
            if (entry.last, entry.ts_ns) < (stats.last, stats.ts_ns) {
                *entry = stats;
            }
        }
        let closed = self.sources.iter().all(|source| {
            source.kind.is_foreign() || latest.get(&source.capture).is_some_and(|s| s.last)
        });
        if !latest.is_empty() {
            let mut total = Stats { last: closed, ..Stats::default() };
            for stats in latest.values() {
                total.ts_ns = total.ts_ns.max(stats.ts_ns);
                for (sum, count) in [
                    (&mut total.calls, stats.calls),
                    (&mut total.bytes, stats.bytes),
                    (&mut total.dropped_events, stats.dropped_events),
                    (&mut total.lost_bytes, stats.lost_bytes),
                ] {
                    *sum = sum.saturating_add(count);
                }
            }
            sink.record(&Record::Stats(total))?;
        }
        ControlFlow::Continue(closed)
    }
}

/// Passes on the records reassembled from the packet captures.
struct Wire<'a> {
    merger: &'a mut Merger,
    sink: &'a mut dyn RecordSink,
}

impl RecordSink for Wire<'_> {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        self.merger.record(WIRE, record.clone(), self.sink)
    }

    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        self.sink.note(self.merger.number(WIRE, conn), note)
    }

    fn received(&mut self, conn: u64, dir: Direction, offset: u64) -> Flow {
        self.sink.received(self.merger.number(WIRE, conn), dir, offset)
    }

    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        self.sink.reset(self.merger.number(WIRE, conn), dir)
    }
}

/// Returns the number of the capture with this head, which may be new. A head without information
/// always belongs to a new capture.
fn capture_of(captures: &mut Vec<Option<CaptureInfo>>, info: Option<CaptureInfo>) -> usize {
    let same = |known: &Option<CaptureInfo>| info.is_some() && *known == info;
    captures.iter().position(same).unwrap_or_else(|| {
        captures.push(info);
        captures.len() - 1
    })
}

#[cfg(test)]
mod tests;
