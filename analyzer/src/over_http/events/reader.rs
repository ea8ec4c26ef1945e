//! Server-sent events: parses `text/event-stream` as described in HTML, section 9.2.6.
//!
//! Lines end with CR, LF or both; an empty line ends an event. After a gap the next empty line
//! marks the beginning of an event.

use memchr::memchr2;

use super::super::messages::Kept;
use super::super::{Found, Notes, Protocol};
use super::{Event, Events};
use crate::budget::{Charge, Keep};
use crate::exchange::{Carried, Exchange, Fields, Note, Request, Sender};

/// Number of bytes held of a line if contents are not kept: enough to recognise its field.
const LINE_START: usize = 32;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Splits a response into server-sent events.
#[derive(Debug)]
pub(super) struct Reader {
    /// The line so far.
    line: Vec<u8>,
    /// The last line ended with a CR; a LF directly after it belongs to the same line ending.
    after_cr: bool,
    /// The current line is the first line.
    first_line: bool,
    /// The event so far.
    event: Event,
    has_data: bool,
    sync: Sync,
    count: u64,
    first_ns: Option<u64>,
    retry_ms: Option<u64>,
    messages: Kept<Event>,
}

/// How much of the current event is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Whole,
    /// The beginning of the line, and so of the event, is missing.
    InLine,
    /// The beginning of the event is missing.
    InEvent,
}

/// Returns no reader: the type of the response decides.
pub(super) fn asked(_: &Request, _: &Keep) -> Found {
    None
}

/// Returns a reader if the response contains events.
pub(super) fn answered(_: Option<&Request>, headers: &Fields, keep: &Keep) -> Found {
    Some(Box::new(Reader::answered(headers, keep)?))
}

impl Protocol for Reader {
    fn data(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        if from == Sender::Server {
            self.contents(bytes, time_ns, notes);
        }
    }

    fn lost(&mut self, from: Sender, _: Option<u64>, _: u64, notes: &mut Notes) {
        if from == Sender::Server {
            self.gap(notes);
        }
    }

    // Any text is a stream of events, and text after the last empty line is not an event: a stream
    // is never truncated.
    fn finish(self: Box<Self>, exchange: &mut Exchange, _: &mut Notes) -> (Box<dyn Carried>, bool) {
        let (events, held) = self.into_events();
        exchange.held = held;
        (Box::new(events), true)
    }
}

impl Reader {
    /// Returns a reader for a response with these fields, if it contains events.
    fn answered(headers: &Fields, keep: &Keep) -> Option<Self> {
        headers.media_type()?.eq_ignore_ascii_case(b"text/event-stream").then(|| Self {
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            event: Event::default(),
            has_data: false,
            sync: Sync::Whole,
            count: 0,
            first_ns: None,
            retry_ms: None,
            messages: Kept::new(keep),
        })
    }

    fn contents(&mut self, mut bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        if std::mem::take(&mut self.after_cr) {
            match bytes {
                [] => self.after_cr = true,
                [b'\n', rest @ ..] => bytes = rest,
                _ => {}
            }
        }
        while let Some(at) = memchr2(b'\r', b'\n', bytes) {
            self.hold(&bytes[..at], notes);
            self.line(time_ns, notes);
            let end = if bytes[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
            self.after_cr = bytes[at..] == *b"\r";
            bytes = &bytes[end..];
        }
        self.hold(bytes, notes);
    }

    /// Processes missing bytes.
    fn gap(&mut self, notes: &mut Notes) {
        self.line.clear();
        self.after_cr = false;
        self.first_line = false;
        self.sync = Sync::InLine;
        notes.add(Note::EventsLost);
    }

    /// Returns the events. An event without an empty line after it does not count.
    fn into_events(self) -> (Events, Charge) {
        let Self { count, first_ns, retry_ms, messages, .. } = self;
        let (messages, held) = messages.into_parts();
        (Events { count, first_ns, retry_ms, messages }, held)
    }

    fn hold(&mut self, bytes: &[u8], notes: &mut Notes) {
        let room = match self.messages.has_room() {
            true => {
                let room = self.messages.hold(self.line.len(), bytes.len());
                if room < bytes.len() {
                    notes.add(Note::EventsCut);
                }
                room
            }
            false => LINE_START.saturating_sub(self.line.len()).min(bytes.len()),
        };
        self.line.extend_from_slice(&bytes[..room]);
    }

    /// Processes a complete line.
    fn line(&mut self, time_ns: u64, notes: &mut Notes) {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.first_line) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        match (self.sync, line.is_empty()) {
            (Sync::InLine, _) => self.sync = Sync::InEvent,
            (Sync::InEvent, true) => {
                self.sync = Sync::Whole;
                self.event = Event::default();
                self.has_data = false;
            }
            (Sync::InEvent, false) => {}
            (Sync::Whole, true) => self.dispatch(time_ns, notes),
            (Sync::Whole, false) => self.field(&line, notes),
        }
        self.messages.release(line.len());
        line.clear();
        self.line = line;
    }

