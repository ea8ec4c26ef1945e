//! The requests of a connection.

use sslrec_wire::http1::message::MAX_PIPELINE;

use super::connection::Connection;
use super::head::{Extent, Head, Line, Malformed};
use super::open::{Applied, Chunk, Open, apply, emit, message, proto};
use super::parser::Event;
use crate::exchange::note::{Note, Part};
use crate::exchange::{Request, Sender};
use crate::over_http::Reader;
use crate::timeline::Timeline;

/// What a first line says about a request.
struct RequestLine {
    request: Request,
    extent: Extent,
    proto: &'static str,
}

impl RequestLine {
    fn of(line: Line, minor: u8) -> Option<Self> {
        Some(match line {
            Line::Request { method, target } => Self {
                request: Request {
                    method: Some(method),
                    target: Some(target),
                    ..Request::default()
                },
                extent: Extent::Whole,
                proto: proto(minor),
            },
            Line::Malformed(Malformed { method, target, line, extent }) => Self {
                request: Request { method, target, line: Some(line), ..Request::default() },
                extent,
                // The version of the response replaces it.
                proto: "http",
            },
            Line::Response { .. } => return None,
        })
    }
}

impl Connection {
    pub(super) fn read_requests(
        &mut self,
        chunk: Chunk,
        mut input: &[u8],
        timeline: &mut Timeline,
    ) {
        while let Some(event) = self.requests.next(&mut input) {
            self.request_event(event, chunk, timeline);
        }
    }

    /// Returns the exchange whose request is being read.
    fn current_request(&mut self) -> Option<&mut Open> {
        if !self.asking.has_head {
            return None;
        }
        let unfinished = |open: &&mut Open| !open.request_done;
        if let Some(open) = self.asked.as_mut() {
            return Some(open);
        }
        let Self { waiting, answered, .. } = self;
        waiting.newest_mut().filter(unfinished).or(answered.as_mut().filter(unfinished))
    }

    fn request_event(&mut self, event: Event<'_>, chunk: Chunk, timeline: &mut Timeline) {
        match event {
            Event::Head { head, cut } => return self.request_head(head, cut, chunk, timeline),
            Event::Tunnel(bytes) => {
                return self.tunnel(self.request_direction, bytes, chunk, timeline);
            }
            Event::Lost(len) => self.asking.lost = len,
            _ => {}
        }
        let (direction, cause) = (self.request_direction, self.gap_cause);
        let Some(open) = self.current_request() else {
            return self.between_requests(event, chunk, timeline);
        };
        open.read(&event, Sender::Client, chunk);
        let message = open.exchange.request.as_mut().map(|request| &mut request.message);
        match apply(event, message, chunk) {
            Applied::Message => return,
            Applied::Lost(len) => return open.lose(direction, cause, len),
            Applied::Defect(defect) => {
                return open.exchange.note(Note::Defect(Part::Request, defect));
            }
            Applied::End => {
                open.request_done = true;
            }
            Applied::Abandoned(why) => {
                open.request_done = true;
                open.whole = false;
                open.exchange.note(Note::Truncated(Part::Request, why));
                if why.loses_framing() {
                    self.asking.after_hole = self.asking.lost > 0;
                    self.waiting.request_hole(self.asking.lost, false, self.view);
                }
            }
        }
        self.asking.has_head = false;
        self.settle(timeline);
    }

