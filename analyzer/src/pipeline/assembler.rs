//! Turns the records of a capture into the items of a listing, in order, and counts them.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::HashMap;
use sslrec_formats::pairing::Pairing;
use sslrec_formats::record::{self, CaptureInfo, Coverage, Direction, Record, Stats, Unrecorded};

use super::lister_thread::ListerThread;
use super::order::{Holding, Lister, Order, Totals};
use crate::budget::{Budget, Keep, Limits, Share};
use crate::connection::{CONNECTION_COST, Connection};
use crate::exchange::{ConnectionInfo, Exchange, Handshake, Item, Note, SharedConnection};
use crate::sink::{Failure, Flow, Kind, RecordSink, Stop};
use crate::timeline::Timeline;

/// Approximate memory of the name of a process, beside its text.
const COMM_COST: usize = 64;

/// Options for processing a capture.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// List both ends of a connection if both were recorded, rather than only the client's.
    pub both_ends: bool,
    /// Keep the contents of messages and streams.
    pub bodies: bool,
    /// List items as they end, for a waiting reader, and not by start time.
    pub as_finished: bool,
    /// The capture is of plaintext from the wire, not from inside TLS. An [`Input`] reports its
    /// kind itself.
    ///
    /// [`Input`]: crate::input::Input
    pub plaintext: bool,
    /// Memory and decoded output.
    pub limits: Limits,
}

/// Receives the items of a listing. After it has returned `Break`, it is not called again.
pub trait ItemSink {
    /// Processes the next item, in the order of the listing.
    fn item(&mut self, item: Item) -> Flow;
}

impl<F: FnMut(Item)> ItemSink for F {
    fn item(&mut self, item: Item) -> Flow {
        self(item);
        Flow::Continue(())
    }
}

/// Holds items until their turn in the listing.
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

/// Where items are listed: in this thread or in another.
#[derive(Debug)]
enum Listing<L: Lister> {
    Here(Order<L>),
    InThread(ListerThread<L>),
}

impl<L: Lister> Listing<L> {
    /// Lists the steps of a record.
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

/// The reason why a QUIC connection was not recorded.
const QUIC_REASON: &str = "QUIC is not recorded";

/// Maximum number of unrecorded connections that are listed individually.
const MAX_MISSED: usize = 1 << 14;

/// Totals of a capture. Without a filter they are the totals of the listing.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Exchanges.
    pub exchanges: u64,
    /// Number of items that matched the filter; `None` without a filter. All other totals are of
    /// the complete capture.
    pub listed: Option<u64>,
    /// Connections, or remainders of connections, that are not HTTP.
    pub streams: u64,
    /// TLS handshakes; of a connection recorded at both ends, only those of the listed end.
    pub handshakes: u64,
    /// Connections.
    pub connections: u64,
    /// Processes with at least one of these connections.
    pub processes: u64,
    /// Exchanges and streams that are not complete.
    pub incomplete: u64,
    /// Bytes that are known to be missing.
    pub lost_bytes: u64,
    /// Events that the recorder lost; `None` if the capture has no counters.
    pub dropped_events: Option<u64>,
    /// Start of the capture, nanoseconds since the Unix epoch; `None` if it is empty.
    pub start_ns: Option<u64>,
    /// End of the capture: the time of the closing counters or, if they are missing, of the last
    /// listed data, gap or close. Descriptions and handshakes do not count, since a pcapng can
    /// contain only those of used connections.
    pub end_ns: Option<u64>,
    /// The capture was closed. Captures of other programs do not record this; they count as closed
    /// if they were read to their end.
    pub closed: bool,
    /// Notes about the capture as a whole.
    pub notes: Vec<Note>,
    /// Number of TLS connections that the recorder saw at sockets and did not record.
    pub missed: u64,
    /// The first of these.
    pub missed_connections: Vec<Missed>,
}

/// A TLS connection that the recorder saw at its socket and did not record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The process of the connection.
    pub pid: u32,
    /// The short name of the process.
    pub comm: Arc<str>,
    /// The reason why it was not recorded.
    pub reason: Arc<str>,
    /// The connection.
    pub connection: Unrecorded,
}

