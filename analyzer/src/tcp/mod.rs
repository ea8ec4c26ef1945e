//! TCP reassembly: the segments of a packet capture into the records of connections.
//!
//! A capture can differ from the wire: it may begin and end in the middle of a connection, be out
//! of order by some packets, contain packets twice, and lack some. The records of a connection are
//! in causal order nevertheless, see [`connection`]. Missing bytes become a gap at their place,
//! once it is certain that they will not come:
//!
//! - the other side acknowledged them, and `REORDERED` further segments of the connection, or
//!   `REORDERED_PACKETS` of the capture, did not contain them; or
//! - more than `MAX_PENDING` bytes wait behind them; or
//! - the connection or the capture ended.
//!
//! Memory is bounded: see the constants. If segments overlap, the first bytes are kept, and a
//! difference adds a note.

mod beginning;
mod connection;
mod half;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;

use foldhash::HashMap;
use sslrec_formats::record::{Direction, GapCause, Record};

use self::connection::TcpConnection;
use crate::budget::{Budget, Charge, Share};
use crate::exchange::Note;
pub use crate::sink::Segment;
use crate::sink::{Flow, RecordSink};

/// By how many segments of a connection a capture may be out of order. Captures from several queues
/// of a network card swap neighbours.
const REORDERED: u64 = 32;

/// The same in packets of the capture, so that nothing waits for a connection that is idle.
const REORDERED_PACKETS: u64 = 1024;

/// Maximum number of bytes held in a direction while an earlier segment is missing. It exceeds the
/// window of a default Linux receiver (6 MiB), so that a complete window survives a single hole.
const MAX_PENDING: usize = 8 << 20;

/// Maximum number of bytes held for all connections.
const MAX_PENDING_TOTAL: usize = 256 << 20;

/// Maximum number of connections that are followed at a time; each takes about 1.5 KiB here and in
/// the further processing. A port scan creates a connection for every packet.
const MAX_FLOWS: usize = 1 << 18;

/// Sequence numbers that differ by more than the largest window (RFC 7323) belong to another
/// connection.
const MAX_WINDOW: u32 = 1 << 30;

/// A place in the capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Age {
    /// Number of segments of the connection.
    segment: u64,
    /// Number of packets.
    packet: u64,
}

/// The addresses of a connection, the smaller first.
type Key = (SocketAddr, SocketAddr);

/// Memory for a connection, without its segments.
const FLOW_COST: usize = 2 * size_of::<TcpConnection>();

/// Reassembles the segments of a packet capture into records.
#[derive(Debug, Default)]
pub struct Reassembler {
    flows: HashMap<Key, TcpConnection>,
    connections: u64,
    packets: u64,
    /// Connections that wait for earlier segments, with the number of the packet since when.
    waits: VecDeque<(u64, Key, u64)>,
    /// Bytes are missing from the capture.
    lossy: bool,
    pending_bytes: usize,
    last_ns: u64,
    /// Memory for `flows`, and for the segments that they hold.
    flows_held: Charge,
    pending_held: Charge,
}

impl Reassembler {
    /// Creates a reassembler without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same within a budget.
    pub(crate) fn within(budget: &Budget) -> Self {
        Self {
            flows_held: budget.charge(Share::Connections),
            pending_held: budget.charge(Share::Contents),
            ..Self::default()
        }
    }

    /// Processes the next segment of the capture.
    pub fn segment(&mut self, segment: &Segment<'_>, sink: &mut dyn RecordSink) -> Flow {
        self.last_ns = self.last_ns.max(segment.ts_ns);
        self.packets += 1;
        self.end_waits(sink)?;
        let (a, b) = (segment.src, segment.dst);
        let key = if a <= b { (a, b) } else { (b, a) };
        if self.flows.get(&key).is_some_and(|flow| flow.is_other(segment))
            && let Some(mut old) = self.flows.remove(&key)
        {
            self.forget(&old);
            old.finish(segment.ts_ns, self.lossy, sink)?;
        }
        if !self.flows.contains_key(&key) {
            // An empty segment without a connection would create a connection without content.
            if !segment.syn && !segment.has_bytes() {
                return Flow::Continue(());
            }
            if self.flows.len() >= MAX_FLOWS || !self.flows_held.grow(FLOW_COST) {
                self.make_room(sink)?;
                self.flows_held.force(FLOW_COST);
            }
            self.connections += 1;
            self.flows.insert(key, TcpConnection::new(self.connections, segment, self.packets));
        }
        let (packets, lossy) = (self.packets, self.lossy);
        self.with_flow(key, sink, |flow, sink| flow.segment(segment, packets, lossy, sink))
    }

