//! One direction of HTTP/2: finds the field blocks and the contents among the frames, and blanks
//! secrets in place: lengths, frames and offsets stay as they are ([`hpack::blank`]).
//!
//! A field block is held until it is complete. A block that cannot be decoded is made unreadable as
//! a whole, so that later readers also treat the table of its encoder as unknown from there on.

use std::collections::HashMap;
use std::ops::Range;

use super::body::Body;
use super::counts::{Place, Rule};
use super::fields::{Contents, Secret, TARGET, secret};
use super::http1::Step;
use super::search::{SLACK, Search};
use super::window::{Engine, Window};
use sslrec_wire::http2::frame::{self, Frame, HEADER_LEN, Kind, PREFACE, flag};
use sslrec_wire::http2::hpack::{self, Decoder, Encoded};

/// The most bytes held of a field block.
const MAX_BLOCK: usize = 256 << 10;

/// The most streams whose contents are searched at a time; contents of further streams are blanked.
const MAX_STREAMS: usize = 4096;

/// The usual size of the table of field names and values (RFC 7541 section 4.2).
const MAX_TABLE: usize = 4096;

/// An octet that stops every decoder: index 0 (RFC 7541 section 6.1).
const UNREADABLE: u8 = 0x80;

#[derive(Debug)]
enum State {
    /// Before a frame.
    Frame,
    Data {
        stream: u32,
        content: u64,
        padding: u64,
        end: bool,
    },
    /// In the payload of a frame that carries neither fields nor content.
    Other {
        left: u64,
    },
    /// In the padding of a DATA frame.
    Padding {
        left: u64,
    },
    /// In a part of a field block that cannot be decoded.
    Unreadable {
        left: u64,
    },
}

/// A field block that is not complete.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// The block belongs to a PUSH_PROMISE.
    promise: bool,
    /// No contents follow.
    end: bool,
    /// The places of its parts.
    parts: Vec<Range<u64>>,
}

/// One direction of HTTP/2.
#[derive(Debug)]
pub(super) struct Http2 {
    state: State,
    decoder: Decoder,
    block: Option<Block>,
    bodies: HashMap<u32, Body>,
    /// The payloads of all other frames: GOAWAY contains debug data, ALTSVC names of servers, and
    /// an unknown frame anything.
    other: Body,
    /// The preface may follow.
    fresh: bool,
}

impl Http2 {
    /// `joining`: earlier bytes were not recorded.
    pub(super) fn new(joining: bool) -> Self {
        Self {
            state: State::Frame,
            decoder: if joining { Decoder::joining() } else { Decoder::new() },
            block: None,
            bodies: HashMap::new(),
            other: Body::Free,
            fresh: true,
        }
    }

    /// Returns the place of the first byte that is held back.
    pub(super) fn held_from(&self) -> Option<u64> {
        let block = self.block.as_ref().and_then(|block| block.parts.first());
        let bodies = self.bodies.values().filter_map(Body::held_from);
        bodies.chain(block.map(|part| part.start)).chain(self.other.held_from()).min()
    }

    /// Returns the bytes of memory in use, approximately: contents of streams count with the most
    /// that they usually take.
    pub(super) fn memory(&self) -> usize {
        const STREAM: usize = SLACK + size_of::<Search>() + size_of::<(u32, Body)>();
        size_of::<Self>() + MAX_TABLE + self.bodies.len() * STREAM + self.other.memory()
    }

    /// Blanks the held bytes, which exceed the limit.
    pub(super) fn give_up(&mut self, window: &mut Window, engine: &mut Engine) {
        self.abandon(window);
        self.bodies.values_mut().for_each(|body| body.give_up(window, engine));
        self.other.give_up(window, engine);
    }

