//! A direction of an HTTP/2 connection: bytes and gaps in, events out.
//!
//! Frames come from the [`Splitter`]. While it is out of step, the [`Search`] finds the next
//! frames. Fragments are joined to field blocks and decoded here. The two directions are
//! independent, so they can be read in any interleaving (see [`super::hpack`] for the reason).

use super::frame::{self, Frame, Kind, flag};
use super::head::Head;
use super::hpack::Decoder;
use super::search::Search;
use super::splitter::{MAX_PAYLOAD, Piece, Splitter};
use crate::exchange::note::{FrameDefect, Truncation};

/// Maximum number of bytes held of an unfinished field block. Servers stop at 8 KiB to 256 KiB.
const MAX_BLOCK: usize = MAX_PAYLOAD;

/// An event of a direction.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "handed on once; a box would cost an allocation")]
pub(super) enum Event<'b> {
    /// The preface of a client.
    Preface,
    /// A field block, complete or as far as it was readable.
    Head(Block),
    /// Content. `end` marks the last content of the message.
    Data { stream: u32, bytes: &'b [u8], end: bool },
    /// The stream was reset (RFC 9113 section 6.4).
    Reset { stream: u32, code: u32 },
    /// The sender will not process streams of the other side above `last` (section 6.8).
    GoAway { last: u32, code: u32 },
    /// This side allows the other side a table of so many bytes.
    TableLimit(u32),
    /// So many bytes of content are missing.
    Lost { stream: u32, len: u64 },
    /// So many bytes are missing that are not known to be content of a message. `out_of_step` is
    /// set if frames of any stream may be among them.
    Missing { len: u64, out_of_step: bool },
    /// So many bytes were skipped, because they contain no frames.
    Skipped(u64),
    /// A defect that an endpoint would reject.
    Defect(FrameDefect),
}

/// A field block, with the properties of its first frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) stream: u32,
    /// The promised stream, if the block came with PUSH_PROMISE.
    pub(super) promised: Option<u32>,
    /// The block ends this direction of the stream.
    pub(super) end: bool,
    /// Time of the first byte of the frame.
    pub(super) first_ns: u64,
    pub(super) head: Head,
}

/// An incomplete block.
#[derive(Debug)]
struct Begun {
    stream: u32,
    promised: Option<u32>,
    end: bool,
    first_ns: u64,
    /// Why the block cannot be read.
    lost: Option<Truncation>,
}

/// Parses a direction of an HTTP/2 connection into events.
#[derive(Debug)]
pub(super) struct Half {
    splitter: Splitter,
    /// Searches for frames while the splitter is out of step.
    search: Option<Search>,
    /// Number of bytes passed to the search.
    searched: u64,
    blocks: Blocks,
}

impl Half {
    /// Creates a parser for a direction that is seen from its beginning.
    pub(super) fn new() -> Self {
        Self {
            splitter: Splitter::new(),
            search: None,
            searched: 0,
            blocks: Blocks::new(Decoder::new()),
        }
    }

    /// Creates a parser for a direction that is joined later. `at_frame` is set if its bytes begin
    /// with a frame.
    pub(super) fn joining(at_frame: bool) -> Self {
        let search = (!at_frame).then(Search::default);
        Self { search, blocks: Blocks::new(Decoder::joining()), ..Self::new() }
    }

