//! A TCP connection: two directions, whose bytes are output in causal order.
//!
//! A segment acknowledges what its sender had received before. So the bytes of a direction wait
//! until the acknowledged bytes of the other direction are output, as bytes or as a gap: a response
//! comes after its request, and a request after the response that the client had read, in whatever
//! order the capture has them, and even if they were not captured.

use std::net::SocketAddr;

use sslrec_formats::record::{
    AddrKind, Close, CloseCause, Connection, Data, Direction, Gap, PerDirection, Record, Role,
};

use super::beginning::{Held, begins_at_syn, first_number, is_before, local};
use super::half::{Half, Output};
use super::{Age, MAX_PENDING, MAX_WINDOW, REORDERED, REORDERED_PACKETS};
use crate::exchange::Note;
use crate::sink::{Flow, RecordSink, Segment};

/// A connection; the two directions are named after its local end, the client.
#[derive(Debug)]
pub(super) struct TcpConnection {
    /// Its number.
    pub(super) conn: u64,
    phase: Phase,
    /// Number of its segments.
    segments: u64,
    local: SocketAddr,
    halves: PerDirection<Half>,
    /// Sequence number of the first SYN of each direction.
    syns: PerDirection<Option<u32>>,
    /// Time of the last segment.
    pub(super) last_ns: u64,
    /// The connection is in the queue of those that wait.
    pub(super) is_queued: bool,
}

#[derive(Debug)]
enum Phase {
    /// The first sequence numbers are not known: earlier segments may follow. `age` of the first.
    Beginning {
        held: Vec<Held>,
        age: Age,
    },
    Open,
    /// A reset was seen. Only earlier bytes, up to `limits`, may follow.
    Resetting {
        age: Age,
        from: Direction,
        limits: PerDirection<u64>,
        /// Segments with bytes beyond the limits. If the other side acknowledges them, it did not
        /// accept the reset.
        beyond: Vec<Held>,
    },
    /// Kept to recognise late segments.
    Closed,
}

/// An output of a direction.
#[derive(Debug, Clone, Copy)]
enum Next {
    Piece(Direction),
    Hole(Direction),
}

/// The holes that are certain: of some age, or all.
#[derive(Debug, Clone, Copy)]
enum Certain {
    At(Age),
    All,
}

impl Certain {
    /// Returns whether what began then is certain now.
    fn is(self, since: Age) -> bool {
        match self {
            Certain::All => true,
            Certain::At(now) => {
                now.segment.saturating_sub(since.segment) >= REORDERED
                    || now.packet.saturating_sub(since.packet) >= REORDERED_PACKETS
            }
        }
    }
}

