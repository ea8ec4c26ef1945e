//! A connection of HTTP/2 with secrets in it: interleaved streams, and field blocks with all kinds
//! of strings, tables, padding and continuations.

use sslrec_formats::record::Direction;
use sslrec_redact_testing::http2::{frame, integer, string};
use sslrec_wire::http2::frame::{self as frames, Frame, Kind, PREFACE};
use sslrec_wire::http2::hpack::{Decoder, Defect, Sink};

use super::{Calls, Half, Planter, SECRET, Source, assert_clean};

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// The size of the table that an encoder may use without asking (RFC 7541 section 4.2).
const TABLE: usize = 4096;

type Fields = Vec<(&'static str, Vec<u8>)>;

/// Returns the calls of both ends.
pub(super) fn calls(planter: &Planter, source: &mut Source<'_>) -> Calls {
    let sent = [PREFACE, &Sender::new(planter, source, true).run()[..]].concat();
    let received = Sender::new(planter, source, false).run();
    vec![(Direction::Sent, sent), (Direction::Received, received)]
}

/// The sender of an end.
struct Sender<'p, 's, 'b> {
    planter: &'p Planter,
    source: &'s mut Source<'b>,
    requests: bool,
    /// The encoder's table, the newest entry last.
    table: Fields,
    table_bytes: usize,
    /// Unfinished streams, and the rest of their contents.
    open: Vec<(u32, Vec<u8>)>,
    out: Vec<u8>,
}

impl<'p, 's, 'b> Sender<'p, 's, 'b> {
    fn new(planter: &'p Planter, source: &'s mut Source<'b>, requests: bool) -> Self {
        let (table, open) = (Vec::new(), Vec::new());
        Self { planter, source, requests, table, table_bytes: 0, open, out: Vec::new() }
    }

    fn run(mut self) -> Vec<u8> {
        self.frame(4, 0, 0, &[]);
        let mut next = 1;
        for _ in 0..30 {
            if self.source.rest.is_empty() {
                break;
            }
            match self.source.below(8) {
                0..3 => {
                    self.open(next);
                    next += 2;
                }
                3..6 => self.data(),
                6 => self.trailers(),
                _ => self.other(),
            }
        }
        while !self.open.is_empty() {
            self.data();
        }
        self.out
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.extend(frame(kind, flags, stream, payload));
    }

    /// Sends a head, with or without contents to follow; before it perhaps a promise or an interim
    /// head.
    fn open(&mut self, stream: u32) {
        if !self.requests && self.source.one_in(4) {
            let fields = self.planter.fields(self.source);
            let block = self.block(&fields);
            let promised = [&(stream + 1).to_be_bytes()[..], &block].concat();
            self.head(5, 0, stream, &promised, 4);
        }
        let mut fields = self.planter.fields(self.source);
        let mut contents = Vec::new();
        if self.source.one_in(2) {
            let (text, kind) = self.planter.contents(self.source);
            fields.push(("content-type", kind.into()));
            contents = text;
        }
        if self.requests {
            fields.insert(0, (":path", self.planter.target(self.source)));
        } else {
            fields.insert(0, (":status", b"200".to_vec()));
        }
        let block = self.block(&fields);
        let end = contents.is_empty();
        self.head(1, if end { END_STREAM } else { 0 }, stream, &block, 0);
        if !end {
            self.open.push((stream, contents));
        }
    }

    /// Sends a field block in any allowed number of frames. Its first octets may have to stay
    /// together.
    fn head(&mut self, kind: u8, flags: u8, stream: u32, block: &[u8], together: usize) {
        let parts = 1 + self.source.below(3);
        let mut rest = block;
        for part in 0..parts {
            let is_last = part + 1 == parts;
            let cut = if is_last { rest.len() } else { self.source.below(rest.len() + 1) };
            let (now, later) = rest.split_at(if part == 0 { cut.max(together) } else { cut });
            rest = later;
            let end = if is_last { END_HEADERS } else { 0 };
            if part > 0 {
                self.frame(9, end, stream, now);
                continue;
            }
            let (mut before, mut after, mut more) = (Vec::new(), Vec::new(), 0);
            if self.source.one_in(3) {
                after = vec![0; self.source.below(20)];
                before.push(after.len() as u8);
                more |= PADDED;
            }
            if kind == 1 && self.source.one_in(3) {
                before.extend([0, 0, 0, 0, 15]);
                more |= PRIORITY;
            }
            self.frame(kind, flags | more | end, stream, &[&before, now, &after].concat());
        }
    }

    /// Sends a piece of the contents of some stream.
    fn data(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.source.below(self.open.len());
        let (stream, rest) = &mut self.open[at];
        let (stream, len) = (*stream, (1 + self.source.below(60)).min(rest.len()));
        let mut payload: Vec<u8> = rest.drain(..len).collect();
        let mut flags = 0;
        if rest.is_empty() {
            self.open.swap_remove(at);
            flags |= END_STREAM;
        }
        if self.source.one_in(4) {
            let padding = self.source.below(20);
            payload.insert(0, padding as u8);
            payload.extend(vec![0; padding]);
            flags |= PADDED;
        }
        self.frame(0, flags, stream, &payload);
    }