    /// Reads as far as possible from `at`.
    pub(super) fn step(&mut self, window: &mut Window, at: &mut u64, engine: &mut Engine) -> Step {
        let left = window.end() - *at;
        if left == 0 {
            return Step::Wait;
        }
        match self.state {
            State::Frame => return self.frame(window, at, engine),
            State::Other { left: rest } => {
                let len = rest.min(left);
                self.other.data(window, *at..*at + len, engine);
                *at += len;
                self.other(window, engine, rest - len);
            }
            State::Padding { left: rest } => {
                // RFC 9113 section 6.1: padding is zeros, but a sender may deviate.
                let len = rest.min(left);
                window.get_mut(*at..*at + len).fill(0);
                *at += len;
                self.padding(rest - len);
            }
            State::Unreadable { left: rest } => {
                let len = rest.min(left);
                window.get_mut(*at..*at + len).fill(UNREADABLE);
                *at += len;
                self.unreadable(rest - len);
            }
            State::Data { stream, content, padding, end } => {
                let len = content.min(left);
                let range = *at..*at + len;
                self.body(stream, engine).data(window, range, engine);
                *at += len;
                self.rest(window, engine, stream, content - len, padding, end);
            }
        }
        Step::Again
    }

    /// Processes `len` missing bytes. [`Self::cut`] has handled the bytes held before them.
    pub(super) fn gap(&mut self, len: u64, window: &mut Window, engine: &mut Engine) -> Step {
        self.bodies.values_mut().for_each(|body| body.gap(window, engine));
        self.other.gap(window, engine);
        match self.state {
            State::Other { left } if len <= left => self.other(window, engine, left - len),
            State::Padding { left } if len <= left => self.padding(left - len),
            State::Unreadable { left } if len <= left => self.unreadable(left - len),
            State::Data { stream, content, padding, end } if len <= content + padding => {
                let lost = len.min(content);
                let (content, padding) = (content - lost, padding - (len - lost));
                self.rest(window, engine, stream, content, padding, end);
            }
            _ => return Step::Lost,
        }
        Step::Again
    }

    /// Ends the frame held from `at`, after a gap or at the end of the stream; a gap within the
    /// frame keeps the framing intact. Returns the number of bytes of the frame that were read.
    pub(super) fn cut(&mut self, window: &mut Window, at: &mut u64) {
        self.abandon(window);
        let State::Frame = self.state else { return };
        let bytes = window.from(*at);
        let Some(frame) = Frame::read(bytes) else { return };
        let have = bytes.len() as u64 - HEADER_LEN as u64;
        let left = u64::from(frame.len).saturating_sub(have);
        window.get_mut(*at + HEADER_LEN as u64..window.end()).fill(UNREADABLE);
        *at = window.end();
        self.decoder.forget();
        self.unreadable(left);
    }

    /// Gives up the framing.
    pub(super) fn lose(&mut self, window: &mut Window, engine: &mut Engine) {
        self.abandon(window);
        self.bodies.values_mut().for_each(|body| body.gap(window, engine));
        self.other.finish(window, engine);
    }

    /// Processes the end.
    pub(super) fn finish(&mut self, window: &mut Window, engine: &mut Engine) {
        self.bodies.values_mut().for_each(|body| body.finish(window, engine));
        self.other.finish(window, engine);
    }

