//! A connection: its two directions, and the exchanges that are not finished.

use sslrec_formats::record::{Direction, GapCause};

use super::became::Became;
use super::evidence::View;
use super::open::{Chunk, OPEN_COST, Open, Side, emit};
use super::parser::Parser;
use super::waiting::Waiting;
use super::{End, Kind, OpenTunnel, opposite};
use crate::budget::{Keep, Share};
use crate::exchange::note::{Ended, Note};
use crate::exchange::{Exchange, Item, Losses, SharedConnection, Stream};
use crate::timeline::{Ticket, Timeline};

/// An HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) shared: SharedConnection,
    pub(super) request_direction: Direction,
    pub(super) keep: Keep,
    pub(super) open_tunnel: OpenTunnel,
    pub(super) requests: Parser,
    pub(super) responses: Parser,
    pub(super) asking: Side,
    pub(super) answering: Side,
    /// Place in the listing of the request whose head is being read.
    pub(super) request_ticket: Option<Ticket>,
    /// Place in the listing of a response whose request is not known.
    pub(super) response_ticket: Option<Ticket>,
    /// Exchanges without a response.
    pub(super) waiting: Waiting<Open>,
    /// The exchange whose response is being read. After interim responses it waits for the final
    /// response.
    pub(super) answered: Option<Open>,
    /// The exchange whose request is being read, if it does not wait for a response any more.
    pub(super) asked: Option<Open>,
    /// The current response is an interim response.
    pub(super) interim: bool,
    /// Time of the first byte held after a CONNECT.
    pub(super) held: Option<Chunk>,
    /// The new protocol, once the connection is no longer HTTP/1.
    pub(super) became: Option<Became>,
    /// What the sides had received when they sent their next bytes.
    pub(super) view: View,
    /// Offset of the parser's first byte of requests in the connection.
    pub(super) base: u64,
    /// Cause of the missing bytes in the parsers' events. The events follow the gap at once, see
    /// [`Self::gap`].
    pub(super) gap_cause: GapCause,
    pub(super) exchanges: u64,
}

impl Connection {
    /// Creates a connection whose requests go in this direction. A direction in `searching` does
    /// not begin with a message.
    pub(crate) fn new(
        shared: &SharedConnection,
        request_direction: Direction,
        searching: impl Fn(Direction) -> bool,
        open_tunnel: OpenTunnel,
        keep: &Keep,
    ) -> Self {
        let parser = |kind, direction| {
            if searching(direction) { Parser::searching(kind) } else { Parser::new(kind) }
        };
        Self {
            shared: shared.clone(),
            request_direction,
            keep: keep.clone(),
            open_tunnel,
            requests: parser(Kind::Request, request_direction),
            responses: parser(Kind::Response, opposite(request_direction)),
            asking: Side::default(),
            answering: Side::default(),
            request_ticket: None,
            response_ticket: None,
            // Only packets have acknowledgments, and they have no process.
            waiting: Waiting::new(shared.info().pid().is_none()),
            answered: None,
            asked: None,
            interim: false,
            held: None,
            became: None,
            view: View::default(),
            base: 0,
            gap_cause: GapCause::Unknown,
            exchanges: 0,
        }
    }

    /// Returns the number of exchanges found.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges + self.became.as_ref().map_or(0, Became::exchanges)
    }

    /// Updates what the sides had received when they sent their next bytes. `view` returns it for
    /// the direction of the requests.
    pub(crate) fn see(&mut self, view: impl FnOnce(Direction) -> View) {
        self.view = view(self.request_direction);
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
            let end = self.requests.taken() + bytes.len() as u64;
            self.base = self.view.asked.saturating_sub(end);
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
            self.waiting.miss_responses(self.view);
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
        if note == Note::BeginningLost {
            self.waiting.begins_late();
        }
        match self.answered.as_mut().or(self.waiting.oldest_mut()) {
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
        for mut open in self.asked.take().into_iter().chain(self.answered.take()) {
            if open.exchange.response.is_none() && open.exchange.request.is_some() {
                open.exchange.note(Note::NoResponse(Ended::of(closed)));
            }
            emit(open, timeline);
        }
        let may_be_answered = self.waiting.may_be_answered();
        for mut open in self.waiting.take_all() {
            self.answering.hand_over(&mut open);
            open.exchange.note(match may_be_answered {
                true => Note::ResponseLost,
                false => Note::NoResponse(Ended::of(closed)),
            });
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

    pub(super) fn new_exchange(&mut self, ticket: Ticket) -> Open {
        self.exchanges += 1;
        let exchange = Exchange::new(&self.shared, self.request_direction, self.exchanges);
        let mut held = self.keep.budget.charge(Share::Contents);
        // There are at most as many as a pipeline has; the number of connections is bounded.
        held.force(OPEN_COST);
        Open {
            exchange: Box::new(exchange),
            ticket,
            start: None,
            request_done: false,
            response_done: false,
            whole: true,
            losses: Losses::default(),
            reader: None,
            held,
        }
    }

    /// Lists exchanges whose responses are missing, or stand alone.
    pub(super) fn list_lost(&mut self, lost: Vec<Open>, timeline: &mut Timeline) {
        for mut open in lost {
            self.answering.hand_over(&mut open);
            open.exchange.note(Note::ResponseLost);
            emit(open, timeline);
        }
    }
}
