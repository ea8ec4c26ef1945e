//! Changes of the protocol of a connection: CONNECT, WebSocket and h2c.

use sslrec_formats::record::Direction;

use super::Framing;
use super::became::{Became, Context};
use super::connection::Connection;
use super::open::Chunk;
use crate::exchange::note::Note;
use crate::exchange::route::Tunnel;
use crate::exchange::{Fields, Interim};
use crate::http2;
use crate::timeline::Timeline;

impl Connection {
    fn context(&self) -> Context<'_> {
        let Self { shared, request_direction, keep, .. } = self;
        Context { shared, request_direction: *request_direction, keep }
    }

    /// Returns the connection inside the tunnel to this target.
    pub(super) fn tunnel_to(&self, target: &[u8]) -> Became {
        let tunnel = Tunnel { protocol: "connect", target: target.to_vec() };
        let inside = self.shared.through(|route| route.tunnels.push(tunnel));
        match (self.open_tunnel)(inside, &self.keep) {
            Some(connection) => Became::Tunnelled(connection),
            None => Became::tunnel(Some(Note::Tunnel)),
        }
    }

    /// Passes bytes to the protocol that the connection changed to.
    pub(super) fn tunnel(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        chunk: Chunk,
        timeline: &mut Timeline,
    ) {
        let mut became = self.became.take().unwrap_or_else(|| Became::tunnel(None));
        became.data(self.context(), direction, bytes, chunk, timeline);
        self.became = Some(became);
    }

    /// Processes missing bytes. Returns whether they belong to the protocol that the connection
    /// changed to.
    pub(super) fn lost_in_tunnel(
        &mut self,
        direction: Direction,
        len: u64,
        chunk: Chunk,
        timeline: &mut Timeline,
    ) -> bool {
        let Some(mut became) = self.became.take() else { return false };
        let lost = (self.gap_cause, len);
        let taken = became.lose(self.context(), direction, lost, chunk, timeline);
        self.became = Some(became);
        taken
    }

    /// Makes a WebSocket of the exchange whose response was read last. The exchange ends with the
    /// WebSocket.
    pub(super) fn open_websocket(&mut self, chunk: Chunk, timeline: &mut Timeline) {
        let Some(open) = self.answered.take() else { return };
        let is_lost = open.exchange.request.is_none()
            || !self.waiting.is_whole()
            || !self.asking.losses.is_empty()
            || self.asking.skipped > 0
            || self.requests.has_skipped();
        self.became = Some(Became::websocket(open, is_lost, &self.keep, chunk));
        self.answering.has_head = false;
        self.responses.set_framing(Framing::Tunnel);
        self.end_wait(Framing::Tunnel, false, chunk, timeline);
    }

    /// Continues as HTTP/2 after the response with these fields, whose status is 101 (RFC 7540
    /// section 3.2). The exchange becomes stream 1 there, even if its request was not seen.
    pub(super) fn upgrade(&mut self, fields: Fields, chunk: Chunk, timeline: &mut Timeline) {
        let asked = self.answered.take().map(|mut open| {
            open.exchange.interim.push(Interim { status: 101, headers: fields });
            open.exchange.note(Note::UpgradedToH2c);
            // The HTTP/2 connection counts this exchange.
            self.exchanges -= 1;
            (open.exchange, open.ticket, open.whole)
        });
        let h2c =
            http2::Connection::upgraded(&self.shared, self.request_direction, asked, &self.keep);
        self.became = Some(Became::H2c(Box::new(h2c)));
        self.answering.has_head = true;
        self.responses.set_framing(Framing::Tunnel);
        self.end_wait(Framing::Tunnel, false, chunk, timeline);
    }

    /// Ends the wait for the response that decides whether a tunnel follows the request.
    pub(super) fn end_wait(
        &mut self,
        framing: Framing,
        is_connect: bool,
        chunk: Chunk,
        timeline: &mut Timeline,
    ) {
        let is_tunnel = framing == Framing::Tunnel;
        if is_tunnel || (is_connect && !self.interim && self.requests.is_held()) {
            let bytes = self.requests.release(is_tunnel);
            let chunk = self.held.take().unwrap_or(chunk);
            self.read_requests(chunk, &bytes, timeline);
        }
    }
}