    fn frame(&mut self, window: &mut Window, at: &mut u64, engine: &mut Engine) -> Step {
        let bytes = window.from(*at);
        if self.fresh && PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) {
            if bytes.len() < PREFACE.len() {
                return Step::Wait;
            }
            self.fresh = false;
            *at += PREFACE.len() as u64;
            return Step::Again;
        }
        let Some(frame) = Frame::read(bytes) else { return Step::Wait };
        let len = u64::from(frame.len);
        let whole = bytes.len() - HEADER_LEN >= frame.len as usize;
        if self.block.is_some() && frame.kind != Kind::Continuation {
            // RFC 9113 section 6.10: no other frame may come before the block is complete.
            self.abandon(window);
        }
        match frame.kind {
            Kind::Data => return self.begin_data(window, at, frame, engine),
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                let held: u64 = self
                    .block
                    .iter()
                    .flat_map(|b| &b.parts)
                    .map(|part| part.end - part.start)
                    .sum();
                if held + len > MAX_BLOCK as u64 {
                    self.abandon(window);
                    self.decoder.forget();
                    *at += HEADER_LEN as u64;
                    self.unreadable(len);
                    return Step::Again;
                }
                if !whole {
                    return Step::Wait;
                }
                self.part(window, *at, frame, engine);
                *at += HEADER_LEN as u64 + len;
            }
            _ => {
                if frame.kind == Kind::RstStream
                    && let Some(mut body) = self.bodies.remove(&frame.stream)
                {
                    body.finish(window, engine);
                }
                *at += HEADER_LEN as u64;
                self.other = Body::text(engine, Place::Frame);
                self.other(window, engine, len);
            }
        }
        self.fresh = false;
        Step::Again
    }

    fn begin_data(
        &mut self,
        window: &mut Window,
        at: &mut u64,
        frame: Frame,
        engine: &mut Engine,
    ) -> Step {
        let bytes = window.from(*at);
        let (mut len, mut padding) = (u64::from(frame.len), 0);
        let mut head = HEADER_LEN as u64;
        if frame.has(flag::PADDED) && len > 0 {
            let Some(&pad) = bytes.get(HEADER_LEN) else { return Step::Wait };
            head += 1;
            len -= 1;
            padding = u64::from(pad).min(len);
        }
        *at += head;
        self.fresh = false;
        let end = frame.has(flag::END_STREAM);
        self.rest(window, engine, frame.stream, len - padding, padding, end);
        Step::Again
    }

    /// Determines the rest of a DATA frame.
    fn rest(
        &mut self,
        window: &mut Window,
        engine: &mut Engine,
        stream: u32,
        content: u64,
        padding: u64,
        end: bool,
    ) {
        if content > 0 {
            self.state = State::Data { stream, content, padding, end };
            return;
        }
        if end && let Some(mut body) = self.bodies.remove(&stream) {
            body.finish(window, engine);
        }
        self.padding(padding);
    }

    /// Starts the rest of another frame, of this length.
    fn other(&mut self, window: &mut Window, engine: &mut Engine, left: u64) {
        if left > 0 {
            self.state = State::Other { left };
        } else {
            self.other.finish(window, engine);
            self.other = Body::Free;
            self.state = State::Frame;
        }
    }

    fn padding(&mut self, left: u64) {
        self.state = if left > 0 { State::Padding { left } } else { State::Frame };
    }

    fn unreadable(&mut self, left: u64) {
        self.state = if left > 0 { State::Unreadable { left } } else { State::Frame };
    }

    /// Returns the contents of a stream, which are unknown if its head was not read.
    fn body(&mut self, stream: u32, engine: &Engine) -> &mut Body {
        self.bodies.entry(stream).or_insert_with(|| Body::unknown(engine))
    }

    /// Processes a complete frame with a part of a field block.
    fn part(&mut self, window: &mut Window, at: u64, frame: Frame, engine: &mut Engine) {
        let payload = at + HEADER_LEN as u64..at + HEADER_LEN as u64 + u64::from(frame.len);
        let bytes = window.get(payload.clone());
        let part = match frame.kind {
            Kind::Headers => frame::headers(&frame, bytes),
            Kind::PushPromise => frame::push_promise(&frame, bytes).map(|(_, part)| part),
            _ => Some(bytes),
        };
        let padded = u64::from(frame.has(flag::PADDED));
        let before = match frame.kind {
            Kind::Headers if frame.has(flag::PRIORITY) => padded + 5,
            Kind::Headers => padded,
            Kind::PushPromise => padded + 4,
            _ => 0,
        };
        let part = part.map(|part| {
            let start = payload.start + before;
            start..start + part.len() as u64
        });
        if let Some(part) = part.as_ref().filter(|_| padded > 0) {
            window.get_mut(part.end..payload.end).fill(0);
        }
        let is_first = frame.kind != Kind::Continuation;
        let block = match (&mut self.block, part) {
            (None, Some(part)) if is_first => {
                let end = frame.has(flag::END_STREAM) && frame.kind == Kind::Headers;
                let promise = frame.kind == Kind::PushPromise;
                Block { stream: frame.stream, promise, end, parts: vec![part] }
            }
            (Some(block), Some(part)) if block.stream == frame.stream => {
                block.parts.push(part);
                match self.block.take() {
                    Some(block) => block,
                    None => return,
                }
            }
            _ => {
                // The part before this frame was not seen, or the padding is invalid.
                self.abandon(window);
                window.get_mut(payload).fill(UNREADABLE);
                return self.decoder.forget();
            }
        };
        if frame.has(flag::END_HEADERS) {
            self.complete(window, block, engine);
        } else {
            self.block = Some(block);
        }
    }

    fn complete(&mut self, window: &mut Window, block: Block, engine: &mut Engine) {
        let mut bytes: Vec<u8> = Vec::new();
        block.parts.iter().for_each(|part| bytes.extend_from_slice(window.get(part.clone())));
        let mut fields =
            Fields { engine, literal: None, blanks: Vec::new(), contents: Contents::default() };
        let outcome = self.decoder.decode(&bytes, &mut fields);
        let Fields { blanks, contents, .. } = fields;
        for (range, rule, place) in blanks.iter().flat_map(Blank::secrets) {
            engine.counts.add(rule, place, 1, range.len() as u64);
        }
        match outcome {
            Ok(()) => {
                for Blank { encoded, value, secrets, .. } in blanks {
                    let end = bytes.len() - encoded.left_bytes;
                    let place = &mut bytes[end - encoded.len_bytes..end];
                    let ranges: Vec<_> = secrets.into_iter().map(|(range, _)| range).collect();
                    hpack::blank(place, encoded.huffman, &value, &ranges);
                }
            }
            Err(_) => bytes.fill(UNREADABLE),
        }
        let mut rest = &bytes[..];
        for part in &block.parts {
            let place = window.get_mut(part.clone());
            let (written, tail) = rest.split_at(place.len());
            place.copy_from_slice(written);
            rest = tail;
        }
        if block.promise {
            return;
        }
        // Trailers, or the final head after an interim head.
        if let Some(mut body) = self.bodies.remove(&block.stream) {
            body.finish(window, engine);
        }
        if !block.end && self.bodies.len() < MAX_STREAMS {
            let known = outcome.is_ok();
            let body = if known { Body::new(engine, contents) } else { Body::unknown(engine) };
            self.bodies.insert(block.stream, body);
        }
    }

    /// Gives up the current block, if there is one.
    fn abandon(&mut self, window: &mut Window) {
        if let Some(block) = self.block.take() {
            block.parts.into_iter().for_each(|part| window.get_mut(part).fill(UNREADABLE));
            self.decoder.forget();
        }
    }
}