/// Assembles items from the records of a capture as they arrive.
#[derive(Debug)]
pub struct Assembler<L: Lister> {
    options: Options,
    keep: Keep,
    pairing: Pairing,
    /// Short names of processes.
    comms: HashMap<u32, Arc<str>>,
    /// Bytes that further names may take: they are never forgotten.
    comms_room: usize,
    /// Number of names for which there was no room.
    unnamed: u64,
    connections: HashMap<u64, Connection>,
    /// Processes of listed connections.
    pids: HashSet<u32>,
    timeline: Timeline,
    stats: Option<Stats>,
    /// Number of records whose connection the file does not describe, which only damage can cause.
    undescribed: u64,
    /// Connections that were given up to make room for others.
    given_up: u64,
    summary: Summary,
    listing: Listing<L>,
}

impl<L: Lister> Assembler<L> {
    /// Creates an assembler whose items go to `lister`.
    pub fn new(options: Options, lister: L) -> Self {
        let order = Order::new(options.as_finished, options.limits.max_waiting(), lister);
        Self::with(options, Listing::Here(order))
    }

    /// Creates an assembler that calls `lister` in a thread of its own.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub fn with_lister_thread(options: Options, lister: L) -> io::Result<Self>
    where
        L: Send + 'static,
        L::Held: Send,
    {
        let order = Order::new(options.as_finished, options.limits.max_waiting(), lister);
        Ok(Self::with(options, Listing::InThread(ListerThread::new(order)?)))
    }

    fn with(options: Options, listing: Listing<L>) -> Self {
        let keep = Keep { contents: options.bodies, budget: Budget::new(options.limits) };
        Self {
            options,
            keep,
            pairing: Pairing::new(),
            comms: HashMap::default(),
            comms_room: usize::try_from(options.limits.max_memory / 32).unwrap_or(usize::MAX),
            unnamed: 0,
            connections: HashMap::default(),
            pids: HashSet::new(),
            timeline: Timeline::default(),
            stats: None,
            undescribed: 0,
            given_up: 0,
            summary: Summary::default(),
            listing,
        }
    }

    /// What is counted of the memory and of the decoded output. The input should count towards the
    /// same budget, see [`Input::with_budget`](crate::input::Input::with_budget).
    pub fn budget(&self) -> &Budget {
        &self.keep.budget
    }

    /// Returns the lister; `None` if it is in another thread.
    pub fn lister(&mut self) -> Option<&mut L> {
        match &mut self.listing {
            Listing::Here(order) => Some(order.lister()),
            Listing::InThread(_) => None,
        }
    }

