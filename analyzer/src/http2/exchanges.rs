//! Builds exchanges from the events of both directions: one for each stream (RFC 9113 section 8.1).

use std::collections::{BTreeMap, VecDeque};

use sslrec_formats::record::{Direction, GapCause};

use super::half::{Block, Event};
use super::head::Head;
use super::message;
use super::open::{Finished, OPEN_COST, Open};
use crate::budget::{Charge, Keep, Share};
use crate::exchange::note::{End, Ended, ErrorCode, Note, Part};
use crate::exchange::{Exchange, Item, Losses, Sender, SharedConnection, Stream};
use crate::http1::{Chunk, opposite};
use crate::over_http::Reader;
use crate::timeline::Timeline;

/// Maximum number of unfinished streams of a connection. Servers allow 100 to 1000.
const MAX_OPEN: usize = 4096;

/// Maximum number of responses that wait for their request from the other direction.
const MAX_UNASKED: usize = 100;

/// The origin of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) direction: Direction,
    pub(super) chunk: Chunk,
    /// Cause of missing bytes, if the event is about missing bytes.
    pub(super) cause: GapCause,
}

/// The state of a direction.
#[derive(Debug, Default)]
struct Side {
    /// The direction was seen from its first byte, and no frame of it is missing.
    intact: bool,
    /// The largest table size that this side ever allowed the other side.
    table_limit: usize,
    /// Number of bytes that belong to no frame.
    skipped: u64,
}

/// The exchanges of a connection, by stream.
#[derive(Debug)]
pub(super) struct Exchanges {
    shared: SharedConnection,
    keep: Keep,
    request_direction: Option<Direction>,
    sent: Side,
    received: Side,
    open: BTreeMap<u32, Open>,
    /// Memory for those that are open, without their contents.
    held: Charge,
    finished: Finished,
    /// Streams whose response is complete and whose request was not seen.
    unasked: VecDeque<u32>,
    /// The stream of the last event.
    current: u32,
    /// Notes that wait for the next exchange.
    notes: Vec<Note>,
    /// Missing bytes whose exchange is unknown.
    losses: Losses,
    count: u64,
}

impl Exchanges {
    pub(super) fn new(
        shared: &SharedConnection,
        client: Option<Direction>,
        intact: impl Fn(Direction) -> bool,
        keep: &Keep,
    ) -> Self {
        let side = |direction| Side { intact: intact(direction), table_limit: 4096, skipped: 0 };
        Self {
            shared: shared.clone(),
            keep: keep.clone(),
            request_direction: client,
            sent: side(Direction::Sent),
            received: side(Direction::Received),
            open: BTreeMap::new(),
            held: keep.budget.charge(Share::Contents),
            finished: Finished::default(),
            unasked: VecDeque::new(),
            current: 0,
            notes: Vec::new(),
            losses: Losses::default(),
            count: 0,
        }
    }

    /// Returns the number of exchanges found.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Adds an exchange whose request was read elsewhere.
    pub(super) fn adopt(&mut self, stream: u32, mut open: Open) {
        open.exchange.stream = u64::from(stream);
        open.exchange.proto = PROTO;
        self.count += 1;
        self.held.force(OPEN_COST);
        self.open.insert(stream, open);
    }

    /// Lists an exchange that is not open any more.
    fn emit(&mut self, open: Open, timeline: &mut Timeline) {
        self.held.shrink(OPEN_COST + open.fields_bytes);
        open.emit(timeline);
    }

    /// Adds missing bytes whose exchange is unknown.
    pub(super) fn lose(&mut self, direction: Direction, cause: GapCause, len: u64) {
        self.losses.add(direction, cause, len);
    }

    /// Adds a note about the next exchange.
    pub(super) fn note(&mut self, note: Note) {
        match self.open.get_mut(&self.current) {
            Some(open) => open.exchange.note(note),
            None if self.notes.contains(&note) => {}
            None => self.notes.push(note),
        }
    }

