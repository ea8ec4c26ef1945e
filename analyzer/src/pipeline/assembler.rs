//! Turns the records of a capture into the items of a listing, in order, and counts.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::HashMap;
use sslrec_formats::pairing::Pairing;
use sslrec_formats::record::{self, CaptureInfo, Direction, Record, Stats};

use super::lister_thread::ListerThread;
use super::order::{Holding, Lister, MAX_WAITING, Order, Totals};
use crate::connection::Connection;
use crate::exchange::{ConnectionInfo, Handshake, Item, Note, SharedConnection};
use crate::sink::{Failure, Flow, Kind, RecordSink, Stop};
use crate::timeline::Timeline;

/// What is done with a capture.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// List both ends of a connection where both were recorded, rather than the client's.
    pub both_ends: bool,
    /// Keep the contents of messages and streams.
    pub bodies: bool,
    /// List items as they end, for somebody who waits for them, and not by when they began.
    pub as_finished: bool,
    /// The capture is of plaintext from the wire, not from inside TLS. An [`Input`] says so
    /// itself.
    ///
    /// [`Input`]: crate::input::Input
    pub plaintext: bool,
}

/// Takes the items of a listing. After it has returned `Break`, it is not called again.
pub trait ItemSink {
    /// One more item, in the order of the listing.
    fn item(&mut self, item: Item) -> Flow;
}

impl<F: FnMut(Item)> ItemSink for F {
    fn item(&mut self, item: Item) -> Flow {
        self(item);
        Flow::Continue(())
    }
}

/// Keeps items until their turn comes.
impl<S: ItemSink> Lister for S {
    type Held = Item;

    fn hold(&mut self, item: Item) -> ControlFlow<Stop, Holding<Item>> {
        let bytes = item.memory_bytes();
        ControlFlow::Continue(Holding { bytes, held: item, rest: None })
    }

    fn list(&mut self, mut item: Item, id: u64) -> Flow {
        item.refresh();
        if let Item::Exchange(exchange) = &mut item {
            exchange.id = id;
        }
        self.item(item)
    }
}

/// Where what is assembled is listed.
#[derive(Debug)]
enum Listing<L: Lister> {
    Here(Order<L>),
    InThread(ListerThread<L>),
}

impl<L: Lister> Listing<L> {
    /// A record was assembled.
    fn take(&mut self, timeline: &mut Timeline) -> Flow {
        match self {
            Listing::Here(order) => {
                let flow = order.steps(timeline.steps());
                timeline.steps().clear();
                flow
            }
            Listing::InThread(thread) => thread.take(timeline),
        }
    }

    fn finish(mut self, timeline: &mut Timeline) -> Result<(Totals, L), Failure> {
        if let Flow::Break(stop) = self.take(timeline) {
            stop.into_result()?;
        }
        match self {
            Listing::Here(order) => order.finish(),
            Listing::InThread(thread) => thread.finish(timeline),
        }
    }
}

/// Totals of a capture: of what is listed where no filter holds something back.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Exchanges.
    pub exchanges: u64,
    /// How many items a filter let through; `None` without one. All other totals are of the whole
    /// capture.
    pub listed: Option<u64>,
    /// Connections, or rests of connections, that are not HTTP.
    pub streams: u64,
    /// TLS handshakes; of the two ends of a connection those of the one that is listed.
    pub handshakes: u64,
    /// Connections.
    pub connections: u64,
    /// Processes with at least one of these connections.
    pub processes: u64,
    /// Exchanges and streams that are not complete.
    pub incomplete: u64,
    /// Bytes that are known to be missing.
    pub lost_bytes: u64,
    /// Events that the recorder lost; `None` where the capture does not say.
    pub dropped_events: Option<u64>,
    /// When the capture began, nanoseconds since the Unix epoch; `None` if nothing is in it.
    pub start_ns: Option<u64>,
    /// When it ended: time of the closing counters or, where they are missing, of the last data,
    /// gap or close of what is listed. Descriptions and handshakes do not count, since a pcapng can
    /// only hold those of connections that were used.
    pub end_ns: Option<u64>,
    /// The capture was ended in an orderly way. Other programs' captures do not say; they count
    /// as closed when they were read to their end.
    pub closed: bool,
    /// What was unusual about the capture as a whole.
    pub notes: Vec<Note>,
}