    /// Ends the reading. `start_ns` is the time in the head of the file; `to_end` is false if the
    /// file was truncated by damage.
    ///
    /// # Errors
    /// The lister fails, or has failed in its thread.
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
            summary.notes.push(Note::NotInOrder(self.options.limits.max_waiting() as u64));
        }
        if self.unnamed > 0 {
            summary.notes.push(Note::Unnamed(self.unnamed));
        }
        if self.given_up > 0 {
            summary.notes.push(Note::GivenUp(self.given_up));
        } else if self.undescribed > 0 {
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
        let mut held = self.keep.budget.charge(Share::Connections);
        if !held.grow(CONNECTION_COST) {
            self.make_room(record.ts_ns);
            held.force(CONNECTION_COST);
        }
        let connection = Connection::new(SharedConnection::new(info), &self.keep, held);
        self.connections.insert(record.conn, connection);
    }

    /// Gives up the half of the connections that was not heard of for longest.
    fn make_room(&mut self, ts_ns: u64) {
        let connections = self.connections.iter();
        let mut idle: Vec<_> = connections.map(|(conn, open)| (open.last_ns(), *conn)).collect();
        idle.sort_unstable();
        idle.truncate(idle.len().div_ceil(2));
        for (_, conn) in idle {
            let Some(mut connection) = self.connections.remove(&conn) else { continue };
            let shadow = self.is_shadow(conn);
            connection.note(&Note::NotFollowed);
            self.end(connection, shadow, None, ts_ns);
            let cause = record::CloseCause::StillOpen;
            let close = record::Close { conn, ts_ns, cause, sent_bytes: 0, received_bytes: 0 };
            self.pairing.observe(&Record::Close(close));
            self.given_up += 1;
        }
    }

    fn end(
        &mut self,
        connection: Connection,
        shadow: bool,
        close: Option<&record::Close>,
        ts_ns: u64,
    ) {
        // The other end is listed, and this end has no place in the timeline yet.
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

    /// Keeps the name of a process.
    fn name(&mut self, process: &record::Process) {
        let comm = process.comm.as_str();
        if self.comms.get(&process.pid).is_some_and(|known| **known == *comm) {
            return;
        }
        if let Some(room) = self.comms_room.checked_sub(COMM_COST + comm.len()) {
            self.comms_room = room;
            self.comms.insert(process.pid, comm.into());
        } else {
            // Better no name than that of an earlier process.
            self.comms.remove(&process.pid);
            self.unnamed += 1;
        }
    }

    fn see(&mut self, ts_ns: u64) {
        self.summary.start_ns.get_or_insert(ts_ns);
    }

    /// Updates start and end for a listed record, or for the closing counters.
    fn see_listed(&mut self, ts_ns: u64) {
        self.see(ts_ns);
        self.timeline.advance(ts_ns);
        self.summary.end_ns = self.summary.end_ns.max(Some(ts_ns));
    }

    /// Adds the connections that were not recorded of a process.
    fn missed(&mut self, coverage: &Coverage) {
        self.summary.missed = self.summary.missed.saturating_add(coverage.unrecorded);
        let (comm, reason): (Arc<str>, Arc<str>) =
            (coverage.comm.as_str().into(), coverage.missed.as_deref().unwrap_or_default().into());
        let known = &mut self.summary.missed_connections;
        let room = MAX_MISSED.saturating_sub(known.len());
        known.extend(coverage.connections.iter().take(room).map(|connection| Missed {
            pid: coverage.pid,
            comm: Arc::clone(&comm),
            // The reason of the process is that of its TLS.
            reason: if connection.quic { QUIC_REASON.into() } else { Arc::clone(&reason) },
            connection: connection.clone(),
        }));
    }
}

impl<L: Lister> RecordSink for Assembler<L> {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        // The pairing drops a connection at its end, so query it first.
        let closing = matches!(record, Record::Close(_));
        let shadow = closing && record.conn().is_some_and(|conn| self.is_shadow(conn));
        self.pairing.observe(record);
        let shadow = shadow || (!closing && record.conn().is_some_and(|conn| self.is_shadow(conn)));
        match record {
            Record::Process(process) => {
                self.see(process.ts_ns);
                self.name(process);
            }
            Record::Connection(connection) => {
                self.see(connection.ts_ns);
                self.describe(connection);
            }
            // This is the unlisted end of a connection, which a pcapng does not contain.
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
            Record::Coverage(coverage) => self.missed(coverage),
            Record::Exit(_) => {}
            Record::Stats(stats) => {
                self.see_listed(stats.ts_ns);
                self.stats = Some(stats.clone());
            }
        }
        self.timeline.end_record();
        self.listing.take(&mut self.timeline)
    }

    fn exchange(&mut self, mut exchange: Box<Exchange>, is_new: bool) -> Flow {
        let first_ns = exchange.first_ns();
        let mut last_ns = first_ns;
        let request = exchange.request.as_mut().map(|request| &mut request.message);
        let response = exchange.response.as_mut().map(|response| &mut response.message);
        for message in request.into_iter().chain(response) {
            message.body.keep(&self.keep);
            last_ns = last_ns.max(message.last_ns);
        }
        exchange.note_cuts();
        if exchange.carried.is_some() {
            exchange.keep_messages(&self.keep);
        }
        if is_new {
            self.summary.connections += 1;
            self.pids.extend(exchange.connection.pid());
        }
        self.summary.start_ns = Some(self.summary.start_ns.map_or(first_ns, |ns| ns.min(first_ns)));
        self.summary.end_ns = self.summary.end_ns.max(Some(last_ns));
        self.lose(exchange.lost_bytes);
        let ticket = self.timeline.open(first_ns);
        self.timeline.close(ticket, Item::Exchange(exchange));
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

    fn received(&mut self, conn: u64, dir: Direction, offset: u64) -> Flow {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.received(dir, offset);
        }
        Flow::Continue(())
    }

    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.reset(dir);
        }
        Flow::Continue(())
    }

    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        self.given_up += u64::from(*note == Note::NotFollowed);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.note(note);
        }
        Flow::Continue(())
    }
}