impl TcpConnection {
    /// Creates a connection without segments.
    pub(super) fn new(conn: u64, first: &Segment<'_>, packet: u64) -> Self {
        Self {
            conn,
            phase: Phase::Beginning { held: Vec::new(), age: Age { segment: 0, packet } },
            segments: 0,
            local: first.src,
            halves: PerDirection::default(),
            syns: PerDirection::default(),
            last_ns: first.ts_ns,
            is_queued: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Returns the approximate memory of what waits.
    pub(super) fn pending_bytes(&self) -> usize {
        let held = match &self.phase {
            Phase::Beginning { held, .. } | Phase::Resetting { beyond: held, .. } => {
                held.iter().map(|held| size_of::<Held>() + held.payload.len()).sum()
            }
            Phase::Open | Phase::Closed => 0,
        };
        held + self.halves.iter().map(|(_, half)| half.pending_bytes()).sum::<usize>()
    }

    /// Returns whether something waits for later segments.
    pub(super) fn waits(&self) -> bool {
        match self.phase {
            Phase::Beginning { .. } | Phase::Resetting { .. } => true,
            Phase::Open => self.halves.iter().any(|(_, half)| half.hole().is_some()),
            Phase::Closed => false,
        }
    }

    fn direction(&self, segment: &Segment<'_>) -> Direction {
        if segment.src == self.local { Direction::Sent } else { Direction::Received }
    }

    /// Returns whether the segment belongs to another connection between the same addresses.
    pub(super) fn is_other(&self, segment: &Segment<'_>) -> bool {
        if let Phase::Beginning { held, .. } = &self.phase {
            return segment.syn && held.iter().any(|held| is_before(segment, held));
        }
        let direction = self.direction(segment);
        let (half, syn) = (&self.halves[direction], self.syns[direction]);
        if segment.syn {
            // A SYN with the same number is a retransmission.
            return match syn {
                Some(seq) => seq != segment.seq,
                None => half.is_known() && half.distance(segment.seq.wrapping_add(1)) != Some(0),
            };
        }
        let Some(distance) = half.distance(segment.seq).filter(|_| segment.has_bytes()) else {
            return false;
        };
        distance.unsigned_abs() > MAX_WINDOW
    }

    /// Processes a segment, the `packet`th of the capture.
    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        packet: u64,
        lossy: bool,
        sink: &mut dyn RecordSink,
    ) -> Flow {
        self.last_ns = self.last_ns.max(segment.ts_ns);
        self.segments += 1;
        let now = Age { segment: self.segments, packet };
        match &mut self.phase {
            Phase::Beginning { held, age } => {
                held.push(Held::new(segment, now));
                let mut syns = held.iter().filter(|held| held.segment.syn);
                let both = syns
                    .next()
                    .is_some_and(|first| syns.any(|next| next.segment.src != first.segment.src));
                if both || Certain::At(now).is(*age) {
                    self.begin(now, lossy, sink)?;
                }
                Flow::Continue(())
            }
            Phase::Open | Phase::Resetting { .. } => self.process(segment, now, sink),
            // A segment after the end is retransmitted.
            Phase::Closed => Flow::Continue(()),
        }
    }

    /// Processes what has waited for long enough.
    pub(super) fn end_wait(&mut self, packet: u64, lossy: bool, sink: &mut dyn RecordSink) -> Flow {
        let now = Age { segment: self.segments, packet };
        if let Phase::Beginning { age, .. } = self.phase
            && Certain::At(now).is(age)
        {
            self.begin(now, lossy, sink)?;
        }
        self.advance(Certain::At(now), self.last_ns, sink)?;
        self.end(now, self.last_ns, sink)
    }

    /// Determines the first sequence numbers, and processes the segments so far.
    fn begin(&mut self, now: Age, lossy: bool, sink: &mut dyn RecordSink) -> Flow {
        let Phase::Beginning { held, .. } = &mut self.phase else { return Flow::Continue(()) };
        let held = std::mem::take(held);
        self.phase = Phase::Open;
        let segments: Vec<Segment<'_>> = held.iter().map(Held::segment).collect();
        let Some(first) = segments.first() else { return Flow::Continue(()) };
        self.local = local(&segments).unwrap_or(first.src);
        let has_syn = segments.iter().any(|segment| segment.syn);
        let remote = if first.src == self.local { first.dst } else { first.src };
        sink.record(&Record::Connection(Connection {
            conn: self.conn,
            ts_ns: segments.iter().map(|segment| segment.ts_ns).min().unwrap_or(first.ts_ns),
            pid: 0,
            // Ports do not prove the role.
            role: if has_syn { Role::Client } else { Role::Unknown },
            addr: AddrKind::Exact,
            local: Some(self.local),
            remote: Some(remote),
            joined: !has_syn,
            ..Connection::default()
        }))?;
        let ends = [(self.local, Direction::Sent), (remote, Direction::Received)];
        for (sender, dir) in ends {
            if let Some(seq) = first_number(&segments, sender) {
                self.halves[dir].begin(seq);
            }
        }
        for segment in segments.iter().filter(|segment| segment.syn) {
            let direction = self.direction(segment);
            self.syns[direction].get_or_insert(segment.seq);
        }
        let is_lost = match has_syn {
            true => ends.iter().any(|&(sender, dir)| {
                let of_peer = self.syns[dir.reverse()];
                self.syns[dir].is_none() && !begins_at_syn(&segments, sender, of_peer)
            }),
            false => lossy,
        };
        if is_lost {
            sink.note(self.conn, &Note::BeginningLost)?;
        }
        for (segment, held) in segments.iter().zip(&held) {
            self.process(segment, held.age, sink)?;
        }
        self.advance(Certain::At(now), self.last_ns, sink)
    }

    fn process(&mut self, segment: &Segment<'_>, now: Age, sink: &mut dyn RecordSink) -> Flow {
        if self.is_closed() {
            return Flow::Continue(());
        }
        for held in self.go_on(segment) {
            self.process(&held.segment(), held.age, sink)?;
        }
        let direction = self.direction(segment);
        let seq = segment.seq.wrapping_add(u32::from(segment.syn));
        if segment.syn {
            self.syns[direction].get_or_insert(segment.seq);
        }
        let (half, other) = self.halves.split_mut(direction);
        half.begin(seq);
        if let Some(ack) = segment.ack {
            if !segment.rst {
                other.begin(ack);
            }
            if let (Some(offset), Some(acked)) = (half.offset_of(seq), other.offset_of(ack)) {
                other.acknowledge(acked, now);
                half.sent_after(offset, acked);
            }
        }
        let (mut payload, mut missing) = (segment.payload, segment.missing as u64);
        if let Phase::Resetting { limits, beyond, .. } = &mut self.phase {
            let room = half.offset_of(seq).map_or(0, |at| limits[direction].saturating_sub(at));
            if length(segment) > room {
                beyond.push(Held::new(segment, now));
            }
            payload = &payload[..payload.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
            missing = missing.min(room - payload.len() as u64);
        }
        if segment.has_bytes() {
            let wait = half.must_wait(other);
            let mut output = records(self.conn, direction, segment.ts_ns, sink);
            half.segment(seq, (segment.ts_ns, now), (payload, missing), wait, &mut output)?;
        }
        if segment.fin {
            let len = segment.payload.len() + segment.missing;
            half.fin(seq.wrapping_add(len as u32));
        }
        if segment.rst {
            self.reset(direction, segment, now);
        }
        self.advance(Certain::At(now), segment.ts_ns, sink)?;
        self.bound(now, segment.ts_ns, sink)?;
        self.end(now, segment.ts_ns, sink)
    }

    /// Returns the segments since a reset, if this one shows that the connection goes on: it
    /// acknowledges bytes that were sent after the reset, or is of the end that sent the reset, and
    /// has bytes after it. That reset was forged, or was lost on its way from the place of the
    /// capture.
    fn go_on(&mut self, segment: &Segment<'_>) -> Vec<Held> {
        let direction = self.direction(segment);
        let other = direction.reverse();
        let Phase::Resetting { from, limits, beyond, .. } = &mut self.phase else {
            return Vec::new();
        };
        let end_of = |segment: &Segment<'_>, direction| {
            let half: &Half = &self.halves[direction];
            let end = half.offset_of(segment.seq).map(|at| at + length(segment));
            end.filter(|end| *end > limits[direction])
        };
        let ack = segment.ack.filter(|_| !segment.rst);
        let acked = ack.and_then(|ack| self.halves[other].offset_of(ack));
        let is_accepted = |held: &Held| {
            let end = end_of(&held.segment(), other).filter(|_| held.segment.dst == segment.src);
            end.is_some() && acked >= end
        };
        let has_more = *from == direction && segment.has_bytes() && !segment.rst;
        if !(has_more && end_of(segment, direction).is_some() || beyond.iter().any(is_accepted)) {
            return Vec::new();
        }
        let held = std::mem::take(beyond);
        self.phase = Phase::Open;
        held
    }

    /// Notes a reset. It counts only near the expected sequence number, where the receiver would
    /// accept it: other resets are forged or late.
    fn reset(&mut self, direction: Direction, segment: &Segment<'_>, now: Age) {
        let half = &self.halves[direction];
        let near =
            half.distance(segment.seq).is_none_or(|d| d.unsigned_abs() as usize <= MAX_PENDING);
        // The reset for a SYN to a closed port has the number 0.
        let refuses = segment.seq == 0 && self.syns[direction].is_none();
        if !matches!(self.phase, Phase::Open) || !(near || refuses) {
            return;
        }
        let mut limits = PerDirection::from_fn(|dir| self.halves[dir].known_end());
        if let Some(at) = half.offset_of(segment.seq) {
            limits[direction] = limits[direction].max(at);
        }
        self.phase = Phase::Resetting { age: now, from: direction, limits, beyond: Vec::new() };
    }

    /// Ends the connection if both directions ended, or a reset did.
    fn end(&mut self, now: Age, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        match &self.phase {
            Phase::Resetting { age, .. } if Certain::At(now).is(*age) => {
                self.close(CloseCause::Freed, ts_ns, sink)
            }
            Phase::Open | Phase::Resetting { .. }
                if self.halves.iter().all(|(_, half)| half.is_ended()) =>
            {
                self.close(CloseCause::Shutdown, ts_ns, sink)
            }
            _ => Flow::Continue(()),
        }
    }

    /// Keeps the memory of a direction below its bound.
    fn bound(&mut self, now: Age, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        while self.halves.iter().any(|(_, half)| half.pending_bytes() > MAX_PENDING) {
            for (_, half) in self.halves.iter_mut() {
                half.give_up_first(now);
            }
            let Some(next) = self.next(Certain::All) else { break };
            self.output(next, ts_ns, sink)?;
        }
        Flow::Continue(())
    }

    /// Outputs what can be output.
    fn advance(&mut self, certain: Certain, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        while let Some(next) = self.next(certain) {
            self.output(next, ts_ns, sink)?;
        }
        Flow::Continue(())
    }

    /// Outputs the next piece or gap.
    fn output(&mut self, next: Next, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        let (Next::Piece(direction) | Next::Hole(direction)) = next;
        let (half, other) = self.halves.split_mut(direction);
        let mut output = records(self.conn, direction, ts_ns, sink);
        match next {
            Next::Piece(_) => half.output_ready(&mut output),
            Next::Hole(_) => half.lose_hole(other, &mut output),
        }
    }

    /// Returns the next piece or hole, if its turn has come.
    fn next(&self, certain: Certain) -> Option<Next> {
        if self.halves.iter().all(|(_, half)| half.is_idle()) {
            return None;
        }
        let waits =
            PerDirection::from_fn(|dir| self.halves[dir].must_wait(&self.halves[dir.reverse()]));
        let ready = |dir: &Direction| self.halves[*dir].ready();
        let hole = |dir: &Direction| self.halves[*dir].hole().is_some_and(|age| certain.is(age));
        let all = || Direction::BOTH.into_iter();
        let free = || all().filter(|&dir| !waits[dir]);
        if let Some(dir) = free().filter(|dir| ready(dir).is_some()).min_by_key(ready) {
            return Some(Next::Piece(dir));
        }
        // A hole is as late as it can be. While the other direction waits for bytes that may still
        // come, the bytes behind them may belong before it.
        let is_last = |dir: &Direction| {
            let other = dir.reverse();
            !self.halves[other].is_stuck() || waits[other] || hole(&other)
        };
        // Of two holes, the first is that whose following bytes do not need the other.
        let needs_other =
            |dir: &Direction| !self.halves[*dir].follows_without(&self.halves[dir.reverse()]);
        if let Some(dir) = free().filter(|dir| hole(dir) && is_last(dir)).min_by_key(needs_other) {
            return Some(Next::Hole(dir));
        }
        if !(waits.sent && waits.received) {
            return None;
        }
        // They wait for each other: the numbers contradict themselves.
        let piece = all().filter(|dir| ready(dir).is_some()).min_by_key(ready).map(Next::Piece);
        piece.or_else(|| all().find(hole).map(Next::Hole))
    }

    /// Outputs everything, with gaps for missing bytes.
    fn flush(&mut self, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        for (_, half) in self.halves.iter_mut() {
            half.expect_end(Age::default());
        }
        self.advance(Certain::All, ts_ns, sink)
    }

    /// Outputs everything, since there is no memory to wait.
    pub(super) fn give_up(
        &mut self,
        packet: u64,
        lossy: bool,
        ts_ns: u64,
        sink: &mut dyn RecordSink,
    ) -> Flow {
        self.begin(Age { segment: self.segments, packet }, lossy, sink)?;
        self.flush(ts_ns, sink)
    }

    /// Ends the connection with its recording.
    pub(super) fn finish(&mut self, ts_ns: u64, lossy: bool, sink: &mut dyn RecordSink) -> Flow {
        self.begin(Age { segment: self.segments, packet: 0 }, lossy, sink)?;
        let cause = match self.phase {
            Phase::Resetting { .. } => CloseCause::Freed,
            _ => CloseCause::StillOpen,
        };
        self.close(cause, ts_ns, sink)
    }

    fn close(&mut self, cause: CloseCause, ts_ns: u64, sink: &mut dyn RecordSink) -> Flow {
        if self.is_closed() {
            return Flow::Continue(());
        }
        // Gaps come before the records about the end.
        self.flush(ts_ns, sink)?;
        self.phase = Phase::Closed;
        let have_fin = self.halves.iter().all(|(_, half)| half.has_fin());
        let cause = if have_fin { CloseCause::Shutdown } else { cause };
        if cause == CloseCause::Freed {
            sink.note(self.conn, &Note::ConnectionReset)?;
            for (dir, half) in self.halves.iter() {
                // A side that has sent its FIN was finished; a reset afterwards is common.
                if !half.has_fin() {
                    sink.reset(self.conn, dir)?;
                }
            }
        }
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

/// Returns the number of bytes of a segment, captured or not.
fn length(segment: &Segment<'_>) -> u64 {
    segment.payload.len() as u64 + segment.missing as u64
}

/// Converts the output of a direction to records.
fn records<'a>(
    conn: u64,
    dir: Direction,
    now_ns: u64,
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
        Output::Gap { offset, len, cause } => {
            sink.record(&Record::Gap(Gap { conn, ts_ns: now_ns, dir, offset, len, cause }))
        }
        Output::Received { offset } => sink.received(conn, dir, offset),
        Output::Overlap => sink.note(conn, &Note::RetransmissionDiffers),
    }
}
