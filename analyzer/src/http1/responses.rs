//! The responses of a connection.

use super::became::{Became, Next};
use super::connection::Connection;
use super::head::{Head, Line};
use super::open::{Applied, Chunk, Open, apply, emit, message, proto};
use super::parser::Event;
use super::waiting::Asked;
use super::{Framing, opposite};
use crate::exchange::note::{Note, Part};
use crate::exchange::{Interim, Response, Sender};
use crate::over_http::Reader;
use crate::timeline::Timeline;

/// Maximum number of interim responses kept of an exchange.
const MAX_INTERIM: usize = 1000;

impl Connection {
    pub(super) fn read_responses(
        &mut self,
        chunk: Chunk,
        mut input: &[u8],
        timeline: &mut Timeline,
    ) {
        if !input.is_empty() {
            self.answer_head(chunk, timeline);
            self.waiting.spoke();
        }
        while let Some(event) = self.responses.next(&mut input) {
            self.response_event(event, chunk, timeline);
        }
    }

    fn response_event(&mut self, event: Event<'_>, chunk: Chunk, timeline: &mut Timeline) {
        match event {
            Event::Head { head, cut } => return self.response_head(head, cut, chunk, timeline),
            Event::Tunnel(bytes) => {
                return self.tunnel(opposite(self.request_direction), bytes, chunk, timeline);
            }
            Event::Lost(len) => self.answering.lost = len,
            _ => {}
        }
        let (direction, cause) = (opposite(self.request_direction), self.gap_cause);
        let Some(open) = self.answered.as_mut().filter(|_| self.answering.has_head) else {
            return self.between_responses(event, chunk, timeline);
        };
        if !self.interim {
            open.read(&event, Sender::Server, chunk);
        }
        let message = open.exchange.response.as_mut().map(|response| &mut response.message);
        match apply(event, message.filter(|_| !self.interim), chunk) {
            Applied::Message => return,
            Applied::Lost(len) => return open.lose(direction, cause, len),
            Applied::Defect(defect) => {
                return open.exchange.note(Note::Defect(Part::Response, defect));
            }
            Applied::End => {
                open.response_done = !self.interim;
            }
            Applied::Abandoned(why) => {
                open.response_done = !self.interim;
                open.whole = false;
                open.exchange.note(Note::Truncated(Part::Response, why));
                if why.loses_framing() {
                    self.lose_responses(self.answering.lost, false, timeline);
                }
            }
        }
        self.answering.has_head = false;
        self.interim = false;
        self.settle(timeline);
    }

    /// Processes an event outside responses, or in a response without a known head.
    fn between_responses(&mut self, event: Event<'_>, chunk: Chunk, timeline: &mut Timeline) {
        match event {
            Event::Begin(place) => {
                let is_whole = self.waiting.is_whole();
                self.answering.view = self.view;
                self.answering.begin(place, is_whole, self.responses.position(), chunk.first_ns);
                if self.answered.is_none() && !self.waiting.is_certain() {
                    self.response_ticket = Some(timeline.open(chunk.first_ns));
                }
            }
            Event::Abandoned(why) => {
                self.response_ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
                if why.loses_framing() {
                    self.lose_responses(self.answering.lost, true, timeline);
                }
            }
            Event::Missing { len, begins } => {
                self.lose_responses(len, begins && !self.answering.is_doubtful, timeline);
            }
            Event::Lost(len)
                if self.lost_in_tunnel(opposite(self.request_direction), len, chunk, timeline) =>
            {
                return;
            }
            _ => {}
        }
        self.answering.between(event, opposite(self.request_direction), self.gap_cause);
    }

    /// Notes missing bytes that may have contained responses.
    fn lose_responses(&mut self, len: u64, begins: bool, timeline: &mut Timeline) {
        // After interim responses, the final response may be among them.
        if let Some(mut open) = self.answered.take_if(|open| open.exchange.response.is_none()) {
            if open.exchange.request.is_some() {
                self.waiting.push_front(open);
            } else {
                self.waiting.was_interim();
                open.exchange.note(Note::InterimOnly);
                emit(open, timeline);
            }
        }
        self.waiting.response_hole(len, begins);
    }

