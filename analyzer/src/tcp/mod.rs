//! TCP reassembly: the segments of a packet capture into the records of connections.
//!
//! A capture can differ from the wire: it may begin and end in the middle of a connection, be out
//! of order by a few packets, contain packets twice, and lack some. Missing bytes become a gap at
//! their place, once it is certain that they will not come:
//!
//! - the other side acknowledged them, and `REORDERED` further segments did not contain them; or
//! - more than `MAX_PENDING` bytes wait behind them; or
//! - the connection or the capture ended.
//!
//! Memory is bounded: see the constants. If segments overlap, the first bytes are kept, and a
//! difference adds a note.

mod half;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use foldhash::HashMap;
use sslrec_formats::record::{
    AddrKind, Close, CloseCause, Connection, Data, Direction, Gap, GapCause, PerDirection, Record,
    Role,
};

use self::half::{Half, Output};
use crate::budget::{Budget, Charge, Share};
use crate::exchange::Note;
pub use crate::sink::Segment;
use crate::sink::{Flow, RecordSink};

/// By how many segments of a connection a capture may be out of order. Captures from several queues
/// of a network card swap neighbours.
const REORDERED: u32 = 4;

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

/// A connection; the two directions are named after its local end, the client.
#[derive(Debug)]
struct TcpConnection {
    conn: u64,
    local: SocketAddr,
    halves: PerDirection<Half>,
    /// Sequence number of the first SYN of each direction.
    syns: PerDirection<Option<u32>>,
    /// Time of the last segment.
    last_ns: u64,
    closed: bool,
}

/// Memory for a connection, without its segments.
const FLOW_COST: usize = 2 * size_of::<TcpConnection>();

/// Reassembles the segments of a packet capture into records.
#[derive(Debug, Default)]
pub struct Reassembler {
    flows: HashMap<(SocketAddr, SocketAddr), TcpConnection>,
    connections: u64,
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
        let (a, b) = (segment.src, segment.dst);
        let key = if a <= b { (a, b) } else { (b, a) };
        if self.flows.get(&key).is_some_and(|flow| flow.is_other(segment))
            && let Some(mut old) = self.flows.remove(&key)
        {
            self.forget(&old);
            old.close(CloseCause::StillOpen, segment.ts_ns, sink)?;
        }
        let has_bytes = !segment.payload.is_empty() || segment.missing > 0;
        if !self.flows.contains_key(&key) {
            // An empty segment without a connection would create a connection without content.
            if !segment.syn && !has_bytes {
                return Flow::Continue(());
            }
            if self.flows.len() >= MAX_FLOWS || !self.flows_held.grow(FLOW_COST) {
                self.make_room(sink)?;
                self.flows_held.force(FLOW_COST);
            }
            self.connections += 1;
            let new = TcpConnection::new(self.connections, segment);
            sink.record(&Record::Connection(new.description(segment)))?;
            self.flows.insert(key, new);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return Flow::Continue(()) };
        let before = flow.pending_bytes();
        flow.segment(segment, sink)?;
        let more = flow.pending_bytes().saturating_sub(before);
        let full = self.pending_bytes > MAX_PENDING_TOTAL || !self.pending_held.grow(more);
        if flow.pending_bytes() > 0 && full {
            flow.flush(segment.ts_ns, sink)?;
        }
        self.pending_bytes = self.pending_bytes + flow.pending_bytes() - before;
        self.pending_held.set(self.pending_bytes);
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
            .map(|(key, flow)| (!flow.closed, flow.last_ns, flow.conn, *key))
            .collect();
        idle.sort_unstable();
        let half = self.flows.len().div_ceil(2);
        for (_, _, conn, key) in idle.into_iter().take(half) {
            let Some(mut flow) = self.flows.remove(&key) else { continue };
            self.forget(&flow);
            if !flow.closed {
                sink.note(conn, &Note::NotFollowed)?;
                flow.close(CloseCause::StillOpen, self.last_ns, sink)?;
            }
        }
        Flow::Continue(())
    }

    /// Ends the capture.
    pub fn finish(&mut self, sink: &mut dyn RecordSink) -> Flow {
        let mut flows: Vec<TcpConnection> = std::mem::take(&mut self.flows).into_values().collect();
        flows.sort_by_key(|flow| flow.conn);
        for mut flow in flows {
            flow.close(CloseCause::StillOpen, self.last_ns, sink)?;
        }
        self.pending_bytes = 0;
        self.pending_held.set(0);
        self.flows_held.set(0);
        Flow::Continue(())
    }
}

impl TcpConnection {
    fn new(conn: u64, segment: &Segment<'_>) -> Self {
        let sender_is_local = match (segment.syn, segment.ack) {
            (true, ack) => ack.is_none(),
            // Servers listen on low ports as a rule.
            (false, _) => segment.src.port() > segment.dst.port(),
        };
        Self {
            conn,
            local: if sender_is_local { segment.src } else { segment.dst },
            halves: PerDirection::default(),
            syns: PerDirection::default(),
            last_ns: segment.ts_ns,
            closed: false,
        }
    }

    /// Returns the record that describes the connection, which begins with `first`.
    fn description(&self, first: &Segment<'_>) -> Connection {
        let remote = if first.src == self.local { first.dst } else { first.src };
        Connection {
            conn: self.conn,
            ts_ns: first.ts_ns,
            pid: 0,
            // Ports do not prove the role.
            role: if first.syn { Role::Client } else { Role::Unknown },
            addr: AddrKind::Exact,
            local: Some(self.local),
            remote: Some(remote),
            joined: !first.syn,
            ..Connection::default()
        }
    }

