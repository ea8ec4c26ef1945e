//! An exchange whose messages are still being read, and the effect of parser events on it.

use sslrec_formats::record::{Direction, GapCause};

use super::evidence::View;
use super::parser::{Event, Place};
use crate::budget::{Charge, Keep};
use crate::exchange::note::{Defect, Truncation};
use crate::exchange::{Body, Exchange, Fields, Item, Losses, Message, Note, Part, Sender};
use crate::over_http::Reader;
use crate::timeline::{Ticket, Timeline};

/// The time of a call that transferred bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// Time of the first byte: the beginning of a call that sends, or the end of a call that
    /// receives.
    pub(crate) first_ns: u64,
    /// Time of the last byte: the end of the call.
    pub(crate) last_ns: u64,
}

impl Chunk {
    /// A call at this time.
    pub(crate) fn at(ts_ns: u64) -> Self {
        Self { first_ns: ts_ns, last_ns: ts_ns }
    }
}

/// An unfinished exchange.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) exchange: Box<Exchange>,
    pub(super) ticket: Ticket,
    /// Offset of its request in the connection, if it has one.
    pub(super) start: Option<u64>,
    pub(super) request_done: bool,
    pub(super) response_done: bool,
    /// No message of it was truncated.
    pub(super) whole: bool,
    /// Missing bytes inside its messages.
    pub(super) losses: Losses,
    /// Reader of a protocol on top of HTTP, if one was detected.
    pub(super) reader: Option<Box<Reader>>,
    /// Memory for it while it is not finished, without its contents.
    pub(super) held: Charge,
}

/// Memory for an exchange that is not finished, without its fields and contents.
pub(super) const OPEN_COST: usize = size_of::<Exchange>() + size_of::<Open>();

/// The most that is left of a target, or a first line, where there is no memory for more.
const MAX_LEFT: usize = 256;

/// The state of a direction besides its parser.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Start time of the current message.
    pub(super) began_ns: u64,
    /// The head of the current message was read.
    pub(super) has_head: bool,
    /// Bytes that are missing, or were skipped, before the next message.
    pub(super) losses: Losses,
    pub(super) skipped: u64,
    pub(super) notes: Vec<Note>,
    /// Place of the current message among the bytes of the direction.
    pub(super) start: u64,
    /// The current message follows on missing bytes.
    pub(super) resumes: bool,
    /// The current message may be content of another, because it was found by a search, or follows
    /// on such a message.
    pub(super) is_doubtful: bool,
    /// Number of the missing bytes that ended the current message.
    pub(super) lost: u64,
    /// What the sender had received when it sent the first byte of the current message.
    pub(super) view: View,
    /// Bytes are missing since the last message.
    pub(super) after_hole: bool,
}

impl Open {
    /// Adds missing bytes inside a message.
    pub(super) fn lose(&mut self, direction: Direction, cause: GapCause, len: u64) {
        self.lose_total(len);
        self.losses.add(direction, cause, len);
    }

    /// Passes contents of this side, or a gap in them, to the reader.
    pub(super) fn read(&mut self, event: &Event<'_>, from: Sender, chunk: Chunk) {
        let Some(reader) = &mut self.reader else { return };
        match event {
            Event::Body(bytes) => reader.data(from, bytes, chunk.first_ns),
            Event::Lost(len) => reader.lost(from, Some(*len), chunk.first_ns),
            _ => {}
        }
    }

    /// Counts the fields of a message of it, and the texts of a request line. Leaves out what there
    /// is no memory for.
    pub(super) fn hold<'t>(
        &mut self,
        part: Part,
        fields: &mut Fields,
        texts: impl IntoIterator<Item = &'t mut Vec<u8>>,
    ) {
        let texts: Vec<_> = texts.into_iter().collect();
        let len: usize = texts.iter().map(|text| text.len()).sum();
        if self.held.grow(fields.memory_bytes() + len) {
            return;
        }
        *fields = Fields::default();
        for text in texts {
            text.truncate(MAX_LEFT);
            text.shrink_to_fit();
        }
        self.exchange.note(Note::FieldsLeftOut(part));
    }

    /// Returns whether the bytes in the place of its request are no request of HTTP.
    pub(super) fn is_no_request(&self) -> bool {
        self.exchange.request.as_ref().is_some_and(|request| request.method.is_none())
    }

    /// Returns whether the server had received nothing of its request when it sent this response.
    pub(super) fn is_later(&self, response: View) -> bool {
        self.start.zip(response.served).is_some_and(|(start, served)| served <= start)
    }

    fn lose_total(&mut self, len: u64) {
        self.exchange.lost_bytes = self.exchange.lost_bytes.saturating_add(len);
        self.whole = false;
    }
}

