//! Batches of copied records, to be passed from one thread to another.
//!
//! Consumed batches return to be filled again, so that their memory is allocated once.

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use sslrec_formats::record::{CaptureInfo, Data, Direction, Handshake, Record};

use crate::exchange::{Exchange, Item, Note};
use crate::sink::{Flow, RecordSink, Segment, Stop};

/// Size of a full batch. It is large enough for a low cost of the hand-over, and small enough for a
/// thousand files to fit into memory.
const MAX_BYTES: usize = 128 << 10;
const MAX_EVENTS: usize = 1024;

/// An event from a reader.
pub(in crate::input) enum Event<'a> {
    Record(Record<'a>),
    Segment(Segment<'a>),
    Note { conn: u64, note: &'a Note },
    Received { conn: u64, dir: Direction, offset: u64 },
    Reset { conn: u64, dir: Direction },
    Exchange { exchange: Box<Exchange>, is_new: bool },
}

impl Event<'_> {
    /// Passes the event to `sink`.
    pub(in crate::input) fn pass(self, sink: &mut dyn RecordSink) -> Flow {
        match self {
            Event::Record(record) => sink.record(&record),
            Event::Segment(segment) => sink.segment(&segment).map_continue(|_taken| ()),
            Event::Note { conn, note } => sink.note(conn, note),
            Event::Received { conn, dir, offset } => sink.received(conn, dir, offset),
            Event::Reset { conn, dir } => sink.reset(conn, dir),
            Event::Exchange { exchange, is_new } => sink.exchange(exchange, is_new),
        }
    }
}

/// The events since the last batch, in order.
#[derive(Debug, Default)]
pub(in crate::input) struct Batch {
    /// Head of the file, in its first batch.
    pub(in crate::input) info: Option<CaptureInfo>,
    events: Vec<Stored>,
    /// Payloads of data records.
    bytes: Vec<u8>,
    /// Names of functions.
    text: String,
    /// Range of the last function name.
    func: Range<usize>,
    /// Memory of exchanges.
    exchange_bytes: usize,
}

/// An event whose borrowed parts are stored in the batch.
#[derive(Debug)]
enum Stored {
    /// Boxed, because most events are data, and a description of a connection is large.
    Record(Box<Record<'static>>),
    Data {
        data: Data<'static>,
        func: Range<usize>,
        payload: Range<usize>,
    },
    Segment {
        segment: Segment<'static>,
        payload: Range<usize>,
    },
    Handshake {
        handshake: Handshake<'static>,
        func: Range<usize>,
    },
    Note {
        conn: u64,
        note: Note,
    },
    Received {
        conn: u64,
        dir: Direction,
        offset: u64,
    },
    Reset {
        conn: u64,
        dir: Direction,
    },
    /// An exchange, until the event is taken.
    Exchange {
        exchange: RefCell<Option<Box<Exchange>>>,
        ts_ns: u64,
        is_new: bool,
    },
}

impl Batch {
    pub(in crate::input) fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns the time of an event; 0 if it has no time of its own.
    pub(in crate::input) fn ts_ns(&self, event: usize) -> u64 {
        match self.events.get(event) {
            Some(Stored::Record(record)) => record.ts_ns(),
            Some(Stored::Data { data, .. }) => data.ts_ns,
            Some(Stored::Segment { segment, .. }) => segment.ts_ns,
            Some(Stored::Handshake { handshake, .. }) => handshake.ts_ns,
            Some(Stored::Exchange { ts_ns, .. }) => *ts_ns,
            Some(Stored::Note { .. } | Stored::Received { .. } | Stored::Reset { .. }) | None => 0,
        }
    }

    /// Returns an event. An exchange can be taken once.
    pub(in crate::input) fn event(&self, event: usize) -> Option<Event<'_>> {
        Some(match self.events.get(event)? {
            Stored::Record(record) => Event::Record(Record::clone(record)),
            Stored::Data { data, func, payload } => Event::Record(Record::Data(Data {
                func: &self.text[func.clone()],
                payload: &self.bytes[payload.clone()],
                ..data.clone()
            })),
            Stored::Segment { segment, payload } => {
                Event::Segment(Segment { payload: &self.bytes[payload.clone()], ..segment.clone() })
            }
            Stored::Handshake { handshake, func } => Event::Record(Record::Handshake(Handshake {
                func: &self.text[func.clone()],
                ..handshake.clone()
            })),
            Stored::Note { conn, note } => Event::Note { conn: *conn, note },
            Stored::Received { conn, dir, offset } => {
                Event::Received { conn: *conn, dir: *dir, offset: *offset }
            }
            Stored::Reset { conn, dir } => Event::Reset { conn: *conn, dir: *dir },
            Stored::Exchange { exchange, is_new, .. } => {
                Event::Exchange { exchange: exchange.take()?, is_new: *is_new }
            }
        })
    }

    fn push(&mut self, record: &Record<'_>) {
        let owned = |record| Stored::Record(Box::new(record));
        let stored = match record {
            Record::Data(data) => {
                let func = self.func(data.func);
                let payload = self.payload(data.payload);
                Stored::Data {
                    data: Data { func: "", payload: &[], ..data.clone() },
                    func,
                    payload,
                }
            }
            Record::Handshake(handshake) => {
                let func = self.func(handshake.func);
                Stored::Handshake { handshake: Handshake { func: "", ..handshake.clone() }, func }
            }
            Record::Process(process) => owned(Record::Process(process.clone())),
            Record::Connection(c) => owned(Record::Connection(c.clone())),
            Record::Gap(gap) => owned(Record::Gap(gap.clone())),
            Record::Close(close) => owned(Record::Close(close.clone())),
            Record::Exit(exit) => owned(Record::Exit(exit.clone())),
            Record::Coverage(c) => owned(Record::Coverage(c.clone())),
            Record::Stats(stats) => owned(Record::Stats(stats.clone())),
        };
        self.events.push(stored);
    }

    /// Removes all events, and keeps the memory.
    fn clear(&mut self) {
        self.info = None;
        self.events.clear();
        self.bytes.clear();
        self.text.clear();
        self.func = 0..0;
        self.exchange_bytes = 0;
    }

    fn payload(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Stores the name of a function, which usually equals the previous name.
    fn func(&mut self, func: &str) -> Range<usize> {
        if self.text[self.func.clone()] != *func {
            self.func = self.text(func);
        }
        self.func.clone()
    }

    fn text(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    fn is_full(&self) -> bool {
        self.bytes.len() + self.text.len() + self.exchange_bytes >= MAX_BYTES
            || self.events.len() >= MAX_EVENTS
    }
}

/// Creates a channel for batches, of which at most `queue` wait.
pub(in crate::input) fn way(queue: usize) -> (Filler, Batches) {
    let (full, filled) = sync_channel(queue);
    let (empty, emptied) = channel();
    let filler = Filler { full, emptied, batch: Batch::default(), segments: false, closed: false };
    (filler, Batches { filled, empty })
}

/// The sending end: collects the events of a reader in batches.
pub(in crate::input) struct Filler {
    full: SyncSender<Batch>,
    /// Consumed batches; never more than there are batches in the channel.
    emptied: Receiver<Batch>,
    batch: Batch,
    /// The receiver accepts segments.
    pub(in crate::input) segments: bool,
    /// The receiver is gone.
    closed: bool,
}

/// The receiving end.
pub(in crate::input) struct Batches {
    filled: Receiver<Batch>,
    empty: Sender<Batch>,
}

impl Batches {
    /// Returns the next batch, in exchange for the consumed batch; `None` at the end.
    pub(in crate::input) fn next(&self, mut read: Batch) -> Option<Batch> {
        read.clear();
        // A reader that has ended accepts no batch.
        let _ = self.empty.send(read);
        self.filled.recv().ok()
    }
}

impl Filler {
    /// Sends the last, partial batch.
    pub(in crate::input) fn finish(mut self) {
        self.send();
    }

    fn send(&mut self) {
        let next = self.emptied.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, next);
        self.closed |= self.full.send(batch).is_err();
    }

    fn push(&mut self, event: impl FnOnce(&mut Batch)) -> Flow {
        event(&mut self.batch);
        if self.batch.is_full() {
            self.send();
        }
        if self.closed { Flow::Break(Stop::Done) } else { Flow::Continue(()) }
    }
}

impl RecordSink for Filler {
    fn info(&mut self, info: &CaptureInfo) -> Flow {
        self.batch.info = Some(info.clone());
        Flow::Continue(())
    }

    fn record(&mut self, record: &Record<'_>) -> Flow {
        self.push(|batch| batch.push(record))
    }

    fn segment(&mut self, segment: &Segment<'_>) -> ControlFlow<Stop, bool> {
        if !self.segments {
            return ControlFlow::Continue(false);
        }
        self.push(|batch| {
            let payload = batch.payload(segment.payload);
            let segment = Segment { payload: &[], ..segment.clone() };
            batch.events.push(Stored::Segment { segment, payload });
        })
        .map_continue(|()| true)
    }

    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        self.push(|batch| batch.events.push(Stored::Note { conn, note: note.clone() }))
    }

    fn exchange(&mut self, exchange: Box<Exchange>, is_new: bool) -> Flow {
        self.push(|batch| {
            let ts_ns = exchange.first_ns();
            let item = Item::Exchange(exchange);
            batch.exchange_bytes += item.memory_bytes();
            if let Item::Exchange(exchange) = item {
                let exchange = RefCell::new(Some(exchange));
                batch.events.push(Stored::Exchange { exchange, ts_ns, is_new });
            }
        })
    }

    fn received(&mut self, conn: u64, dir: Direction, offset: u64) -> Flow {
        self.push(|batch| batch.events.push(Stored::Received { conn, dir, offset }))
    }

    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        self.push(|batch| batch.events.push(Stored::Reset { conn, dir }))
    }
}
