//! Writes a connection: creates the packets that would have carried its events.

use std::collections::VecDeque;
use std::io::Write;

use sslrec_wire::http2::frame::{Frame, PREFACE};

use super::comment::pairs::{push, push_text};
use super::comment::write;
use super::flow::{Flow, LastRequest};
use super::output::{Output, Packet};
use super::segment::{ACK, FIN, PSH, SYN, Segment};
use super::{PcapngOptions, SYNTHETIC};
use crate::record::{Close, CloseCause, Connection, Data, Direction, Gap, GapCause, PerDirection};

/// Number of bytes in a direction, missing bytes included, after which an acknowledgement is
/// written: Wireshark takes data that is 2 GiB beyond the last acknowledgement for a
/// retransmission, and does not dissect it.
const ACK_INTERVAL: u64 = 1 << 20;

/// A step of the sequence number that every reader takes for a step forwards: less than half of its
/// range (RFC 1982).
const GAP_STEP: u64 = 1 << 30;

/// Gaps beyond this are shown shorter by multiples of the sequence number's range, which no reader
/// of packets can detect. The comment has the true length.
const SEQ_RANGE: u64 = 1 << 32;

/// An open connection and its file.
pub(super) struct ConnectionWriter<'a, W> {
    pub(super) output: &'a mut Output<W>,
    pub(super) comment: &'a mut String,
    pub(super) options: &'a PcapngOptions,
    pub(super) interface: u32,
    pub(super) connection: &'a Connection,
    /// The first stream offsets in this file.
    pub(super) resumed: PerDirection<u64>,
    pub(super) flow: &'a mut Flow,
    pub(super) prefix: &'a PerDirection<String>,
    pub(super) details_due: &'a mut bool,
    pub(super) preface_settled: &'a mut bool,
}