    pub(super) fn event(&mut self, event: Event<'_>, source: Source, timeline: &mut Timeline) {
        match event {
            Event::Data { stream, bytes, end } => {
                self.content(stream, bytes, end, source, timeline);
            }
            Event::Head(block) => self.head(block, source, timeline),
            Event::Reset { stream, code } => self.reset(stream, code, source, timeline),
            Event::GoAway { last, code } => self.go_away(last, code, source, timeline),
            Event::TableLimit(limit) => {
                let side = self.side(source.direction);
                side.table_limit = side.table_limit.max(limit as usize);
            }
            Event::Lost { stream, len } => self.lost(stream, len, source),
            Event::Missing { len, out_of_step } => self.missing(len, out_of_step, source),
            Event::Skipped(len) => self.side(source.direction).skipped += len,
            Event::Preface => {
                self.request_direction.get_or_insert(source.direction);
            }
            Event::Defect(defect) => self.note(Note::Frame(defect)),
        }
    }

    /// Ends the connection, if `closed`, or else its recording.
    pub(super) fn finish(&mut self, closed: bool, ts_ns: u64, timeline: &mut Timeline) {
        let ended = Ended::of(closed);
        for (_, mut open) in std::mem::take(&mut self.open) {
            let (asked, answered) = (open.request, open.response);
            let exchange = &mut open.exchange;
            if exchange.request.is_some() && !asked.done {
                exchange.note(Note::EndedBeforeEnd(ended, Part::Request));
            }
            if exchange.request.is_none() {
                exchange.note(Note::RequestNotRecorded);
            }
            if exchange.response.is_none() {
                exchange.note(Note::NoResponse(ended));
            } else if !answered.done {
                exchange.note(Note::EndedBeforeEnd(ended, Part::Response));
            }
            self.emit(open, timeline);
        }
        self.list_leftovers(ts_ns, timeline);
    }

    /// Lists the missing and skipped bytes that belong to no exchange. They become a stream, so
    /// that the loss is not silent.
    fn list_leftovers(&mut self, ts_ns: u64, timeline: &mut Timeline) {
        self.hand_over_skipped();
        if self.count == 0 || (self.losses.is_empty() && self.notes.is_empty()) {
            return;
        }
        let mut stream = Stream::new(&self.shared, ts_ns, false);
        self.notes.drain(..).for_each(|note| stream.note(note));
        if !self.losses.is_empty() {
            stream.note(Note::FramesMissing);
        }
        for (direction, cause, len) in self.losses.iter() {
            stream.lose(direction, cause, len);
        }
        stream.finish(false, self.request_direction);
        let ticket = timeline.open(ts_ns);
        timeline.close(ticket, Item::Stream(Box::new(stream)));
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }

    /// Adds notes about skipped bytes.
    fn hand_over_skipped(&mut self) {
        let client = self.request_direction;
        for direction in [Direction::Sent, Direction::Received] {
            let skipped = std::mem::take(&mut self.side(direction).skipped);
            if skipped > 0 {
                self.notes.push(Note::SkippedFrames(skipped, End::of(direction, client)));
            }
        }
    }

    /// Returns the direction of the client's bytes, if a head determines it.
    fn client(&mut self, direction: Direction, head: &Head) -> Option<Direction> {
        if self.request_direction.is_none() {
            self.request_direction = self.shared.info().client_direction();
        }
        if self.request_direction.is_none() && head.is_request() {
            self.request_direction = Some(direction);
        } else if self.request_direction.is_none() && head.is_response() {
            self.request_direction = Some(opposite(direction));
        }
        self.request_direction
    }

    /// Returns the exchange of a stream. A new exchange begins at `first_ns`. `None` if the
    /// exchange is finished.
    fn exchange(
        &mut self,
        stream: u32,
        client: Direction,
        first_ns: u64,
        timeline: &mut Timeline,
    ) -> Option<&mut Open> {
        self.current = stream;
        if !self.open.contains_key(&stream) {
            if self.finished.contains(stream) {
                return None;
            }
            self.make_room(timeline);
            self.hand_over_skipped();
            self.count += 1;
            let mut exchange = Box::new(Exchange::new(&self.shared, client, u64::from(stream)));
            exchange.proto = PROTO;
            self.notes.drain(..).for_each(|note| exchange.note(note));
            self.open.insert(stream, Open::new(exchange, timeline.open(first_ns)));
        }
        self.open.get_mut(&stream)
    }