    /// Sends the rest of some stream; the caller must end it. A secret that was only begun may be
    /// too short to be found.
    fn flush(&mut self) -> Option<u32> {
        let (stream, contents) = self.open.pop()?;
        self.frame(0, 0, stream, &contents);
        Some(stream)
    }

    fn trailers(&mut self) {
        let Some(stream) = self.flush() else { return };
        let fields = self.planter.fields(self.source);
        let block = self.block(&fields);
        self.head(1, END_STREAM, stream, &block, 0);
    }

    /// Sends a frame without secrets: PING, WINDOW_UPDATE, SETTINGS, PRIORITY, an unknown kind, or
    /// the end of a stream.
    fn other(&mut self) {
        match self.source.below(6) {
            0 => self.frame(6, 0, 0, &[7; 8]),
            1 => self.frame(8, 0, 0, &[0, 0, 1, 0]),
            2 => self.frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
            3 => self.frame(2, 0, 1, &[0, 0, 0, 0, 15]),
            4 => {
                let text = self.source.text();
                self.frame(0x77, 0, 0, &text);
            }
            _ => {
                if let Some(stream) = self.flush() {
                    self.frame(3, 0, stream, &[0, 0, 0, 8]);
                }
            }
        }
    }

    fn block(&mut self, fields: &Fields) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            self.field(name, value, &mut block);
        }
        block
    }

    /// RFC 7541 section 6.
    fn field(&mut self, name: &'static str, value: &[u8], block: &mut Vec<u8>) {
        // The first entry after the 61 of the static table is the newest.
        let index = |at: usize| 61 + self.table.len() - at;
        let same = self.table.iter().position(|(n, v)| *n == name && v == value);
        let form = self.source.below(4);
        if let (0, Some(at)) = (form, same) {
            return integer(0x80, 7, index(at), block);
        }
        let named = self.table.iter().position(|(n, _)| *n == name).map(index);
        let size = name.len() + value.len() + 32;
        let fits = self.table_bytes + size <= TABLE;
        let (pattern, prefix) = match form {
            0 | 1 if fits => (0x40, 6),
            2 => (0x10, 4),
            _ => (0, 4),
        };
        match named.filter(|_| self.source.one_in(2)) {
            Some(index) => integer(pattern, prefix, index, block),
            None => {
                block.push(pattern);
                self.string(name.as_bytes(), block);
            }
        }
        self.string(value, block);
        if pattern == 0x40 {
            self.table.push((name, value.to_vec()));
            self.table_bytes += size;
        }
    }

    fn string(&mut self, text: &[u8], block: &mut Vec<u8>) {
        // If bytes are missing, secrets are searched in undecoded bytes.
        string(text, !self.source.plain && self.source.one_in(2), block);
    }
}

/// The contents of a direction: fields, and all contents together.
#[derive(Default)]
struct Said {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    contents: Vec<u8>,
}

impl Sink for Said {
    fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let known = |part: Option<&[u8]>| part.expect("nothing is missing").to_vec();
        self.fields.push((known(name), known(value)));
    }

    fn defect(&mut self, defect: Defect) {
        panic!("{defect}");
    }

    fn table_size(&mut self, _: usize) {}
}

fn read(bytes: &[u8]) -> Said {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let (mut decoder, mut said, mut block) = (Decoder::new(), Said::default(), Vec::new());
    while let Some(frame) = Frame::read(rest) {
        let (payload, tail) = rest[9..].split_at(frame.len as usize);
        rest = tail;
        let part = match frame.kind {
            Kind::Headers => frames::headers(&frame, payload),
            Kind::PushPromise => frames::push_promise(&frame, payload).map(|(_, part)| part),
            Kind::Continuation => Some(payload),
            Kind::Data => {
                said.contents.extend(frames::unpad(&frame, payload).expect("padding fits"));
                continue;
            }
            _ => continue,
        };
        block.extend(part.expect("a block fits"));
        if frame.has(END_HEADERS) {
            decoder.decode(&std::mem::take(&mut block), &mut said).expect("a sound block");
        }
    }
    assert!(rest.is_empty());
    said
}

/// Asserts that the redacted direction reads as before, field by field, except for secrets.
pub(super) fn check(before: &[u8], after: &Half) {
    if after.gaps {
        return assert_clean(&after.bytes);
    }
    // Huffman code may have two such letters by chance; decoded texts are searched below.
    let whole = after.bytes.windows(SECRET.len()).position(|part| part == SECRET.as_bytes());
    assert_eq!(whole, None, "{}", after.bytes.escape_ascii());
    assert_eq!(before.len(), after.bytes.len());
    let (before, after) = (read(before), read(&after.bytes));
    assert_eq!(before.contents.len(), after.contents.len());
    assert_clean(&after.contents);
    assert_eq!(before.fields.len(), after.fields.len());
    for ((name, old), (same, new)) in before.fields.iter().zip(&after.fields) {
        assert_eq!((name, old.len()), (same, new.len()));
        assert_clean(new);
    }
}
