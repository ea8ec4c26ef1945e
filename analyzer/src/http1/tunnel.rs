//! What comes after a connection has stopped being HTTP/1: a tunnel, another protocol, or HTTP/2.

use sslrec_formats::record::Direction;

use super::framing::Framing;
use super::open::Chunk;
use super::pairs::Connection;
use crate::exchange::{Fields, Interim, Stream};
use crate::http2;
use crate::timeline::Timeline;

impl Connection {
    /// The response with these fields has the status 101 and goes on as HTTP/2 (RFC 7540 section
    /// 3.2). The exchange goes on there, as stream 1, even if its request was not seen.
    pub(super) fn upgrade(&mut self, fields: Fields, chunk: Chunk, timeline: &mut Timeline) {
        let asked = self.orphan.take().or_else(|| self.queue.pop_front()).map(|mut open| {
            open.exchange.interim.push(Interim { status: 101, headers: fields });
            open.exchange.note("sent as HTTP/1.1 and upgraded to h2c");
            // It is counted there.
            self.exchanges -= 1;
            (open.exchange, open.ticket, open.whole)
        });
        let h2c = http2::Connection::upgraded(&self.info, self.request_direction, asked, self.keep);
        self.h2c = Some(Box::new(h2c));
        self.answering.has_head = true;
        self.responses.set_framing(Framing::Tunnel);
        self.end_wait(Framing::Tunnel, false, chunk, timeline);
    }

    pub(super) fn tunnel(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        chunk: Chunk,
        timeline: &mut Timeline,
    ) {
        if let Some(h2c) = &mut self.h2c {
            return h2c.data(direction, chunk, bytes, timeline);
        }
        let (_, stream) = self.tunnel.get_or_insert_with(|| {
            let mut stream = Stream::new(&self.info, chunk.first_ns, self.keep);
            self.tunnel_note.take().into_iter().for_each(|note| stream.note(note));
            (timeline.open(chunk.first_ns), Box::new(stream))
        });
        stream.push(direction, bytes, chunk.last_ns);
    }

    /// Bytes are missing. Returns whether they are of a tunnel.
    pub(super) fn lost_in_tunnel(
        &mut self,
        direction: Direction,
        len: u64,
        chunk: Chunk,
        timeline: &mut Timeline,
    ) -> bool {
        match (&mut self.h2c, &mut self.tunnel) {
            (Some(h2c), _) => h2c.gap(direction, self.gap_cause, chunk.first_ns, len, timeline),
            (None, Some((_, stream))) => stream.lose(direction, self.gap_cause, len),
            (None, None) => return false,
        }
        true
    }
}