    /// Processes an event outside requests, or in a request without a known head.
    fn between_requests(&mut self, event: Event<'_>, chunk: Chunk, timeline: &mut Timeline) {
        match event {
            Event::Begin(place) => {
                let is_turn = self.waiting.has_turned(self.view);
                self.asking.view = self.view;
                self.asking.begin(place, is_turn, self.requests.position(), chunk.first_ns);
                self.request_ticket = Some(timeline.open(chunk.first_ns));
            }
            Event::Abandoned(why) => {
                self.request_ticket.take().into_iter().for_each(|ticket| timeline.cancel(ticket));
                if self.asking.lost > 0 && why.loses_framing() {
                    self.asking.after_hole = true;
                    self.waiting.request_hole(self.asking.lost, true, self.view);
                }
            }
            Event::Missing { len, begins } => {
                self.asking.after_hole = true;
                self.waiting.request_hole(len, begins && !self.asking.is_doubtful, self.view);
            }
            // They may be requests all the same.
            Event::Skipped { len, heads } if self.asking.after_hole => {
                self.waiting.skip_rest(len, heads, self.view);
            }
            Event::Skipped { len, .. } => self.waiting.request_hole(len, true, self.view),
            Event::Lost(len)
                if self.lost_in_tunnel(self.request_direction, len, chunk, timeline) =>
            {
                return;
            }
            _ => {}
        }
        self.asking.between(event, self.request_direction, self.gap_cause);
    }

    fn request_head(&mut self, mut head: Head, cut: bool, chunk: Chunk, timeline: &mut Timeline) {
        let framing = head.framing(None);
        let Some(RequestLine { mut request, extent, proto }) =
            RequestLine::of(head.line, head.minor)
        else {
            return;
        };
        let ticket = match self.request_ticket.take() {
            Some(ticket) => ticket,
            None => timeline.open(self.asking.began_ns),
        };
        if !self.asking.is_doubtful {
            self.before_request(timeline);
        }
        let mut open = self.new_exchange(ticket);
        open.start = Some(self.base + self.asking.start);
        open.exchange.proto = proto;
        open.exchange.note_defects(Part::Request, &head.defects);
        self.asking.hand_over(&mut open);
        let texts = [&mut request.target, &mut request.line];
        open.hold(Part::Request, &mut head.fields, texts.into_iter().flatten());
        request.message = message(head.fields, self.asking.began_ns, chunk, &self.keep);
        open.exchange.request = Some(request);
        Reader::head(&mut open.reader, &open.exchange, Sender::Client, &self.keep);
        self.asking.has_head = true;
        if self.asking.is_doubtful {
            open.exchange.note(Note::MayBeContent);
            self.waiting.doubtful_request(self.asking.view);
            self.asked = Some(open);
            return self.requests.leave_content();
        }
        if extent == Extent::Unknown {
            // A server may respond to it alone, or to it and the next request at once.
            self.waiting.doubtful_request(self.asking.view);
            self.asked = Some(open);
            return;
        }
        self.waiting.push(open);
        self.drop_oldest(timeline);
        if !cut {
            self.requests.set_framing(framing);
        }
    }

    /// Takes what the server sends now as the response to a malformed head that has no end, if
    /// nothing else waits for it.
    pub(super) fn answer_head(&mut self, chunk: Chunk, timeline: &mut Timeline) {
        if self.answered.is_none() && self.waiting.is_idle() {
            self.requests.answer_head();
            self.read_requests(chunk, &[], timeline);
        }
    }

    /// Lists the requests before, if the client has read their responses, or what is left of them.
    fn before_request(&mut self, timeline: &mut Timeline) {
        let settled = self.waiting.ask(self.asking.resumes, self.asking.view);
        if settled.is_restart {
            let is_paired =
                self.answered.as_ref().is_some_and(|open| open.exchange.request.is_some());
            if !is_paired || !self.answering.has_head {
                self.responses.begin_message();
                self.read_responses(Chunk::at(self.asking.began_ns), &[], timeline);
            }
            self.answering.is_doubtful = false;
        }
        self.list_lost(settled.lost, timeline);
    }

    /// Lists the oldest request without a response if too many wait.
    fn drop_oldest(&mut self, timeline: &mut Timeline) {
        if self.waiting.len() > MAX_PIPELINE
            && let Some(mut open) = self.waiting.remove_oldest()
        {
            open.exchange.note(Note::NotAnswered(MAX_PIPELINE));
            emit(open, timeline);
        }
    }
}
