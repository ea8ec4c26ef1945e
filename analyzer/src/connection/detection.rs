//! The protocol of a connection, from its first bytes.

use sslrec_formats::record::Direction;

use super::half::{self, MAX_OTHER, take_held};
use super::search::{Alpn, kind_of, search};
use super::{CONNECTION_COST, Connection, Protocol, inner, simple};
use crate::exchange::{Note, Stream};
use crate::http1::first::{self, Verdict};
use crate::http1::start::{self, MAX_LINE};
use crate::http1::{self, Chunk, Kind};
use crate::http2::{self, Place};
use crate::preamble::{self, Found};
use crate::timeline::Timeline;

/// Maximum number of preambles that follow on each other: a PROXY header, and proxies behind
/// proxies.
const MAX_PREAMBLES: usize = 8;

/// The preface of an HTTP/2 client, and its part after the first empty line.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_END: &[u8] = b"SM\r\n\r\n";

impl Connection {
    /// Reads first bytes, and counts those that are held.
    pub(super) fn undecided(
        &mut self,
        direction: Direction,
        chunk: Chunk,
        bytes: &[u8],
        timeline: &mut Timeline,
    ) {
        self.read_first(direction, chunk, bytes, timeline);
        let held: usize = self.halves.iter().map(|(_, half)| half.held.len()).sum();
        let cost = CONNECTION_COST + held;
        let more = cost.saturating_sub(self.held.bytes());
        if more == 0 {
            self.held.set(cost);
        } else if !self.held.grow(more) {
            self.halves.iter_mut().for_each(|(_, half)| half.give_up());
        }
    }

    /// Reads first bytes: a preamble, or the beginning of the protocol.
    fn read_first(
        &mut self,
        direction: Direction,
        chunk: Chunk,
        bytes: &[u8],
        timeline: &mut Timeline,
    ) {
        if !self.may_be_preamble {
            return self.detect(direction, chunk, bytes, timeline);
        }
        let client = self.shared.info().client_direction().unwrap_or(direction);
        let is_first = self.halves.iter().all(|(_, half)| half.held.is_empty());
        let is_preamble = |bytes| preamble::judge(bytes, b"") != preamble::Verdict::Nothing;
        if is_first && !(direction == client && is_preamble(bytes)) {
            // The usual case, in which no bytes need to be held.
            self.may_be_preamble = false;
            return self.detect(direction, chunk, bytes, timeline);
        }
        let half = &mut self.halves[direction];
        half.chunk.get_or_insert(chunk);
        half.held.extend_from_slice(bytes);
        self.read_preamble(client, timeline);
    }

    /// Judges the held bytes, the first of which are those of the client.
    fn read_preamble(&mut self, client: Direction, timeline: &mut Timeline) {
        let held = [client, client.reverse()].map(|direction| &self.halves[direction].held[..]);
        match preamble::judge(held[0], held[1]) {
            preamble::Verdict::Unsure if held.iter().all(|held| held.len() <= MAX_OTHER) => {}
            preamble::Verdict::Unsure | preamble::Verdict::Nothing => {
                self.may_be_preamble = false;
                self.read_held(client, timeline);
            }
            preamble::Verdict::Preamble { found, client: of_client, server: of_server } => {
                self.halves[client].held.drain(..of_client);
                self.halves[client.reverse()].held.drain(..of_server);
                self.pass(found);
                self.read_held(client, timeline);
            }
        }
    }

    /// Continues behind a preamble.
    fn pass(&mut self, found: Found) {
        self.shared = self.shared.through(|route| match found {
            Found::Proxied(proxied) => route.proxied = Some(proxied),
            Found::Tunnel(tunnel) => route.tunnels.push(tunnel),
        });
        self.preambles += 1;
        self.may_be_preamble = self.preambles < MAX_PREAMBLES;
        let mut raw = Stream::counted(&self.shared, self.raw.first_ns, &self.keep);
        for (direction, half) in self.halves.iter() {
            raw.push(direction, &half.held, self.raw.last_ns);
        }
        *self.raw = raw;
    }

    /// Reads the held bytes anew, those of the client first.
    fn read_held(&mut self, client: Direction, timeline: &mut Timeline) {
        for direction in [client, client.reverse()] {
            if let Some((direction, chunk, held)) = take_held(&mut self.halves, direction) {
                self.read(direction, chunk, &held, timeline);
            }
        }
    }