/// Receives the fields of a block and finds their secrets.
struct Fields<'e> {
    engine: &'e Engine,
    /// The encoded form of the next field's value in the block, if it is a literal.
    literal: Option<Encoded>,
    blanks: Vec<Blank>,
    contents: Contents,
}

struct Blank {
    encoded: Encoded,
    value: Vec<u8>,
    secrets: Vec<Secret>,
    place: Place,
}

impl Blank {
    fn secrets(&self) -> impl Iterator<Item = (&Range<usize>, Rule, Place)> {
        self.secrets.iter().map(|(range, rule)| (range, *rule, self.place))
    }
}

impl hpack::Sink for Fields<'_> {
    fn literal(&mut self, value: Encoded) {
        self.literal = Some(value);
    }

    fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let literal = self.literal.take();
        let known = name.zip(value);
        match known {
            Some((name, value)) => self.contents.field(name, value),
            // The unknown name may be that of the content coding.
            None => self.contents.coded = true,
        }
        // A reference to the table returns a value that was blanked before.
        let (Some(encoded), Some(value)) = (literal, value) else { return };
        let secrets = match name {
            Some(name) => {
                let line = [name, b": ", value].concat();
                let begun = self.engine.literals.find(&line, 0);
                secret(self.engine, name, &line, name.len() + 2, begun)
            }
            None => vec![(0..value.len(), Rule::Unsearchable)],
        };
        let place = if name == Some(TARGET) { Place::StartLine } else { Place::Fields };
        if !secrets.is_empty() {
            self.blanks.push(Blank { encoded, value: value.to_vec(), secrets, place });
        }
    }

    fn defect(&mut self, _: hpack::Defect) {}

    fn table_size(&mut self, _: usize) {}
}
