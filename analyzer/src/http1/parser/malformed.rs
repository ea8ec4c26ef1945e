//! Heads whose first line is malformed: found where a request must begin.

use memchr::memchr;
use sslrec_wire::http1::message::{State, Why};
use sslrec_wire::http1::{Kind, malformed, start};

use super::{Event, Parser, Place, take};
use crate::exchange::note::Truncation;
use crate::http1::head::{self, Extent};

/// Maximum length of a head whose first line is malformed.
const MAX_MALFORMED: usize = 64 << 10;

impl Parser {
    /// Reads bytes as a malformed head, or searches for the next message. Where bytes are missing
    /// before them, or they are no text, they need not be a head.
    pub(super) fn not_a_head(&mut self, bytes: &[u8]) {
        let line = memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..end]);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.framer.kind() == Kind::Request && malformed::is_text(line) {
            self.search_anew(false);
            self.malformed = Some(0);
        } else {
            // The search begins after the first byte, so as not to find the same line again.
            self.abandon(Why::NotAHead, 1);
        }
    }

    /// Takes a malformed head off the input, line by line, up to its empty line or a request line.
    pub(super) fn read_malformed(&mut self, input: &mut &[u8]) {
        let Some(last) = self.malformed else { return };
        if !self.buffer[last..].contains(&b'\n') {
            let line = memchr(b'\n', input).map_or(input.len(), |end| end + 1);
            self.buffer.extend_from_slice(take(input, line));
        }
        let end = memchr(b'\n', &self.buffer[last..]).map(|end| last + end + 1);
        let (line, is_first) = (end.map(|end| &self.buffer[last..end]), last == 0);
        match (line, end) {
            (Some(b"\n" | b"\r\n"), _) if !is_first => self.end_malformed(Extent::Whole),
            (Some(line), _) if !is_first && start::is_certain(line) => {
                let next = self.buffer.split_off(last);
                self.end_malformed(Extent::Unknown);
                self.buffer = next;
                self.framer.begin();
                let place = Place::Found { after_hole: false, at_call: false };
                self.queue.push_back(Event::Begin(place));
            }
            _ if self.buffer.len() > MAX_MALFORMED => self.end_malformed(Extent::Unknown),
            (_, Some(end)) => self.malformed = Some(end),
            (_, None) => {}
        }
    }

    /// Ends a head that is malformed, or whose first line has no end: its response comes.
    pub(crate) fn answer_head(&mut self) {
        let is_line = matches!(self.framer.state(), State::Head { started: false, .. })
            && self.framer.kind() == Kind::Request
            && !self.buffer.is_empty();
        if is_line {
            let buffer = std::mem::take(&mut self.buffer);
            self.not_a_head(&buffer);
            self.buffer = buffer;
        }
        self.end_malformed(Extent::Answered);
    }

    /// Queues the malformed head in the buffer. After a whole head [`Self::set_framing`] must be
    /// called; otherwise the next message is searched.
    pub(super) fn end_malformed(&mut self, extent: Extent) {
        if self.malformed.take().is_none() {
            return;
        }
        let head = head::parse_malformed(&self.buffer, extent);
        self.queue.push_back(Event::Head { head, cut: extent != Extent::Whole });
        self.buffer.clear();
        match extent {
            Extent::Whole => self.framer.head_was_read(),
            Extent::Answered => self.queue.push_back(Event::End),
            Extent::Unknown => self.queue.push_back(Event::Abandoned(Truncation::Head)),
        }
    }
}
