//! Splits the bytes of a direction, with its gaps, into frames (RFC 9113 section 4).
//!
//! ```text
//!   Start --preface or not--> Header --kept type--> Payload --whole--+
//!                              ^  |  --DATA-------> Data ---------- -+
//!                              |  |  --any other--> Skip ------------+
//!                              |  |                                  |
//!                              +--|----------------------------------+
//!                                 |gap outside of a payload
//!                                 v
//!                             out of step
//! ```
//!
//! Contents of DATA are never held: they pass through as slices of the input. Payloads of other
//! types are held only if they arrive in several pieces, up to `MAX_PAYLOAD`. Bytes missing inside
//! a payload leave the framing in step, since the length of the frame is known.

use super::frame::{self, Frame, HEADER_LEN, Kind, PREFACE, flag};
use crate::exchange::note::{FrameDefect, Truncation};

/// Maximum length of a payload that is held. Only field blocks come near it.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

/// A part of the byte stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// The preface of a client.
    Preface,
    /// A complete frame other than DATA. The payload is omitted for types without information on
    /// exchanges.
    Frame { frame: Frame, first_ns: u64, payload: &'b [u8] },
    /// Content of a DATA frame, without padding. `last` marks the end of the frame.
    Data { frame: Frame, bytes: &'b [u8], last: bool },
    /// A frame other than DATA whose payload is unavailable.
    Broken { frame: Frame, first_ns: u64, why: Truncation },
    /// So many bytes are missing inside of a frame.
    Lost { frame: Frame, len: u64 },
    /// So many bytes are missing, and the start of the next frame, if any, is unknown. Before them,
    /// `partial` bytes belong to an incomplete frame header. Nothing more can be split.
    OutOfStep { len: u64, partial: u64 },
    /// A defect of the next frame.
    Defect(FrameDefect),
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// `held` is the beginning of the preface.
    Start,
    /// `held` is the beginning of a frame header.
    Header,
    /// `held` is the beginning of the payload.
    Payload {
        frame: Frame,
    },
    /// Before the length of the padding of a DATA frame.
    PadLength {
        frame: Frame,
    },
    Data {
        frame: Frame,
        content: u32,
        padding: u32,
    },
    Skip {
        left: u32,
    },
    /// The start of the next frame is unknown.
    OutOfStep,
}

/// Splits the bytes of a direction into frames.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    held: Vec<u8>,
    /// Time of the first byte of the current frame.
    first_ns: u64,
}

impl Splitter {
    /// Creates a splitter for the first bytes of a direction.
    pub(super) fn new() -> Self {
        Self { state: State::Start, held: Vec::new(), first_ns: 0 }
    }

    /// Continues with bytes that begin with a frame, or with the preface.
    pub(super) fn at_frame(&mut self) {
        self.state = State::Start;
        self.held.clear();
    }