impl<W: Write> ConnectionWriter<'_, W> {
    /// Returns whether the connection began in an earlier file.
    fn goes_on(&self) -> bool {
        self.resumed != PerDirection::default()
    }

    /// Writes the handshake of TCP, and the held handshakes of TLS, all at the time of the record
    /// that opens the connection: at their own times they would follow later packets of other
    /// connections. `unheld` is the number of handshakes that were dropped before them.
    pub(super) fn open(&mut self, ts_ns: u64, held: VecDeque<HeldHandshake>, unheld: u64) {
        self.flow.last_request = LastRequest::None;
        let dir = self.flow.from_client;
        let at = At { ts_ns, tid: 0, dir };
        let back = At { dir: dir.reverse(), ..at };
        // A SYN has the place before the first byte of the stream.
        let client_syn = self.flow.next_seq(dir).wrapping_sub(1);
        let server_syn = self.flow.next_seq(back.dir).wrapping_sub(1);
        self.begin_comment(dir, "open");
        let PerDirection { sent, received } = self.resumed;
        if self.goes_on() {
            push(self.comment, "sent_off", sent);
            push(self.comment, "received_off", received);
        }
        if unheld > 0 {
            push(self.comment, "handshakes_dropped", unheld);
        }
        self.packet(at, Segment { seq: client_syn, ack: 0, flags: SYN, payload: &[] });
        self.comment.clear();
        let ack = client_syn.wrapping_add(1);
        let syn_ack = Segment { seq: server_syn, ack, flags: SYN | ACK, payload: &[] };
        self.packet(back, syn_ack);
        if held.is_empty() {
            self.empty(at);
        }
        for handshake in held {
            self.handshake(ts_ns, &handshake);
        }
    }

    /// Writes a handshake. `ts_ns` is the packet's time; a different time of the handshake is in
    /// the comment.
    pub(super) fn handshake(&mut self, ts_ns: u64, handshake: &HeldHandshake) {
        let dir = self.flow.from_client;
        self.begin_comment(dir, "handshake");
        push_text(self.comment, "fn", &handshake.func);
        push(self.comment, "lat_ns", handshake.lat_ns);
        push(self.comment, "ok", u8::from(handshake.ok));
        if let Some(result) = handshake.result {
            push(self.comment, "result", result);
        }
        push(self.comment, "tid", handshake.tid);
        if handshake.ts_ns != ts_ns {
            push(self.comment, "ts_ns", handshake.ts_ns);
        }
        self.empty(At { ts_ns, tid: handshake.tid, dir });
    }

    pub(super) fn data(&mut self, data: &Data<'_>) {
        let at = At { ts_ns: data.ts_ns, tid: data.tid, dir: data.dir };
        self.settle_preface(at, data.payload);
        self.hole_before(at, data.offset);
        self.settle_request(at, data.payload);
        let limit = self.flow.halves[data.dir].headers.payload_limit();
        let mut done = 0;
        for payload in data.payload.chunks(limit) {
            self.data_segment(at, data, payload, done);
            done += payload.len() as u64;
        }
        self.output.count(self.interface, 1, 0);
        let half = &mut self.flow.halves[data.dir];
        half.next = half.next.max(data.offset.saturating_add(done));
        half.unacked = half.unacked.saturating_add(done);
        let (end, is_long) = (half.next, half.unacked >= ACK_INTERVAL);
        self.flow.halves[data.dir.reverse()].unacked = 0;
        if is_long {
            self.acknowledge(at, end);
        }
    }

    /// Opens the connection anew before a response of HTTP/1 whose request is lost. Wireshark pairs
    /// by position: it would show the response as that to an earlier request.
    fn settle_request(&mut self, at: At, payload: &[u8]) {
        if at.dir == self.flow.from_client {
            self.flow.last_request = LastRequest::Seen;
        } else if self.flow.last_request == LastRequest::Lost && payload.starts_with(b"HTTP/1.") {
            self.resumed = self.flow.reached();
            self.open(at.ts_ns, VecDeque::new(), 0);
        }
    }

    /// Acknowledges the stream of `at`'s direction up to `offset`, as the other side.
    fn acknowledge(&mut self, at: At, offset: u64) {
        let half = &mut self.flow.halves[at.dir];
        half.unacked = 0;
        let ack = half.seq(offset);
        let back = At { dir: at.dir.reverse(), ..at };
        let seq = self.flow.next_seq(back.dir);
        self.comment.clear();
        self.packet(back, Segment { seq, ack, flags: ACK, payload: &[] });
    }

    fn data_segment(&mut self, at: At, data: &Data<'_>, payload: &[u8], done: u64) {
        let offset = data.offset.saturating_add(done);
        self.begin_comment(at.dir, "data");
        push(self.comment, "tid", data.tid);
        push_text(self.comment, "fn", data.func);
        push(self.comment, "off", offset);
        push(self.comment, "lat_ns", data.lat_ns);
        let call_offset = data.call_offset.saturating_add(done);
        if call_offset != 0 || data.call_len != payload.len() as u64 {
            push(self.comment, "call_len", data.call_len);
            push(self.comment, "call_off", call_offset);
        }
        let seq = self.flow.halves[at.dir].seq(offset);
        let ack = self.flow.next_seq(at.dir.reverse());
        self.packet(at, Segment { seq, ack, flags: PSH | ACK, payload });
    }

    pub(super) fn gap(&mut self, gap: &Gap) {
        let at = At { ts_ns: gap.ts_ns, tid: 0, dir: gap.dir };
        self.settle_preface(at, &[]);
        self.hole_before(at, gap.offset);
        self.hole(at, gap.offset, gap.len, gap.cause);
    }

    /// Writes missing bytes that no record declares.
    fn hole_before(&mut self, at: At, offset: u64) {
        let next = self.flow.halves[at.dir].next;
        if offset > next {
            self.hole(at, next, offset - next, GapCause::Unknown);
        }
    }

    fn hole(&mut self, at: At, offset: u64, len: u64, cause: GapCause) {
        self.output.count(self.interface, 0, 1);
        if at.dir == self.flow.from_client
            && self.flow.last_request == LastRequest::Seen
            && may_hide_request(cause)
        {
            self.flow.last_request = LastRequest::Lost;
        }
        let half = &mut self.flow.halves[at.dir];
        let end = offset.saturating_add(len);
        half.next = half.next.max(end);
        half.unacked = half.unacked.saturating_add(len);
        let is_long = half.unacked >= ACK_INTERVAL;
        let shown = if len > SEQ_RANGE { SEQ_RANGE + len % SEQ_RANGE } else { len };
        // The last step is the packet with the comment.
        let mut left = shown;
        while left > GAP_STEP {
            left -= GAP_STEP;
            self.comment.clear();
            let reached = end.wrapping_sub(left);
            self.empty_at(at, reached);
            self.acknowledge(at, reached);
        }
        self.begin_comment(at.dir, "gap");
        push(self.comment, "off", offset);
        push(self.comment, "len", len);
        push(self.comment, "cause", cause);
        self.empty_at(at, end);
        if is_long {
            self.acknowledge(at, end);
        }
    }

    pub(super) fn close(&mut self, close: &Close) {
        let at = At { ts_ns: close.ts_ns, tid: 0, dir: Direction::Sent };
        let back = At { dir: Direction::Received, ..at };
        self.hole_before(at, close.sent_bytes);
        self.hole_before(back, close.received_bytes);
        self.begin_comment(at.dir, "close");
        push(self.comment, "cause", close.cause);
        push(self.comment, "sent_bytes", close.sent_bytes);
        push(self.comment, "received_bytes", close.received_bytes);
        if close.cause == CloseCause::StillOpen {
            self.empty(at);
            return;
        }
        let (seq, ack) = (self.flow.next_seq(at.dir), self.flow.next_seq(back.dir));
        self.packet(at, Segment { seq, ack, flags: FIN | ACK, payload: &[] });
        self.comment.clear();
        let after = seq.wrapping_add(1);
        self.packet(back, Segment { seq: ack, ack: after, flags: FIN | ACK, payload: &[] });
        let ack = ack.wrapping_add(1);
        self.packet(at, Segment { seq: after, ack, flags: ACK, payload: &[] });
    }

    /// Writes the preface of HTTP/2 if it belongs here. `payload` is empty at a gap.
    fn settle_preface(&mut self, at: At, payload: &[u8]) {
        if *self.preface_settled {
            return;
        }
        let is_h2 = self.connection.alpn.as_deref() == Some("h2");
        // A gap does not reveal the protocol.
        *self.preface_settled = is_h2 || !payload.is_empty();
        let wanted = self.options.http2_preface
            && (self.connection.joined || self.goes_on())
            && (is_h2 || Frame::read(payload).is_some_and(|frame| frame.is_plausible()));
        if !wanted || payload.starts_with(PREFACE) {
            return;
        }
        let dir = self.flow.from_client;
        let at = At { tid: 0, dir, ..at };
        let (seq, ack) = (self.flow.next_seq(dir), self.flow.next_seq(dir.reverse()));
        self.comment.clear();
        self.comment.push_str(SYNTHETIC);
        self.packet(at, Segment { seq, ack, flags: PSH | ACK, payload: PREFACE });
        self.flow.halves[dir].insert(PREFACE.len() as u32);
    }

    /// Begins a comment: the packet's event, and the properties of the connection.
    fn begin_comment(&mut self, dir: Direction, event: &str) {
        self.comment.clear();
        self.comment.push_str(&self.prefix[dir]);
        if event != "data" {
            push(self.comment, "ev", event);
        }
        if std::mem::take(self.details_due) {
            write::push_details(self.comment, self.connection);
        }
    }

    /// Writes an empty segment at the place that the stream has reached.
    fn empty(&mut self, at: At) {
        self.empty_at(at, self.flow.halves[at.dir].next);
    }

    fn empty_at(&mut self, at: At, offset: u64) {
        let seq = self.flow.halves[at.dir].seq(offset);
        let ack = self.flow.next_seq(at.dir.reverse());
        self.packet(at, Segment { seq, ack, flags: ACK, payload: &[] });
    }

    fn packet(&mut self, at: At, segment: Segment<'_>) {
        self.flow.halves[at.dir].tell_apart(&segment);
        let packet = Packet {
            interface: self.interface,
            ts_ns: at.ts_ns,
            pid: self.connection.pid,
            tid: at.tid,
            dir: at.dir,
            comment: self.comment,
        };
        self.output.packet(&packet, &self.flow.halves[at.dir].headers, &segment);
    }
}

/// Returns whether a gap of this cause may contain the beginning of a request. The others are the
/// rest of a call, whose beginning is in the file, or a file, which is no request.
fn may_hide_request(cause: GapCause) -> bool {
    match cause {
        GapCause::RingFull | GapCause::ReadFault | GapCause::Memory | GapCause::Unknown => true,
        GapCause::Sendfile | GapCause::Snaplen | GapCause::LongCall | GapCause::EarlierFile => {
            false
        }
    }
}

/// A handshake that came before its connection was opened in the file.
pub(super) struct HeldHandshake {
    pub(super) ts_ns: u64,
    pub(super) tid: u32,
    pub(super) func: String,
    pub(super) lat_ns: u64,
    pub(super) ok: bool,
    pub(super) result: Option<i32>,
}

/// Place and time of a packet.
#[derive(Clone, Copy)]
struct At {
    ts_ns: u64,
    tid: u32,
    dir: Direction,
}
