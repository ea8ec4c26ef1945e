//! What comes after a connection has stopped being HTTP/1: a tunnel, another protocol, HTTP/2, or a
//! WebSocket.

use sslrec_formats::record::Direction;

use super::End;
use super::framing::Framing;
use super::open::{Chunk, Open, emit};
use super::pairs::Connection;
use crate::exchange::{Body, Fields, Interim, Item, Message, Stream};
use crate::http2;
use crate::messages::Sender;
use crate::over_http::Reader;
use crate::text::latin1;
use crate::timeline::Timeline;

/// What a connection becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Http2,
    WebSocket,
    /// Something that is not read, and a note that says what.
    Other(String),
}

impl Next {
    /// By the final response to the request that asked for it.
    pub(super) fn of(status: u16, fields: &Fields) -> Self {
        let Some(to) = fields.first("upgrade").filter(|_| status == 101) else {
            return Next::Other("tunnel".to_owned());
        };
        match to {
            to if to.eq_ignore_ascii_case(b"h2c") => Next::Http2,
            to if to.eq_ignore_ascii_case(b"websocket") => Next::WebSocket,
            to => Next::Other(format!("upgraded to {}", latin1(to))),
        }
    }
}

/// The message that a side has of an exchange, if it was recorded.
fn message(open: &mut Open, from: Sender) -> Option<&mut Message> {
    let exchange = &mut open.exchange;
    match from {
        Sender::Client => exchange.request.as_mut().map(|request| &mut request.message),
        Sender::Server => exchange.response.as_mut().map(|response| &mut response.message),
    }
}

impl Connection {
    /// The exchange whose response was read last opens a WebSocket and lasts as long. Its contents
    /// are kept as messages, and not as bytes once more.
    pub(super) fn open_websocket(&mut self, chunk: Chunk, timeline: &mut Timeline) {
        let orphan = self.orphan.take();
        // Where the request ends is not known; the first frame comes after it.
        let is_lost = orphan.is_some()
            || self.asking.desynced
            || self.asking.skipped > 0
            || self.requests.has_skipped();
        let Some(mut open) = orphan.or_else(|| self.queue.pop_front()) else { return };
        let Some(response) = message(&mut open, Sender::Server) else { return };
        let mut reader = Reader::upgraded(&response.headers, self.keep);
        if is_lost {
            reader.lost(Sender::Client, None, chunk.first_ns);
        }
        open.reader = Some(reader);
        for from in [Sender::Client, Sender::Server] {
            message(&mut open, from)
                .into_iter()
                .for_each(|message| message.body = Body::new(false));
        }
        self.websocket = Some(Box::new(open));
        self.answering.has_head = false;
        self.responses.set_framing(Framing::Tunnel);
        self.end_wait(Framing::Tunnel, false, chunk, timeline);
    }

    /// The connection ended, or its recording did, and what it became does.
    pub(super) fn end_tunnel(&mut self, ends: [End; 2], ts_ns: u64, timeline: &mut Timeline) {
        let closed = !ends.contains(&End::Open);
        if let Some((ticket, mut stream)) = self.tunnel.take() {
            stream.finish(closed, Some(self.request_direction));
            timeline.close(ticket, Item::Stream(stream));
        }
        if let Some(h2c) = &mut self.h2c {
            h2c.finish(closed, ts_ns, timeline);
        }
        if let Some(mut open) = self.websocket.take() {
            open.request_done = closed;
            open.response_done = closed;
            if !closed {
                open.exchange.note("the WebSocket was open when the recording ended");
            } else if ends.contains(&End::Reset) {
                open.exchange.note("the connection was reset");
            }
            emit(*open, timeline);
        }
    }

    fn sender(&self, direction: Direction) -> Sender {
        if direction == self.request_direction { Sender::Client } else { Sender::Server }
    }

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
        let h2c =
            http2::Connection::upgraded(&self.shared, self.request_direction, asked, self.keep);
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
        let from = self.sender(direction);
        if let Some(open) = &mut self.websocket {
            if let Some(message) = message(open, from) {
                message.body.push(bytes);
                message.last_ns = message.last_ns.max(chunk.last_ns);
            }
            open.reader.iter_mut().for_each(|reader| reader.data(from, bytes, chunk.first_ns));
            return;
        }
        let (_, stream) = self.tunnel.get_or_insert_with(|| {
            let mut stream = Stream::new(&self.shared, chunk.first_ns, self.keep);
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
        let from = self.sender(direction);
        if let Some(open) = &mut self.websocket {
            open.lose(direction, self.gap_cause, len);
            let reader = open.reader.iter_mut();
            reader.for_each(|reader| reader.lost(from, Some(len), chunk.first_ns));
            return true;
        }
        match (&mut self.h2c, &mut self.tunnel) {
            (Some(h2c), _) => h2c.gap(direction, self.gap_cause, chunk.first_ns, len, timeline),
            (None, Some((_, stream))) => stream.lose(direction, self.gap_cause, len),
            (None, None) => return false,
        }
        true
    }
}