    /// Lets a connection output records, and accounts for what it holds.
    fn with_flow(
        &mut self,
        key: Key,
        sink: &mut dyn RecordSink,
        step: impl FnOnce(&mut TcpConnection, &mut Watched<'_>) -> Flow,
    ) -> Flow {
        let Some(flow) = self.flows.get_mut(&key) else { return Flow::Continue(()) };
        let before = flow.pending_bytes();
        let mut sink = Watched { sink, lossy: &mut self.lossy };
        step(flow, &mut sink)?;
        let more = flow.pending_bytes().saturating_sub(before);
        let full = self.pending_bytes > MAX_PENDING_TOTAL || !self.pending_held.grow(more);
        if flow.pending_bytes() > 0 && full {
            let lossy = *sink.lossy;
            flow.give_up(self.packets, lossy, self.last_ns, &mut sink)?;
        }
        self.pending_bytes = self.pending_bytes + flow.pending_bytes() - before;
        self.pending_held.set(self.pending_bytes);
        if !flow.is_queued && flow.waits() {
            flow.is_queued = true;
            self.waits.push_back((self.packets, key, flow.conn));
        }
        Flow::Continue(())
    }

    /// Ends the waits of connections that had no segment for long.
    fn end_waits(&mut self, sink: &mut dyn RecordSink) -> Flow {
        while let Some(&(since, key, conn)) = self.waits.front()
            && since + REORDERED_PACKETS < self.packets
        {
            self.waits.pop_front();
            let Some(flow) = self.flows.get_mut(&key).filter(|flow| flow.conn == conn) else {
                continue;
            };
            flow.is_queued = false;
            let (packets, lossy) = (self.packets, self.lossy);
            self.with_flow(key, sink, |flow, sink| flow.end_wait(packets, lossy, sink))?;
        }
        Flow::Continue(())
    }

    /// A connection is not among the flows any more.
    fn forget(&mut self, flow: &TcpConnection) {
        self.pending_bytes -= flow.pending_bytes();
        self.pending_held.set(self.pending_bytes);
        self.flows_held.shrink(FLOW_COST);
    }

    /// Drops the half of the connections that was idle for longest. Closed connections, which were
    /// kept only to recognise late segments, are dropped first.
    fn make_room(&mut self, sink: &mut dyn RecordSink) -> Flow {
        let mut idle: Vec<_> = self
            .flows
            .iter()
            .map(|(key, flow)| (!flow.is_closed(), flow.last_ns, flow.conn, *key))
            .collect();
        idle.sort_unstable();
        let half = self.flows.len().div_ceil(2);
        for (_, _, conn, key) in idle.into_iter().take(half) {
            let Some(mut flow) = self.flows.remove(&key) else { continue };
            self.forget(&flow);
            if !flow.is_closed() {
                flow.give_up(self.packets, self.lossy, self.last_ns, sink)?;
                sink.note(conn, &Note::NotFollowed)?;
                flow.finish(self.last_ns, self.lossy, sink)?;
            }
        }
        Flow::Continue(())
    }

    /// Ends the capture.
    pub fn finish(&mut self, sink: &mut dyn RecordSink) -> Flow {
        let mut flows: Vec<TcpConnection> = std::mem::take(&mut self.flows).into_values().collect();
        flows.sort_by_key(|flow| flow.conn);
        for mut flow in flows {
            flow.finish(self.last_ns, self.lossy, sink)?;
        }
        self.waits.clear();
        self.pending_bytes = 0;
        self.pending_held.set(0);
        self.flows_held.set(0);
        Flow::Continue(())
    }
}

/// A sink that notices missing bytes.
struct Watched<'s> {
    sink: &'s mut dyn RecordSink,
    lossy: &'s mut bool,
}

impl RecordSink for Watched<'_> {
    fn record(&mut self, record: &Record<'_>) -> Flow {
        *self.lossy |= matches!(record, Record::Gap(gap) if gap.cause == GapCause::Unknown);
        self.sink.record(record)
    }

    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        self.sink.note(conn, note)
    }

    fn received(&mut self, conn: u64, dir: Direction, offset: u64) -> Flow {
        self.sink.received(conn, dir, offset)
    }

    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        self.sink.reset(conn, dir)
    }
}