    fn direction(&self, segment: &Segment<'_>) -> Direction {
        if segment.src == self.local { Direction::Sent } else { Direction::Received }
    }

    fn pending_bytes(&self) -> usize {
        self.halves.sent.pending_bytes() + self.halves.received.pending_bytes()
    }

    /// Returns whether the segment belongs to another connection between the same addresses.
    fn is_other(&self, segment: &Segment<'_>) -> bool {
        let direction = self.direction(segment);
        let (half, syn) = (&self.halves[direction], self.syns[direction]);
        if segment.syn {
            // A SYN with the same number is a retransmission.
            return match syn {
                Some(seq) => seq != segment.seq,
                None => half.is_known() && half.distance(segment.seq.wrapping_add(1)) != Some(0),
            };
        }
        let has_bytes = !segment.payload.is_empty() || segment.missing > 0;
        let Some(distance) = half.distance(segment.seq).filter(|_| has_bytes) else { return false };
        distance.unsigned_abs() > MAX_WINDOW
    }

    fn segment(&mut self, segment: &Segment<'_>, sink: &mut dyn RecordSink) -> Flow {
        self.last_ns = segment.ts_ns;
        // A segment after the end is retransmitted, or was on its way when the other side reset the
        // connection.
        if self.closed {
            return Flow::Continue(());
        }
        let direction = self.direction(segment);
        let payload_seq = segment.seq.wrapping_add(u32::from(segment.syn));
        if segment.syn {
            self.syns[direction] = Some(segment.seq);
        }
        let conn = self.conn;
        let (half, other) = self.halves.split_mut(direction);
        half.begin(payload_seq);
        let len = segment.payload.len() as u64 + segment.missing as u64;
        {
            let mut output = records(conn, direction, segment.ts_ns, GapCause::Snaplen, sink);
            half.segment(
                payload_seq,
                segment.ts_ns,
                segment.payload,
                segment.missing as u64,
                &mut output,
            )?;
        }
        if segment.fin {
            half.fin(payload_seq.wrapping_add(len as u32));
        }
        {
            let mut lost = records(conn, direction, segment.ts_ns, GapCause::Unknown, sink);
            while half.pending_bytes() > MAX_PENDING {
                half.skip_hole(&mut lost)?;
            }
            half.tick(REORDERED, &mut lost)?;
        }
        if let Some(ack) = segment.ack.filter(|_| !segment.rst) {
            other.begin(ack);
            other.acknowledge(ack);
        }
        other.tick(
            REORDERED,
            &mut records(conn, direction.reverse(), segment.ts_ns, GapCause::Unknown, sink),
        )?;
        if segment.rst {
            self.reset(direction, segment, sink)?;
        } else if self.halves.sent.is_ended() && self.halves.received.is_ended() {
            self.close(CloseCause::Shutdown, segment.ts_ns, sink)?;
        }
        Flow::Continue(())
    }

    /// Processes a reset. It counts only near the expected sequence number, where the receiver
    /// would accept it: other resets are forged or late.
    fn reset(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        sink: &mut dyn RecordSink,
    ) -> Flow {
        let half = &self.halves[direction];
        let near =
            half.distance(segment.seq).is_none_or(|d| d.unsigned_abs() as usize <= MAX_PENDING);
        // The reset for a SYN to a closed port has the number 0.
        if near || segment.seq == 0 {
            // Gaps come before the records about the end.
            self.flush(segment.ts_ns, sink)?;
            sink.note(self.conn, &Note::ConnectionReset)?;
            for (dir, half) in self.halves.iter() {
                // A side that has sent its FIN was finished; a reset afterwards is common.
                if !half.has_fin() {
                    sink.reset(self.conn, dir)?;
                }
            }
            self.close(CloseCause::Freed, segment.ts_ns, sink)?;
        }
        Flow::Continue(())
    }

    fn flush(&mut self, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        let conn = self.conn;
        for (direction, half) in self.halves.iter_mut() {
            half.flush(&mut records(conn, direction, ts_ns, GapCause::Unknown, sink))?;
        }
        Flow::Continue(())
    }

    fn close(&mut self, cause: CloseCause, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        if std::mem::replace(&mut self.closed, true) {
            return Flow::Continue(());
        }
        self.flush(ts_ns, sink)?;
        sink.record(&Record::Close(Close {
            conn: self.conn,
            ts_ns,
            cause,
            sent_bytes: self.halves.sent.offset(),
            received_bytes: self.halves.received.offset(),
        }))?;
        self.halves.iter_mut().for_each(|(_, half)| half.retire());
        Flow::Continue(())
    }
}

/// Converts the output of a direction to records.
fn records<'a>(
    conn: u64,
    dir: Direction,
    now_ns: u64,
    cause: GapCause,
    sink: &'a mut dyn RecordSink,
) -> impl FnMut(Output<'_>) -> Flow + 'a {
    move |output| match output {
        Output::Data { offset, ts_ns, bytes } => sink.record(&Record::Data(Data {
            conn,
            ts_ns,
            tid: 0,
            dir,
            offset,
            func: "",
            lat_ns: 0,
            call_len: bytes.len() as u64,
            call_offset: 0,
            payload: bytes,
        })),
        Output::Gap { offset, len } => {
            sink.record(&Record::Gap(Gap { conn, ts_ns: now_ns, dir, offset, len, cause }))
        }
        Output::Overlap => sink.note(conn, &Note::RetransmissionDiffers),
    }
}