    /// Lists the oldest exchange if too many are unfinished, or there is no memory for one more.
    fn make_room(&mut self, timeline: &mut Timeline) {
        let full = self.open.len() >= MAX_OPEN;
        if !full && self.held.grow(OPEN_COST) {
            return;
        }
        if let Some((stream, mut open)) = self.open.pop_first() {
            match full {
                true => open.exchange.note(Note::TooManyStreams(MAX_OPEN)),
                false => open.exchange.note(Note::NotWaitedFor),
            }
            open.whole = false;
            self.finished.insert(stream);
            self.emit(open, timeline);
        }
        // A connection has one in any case; the number of connections is bounded.
        self.held.force(OPEN_COST);
    }

    fn content(
        &mut self,
        stream: u32,
        bytes: &[u8],
        end: bool,
        source: Source,
        timeline: &mut Timeline,
    ) {
        let keep = self.keep.clone();
        let Some(client) = self.client(source.direction, &Head::default()) else {
            self.side(source.direction).skipped += bytes.len() as u64;
            return;
        };
        if stream == 0 {
            return;
        }
        let is_request = source.direction == client;
        let intact = self.side(source.direction).intact;
        let first_ns = source.chunk.first_ns;
        let Some(open) = self.exchange(stream, client, first_ns, timeline) else { return };
        if !open.progress(is_request).head {
            open.progress(is_request).head = true;
            open.whole = false;
            let part = Part::of(is_request);
            open.exchange.note(match intact {
                true => Note::DataBeforeHead(part),
                false => Note::HeadNotRecorded(part),
            });
        }
        let message = open.message(is_request, first_ns, &keep);
        message.body.push(bytes);
        message.last_ns = message.last_ns.max(source.chunk.last_ns);
        if let Some(reader) = &mut open.reader {
            reader.data(sender(is_request), bytes, first_ns);
        }
        if end {
            open.progress(is_request).done = true;
            self.settle(stream, timeline);
        }
    }

    fn head(&mut self, block: Block, source: Source, timeline: &mut Timeline) {
        let Some(client) = self.client(source.direction, &block.head) else {
            return self.note(Note::ClientUnknown);
        };
        let other = opposite(source.direction);
        let (limit, known) = {
            let side = self.side(other);
            (side.table_limit, side.intact)
        };
        let too_large = known && block.head.table_size.is_some_and(|size| size > limit);
        let is_request = source.direction == client || block.promised.is_some();
        let intact = self.side(source.direction).intact;
        let keep = self.keep.clone();
        let Block { stream: on, promised, end, first_ns, mut head } = block;
        let stream = promised.unwrap_or(on);
        if stream == 0 {
            return;
        }
        let mut fields_bytes = head.memory_bytes();
        let left_out = !self.held.grow(fields_bytes);
        if left_out {
            head.leave_out_fields();
            fields_bytes = 0;
        }
        let Some(open) = self.exchange(stream, client, first_ns, timeline) else {
            return self.held.shrink(fields_bytes);
        };
        open.fields_bytes += fields_bytes;
        let part = Part::of(is_request);
        if left_out {
            open.exchange.note(Note::FieldsLeftOut(part));
        }
        message::note_defects(&head, part, open);
        if too_large {
            open.exchange.note(Note::TableTooLarge(part));
        }
        if promised.is_some() {
            open.exchange.note(Note::Pushed(on));
            open.request.done = true;
        }
        let last_ns = source.chunk.last_ns;
        let known = *open.progress(is_request);
        if is_request && open.exchange.request.is_none() && promised.is_none() {
            // The other direction was read first; the exchange began with the request.
            timeline.cancel(open.ticket);
            open.ticket = timeline.open(first_ns);
        }
        // If a part of the direction is missing, the first block may be the trailers.
        let mut began = !known.head && (intact || !head.is_trailers());
        if !is_request && known.head && head.is_response() && message::was_interim(open) {
            began = true;
        }
        match (is_request, began) {
            (true, true) => message::request(head, open, first_ns, &keep),
            (false, true) if head.status.is_some_and(|status| status < 200) && !end => {
                return message::interim(head, open);
            }
            (false, true) => message::response(head, open, first_ns, &keep),
            (_, false) => message::trailers(head, open, is_request, first_ns, &keep),
        }
        if began && promised.is_none() {
            Reader::head(&mut open.reader, &open.exchange, sender(is_request), &keep);
        }
        let replaces_body = open.reader.as_ref().is_some_and(|reader| reader.replaces_body());
        let message = open.message(is_request, first_ns, &keep);
        if replaces_body {
            message.body.data = None;
        }
        message.last_ns = message.last_ns.max(last_ns);
        if end {
            open.progress(is_request).done = true;
        }
        if end || promised.is_some() {
            self.settle(stream, timeline);
        }
    }