    /// Processes bytes of a call, or of a part of a call, from the time `first_ns`.
    pub(super) fn data(&mut self, bytes: &[u8], first_ns: u64, out: &mut impl FnMut(Event<'_>)) {
        let Some(search) = &mut self.search else {
            let blocks = &mut self.blocks;
            return self.splitter.data(bytes, first_ns, &mut |piece| blocks.piece(piece, out));
        };
        self.searched += bytes.len() as u64;
        let Some(found) = search.data(bytes) else { return };
        self.search = None;
        let skipped = std::mem::take(&mut self.searched) - found.len() as u64;
        if skipped > 0 {
            out(Event::Skipped(skipped));
        }
        self.splitter.at_frame();
        self.data(&found, first_ns, out);
    }

    /// Processes missing bytes.
    pub(super) fn gap(&mut self, len: u64, out: &mut impl FnMut(Event<'_>)) {
        if self.search.is_some() {
            self.give_up(out);
            self.blocks.forget();
            out(Event::Missing { len, out_of_step: true });
        } else {
            let blocks = &mut self.blocks;
            let mut lost_step = false;
            self.splitter.gap(len, &mut |piece| {
                lost_step |= matches!(piece, Piece::OutOfStep { .. });
                blocks.piece(piece, out);
            });
            if !lost_step {
                return;
            }
        }
        self.search = Some(Search::default());
    }

    /// Ends the input.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(Event<'_>)) {
        self.give_up(out);
        let blocks = &mut self.blocks;
        self.splitter.finish(&mut |piece| blocks.piece(piece, out));
        self.blocks.abandon(Truncation::FieldBlock, out);
    }

    fn give_up(&mut self, out: &mut impl FnMut(Event<'_>)) {
        let searched = std::mem::take(&mut self.searched);
        if searched > 0 {
            out(Event::Skipped(searched));
        }
    }
}

/// Joins the fragments of field blocks and decodes them.
#[derive(Debug)]
struct Blocks {
    hpack: Decoder,
    begun: Option<Begun>,
    /// Fragments of the block.
    fragments: Vec<u8>,
    /// Kept to reuse its memory for each block.
    head: Head,
}

impl Blocks {
    fn new(hpack: Decoder) -> Self {
        Self { hpack, begun: None, fragments: Vec::new(), head: Head::default() }
    }

    /// Marks field blocks as possibly missing.
    fn forget(&mut self) {
        self.hpack.forget();
    }

    fn piece(&mut self, piece: Piece<'_>, out: &mut impl FnMut(Event<'_>)) {
        match piece {
            Piece::Preface => out(Event::Preface),
            Piece::Frame { frame, first_ns, payload } => self.frame(frame, first_ns, payload, out),
            Piece::Data { frame, bytes, last } => {
                if self.begun.is_some() {
                    self.interrupted(out);
                }
                let end = last && frame.has(flag::END_STREAM);
                out(Event::Data { stream: frame.stream, bytes, end });
            }
            Piece::Broken { frame, first_ns, why } => self.broken(&frame, first_ns, why, out),
            Piece::Lost { frame, len } if frame.kind == Kind::Data => {
                out(Event::Lost { stream: frame.stream, len });
            }
            Piece::Lost { len, .. } => out(Event::Missing { len, out_of_step: false }),
            Piece::OutOfStep { len, partial } => {
                self.abandon(Truncation::GapInFieldBlock, out);
                self.hpack.forget();
                if partial > 0 {
                    out(Event::Skipped(partial));
                }
                if len > 0 {
                    out(Event::Missing { len, out_of_step: true });
                }
            }
            Piece::Defect(defect) => out(Event::Defect(defect)),
        }
    }

    fn frame(
        &mut self,
        frame: Frame,
        first_ns: u64,
        payload: &[u8],
        out: &mut impl FnMut(Event<'_>),
    ) {
        // Section 6.10: no other frame may come before the block is complete.
        if self.begun.is_some() && frame.kind != Kind::Continuation {
            self.interrupted(out);
        }
        match frame.kind {
            Kind::Headers => {
                let end = frame.has(flag::END_STREAM);
                let begun =
                    Begun { stream: frame.stream, promised: None, end, first_ns, lost: None };
                self.begin(&frame, begun, frame::headers(&frame, payload), out);
            }
            Kind::PushPromise => {
                let promise = frame::push_promise(&frame, payload);
                let promised = promise.map(|(promised, _)| promised);
                let begun =
                    Begun { stream: frame.stream, promised, end: false, first_ns, lost: None };
                self.begin(&frame, begun, promise.map(|(_, block)| block), out);
            }
            Kind::Continuation => self.go_on(&frame, payload, out),
            Kind::RstStream => {
                if let Some(code) = frame::reset_code(payload) {
                    out(Event::Reset { stream: frame.stream, code });
                }
            }
            Kind::GoAway => {
                if let Some((last, code)) = frame::go_away(payload) {
                    out(Event::GoAway { last, code });
                }
            }
            Kind::Settings if !frame.has(flag::ACK) => {
                frame::table_sizes(payload).for_each(|limit| out(Event::TableLimit(limit)));
            }
            Kind::Settings
            | Kind::Data
            | Kind::Priority
            | Kind::Ping
            | Kind::WindowUpdate
            | Kind::Other => {}
        }
    }

    /// Begins a block with this fragment; `None` is a fragment with invalid padding.
    fn begin(
        &mut self,
        frame: &Frame,
        begun: Begun,
        fragment: Option<&[u8]>,
        out: &mut impl FnMut(Event<'_>),
    ) {
        match fragment {
            Some(block) if frame.has(flag::END_HEADERS) => self.decode(begun, block, out),
            Some(fragment) => {
                self.begun = Some(begun);
                self.fragments.clear();
                self.fragments.extend_from_slice(fragment);
            }
            None => {
                self.begun = Some(Begun { lost: Some(Truncation::Padding), ..begun });
                if frame.has(flag::END_HEADERS) {
                    self.abandon(Truncation::Padding, out);
                }
            }
        }
    }

    fn go_on(&mut self, frame: &Frame, fragment: &[u8], out: &mut impl FnMut(Event<'_>)) {
        let Some(begun) = &mut self.begun else {
            // The beginning of this block was not seen.
            self.hpack.forget();
            return out(Event::Defect(FrameDefect::UnseenBlock));
        };
        if begun.stream != frame.stream {
            out(Event::Defect(FrameDefect::OtherStream));
            return self.abandon(Truncation::FieldBlock, out);
        }
        if begun.lost.is_none() && self.fragments.len() + fragment.len() > MAX_BLOCK {
            begun.lost = Some(Truncation::LongFieldBlock);
            self.fragments = Vec::new();
        }
        if begun.lost.is_none() {
            self.fragments.extend_from_slice(fragment);
        }
        if !frame.has(flag::END_HEADERS) {
            return;
        }
        match begun.lost {
            Some(why) => self.abandon(why, out),
            None => {
                let fragments = std::mem::take(&mut self.fragments);
                if let Some(begun) = self.begun.take() {
                    self.decode(begun, &fragments, out);
                }
            }
        }
    }

    fn decode(&mut self, begun: Begun, block: &[u8], out: &mut impl FnMut(Event<'_>)) {
        let outcome = self.hpack.decode(block, &mut self.head);
        let mut head = self.head.take();
        head.cut = outcome.err().map(Truncation::Compression);
        let Begun { stream, promised, end, first_ns, .. } = begun;
        out(Event::Head(Block { stream, promised, end, first_ns, head }));
    }

    fn interrupted(&mut self, out: &mut impl FnMut(Event<'_>)) {
        self.abandon(Truncation::FieldBlock, out);
        out(Event::Defect(FrameDefect::Interruption));
    }

    /// Abandons the current block, if there is one, unread.
    fn abandon(&mut self, why: Truncation, out: &mut impl FnMut(Event<'_>)) {
        let Some(Begun { stream, promised, end, first_ns, lost }) = self.begun.take() else {
            return;
        };
        self.hpack.forget();
        self.fragments = Vec::new();
        let head = Head::lost(lost.unwrap_or(why));
        out(Event::Head(Block { stream, promised, end, first_ns, head }));
    }

    /// Processes a frame without its payload.
    fn broken(
        &mut self,
        frame: &Frame,
        first_ns: u64,
        why: Truncation,
        out: &mut impl FnMut(Event<'_>),
    ) {
        match frame.kind {
            Kind::Headers => {
                self.abandon(Truncation::FieldBlock, out);
                let end = frame.has(flag::END_STREAM);
                let lost = Some(why);
                self.begun =
                    Some(Begun { stream: frame.stream, promised: None, end, first_ns, lost });
            }
            Kind::Continuation => match &mut self.begun {
                Some(begun) => begun.lost = Some(why),
                None => self.hpack.forget(),
            },
            // The promised stream is unknown.
            Kind::PushPromise => {
                self.hpack.forget();
                return out(Event::Defect(FrameDefect::PushPromise));
            }
            Kind::RstStream => return out(Event::Defect(FrameDefect::RstStream)),
            _ => return,
        }
        if frame.has(flag::END_HEADERS) {
            self.abandon(why, out);
        }
    }
}