/// Makes items of the records of a capture, as they come.
#[derive(Debug)]
pub struct Assembler<L: Lister> {
    options: Options,
    pairing: Pairing,
    /// Short names of processes.
    comms: HashMap<u32, Arc<str>>,
    connections: HashMap<u64, Connection>,
    /// Processes of listed connections.
    pids: HashSet<u32>,
    timeline: Timeline,
    stats: Option<Stats>,
    /// Records of connections that the file does not describe, which only damage can cause.
    undescribed: u64,
    summary: Summary,
    listing: Listing<L>,
}

impl<L: Lister> Assembler<L> {
    /// One whose items go to `lister`.
    pub fn new(options: Options, lister: L) -> Self {
        Self::with(options, Listing::Here(Order::new(options.as_finished, lister)))
    }

    /// The same with a thread for what `lister` does.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn with_lister_thread(options: Options, lister: L) -> io::Result<Self>
    where
        L: Send + 'static,
        L::Held: Send,
    {
        let order = Order::new(options.as_finished, lister);
        Ok(Self::with(options, Listing::InThread(ListerThread::new(order)?)))
    }

    fn with(options: Options, listing: Listing<L>) -> Self {
        Self {
            options,
            pairing: Pairing::new(),
            comms: HashMap::default(),
            connections: HashMap::default(),
            pids: HashSet::new(),
            timeline: Timeline::default(),
            stats: None,
            undescribed: 0,
            summary: Summary::default(),
            listing,
        }
    }

    /// Where the items go; `None` where that is in another thread.
    pub fn lister(&mut self) -> Option<&mut L> {
        match &mut self.listing {
            Listing::Here(order) => Some(order.lister()),
            Listing::InThread(_) => None,
        }
    }

    /// The reading has ended. `start_ns` is the time in the head of the file; `to_end` is false if
    /// damage cut the file short.
    ///
    /// # Errors
    /// If the lister fails, or has failed in its thread.
    pub fn finish(mut self, start_ns: u64, to_end: bool) -> Result<(Summary, L), Failure> {
        let mut open: Vec<_> = std::mem::take(&mut self.connections).into_iter().collect();
        open.sort_by_key(|(conn, _)| *conn);
        let end_ns = self.summary.end_ns.unwrap_or(start_ns);
        for (conn, connection) in open {
            let shadow = self.is_shadow(conn);
            self.end(connection, shadow, None, end_ns);
        }
        let (totals, lister) = self.listing.finish(&mut self.timeline)?;
        let mut summary = self.summary;
        summary.exchanges = totals.exchanges;
        summary.streams = totals.streams;
        summary.handshakes = totals.handshakes;
        summary.incomplete = totals.incomplete;
        summary.processes = self.pids.len() as u64;
        summary.start_ns = Some(start_ns).filter(|&ns| ns > 0).or(summary.start_ns);
        summary.dropped_events = self.stats.as_ref().map(|stats| stats.dropped_events);
        summary.closed = match &self.stats {
            _ if !to_end => false,
            Some(stats) => stats.last,
            None => self.options.plaintext,
        };
        if totals.late > 0 {
            summary.notes.push(Note::ListedLate(totals.late));
        }
        if totals.overflowed {
            summary.notes.push(Note::NotInOrder(MAX_WAITING as u64));
        }
        if self.undescribed > 0 {
            summary.notes.push(Note::NotDescribed(self.undescribed));
        }
        Ok((summary, lister))
    }

    fn is_shadow(&self, conn: u64) -> bool {
        !self.options.both_ends && self.pairing.is_shadow(conn)
    }

    fn describe(&mut self, record: &record::Connection) {
        let comm = self.comms.get(&record.pid).cloned();
        if let Some(connection) = self.connections.get(&record.conn) {
            let before = connection.shared().info();
            let comm = comm.or_else(|| before.comm.clone());
            let mut info = ConnectionInfo { record: record.clone(), comm, tls: before.tls };
            info.record.ts_ns = before.record.ts_ns;
            return self.timeline.learn(connection.shared(), info);
        }
        let tls = !self.options.plaintext;
        let info = ConnectionInfo { record: record.clone(), comm, tls };
        let connection = Connection::new(SharedConnection::new(info), self.options.bodies);
        self.connections.insert(record.conn, connection);
    }