    /// Detects the protocol by the first bytes of a direction.
    fn detect(
        &mut self,
        direction: Direction,
        chunk: Chunk,
        bytes: &[u8],
        timeline: &mut Timeline,
    ) {
        let info = self.shared.info();
        let (role, alpn) = (info.client_direction(), Alpn::of(info.record.alpn.as_deref()));
        let half = &mut self.halves[direction];
        if half.other {
            return half.hold_other(bytes);
        }
        let began = *half.chunk.get_or_insert(chunk);
        // Usually the first call determines the protocol, and no bytes need to be held.
        let mut held = std::mem::take(&mut half.held);
        let before = held.len();
        if !held.is_empty() {
            held.extend_from_slice(bytes);
        }
        let view = if held.is_empty() { bytes } else { &held[..] };
        let (verdict, at) = if half.searching {
            let kind = role.map(|client| kind_of(direction, client));
            search(view, before, half.scanned, kind, alpn)
        } else {
            (first::judge(view), 0)
        };
        match verdict {
            Verdict::Http1(kind) => {
                let skipped = at as u64;
                self.become_http1(direction, kind, skipped, timeline);
                if let Protocol::Http1(http1) = &mut self.protocol {
                    http1.data(direction, began, &view[at..], timeline);
                }
            }
            Verdict::Http2 => {
                self.become_http2(direction, at as u64, timeline);
                if let Protocol::Http2(http2) = &mut self.protocol {
                    let chunk = if at >= before { chunk } else { began };
                    http2.data(direction, chunk, &view[at..], timeline);
                }
            }
            Verdict::Unsure => {
                if held.is_empty() {
                    held.extend_from_slice(bytes);
                }
                // A search needs only the last line of the earlier bytes.
                let excess = held.len().saturating_sub(2 * MAX_LINE);
                held.drain(..if excess > 0 { held.len() - MAX_LINE } else { 0 });
                let half = &mut self.halves[direction];
                half.scanned = held.len().saturating_sub(start::OVERLAP);
                half.held = held;
            }
            Verdict::Other => {
                half.hold_other(view);
                if self.halves.sent.other && self.halves.received.other {
                    self.become_opaque();
                }
            }
        }
    }

    fn become_opaque(&mut self) {
        self.protocol = Protocol::Opaque;
        for (_, half) in self.halves.iter_mut().filter(|(_, half)| !simple::is_request(&half.held))
        {
            half.held = Vec::new();
        }
    }

    /// Starts reading this direction as HTTP/1 messages of this kind.
    fn become_http1(
        &mut self,
        direction: Direction,
        kind: Kind,
        skipped: u64,
        timeline: &mut Timeline,
    ) {
        let requests = match kind {
            Kind::Request => direction,
            Kind::Response => direction.reverse(),
        };
        let searching = |d| d != direction && self.halves[d].begins_anywhere();
        let mut http1 =
            http1::Connection::new(&self.shared, requests, searching, inner::open, &self.keep);
        self.ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
        http1.see(|client| half::view(&self.halves, client));
        for (direction, cause, lost) in self.raw.losses.iter() {
            http1.gap(direction, cause, self.raw.first_ns, lost, timeline);
        }
        self.notes.drain(..).for_each(|note| http1.note(note));
        if skipped > 0 {
            http1.note(Note::SkippedBytes(skipped));
        }
        if let Some((other, chunk, held)) = take_held(&mut self.halves, direction.reverse()) {
            http1.data(other, chunk, &held, timeline);
        }
        self.protocol = Protocol::Http1(Box::new(http1));
    }

    /// Starts reading this direction as HTTP/2, from a frame or the preface.
    fn become_http2(&mut self, direction: Direction, skipped: u64, timeline: &mut Timeline) {
        let client = self.shared.info().client_direction();
        let place = |d| match self.halves[d].searching || self.halves[d].other {
            true if d == direction => Place::Frame,
            true => Place::Anywhere,
            false => Place::Beginning,
        };
        let mut http2 = http2::Connection::new(&self.shared, client, place, &self.keep);
        self.ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
        for (direction, cause, lost) in self.raw.losses.iter() {
            http2.lost_before(direction, cause, lost);
        }
        self.notes.drain(..).for_each(|note| http2.note(note));
        if skipped > 0 {
            http2.note(Note::SkippedBytes(skipped));
        }
        let other = direction.reverse();
        if !self.halves[other].other
            && let Some((other, chunk, held)) = take_held(&mut self.halves, other)
        {
            http2.data(other, chunk, &held, timeline);
        }
        self.protocol = Protocol::Http2(Box::new(http2));
    }

    /// Reads an HTTP/1 response to the preface of HTTP/2 (RFC 9113 section 3.4) as the response to
    /// a malformed request. Requests that followed the preface have no response.
    pub(super) fn refuse_http2(
        &mut self,
        server: Direction,
        chunk: Chunk,
        timeline: &mut Timeline,
    ) {
        let Protocol::Http2(http2) = &mut self.protocol else { return };
        http2.note(Note::AnsweredWithHttp1);
        http2.finish(true, chunk.first_ns, timeline);
        let searching = |_| false;
        let mut http1 = http1::Connection::new(
            &self.shared,
            server.reverse(),
            searching,
            inner::open,
            &self.keep,
        );
        let preface = &PREFACE[..PREFACE.len() - PREFACE_END.len()];
        http1.data(server.reverse(), Chunk::at(self.raw.first_ns), preface, timeline);
        self.protocol = Protocol::Http1(Box::new(http1));
    }
}