impl Side {
    /// Begins a message. `is_turn`: the sender has read all messages before it sent the first byte
    /// of this call.
    pub(super) fn begin(&mut self, place: Place, is_turn: bool, start: u64, first_ns: u64) {
        self.began_ns = first_ns;
        self.start = start;
        self.resumes = place == Place::Resumed;
        self.is_doubtful = match place {
            Place::Next => self.is_doubtful,
            Place::Resumed => false,
            Place::Found { after_hole, at_call } => after_hole && !(at_call && is_turn),
        };
        (self.lost, self.after_hole) = (0, false);
    }

    /// Processes an event outside messages, or in a message without a known head.
    pub(super) fn between(&mut self, event: Event<'_>, direction: Direction, cause: GapCause) {
        match event {
            Event::Missing { len, .. } | Event::Lost(len) => {
                self.losses.add(direction, cause, len);
            }
            Event::Skipped { len, .. } => self.skipped += len,
            Event::Abandoned(why) => self.note(Note::TruncatedBefore(why)),
            _ => {}
        }
    }

    /// Adds a note about the next message, unless it is already present.
    pub(super) fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Moves the problems before a message into its exchange.
    pub(super) fn hand_over(&mut self, open: &mut Open) {
        let losses = std::mem::take(&mut self.losses);
        let skipped = std::mem::take(&mut self.skipped);
        if !losses.is_empty() {
            open.lose_total(losses.total());
            let client = Some(open.exchange.request_direction);
            losses.notes(Note::MissingBefore, client).for_each(|note| open.exchange.note(note));
        }
        if skipped > 0 {
            open.exchange.note(Note::SkippedBefore(skipped));
        }
        self.notes.drain(..).for_each(|note| open.exchange.note(note));
    }
}

/// The effect of an event on the exchange, beyond its message.
pub(super) enum Applied {
    Message,
    Lost(u64),
    Defect(Defect),
    End,
    Abandoned(Truncation),
}

/// Applies an event to its message.
pub(super) fn apply(event: Event<'_>, message: Option<&mut Message>, chunk: Chunk) -> Applied {
    let mut ignored = Message::default();
    let message = message.unwrap_or(&mut ignored);
    match event {
        Event::Lost(len) | Event::Missing { len, .. } => return Applied::Lost(len),
        Event::Defect(defect) => return Applied::Defect(defect),
        Event::End => return Applied::End,
        Event::Abandoned(why) => return Applied::Abandoned(why),
        Event::Body(bytes) => message.body.push(bytes),
        Event::Trailers(fields) => message.trailers = fields,
        Event::Begin(_) | Event::Head { .. } | Event::Skipped { .. } | Event::Tunnel(_) => {}
    }
    message.last_ns = message.last_ns.max(chunk.last_ns);
    Applied::Message
}

pub(super) fn message(headers: Fields, first_ns: u64, chunk: Chunk, keep: &Keep) -> Message {
    let last_ns = chunk.last_ns.max(first_ns);
    Message { headers, body: Body::new(keep), first_ns, last_ns, ..Message::default() }
}

pub(super) fn emit(open: Open, timeline: &mut Timeline) {
    let Open { mut exchange, ticket, request_done, response_done, whole, losses, reader, .. } =
        open;
    exchange.keep_half(ticket.first_ns());
    exchange.note_cuts();
    let client = Some(exchange.request_direction);
    losses.notes(Note::Missing, client).for_each(|note| exchange.note(note));
    exchange.complete = whole
        && request_done
        && response_done
        && exchange.request.is_some()
        && exchange.response.is_some();
    reader.into_iter().for_each(|reader| reader.finish(&mut exchange));
    timeline.close(ticket, Item::Exchange(exchange));
}

pub(super) fn proto(minor: u8) -> &'static str {
    if minor == 0 { "http/1.0" } else { "http/1.1" }
}