    fn reset(&mut self, stream: u32, code: u32, source: Source, timeline: &mut Timeline) {
        let Some(mut open) = self.open.remove(&stream) else { return };
        let end = End::of(source.direction, self.request_direction);
        open.exchange.note(Note::ResetBy(end, ErrorCode(code)));
        open.whole &= open.request.done && open.response.done;
        self.finished.insert(stream);
        self.emit(open, timeline);
    }

    fn go_away(&mut self, last: u32, code: u32, source: Source, timeline: &mut Timeline) {
        let end = End::of(source.direction, self.request_direction);
        // The identifier of a stream begun by the other side has the other parity: clients' are
        // odd.
        let parity = u32::from(Some(source.direction) != self.request_direction);
        let refused: Vec<u32> = self
            .open
            .range(last.saturating_add(1)..)
            .map(|(&stream, _)| stream)
            .filter(|stream| stream % 2 == parity)
            .collect();
        for stream in refused {
            if let Some(mut open) = self.open.remove(&stream) {
                open.exchange.note(Note::NotProcessed(end, ErrorCode(code)));
                open.whole = false;
                self.finished.insert(stream);
                self.emit(open, timeline);
            }
        }
        if code != 0 {
            for open in self.open.values_mut() {
                open.exchange.note(Note::GoAway(end, ErrorCode(code)));
            }
        }
    }

    /// Adds missing bytes of an exchange's contents.
    fn lost(&mut self, stream: u32, len: u64, source: Source) {
        let client = self.request_direction;
        let Some(open) = self.open.get_mut(&stream) else {
            return self.losses.add(source.direction, source.cause, len);
        };
        open.lose(source.direction, source.cause, len);
        if let Some(reader) = &mut open.reader {
            let from = sender(client == Some(source.direction));
            reader.lost(from, Some(len), source.chunk.first_ns);
        }
    }

    fn missing(&mut self, len: u64, out_of_step: bool, source: Source) {
        self.losses.add(source.direction, source.cause, len);
        if out_of_step {
            self.side(source.direction).intact = false;
            let from = sender(self.request_direction == Some(source.direction));
            for open in self.open.values_mut() {
                open.around.add(source.direction, source.cause, len);
                open.whole = false;
                if let Some(reader) = &mut open.reader {
                    reader.lost(from, None, source.chunk.first_ns);
                }
            }
        }
    }

    /// Lists the exchange if both messages are complete.
    fn settle(&mut self, stream: u32, timeline: &mut Timeline) {
        let Some(open) = self.open.get(&stream) else { return };
        if open.request.done && open.response.done {
            self.finished.insert(stream);
            if let Some(open) = self.open.remove(&stream) {
                self.emit(open, timeline);
            }
        } else if open.response.done && open.exchange.request.is_none() {
            self.unasked.push_back(stream);
            if self.unasked.len() > MAX_UNASKED {
                self.give_up_request(timeline);
            }
        }
    }

    /// Lists the oldest response whose request was not found.
    fn give_up_request(&mut self, timeline: &mut Timeline) {
        let Some(stream) = self.unasked.pop_front() else { return };
        let Some(mut open) = self.open.remove(&stream) else { return };
        if open.exchange.request.is_some() {
            self.open.insert(stream, open);
            return;
        }
        open.exchange.note(Note::RequestNotRecorded);
        self.finished.insert(stream);
        self.emit(open, timeline);
    }
}

/// The listed protocol of HTTP/2 exchanges.
const PROTO: &str = "h2";

/// Returns the sender of a request, or of a response.
fn sender(is_request: bool) -> Sender {
    if is_request { Sender::Client } else { Sender::Server }
}