    fn end(
        &mut self,
        connection: Connection,
        shadow: bool,
        close: Option<&record::Close>,
        ts_ns: u64,
    ) {
        // The other end is listed, and this one has no place in the timeline yet.
        if shadow {
            return;
        }
        self.summary.connections += 1;
        self.pids.extend(connection.shared().info().pid());
        let missing = connection.finish(close, ts_ns, &mut self.timeline);
        self.lose(missing);
    }

    fn lose(&mut self, len: u64) {
        self.summary.lost_bytes = self.summary.lost_bytes.saturating_add(len);
    }

    fn see(&mut self, ts_ns: u64) {
        self.summary.start_ns.get_or_insert(ts_ns);
    }

    /// Something that is listed, or that closes the capture.
    fn see_listed(&mut self, ts_ns: u64) {
        self.see(ts_ns);
        self.timeline.advance(ts_ns);
        self.summary.end_ns = self.summary.end_ns.max(Some(ts_ns));
    }
}

impl<L: Lister> RecordSink for Assembler<L> {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        // The pairing forgets a connection at its end, so it is asked first then.
        let closing = matches!(record, Record::Close(_));
        let shadow = closing && record.conn().is_some_and(|conn| self.is_shadow(conn));
        self.pairing.observe(record);
        let shadow = shadow || (!closing && record.conn().is_some_and(|conn| self.is_shadow(conn)));
        match record {
            Record::Process(process) => {
                self.see(process.ts_ns);
                self.comms.insert(process.pid, process.comm.as_str().into());
            }
            Record::Connection(connection) => {
                self.see(connection.ts_ns);
                self.describe(connection);
            }
            // The other end of something that is listed; a pcapng does not have it.
            Record::Data(_) | Record::Gap(_) if shadow => {}
            Record::Data(data) => {
                self.see_listed(data.ts_ns);
                match self.connections.get_mut(&data.conn) {
                    Some(connection) => {
                        let missing = connection.data(data, &mut self.timeline);
                        self.lose(missing);
                    }
                    None => self.undescribed += 1,
                }
            }
            Record::Gap(gap) => {
                self.see_listed(gap.ts_ns);
                match self.connections.get_mut(&gap.conn) {
                    Some(connection) => {
                        let missing = connection.gap(gap, &mut self.timeline);
                        self.lose(missing);
                    }
                    None => self.undescribed += 1,
                }
            }
            Record::Handshake(handshake) => {
                self.see(handshake.ts_ns);
                match self.connections.get_mut(&handshake.conn) {
                    Some(connection) => {
                        let handshake = Handshake::new(connection.shared(), handshake);
                        connection.handshake(handshake, &mut self.timeline);
                    }
                    None => self.undescribed += 1,
                }
            }
            Record::Close(close) => {
                if !shadow {
                    self.see_listed(close.ts_ns);
                }
                if let Some(connection) = self.connections.remove(&close.conn) {
                    self.end(connection, shadow, Some(close), close.ts_ns);
                }
            }
            Record::Exit(_) | Record::Coverage(_) => {}
            Record::Stats(stats) => {
                self.see_listed(stats.ts_ns);
                self.stats = Some(stats.clone());
            }
        }
        self.timeline.end_record();
        self.listing.take(&mut self.timeline)
    }

    fn info(&mut self, info: &CaptureInfo) -> Flow {
        if !info.redacted.is_empty() {
            self.summary.notes.push(Note::Redacted(info.redacted.clone()));
        }
        Flow::Continue(())
    }

    fn source(&mut self, kind: Kind) -> Flow {
        self.options.plaintext = kind.is_foreign();
        Flow::Continue(())
    }

    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.reset(dir);
        }
        Flow::Continue(())
    }

    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.note(note);
        }
        Flow::Continue(())
    }
}