    fn field(&mut self, line: &[u8], notes: &mut Notes) {
        let (name, value) = match line.iter().position(|&b| b == b':') {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &[][..]),
        };
        let text = |value: &[u8]| Some(String::from_utf8_lossy(value).into_owned());
        match name {
            b"data" => {
                let more = std::mem::replace(&mut self.has_data, true);
                if self.messages.has_room() {
                    let len = value.len() + usize::from(more);
                    let room = self.messages.hold(self.event.data.len(), len);
                    if room < len {
                        return notes.add(Note::EventsCut);
                    }
                    self.event.data.extend_from_slice(if more { b"\n" } else { b"" });
                    self.event.data.extend_from_slice(value);
                }
            }
            b"event" => self.event.event = text(value),
            b"id" if !value.contains(&0) => self.event.id = text(value),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.retry_ms = text(value).and_then(|text| text.parse().ok()).or(self.retry_ms);
            }
            // A comment has no name; other names are ignored.
            _ => {}
        }
    }

    fn dispatch(&mut self, time_ns: u64, notes: &mut Notes) {
        let event = std::mem::take(&mut self.event);
        if !std::mem::take(&mut self.has_data) {
            return;
        }
        self.count += 1;
        self.first_ns.get_or_insert(time_ns);
        self.messages.push(Event { time_ns, ..event }, notes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    fn reader(keep: bool) -> Reader {
        let mut headers = Fields::default();
        headers.push(b"content-type", b"Text/Event-Stream; charset=utf-8");
        Reader::answered(&headers, &Keep::of(keep)).unwrap()
    }

    /// Formats each event as `event/id/data`.
    fn brief(events: &Events) -> Vec<String> {
        let text = |text: &Option<String>| text.as_deref().unwrap_or("-").to_owned();
        let messages = events.messages.as_ref().unwrap();
        messages
            .iter()
            .map(|e| {
                format!("{}/{}/{}", text(&e.event), text(&e.id), String::from_utf8_lossy(&e.data))
            })
            .collect()
    }

    fn read(pieces: &[&[u8]], keep: bool) -> Events {
        let (mut reader, mut notes) = (reader(keep), Notes::default());
        for (time_ns, piece) in (1..).zip(pieces) {
            reader.contents(piece, time_ns, &mut notes);
        }
        reader.into_events().0
    }

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\n\ndata: one\r\n\r\nevent: add\rdata:two\rdata\r\
        data:  lines\r\rid: 7\ndata\n\nretry: 250\nevent: none\n\nretry: x\nid: a\0b\nno: field\n\
        data: last: \xff\nid\n\ndata: never ended\n";

    const EVENTS: [&str; 4] = ["-/-/one", "add/-/two\n\n lines", "-/7/", "-//last: \u{fffd}"];

    #[test]
    fn events_are_read_as_html_has_it_however_they_are_split() {
        for split in 1..STREAM.len() {
            let pieces: Vec<&[u8]> = STREAM.chunks(split).collect();
            let events = read(&pieces, true);
            assert_eq!(brief(&events), EVENTS, "{split}");
            assert_eq!((events.count, events.retry_ms), (4, Some(250)));
            let counted = read(&pieces, false);
            assert_eq!((counted.count, counted.retry_ms), (4, Some(250)));
            assert_eq!((counted.first_ns, counted.messages), (events.first_ns, None));
        }
    }

    #[test]
    fn an_event_has_the_time_of_its_empty_line() {
        let events = read(&[b"data: a\n", b"\ndata: b", b"\r\r", b"\n"], true);
        let times: Vec<u64> = events.messages.unwrap().iter().map(|event| event.time_ns).collect();
        assert_eq!((times, events.first_ns), (vec![2, 3], Some(2)));
    }

    #[test]
    fn unwanted_contents_are_not_held() {
        let (mut reader, mut notes) = (reader(false), Notes::default());
        for _ in 0..1000 {
            reader.contents(b"data: a long line that never ends", 1, &mut notes);
        }
        assert!(reader.line.len() <= LINE_START && reader.event.data.is_empty());
    }

    #[test]
    fn after_a_gap_no_event_is_made_up() {
        for at in 0..STREAM.len() {
            for len in [1, 2, 9, 40] {
                let end = (at + len).min(STREAM.len());
                let (mut reader, mut notes) = (reader(true), Notes::default());
                reader.contents(&STREAM[..at], 1, &mut notes);
                reader.gap(&mut notes);
                reader.contents(&STREAM[end..], 1, &mut notes);
                let events = reader.into_events().0;
                assert_eq!(notes.0.len(), 1);
                for event in brief(&events) {
                    assert!(EVENTS.contains(&&*event), "{at} {len}: {event}");
                }
            }
        }
    }
}