    /// Splits bytes of a call at `first_ns`.
    pub(super) fn data(
        &mut self,
        mut input: &[u8],
        first_ns: u64,
        out: &mut impl FnMut(Piece<'_>),
    ) {
        while !input.is_empty() {
            match self.state {
                State::Start => self.start(&mut input, first_ns, out),
                State::Header => self.header(&mut input, first_ns, out),
                State::Payload { frame } => self.payload(frame, &mut input, out),
                State::PadLength { frame } => self.pad_length(frame, &mut input, out),
                State::Data { frame, content, padding } => {
                    self.content(frame, content, padding, &mut input, out);
                }
                State::Skip { left } => {
                    let len = take(&mut input, left).len() as u32;
                    self.skip(left - len);
                }
                State::OutOfStep => return,
            }
        }
    }

    /// Processes missing bytes.
    pub(super) fn gap(&mut self, len: u64, out: &mut impl FnMut(Piece<'_>)) {
        let within = |left: u32| len.min(u64::from(left)) as u32;
        let rest = match self.state {
            State::Data { frame, content, padding } => {
                let lost = within(content + padding);
                out(Piece::Lost { frame, len: u64::from(lost) });
                let content_left = content.saturating_sub(lost);
                let padding = padding - (lost - (content - content_left));
                self.rest_of_data(frame, content_left, padding, out);
                len - u64::from(lost)
            }
            State::PadLength { frame } => {
                // The amount of padding in the rest is unknown, so none of it counts as content.
                out(Piece::Lost { frame, len: u64::from(frame.len) });
                out(Piece::Data { frame, bytes: &[], last: true });
                self.skip(frame.len - within(frame.len));
                len - u64::from(within(frame.len))
            }
            State::Payload { frame } => {
                let left = frame.len - self.held.len() as u32;
                let first_ns = self.first_ns;
                out(Piece::Lost { frame, len: u64::from(within(left)) });
                out(Piece::Broken { frame, first_ns, why: Truncation::GapInFrame });
                self.held.clear();
                self.skip(left - within(left));
                len - u64::from(within(left))
            }
            State::Skip { left } => {
                let lost = u64::from(within(left));
                out(Piece::Lost { frame: Frame::UNKNOWN, len: lost });
                self.skip(left - within(left));
                len - lost
            }
            State::Start | State::Header | State::OutOfStep => len,
        };
        if rest > 0 {
            let partial = self.held.len() as u64;
            self.held = Vec::new();
            self.state = State::OutOfStep;
            out(Piece::OutOfStep { len: rest, partial });
        }
    }

    /// Ends the input: the held bytes are a truncated frame.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        let first_ns = self.first_ns;
        match self.state {
            State::Payload { frame } => {
                out(Piece::Broken { frame, first_ns, why: Truncation::Frame });
            }
            State::Start | State::Header if !self.held.is_empty() => {
                out(Piece::OutOfStep { len: 0, partial: self.held.len() as u64 });
            }
            _ => {}
        }
        self.held = Vec::new();
        self.state = State::OutOfStep;
    }

    fn start(&mut self, input: &mut &[u8], first_ns: u64, out: &mut impl FnMut(Piece<'_>)) {
        let left = &PREFACE[self.held.len()..];
        let same = left.iter().zip(*input).take_while(|(a, b)| a == b).count();
        if same == left.len() {
            *input = &input[same..];
            self.held.clear();
            self.state = State::Header;
            out(Piece::Preface);
        } else if same == input.len() {
            self.held.extend_from_slice(input);
            *input = &[];
        } else {
            // No preface follows. The bytes that resembled its beginning are not a valid frame
            // either.
            self.state = State::Header;
            let held = std::mem::take(&mut self.held);
            self.data(&held, first_ns, out);
        }
    }

    fn header(&mut self, input: &mut &[u8], first_ns: u64, out: &mut impl FnMut(Piece<'_>)) {
        if self.held.is_empty() {
            self.first_ns = first_ns;
            if let Some(frame) = Frame::read(input) {
                *input = &input[HEADER_LEN..];
                return self.begin(frame, out);
            }
        }
        let missing = HEADER_LEN - self.held.len();
        self.held.extend_from_slice(take(input, missing as u32));
        if let Some(frame) = Frame::read(&self.held) {
            self.held.clear();
            self.begin(frame, out);
        }
    }

    /// Processes a frame header.
    fn begin(&mut self, frame: Frame, out: &mut impl FnMut(Piece<'_>)) {
        let first_ns = self.first_ns;
        if let Some(defect) = frame.defect() {
            out(Piece::Defect(FrameDefect::Header(defect)));
        }
        match frame.kind {
            Kind::Data if frame.has(flag::PADDED) && frame.len > 0 => {
                self.state = State::PadLength { frame };
            }
            Kind::Data => self.rest_of_data(frame, frame.len, 0, out),
            Kind::Priority | Kind::Ping | Kind::WindowUpdate | Kind::Other => {
                out(Piece::Frame { frame, first_ns, payload: &[] });
                self.skip(frame.len);
            }
            _ if frame.len as usize > MAX_PAYLOAD => {
                out(Piece::Broken { frame, first_ns, why: Truncation::LongFrame });
                self.skip(frame.len);
            }
            _ if frame.len == 0 => {
                self.state = State::Header;
                out(Piece::Frame { frame, first_ns, payload: &[] });
            }
            _ => self.state = State::Payload { frame },
        }
    }

    fn payload(&mut self, frame: Frame, input: &mut &[u8], out: &mut impl FnMut(Piece<'_>)) {
        let first_ns = self.first_ns;
        let len = frame.len as usize;
        if self.held.is_empty()
            && let Some((payload, rest)) = input.split_at_checked(len)
        {
            *input = rest;
            self.state = State::Header;
            return out(Piece::Frame { frame, first_ns, payload });
        }
        let missing = len - self.held.len();
        self.held.extend_from_slice(take(input, missing as u32));
        if self.held.len() == len {
            self.state = State::Header;
            out(Piece::Frame { frame, first_ns, payload: &self.held });
            self.held.clear();
            // A long block is rare, so its memory is returned.
            self.held.shrink_to(frame::DEFAULT_MAX_LEN as usize);
        }
    }

    fn pad_length(&mut self, frame: Frame, input: &mut &[u8], out: &mut impl FnMut(Piece<'_>)) {
        let padding = take(input, 1).first().copied().map_or(0, u32::from);
        let rest = frame.len - 1;
        match rest.checked_sub(padding) {
            Some(content) => self.rest_of_data(frame, content, padding, out),
            None => {
                out(Piece::Defect(FrameDefect::Padding));
                self.rest_of_data(frame, 0, rest, out);
            }
        }
    }

    fn content(
        &mut self,
        frame: Frame,
        content: u32,
        padding: u32,
        input: &mut &[u8],
        out: &mut impl FnMut(Piece<'_>),
    ) {
        if content == 0 {
            let len = take(input, padding).len() as u32;
            return self.rest_of_data(frame, 0, padding - len, out);
        }
        let bytes = take(input, content);
        let content = content - bytes.len() as u32;
        if content == 0 && padding == 0 {
            self.state = State::Header;
            return out(Piece::Data { frame, bytes, last: true });
        }
        out(Piece::Data { frame, bytes, last: false });
        self.state = State::Data { frame, content, padding };
    }

    /// Continues with the rest of a DATA frame, or ends the frame if there is no rest.
    fn rest_of_data(
        &mut self,
        frame: Frame,
        content: u32,
        padding: u32,
        out: &mut impl FnMut(Piece<'_>),
    ) {
        if content + padding > 0 {
            self.state = State::Data { frame, content, padding };
        } else {
            self.state = State::Header;
            out(Piece::Data { frame, bytes: &[], last: true });
        }
    }

    fn skip(&mut self, left: u32) {
        self.state = if left > 0 { State::Skip { left } } else { State::Header };
    }
}

/// Takes up to `len` bytes off the input.
fn take<'b>(input: &mut &'b [u8], len: u32) -> &'b [u8] {
    let (taken, rest) = input.split_at(input.len().min(len as usize));
    *input = rest;
    taken
}