    /// Returns the exchange of the response that begins.
    fn exchange_of_response(&mut self, status: u16, timeline: &mut Timeline) -> Open {
        if let Some(open) = self.answered.take() {
            return open;
        }
        if self.answering.is_doubtful {
            self.waiting.doubtful_response();
            return self.alone(Note::MayBeContent, timeline);
        }
        let (asked, lost) = self.waiting.respond(self.answering.resumes);
        self.list_lost(lost, timeline);
        let note = match asked {
            Asked::Request(request) if status < 400 && request.is_no_request() => {
                // The server ignored these bytes, or they are more requests than they look like.
                self.waiting.doubtful_response();
                self.list_lost(vec![request], timeline);
                Note::RequestUnknown
            }
            Asked::Request(request) if request.is_later(self.answering.view) => {
                // It is the response to a request before the first that was captured.
                self.waiting.answered_another(request);
                Note::RequestUnknown
            }
            Asked::Request(request) => {
                self.response_ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
                return request;
            }
            Asked::Missing => Note::RequestLost,
            Asked::Unknown => Note::RequestUnknown,
            Asked::None => Note::NoRequest,
        };
        self.alone(note, timeline)
    }

    /// Returns an exchange without a request.
    fn alone(&mut self, note: Note, timeline: &mut Timeline) -> Open {
        let ticket = match self.response_ticket.take() {
            Some(ticket) => ticket,
            None => timeline.open(self.answering.began_ns),
        };
        let mut open = self.new_exchange(ticket);
        open.exchange.note(note);
        self.asking.hand_over(&mut open);
        open
    }

    fn response_head(&mut self, mut head: Head, cut: bool, chunk: Chunk, timeline: &mut Timeline) {
        let Line::Response { status, .. } = head.line else { return };
        self.interim = (100..200).contains(&status) && status != 101;
        let mut open = self.exchange_of_response(status, timeline);
        let request = open.exchange.request.as_ref();
        let is_known = request.is_some();
        let is_well_formed = request.is_some_and(|request| request.line.is_none());
        let method = request.and_then(|request| request.method.as_deref());
        let is_connect = method == Some("CONNECT");
        let framing = head.framing(method);
        let Line::Response { status, reason } = head.line else { return };
        open.exchange.note_defects(Part::Response, &head.defects);
        self.answering.has_head = true;
        open.hold(Part::Response, &mut head.fields, None);
        if self.interim {
            if open.exchange.interim.len() < MAX_INTERIM {
                open.exchange.interim.push(Interim { status, headers: head.fields });
            } else {
                open.exchange.note(Note::InterimLeftOut(MAX_INTERIM));
            }
            self.answered = Some(open);
        } else {
            self.answering.hand_over(&mut open);
            if !is_well_formed {
                open.exchange.proto = proto(head.minor);
            }
            let next = (framing == Framing::Tunnel && !cut && !self.answering.is_doubtful)
                .then(|| Next::of(status, &head.fields));
            match &next {
                Some(Next::Http2) => {
                    self.answered = Some(open);
                    return self.upgrade(head.fields, chunk, timeline);
                }
                Some(Next::Other(note)) => {
                    open.exchange.note(note.clone());
                    self.became = Some(Became::tunnel(Some(note.clone())));
                }
                Some(Next::Tunnel) => {
                    let target = open.exchange.request.as_ref().and_then(|r| r.target.as_deref());
                    self.became = Some(self.tunnel_to(target.unwrap_or_default()));
                }
                Some(Next::WebSocket) | None => {}
            }
            let message = message(head.fields, self.answering.began_ns, chunk, &self.keep);
            open.exchange.response = Some(Response { status: Some(status), reason, message });
            if next == Some(Next::WebSocket) {
                self.answered = Some(open);
                return self.open_websocket(chunk, timeline);
            }
            Reader::head(&mut open.reader, &open.exchange, Sender::Server, &self.keep);
            self.answered = Some(open);
        }
        if self.answering.is_doubtful {
            self.responses.leave_content();
        } else if !cut {
            match is_known {
                true => self.responses.set_framing(framing),
                false => self.responses.set_doubtful_framing(framing),
            }
            self.end_wait(framing, is_connect, chunk, timeline);
        }
    }

    /// Lists the exchanges that are finished.
    pub(super) fn settle(&mut self, timeline: &mut Timeline) {
        if let Some(open) = self.answered.take_if(|open| open.response_done) {
            if open.request_done || open.exchange.request.is_none() {
                emit(open, timeline);
            } else {
                // The response came before the end of the request.
                self.asked = Some(open);
            }
        }
        if let Some(open) = self.asked.take_if(|open| open.request_done) {
            emit(open, timeline);
        }
    }
}
