//! A stream whose exchange is unfinished, and the identifiers of finished streams.

use sslrec_formats::record::{Direction, GapCause};

use crate::budget::Keep;
use crate::exchange::{Exchange, Item, Losses, Message, Note, Part, Request, Response};
use crate::over_http::Reader;
use crate::timeline::{Ticket, Timeline};

/// The progress of a message of an exchange.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// The head was read, or is known to be lost.
    pub(super) head: bool,
    /// The message has ended.
    pub(super) done: bool,
}

/// An unfinished exchange.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) exchange: Box<Exchange>,
    pub(super) ticket: Ticket,
    pub(super) request: Progress,
    pub(super) response: Progress,
    /// Everything sent for the exchange is known.
    pub(super) whole: bool,
    /// Missing bytes of its contents.
    pub(super) losses: Losses,
    /// Missing bytes of the connection that may belong to the exchange.
    pub(super) around: Losses,
    /// Reader of a protocol on top of HTTP, if one was detected.
    pub(super) reader: Option<Box<Reader>>,
    /// Memory for its fields.
    pub(super) fields_bytes: usize,
}

/// Memory for an exchange that is not finished, without its fields and contents.
pub(super) const OPEN_COST: usize = size_of::<Exchange>() + size_of::<Open>();

impl Open {
    pub(super) fn new(exchange: Box<Exchange>, ticket: Ticket) -> Self {
        Self {
            exchange,
            ticket,
            request: Progress::default(),
            response: Progress::default(),
            whole: true,
            losses: Losses::default(),
            around: Losses::default(),
            reader: None,
            fields_bytes: 0,
        }
    }

    /// Creates an exchange whose request, if known, is complete.
    pub(super) fn asked(exchange: Box<Exchange>, ticket: Ticket) -> Self {
        let is_known = exchange.request.is_some();
        let request = Progress { head: is_known, done: is_known };
        Self { request, ..Self::new(exchange, ticket) }
    }

    /// Adds missing bytes of its contents.
    pub(super) fn lose(&mut self, direction: Direction, cause: GapCause, len: u64) {
        self.exchange.lost_bytes = self.exchange.lost_bytes.saturating_add(len);
        self.losses.add(direction, cause, len);
        self.whole = false;
    }

    pub(super) fn progress(&mut self, is_request: bool) -> &mut Progress {
        if is_request { &mut self.request } else { &mut self.response }
    }

    /// Returns the message of this side; a new message begins at `first_ns`.
    pub(super) fn message(&mut self, is_request: bool, first_ns: u64, keep: &Keep) -> &mut Message {
        let new = || Message::new(first_ns, keep);
        if is_request {
            let request = &mut self.exchange.request;
            &mut request
                .get_or_insert_with(|| Request { message: new(), ..Request::default() })
                .message
        } else {
            let response = &mut self.exchange.response;
            &mut response
                .get_or_insert_with(|| Response { message: new(), ..Response::default() })
                .message
        }
    }

    /// Lists the exchange as finished.
    pub(super) fn emit(self, timeline: &mut Timeline) {
        let Self { mut exchange, ticket, request, response, whole, losses, around, reader, .. } =
            self;
        exchange.keep_half(ticket.first_ns());
        exchange.note_cuts();
        let client = Some(exchange.request_direction);
        losses.notes(Note::Missing, client).for_each(|note| exchange.note(note));
        around.notes(Note::MissingMeanwhile, client).for_each(|note| exchange.note(note));
        exchange.complete = whole
            && request.done
            && response.done
            && exchange.request.is_some()
            && exchange.response.as_ref().is_some_and(|response| response.status.is_some());
        if exchange.complete {
            check_lengths(&mut exchange);
        }
        reader.into_iter().for_each(|reader| reader.finish(&mut exchange));
        timeline.close(ticket, Item::Exchange(exchange));
    }
}

