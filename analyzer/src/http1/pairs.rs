//! Pairs the messages of the two directions of a connection, and builds the exchanges.

use std::collections::VecDeque;

use sslrec_formats::record::{Direction, GapCause};
use sslrec_wire::http1::message::MAX_PIPELINE;

use super::became::{Became, Context, Next};
use super::head::{Head, Line};
use super::open::{Applied, Chunk, OPEN_COST, Open, Side, apply, emit, message, proto};
use super::parser::{Event, Parser};
use super::{End, Framing, Kind, opposite};
use crate::budget::{Keep, Share};
use crate::exchange::note::{Ended, Note, Part};
use crate::exchange::{
    Exchange, Fields, Interim, Item, Losses, Request, Response, Sender, SharedConnection, Stream,
};
use crate::http2;
use crate::over_http::Reader;
use crate::timeline::{Ticket, Timeline};

/// Maximum number of interim responses kept of an exchange.
const MAX_INTERIM: usize = 1000;

/// An HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: SharedConnection,
    request_direction: Direction,
    keep: Keep,
    requests: Parser,
    responses: Parser,
    asking: Side,
    answering: Side,
    /// Place in the listing of the request whose head is being read.
    request_ticket: Option<Ticket>,
    /// Exchanges with a request, oldest first.
    queue: VecDeque<Open>,
    /// A response without a request.
    orphan: Option<Open>,
    /// The current response is an interim response.
    interim: bool,
    /// Time of the first byte held after a CONNECT.
    held: Option<Chunk>,
    /// The new protocol, once the connection is no longer HTTP/1.
    became: Option<Became>,
    /// Cause of the missing bytes in the parsers' events. The events follow the gap at once, see
    /// [`Self::gap`].
    gap_cause: GapCause,
    /// Responses may have been lost while several requests waited. Until no request waits, each
    /// pair may be shifted by the number of lost responses.
    doubtful: bool,
    exchanges: u64,
}

impl Connection {
    /// Creates a connection whose requests go in this direction. A direction in `searching` does
    /// not begin with a message.
    pub(crate) fn new(
        shared: &SharedConnection,
        request_direction: Direction,
        searching: impl Fn(Direction) -> bool,
        keep: &Keep,
    ) -> Self {
        let parser = |kind, direction| {
            if searching(direction) { Parser::searching(kind) } else { Parser::new(kind) }
        };
        Self {
            shared: shared.clone(),
            request_direction,
            keep: keep.clone(),
            requests: parser(Kind::Request, request_direction),
            responses: parser(Kind::Response, opposite(request_direction)),
            asking: Side::default(),
            answering: Side::default(),
            request_ticket: None,
            queue: VecDeque::new(),
            orphan: None,
            interim: false,
            held: None,
            became: None,
            gap_cause: GapCause::Unknown,
            doubtful: false,
            exchanges: 0,
        }
    }

    /// Returns the number of exchanges found.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges + self.became.as_ref().map_or(0, Became::exchanges)
    }

    /// Processes bytes of a direction.
    pub(crate) fn data(
        &mut self,
        direction: Direction,
        chunk: Chunk,
        bytes: &[u8],
        timeline: &mut Timeline,
    ) {
        if direction == self.request_direction {
            if self.requests.is_held() {
                self.held.get_or_insert(chunk);
            }
            self.read_requests(chunk, bytes, timeline);
        } else {
            self.read_responses(chunk, bytes, timeline);
        }
    }

    /// Processes missing bytes of a direction.
    pub(crate) fn gap(
        &mut self,
        direction: Direction,
        cause: GapCause,
        ts_ns: u64,
        len: u64,
        timeline: &mut Timeline,
    ) {
        self.gap_cause = cause;
        let chunk = Chunk { first_ns: ts_ns, last_ns: ts_ns };
        if direction == self.request_direction {
            self.requests.gap(len);
            self.read_requests(chunk, &[], timeline);
        } else {
            self.responses.gap(len);
            self.read_responses(chunk, &[], timeline);
        }
    }

    /// Adds a note about the next bytes.
    pub(crate) fn note(&mut self, note: Note) {
        let note = match &mut self.became {
            Some(became) => became.note(note),
            None => Some(note),
        };
        let Some(note) = note else { return };
        match self.orphan.as_mut().or(self.queue.front_mut()) {
            Some(open) => open.exchange.note(note),
            None => self.asking.note(note),
        }
    }

    /// Ends the connection, or its recording; the reason is asked for each direction.
    pub(crate) fn finish(
        &mut self,
        end: impl Fn(Direction) -> End,
        ts_ns: u64,
        timeline: &mut Timeline,
    ) {
        let (asked, answered) =
            (end(self.request_direction), end(opposite(self.request_direction)));
        let closed = asked != End::Open;
        let chunk = Chunk { first_ns: ts_ns, last_ns: ts_ns };
        self.requests.finish(asked);
        self.read_requests(chunk, &[], timeline);
        self.responses.finish(answered);
        self.read_responses(chunk, &[], timeline);
        for mut open in std::mem::take(&mut self.queue) {
            if open.exchange.response.is_none() {
                self.answering.hand_over(&mut open);
                open.exchange.note(Note::NoResponse(Ended::of(closed)));
            }
            emit(open, timeline);
        }
        if let Some(open) = self.orphan.take() {
            emit(open, timeline);
        }
        if let Some(became) = &mut self.became {
            became.finish(self.request_direction, [asked, answered], ts_ns, timeline);
        }
        self.list_leftovers(chunk, timeline);
    }

    /// Lists the bytes that were lost or skipped after the last message. They belong to no exchange
    /// and become a stream, so that the loss is not silent.
    fn list_leftovers(&mut self, chunk: Chunk, timeline: &mut Timeline) {
        let sides = [&mut self.asking, &mut self.answering].map(std::mem::take);
        if self.exchanges == 0
            || sides.iter().all(|side| side.losses.is_empty() && side.skipped == 0)
        {
            return;
        }
        let mut stream = Stream::new(&self.shared, chunk.first_ns, false);
        let (client, server) = stream.halves.split_mut(self.request_direction);
        client.bytes = sides[0].skipped;
        server.bytes = sides[1].skipped;
        if sides.iter().any(|side| side.skipped > 0) {
            stream.note(Note::NoMessage);
        }
        for side in sides {
            for (direction, cause, len) in side.losses.iter() {
                stream.lose(direction, cause, len);
            }
            side.notes.into_iter().for_each(|note| stream.note(note));
        }
        stream.finish(false, Some(self.request_direction));
        let ticket = timeline.open(chunk.first_ns);
        timeline.close(ticket, Item::Stream(Box::new(stream)));
    }

    fn read_requests(&mut self, chunk: Chunk, mut input: &[u8], timeline: &mut Timeline) {
        while let Some(event) = self.requests.next(&mut input) {
            self.request_event(event, chunk, timeline);
        }
    }

    fn read_responses(&mut self, chunk: Chunk, mut input: &[u8], timeline: &mut Timeline) {
        while let Some(event) = self.responses.next(&mut input) {
            self.response_event(event, chunk, timeline);
        }
    }

    fn request_event(&mut self, event: Event<'_>, chunk: Chunk, timeline: &mut Timeline) {
        if let Event::Head { head, cut } = event {
            return self.request_head(head, cut, chunk, timeline);
        }
        if let Event::Tunnel(bytes) = event {
            return self.tunnel(self.request_direction, bytes, chunk, timeline);
        }
        let has_head = self.asking.has_head;
        let Some(open) = self.queue.back_mut().filter(|_| has_head) else {
            if let Event::Begin = event {
                self.asking.began_ns = chunk.first_ns;
                self.request_ticket = Some(timeline.open(chunk.first_ns));
            } else if let Event::Abandoned(_) = event {
                self.request_ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
            }
            if let Event::Lost(len) = event
                && self.lost_in_tunnel(self.request_direction, len, chunk, timeline)
            {
                return;
            }
            return self.asking.between(event, self.request_direction, self.gap_cause);
        };
        let side = &mut self.asking;
        open.read(&event, Sender::Client, chunk);
        let message = open.exchange.request.as_mut().map(|request| &mut request.message);
        match apply(event, message, chunk) {
            Applied::Message => {}
            Applied::Lost(len) => open.lose(self.request_direction, self.gap_cause, len),
            Applied::Defect(defect) => open.exchange.note(Note::Defect(Part::Request, defect)),
            Applied::End => {
                open.request_done = true;
                side.has_head = false;
            }
            Applied::Abandoned(why) => {
                open.request_done = true;
                open.whole = false;
                open.exchange.note(Note::Truncated(Part::Request, why));
                side.has_head = false;
                side.desynced = true;
            }
        }
        self.settle(timeline);
    }

    fn request_head(&mut self, mut head: Head, cut: bool, chunk: Chunk, timeline: &mut Timeline) {
        let framing = head.framing(None);
        let Line::Request { method, mut target } = head.line else { return };
        self.drop_unanswered(timeline);
        let ticket = match self.request_ticket.take() {
            Some(ticket) => ticket,
            None => timeline.open(self.asking.began_ns),
        };
        let mut open = self.new_exchange(ticket);
        open.exchange.proto = proto(head.minor);
        open.exchange.note_defects(Part::Request, &head.defects);
        if self.asking.desynced && !self.queue.is_empty() {
            open.exchange.note(Note::PairedByOrder);
        }
        self.asking.desynced = false;
        self.asking.hand_over(&mut open);
        open.hold(Part::Request, &mut head.fields, &mut target);
        let message = message(head.fields, self.asking.began_ns, chunk, &self.keep);
        open.exchange.request = Some(Request {
            method: Some(method),
            target: Some(target),
            message,
            ..Request::default()
        });
        Reader::head(&mut open.reader, &open.exchange, Sender::Client, &self.keep);
        self.asking.has_head = true;
        self.queue.push_back(open);
        self.drop_oldest(timeline);
        if !cut {
            self.requests.set_framing(framing);
        }
    }

    /// Drops a request whose response is missing. Without pipelining, a new request implies a
    /// response to the previous request. If the response may have been lost in a gap, it was.
    fn drop_unanswered(&mut self, timeline: &mut Timeline) {
        if !self.answering.desynced || self.queue.len() != 1 {
            return;
        }
        if self.queue.iter().all(|open| open.request_done && open.exchange.response.is_none())
            && let Some(mut open) = self.queue.pop_front()
        {
            open.exchange.note(Note::LostInGap(Part::Response));
            self.answering.hand_over(&mut open);
            self.answering.desynced = false;
            emit(open, timeline);
        }
    }

    /// Lists the oldest request without a response if too many wait.
    fn drop_oldest(&mut self, timeline: &mut Timeline) {
        if self.queue.len() <= MAX_PIPELINE {
            return;
        }
        // The current response belongs to the first request.
        let is_answered =
            self.awaiting().is_none() || (self.answering.has_head && self.orphan.is_none());
        if let Some(mut open) = self.queue.remove(usize::from(is_answered)) {
            open.exchange.note(Note::NotAnswered(MAX_PIPELINE));
            // The missing response may still come, and would then be paired with the next request.
            self.doubtful = true;
            emit(open, timeline);
        }
    }

    fn response_event(&mut self, event: Event<'_>, chunk: Chunk, timeline: &mut Timeline) {
        match event {
            Event::Head { head, cut } => return self.response_head(head, cut, chunk, timeline),
            Event::Tunnel(bytes) => {
                return self.tunnel(opposite(self.request_direction), bytes, chunk, timeline);
            }
            Event::Begin => {
                self.answering.began_ns = chunk.first_ns;
                if self.orphan.is_none() && self.awaiting().is_none() {
                    let ticket = timeline.open(chunk.first_ns);
                    self.orphan = Some(self.new_exchange(ticket));
                }
                return;
            }
            Event::Lost(len) => {
                let direction = opposite(self.request_direction);
                if self.lost_in_tunnel(direction, len, chunk, timeline) {
                    return;
                }
            }
            _ => {}
        }
        let has_head = self.answering.has_head;
        let Some(open) = self.orphan.as_mut().or(self.queue.front_mut()).filter(|_| has_head)
        else {
            if let Event::Abandoned(_) = event
                && let Some(open) = self.orphan.take_if(|open| open.exchange.interim.is_empty())
            {
                // Only the first byte of the request was known.
                timeline.cancel(open.ticket);
                self.exchanges -= 1;
            }
            let direction = opposite(self.request_direction);
            return self.answering.between(event, direction, self.gap_cause);
        };
        if !self.interim {
            open.read(&event, Sender::Server, chunk);
        }
        let message = open.exchange.response.as_mut().map(|response| &mut response.message);
        match apply(event, message.filter(|_| !self.interim), chunk) {
            Applied::Message => return,
            Applied::Lost(len) => {
                return open.lose(opposite(self.request_direction), self.gap_cause, len);
            }
            Applied::Defect(defect) => {
                return open.exchange.note(Note::Defect(Part::Response, defect));
            }
            Applied::End => open.response_done = !self.interim,
            Applied::Abandoned(why) => {
                open.response_done = !self.interim;
                open.whole = false;
                open.exchange.note(Note::Truncated(Part::Response, why));
                self.answering.desynced = true;
            }
        }
        self.answering.has_head = false;
        self.interim = false;
        self.settle(timeline);
    }

    fn response_head(&mut self, mut head: Head, cut: bool, chunk: Chunk, timeline: &mut Timeline) {
        if self.orphan.is_none() && self.awaiting().is_none() {
            // The request that waited at the first byte of this head is gone.
            let ticket = timeline.open(self.answering.began_ns);
            self.orphan = Some(self.new_exchange(ticket));
        }
        self.doubtful |= self.answering.desynced && self.queue.len() > 1;
        let Some(open) = self.orphan.as_mut().or(self.queue.front_mut()) else { return };
        let method = open.exchange.request.as_ref().and_then(|request| request.method.as_deref());
        let is_connect = method == Some("CONNECT");
        let framing = head.framing(method);
        let Line::Response { status, reason } = head.line else { return };
        open.exchange.note_defects(Part::Response, &head.defects);
        self.answering.has_head = true;
        self.answering.desynced = false;
        self.interim = (100..200).contains(&status) && status != 101;
        open.hold(Part::Response, &mut head.fields, &mut Vec::new());
        if self.interim {
            if open.exchange.interim.len() < MAX_INTERIM {
                open.exchange.interim.push(Interim { status, headers: head.fields });
            } else {
                open.exchange.note(Note::InterimLeftOut(MAX_INTERIM));
            }
        } else {
            self.answering.hand_over(open);
            if self.doubtful && open.exchange.request.is_some() {
                open.exchange.note(Note::PairedByOrder);
            }
            if open.exchange.request.is_none() {
                open.exchange.proto = proto(head.minor);
                self.asking.hand_over(open);
                if std::mem::take(&mut self.asking.desynced) {
                    open.exchange.note(Note::LostInGap(Part::Request));
                }
            }
            let next = (framing == Framing::Tunnel && !cut).then(|| Next::of(status, &head.fields));
            match &next {
                Some(Next::Http2) => return self.upgrade(head.fields, chunk, timeline),
                Some(Next::Other(note)) => {
                    open.exchange.note(note.clone());
                    self.became = Some(Became::tunnel(Some(note.clone())));
                }
                Some(Next::WebSocket) | None => {}
            }
            let message = message(head.fields, self.answering.began_ns, chunk, &self.keep);
            open.exchange.response = Some(Response { status: Some(status), reason, message });
            if next == Some(Next::WebSocket) {
                return self.open_websocket(chunk, timeline);
            }
            Reader::head(&mut open.reader, &open.exchange, Sender::Server, &self.keep);
        }
        if !cut {
            self.responses.set_framing(framing);
            self.end_wait(framing, is_connect, chunk, timeline);
        }
    }

    fn context(&self) -> Context<'_> {
        let Self { shared, request_direction, keep, .. } = self;
        Context { shared, request_direction: *request_direction, keep }
    }

    /// Passes bytes to the protocol that the connection changed to.
    fn tunnel(
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
    fn lost_in_tunnel(
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
    fn open_websocket(&mut self, chunk: Chunk, timeline: &mut Timeline) {
        let orphan = self.orphan.take();
        let is_lost = orphan.is_some()
            || self.asking.desynced
            || self.asking.skipped > 0
            || self.requests.has_skipped();
        let Some(open) = orphan.or_else(|| self.queue.pop_front()) else { return };
        self.became = Some(Became::websocket(open, is_lost, &self.keep, chunk));
        self.answering.has_head = false;
        self.responses.set_framing(Framing::Tunnel);
        self.end_wait(Framing::Tunnel, false, chunk, timeline);
    }

    /// Continues as HTTP/2 after the response with these fields, whose status is 101 (RFC 7540
    /// section 3.2). The exchange becomes stream 1 there, even if its request was not seen.
    fn upgrade(&mut self, fields: Fields, chunk: Chunk, timeline: &mut Timeline) {
        let asked = self.orphan.take().or_else(|| self.queue.pop_front()).map(|mut open| {
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
    fn end_wait(
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

    /// Returns the oldest exchange without a response.
    fn awaiting(&self) -> Option<&Open> {
        self.queue.front().filter(|open| !open.response_done && open.exchange.response.is_none())
    }

    fn new_exchange(&mut self, ticket: Ticket) -> Open {
        self.exchanges += 1;
        let exchange = Exchange::new(&self.shared, self.request_direction, self.exchanges);
        let mut held = self.keep.budget.charge(Share::Contents);
        // There are at most as many as a pipeline has; the number of connections is bounded.
        held.force(OPEN_COST);
        Open {
            exchange: Box::new(exchange),
            ticket,
            request_done: false,
            response_done: false,
            whole: true,
            losses: Losses::default(),
            reader: None,
            held,
        }
    }

    /// Lists the finished exchanges.
    fn settle(&mut self, timeline: &mut Timeline) {
        while self.queue.front().is_some_and(|open| open.request_done && open.response_done) {
            self.queue.pop_front().into_iter().for_each(|open| emit(open, timeline));
        }
        if let Some(open) = self.orphan.take_if(|open| open.response_done) {
            emit(open, timeline);
        }
        self.doubtful &= !self.queue.is_empty();
    }
}