/// Checks the lengths of the contents. RFC 9113 section 8.1.1: contents of a different length than
/// announced make a message malformed. They are a way to smuggle requests past a proxy to an HTTP/1
/// server.
fn check_lengths(exchange: &mut Exchange) {
    let differs = |message: &Message| {
        let announced = message.headers.first("content-length")?;
        let announced: u64 = std::str::from_utf8(announced).ok()?.parse().ok()?;
        let came = message.body.bytes;
        (announced != came).then_some((announced, came))
    };
    let request = exchange.request.as_ref();
    let is_head = request.is_some_and(|request| request.method.as_deref() == Some("HEAD"));
    let asked = request.and_then(|request| differs(&request.message));
    let answered = exchange.response.as_ref().filter(|response| {
        // RFC 9110 section 8.6: these have no content, but announce the length that it would have.
        !is_head && response.status != Some(304)
    });
    let answered = answered.and_then(|response| differs(&response.message));
    for (part, lengths) in [(Part::Request, asked), (Part::Response, answered)] {
        if let Some((announced, came)) = lengths {
            exchange.note(Note::LengthDiffers(part, announced, came));
        }
    }
}

/// Maximum number of ranges kept of the streams of a side. Streams end roughly in the order of
/// their beginning, so that there are about as many ranges as unfinished streams.
const MAX_RANGES: usize = 4096;

/// The finished streams: further frames for them do not begin an exchange.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// Ranges of stream identifiers, halved: clients' and servers'. The ranges are sorted, with
    /// gaps between them.
    ranges: [Vec<(u32, u32)>; 2],
}

impl Finished {
    pub(super) fn contains(&self, stream: u32) -> bool {
        let (ranges, number) = (&self.ranges[(stream % 2) as usize], stream / 2);
        let after = ranges.partition_point(|&(start, _)| start <= number);
        after > 0 && number <= ranges[after - 1].1
    }

    pub(super) fn insert(&mut self, stream: u32) {
        let (ranges, number) = (&mut self.ranges[(stream % 2) as usize], stream / 2);
        let after = ranges.partition_point(|&(start, _)| start <= number);
        let joins_next = ranges.get(after).is_some_and(|&(start, _)| start == number + 1);
        let joins_last = after > 0 && ranges[after - 1].1 + 1 >= number;
        match (joins_last, joins_next) {
            (true, true) => {
                ranges[after - 1].1 = ranges[after].1;
                ranges.remove(after);
            }
            (true, false) => ranges[after - 1].1 = ranges[after - 1].1.max(number),
            (false, true) => ranges[after].0 = number,
            (false, false) => ranges.insert(after, (number, number)),
        }
        if ranges.len() > MAX_RANGES {
            // The streams between the two lowest ranges were skipped by the client, or are over by
            // now: a new stream closes all idle streams below it (RFC 9113 section 5.1.1).
            let (start, _) = ranges.remove(0);
            ranges[0].0 = start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_streams_are_recognised_in_any_order() {
        let mut orders: Vec<Vec<u32>> = vec![(1..60).collect(), (1..60).rev().collect()];
        orders.push((0..59).map(|i| 1 + i * 25 % 59).collect());
        for order in orders {
            let mut finished = Finished::default();
            for (i, stream) in order.iter().enumerate() {
                finished.insert(*stream);
                finished.insert(*stream);
                for other in &order {
                    assert_eq!(finished.contains(*other), order[..=i].contains(other));
                }
            }
            assert!(finished.ranges.iter().all(|ranges| ranges.len() == 1));
        }
        assert!(!Finished::default().contains(0x7fff_ffff));
    }

    #[test]
    fn finished_streams_take_bounded_memory() {
        let mut finished = Finished::default();
        for stream in (1..0x7fff_ffff).step_by(100_003) {
            finished.insert((stream * 2 % 0x7fff_ffff) | 1);
        }
        finished.insert(0x7fff_ffff);
        assert!(finished.contains(0x7fff_ffff));
        assert!(finished.ranges.iter().all(|ranges| ranges.len() <= MAX_RANGES));
    }
}
