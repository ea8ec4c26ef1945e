//! Places of the parts of messages among the bytes of a direction.
//!
//! ```text
//!          +--------------------------- End ---------------------------+
//!          v                                                           |
//!        Start --first byte--> Head --empty line--> AwaitFraming --> body states
//!          ^                    |                        |             |
//!          |     not a head, gap|                        |tunnel       |gap outside of counted
//!          |                    v                        v             |bytes, bad chunk
//!          +-- by the caller -- Lost <----------------- Tunnel         |
//!                               ^--------------------------------------+
//! ```
//!
//! The [`Framer`] stores no bytes. The caller hands it all bytes that it has not consumed yet and
//! receives the length of the next piece, so that two callers that hold bytes in different ways
//! find the same heads and the same content.

use memchr::memchr;

use super::framing::Framing;
use super::lines::{chunk_size, find_end_of_head};
use super::start::{self, Kind};
use crate::texts::texts;

/// The longest head or trailer section. Servers stop at 8 KiB to 256 KiB.
pub const MAX_HEAD: usize = 1 << 20;

/// The longest line with a chunk size, extensions included.
pub const MAX_CHUNK_LINE: usize = 16 << 10;

/// The most requests that wait for their responses: without a captured response direction,
/// responses never come. Clients pipeline a few requests, load generators some hundreds.
pub const MAX_PIPELINE: usize = 1000;

/// The most counted fields of a head or trailer section; each costs the peer two bytes and a reader
/// many more.
pub const MAX_FIELDS: usize = 10_000;

/// A part of a message, by its length: it begins with the bytes passed to [`Framer::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// More bytes are needed.
    More,
    /// Empty lines before a start line (RFC 9112 section 2.2).
    Blank(usize),
    /// A message begins here.
    Begin,
    /// A head, empty line included. [`Framer::set_framing`] must follow.
    Head(usize),
    /// Content. `0` bytes only where `bytes` is empty.
    Content(usize),
    /// A line with the size of a chunk, its extensions included.
    ChunkLine(usize),
    /// The line break after a chunk.
    ChunkEnd(usize),
    /// A trailer section, empty line included.
    Trailers(usize),
    /// The message ended.
    End,
    /// Bytes of another protocol.
    Tunnel(usize),
    /// The bytes are not part of a message, with the reason. Framing is lost until
    /// [`Framer::restart`].
    Lost(Why),
}

texts! {
    /// The reason why framing was lost.
    pub enum Why {
        /// No message begins with these bytes.
        NotAHead => "these bytes are no message of HTTP/1";
        /// The head exceeds [`MAX_HEAD`].
        LongHead => "head is longer than 1 MiB";
        /// The trailer section exceeds [`MAX_HEAD`].
        LongTrailers => "trailer section is longer than 1 MiB";
        /// The line with a chunk size exceeds [`MAX_CHUNK_LINE`].
        LongChunkLine => "line with a chunk size is longer than 16 KiB";
        /// The line holds no chunk size.
        BadChunkSize => "invalid chunk size";
        /// No line break follows a chunk.
        BadChunkEnd => "chunk is longer than its size";
        /// The framing of the last head was never set.
        NoFraming => "the length of the content was never determined";
    }
}

/// The parser's state at the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Between messages.
    Start,
    /// A head whose end is not in the first `scanned` bytes. `started`: the start line is complete
    /// and valid.
    Head {
        /// Bytes without the end.
        scanned: usize,
        /// The start line is complete.
        started: bool,
    },
    /// The head is known, its framing is not.
    AwaitFraming,
    /// Content of known length.
    Length {
        /// Bytes to come.
        left: u64,
    },
    /// A line with a chunk size.
    ChunkSize,
    /// Content of a chunk.
    ChunkData {
        /// Bytes to come.
        left: u64,
    },
    /// The line break after a chunk.
    ChunkEnd,
    /// A trailer section whose end is not in the first `scanned` bytes.
    Trailers {
        /// Bytes without the end.
        scanned: usize,
    },
    /// Content up to the end of the connection.
    UntilClose,
    /// The message is complete.
    Done,
    /// The response to a CONNECT decides.
    Held,
    /// Another protocol.
    Tunnel,
    /// Unknown.
    Lost,
}

/// Effect of missing bytes on the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// `len` missing bytes are content; the message ended with them if `ended`, and `beyond` more
    /// bytes are missing after it.
    Content {
        /// Missing bytes of content.
        len: u64,
        /// The message ended.
        ended: bool,
        /// Missing bytes after the message.
        beyond: u64,
    },
    /// The bytes are missing between messages.
    Between,
    /// The head cannot be read.
    InHead,
    /// The end of the chunked content cannot be found.
    InChunks,
    /// The bytes are missing in another protocol, or before it is recognised.
    InTunnel,
}

/// Follows the messages of one direction.
#[derive(Debug, Clone)]
pub struct Framer {
    kind: Kind,
    state: State,
}

impl Framer {
    /// Returns a framer for bytes that begin with a message.
    pub fn new(kind: Kind) -> Self {
        Self { kind, state: State::Start }
    }

    /// Returns a framer for bytes that begin at an unknown place.
    pub fn lost(kind: Kind) -> Self {
        Self { kind, state: State::Lost }
    }

    /// Returns the kind of message in this direction.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the state at the next byte.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the next piece of `bytes`, which are all bytes after the last piece returned. The
    /// caller removes the piece before the next call.
    pub fn next(&mut self, bytes: &[u8]) -> Piece {
        match self.state {
            State::Done => {
                self.state = State::Start;
                Piece::End
            }
            _ if bytes.is_empty() => Piece::More,
            State::Start => self.start(bytes),
            State::Head { scanned, started } => self.head(bytes, scanned, started),
            State::AwaitFraming => self.lose(Why::NoFraming),
            State::Length { left } => {
                let len = at_most(left, bytes);
                let left = left - len as u64;
                self.state = if left == 0 { State::Done } else { State::Length { left } };
                Piece::Content(len)
            }
            State::ChunkData { left } => {
                let len = at_most(left, bytes);
                let left = left - len as u64;
                self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData { left } };
                Piece::Content(len)
            }
            State::ChunkSize => self.chunk_line(bytes),
            State::ChunkEnd => match bytes {
                [b'\n', ..] => self.chunk_ended(1),
                [b'\r', b'\n', ..] => self.chunk_ended(2),
                [b'\r'] => Piece::More,
                _ => self.lose(Why::BadChunkEnd),
            },
            State::Trailers { scanned } => self.trailers(bytes, scanned),
            State::UntilClose => Piece::Content(bytes.len()),
            State::Tunnel => Piece::Tunnel(bytes.len()),
            State::Held | State::Lost => Piece::More,
        }
    }

    /// Sets the framing of the head that was returned last.
    pub fn set_framing(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
            Framing::AwaitResponse => State::Held,
        };
    }

    /// Skips a head that the caller read itself; the framing follows.
    pub fn head_was_read(&mut self) {
        self.state = State::AwaitFraming;
    }

    /// Restarts at bytes that begin with a message, or with empty lines before a message.
    pub fn restart(&mut self) {
        self.state = State::Start;
    }

    /// Begins a message at the next byte, which is not part of an empty line.
    pub fn begin(&mut self) {
        self.state = State::Head { scanned: 0, started: false };
    }

    /// Treats all further bytes as another protocol.
    pub fn tunnel(&mut self) {
        self.state = State::Tunnel;
    }

    /// Marks the place of the next message as unknown.
    pub fn search(&mut self) {
        self.state = State::Lost;
    }

    /// Processes `len` missing bytes. Bytes that were passed in and not consumed are lost too.
    pub fn gap(&mut self, len: u64) -> Missing {
        let (missing, state) = match self.state {
            State::Length { left } if len < left => {
                let missing = Missing::Content { len, ended: false, beyond: 0 };
                (missing, State::Length { left: left - len })
            }
            State::Length { left } => {
                let missing = Missing::Content { len: left, ended: true, beyond: len - left };
                (missing, if len == left { State::Start } else { State::Lost })
            }
            State::ChunkData { left } if len <= left => {
                let state = match left - len {
                    0 => State::ChunkEnd,
                    left => State::ChunkData { left },
                };
                (Missing::Content { len, ended: false, beyond: 0 }, state)
            }
            State::UntilClose => {
                (Missing::Content { len, ended: false, beyond: 0 }, State::UntilClose)
            }
            State::Tunnel | State::Held => (Missing::InTunnel, self.state),
            State::Start | State::Done | State::Lost => (Missing::Between, State::Lost),
            State::Head { .. } => (Missing::InHead, State::Lost),
            State::AwaitFraming
            | State::ChunkSize
            | State::ChunkData { .. }
            | State::ChunkEnd
            | State::Trailers { .. } => (Missing::InChunks, State::Lost),
        };
        self.state = state;
        missing
    }

    fn lose(&mut self, why: Why) -> Piece {
        self.state = State::Lost;
        Piece::Lost(why)
    }

    fn start(&mut self, bytes: &[u8]) -> Piece {
        let blank = bytes.iter().take_while(|octet| b"\r\n".contains(octet)).count();
        if blank > 0 {
            return Piece::Blank(blank);
        }
        self.begin();
        Piece::Begin
    }

    fn head(&mut self, bytes: &[u8], scanned: usize, started: bool) -> Piece {
        if let Some(len) = find_end_of_head(bytes, scanned) {
            let is_head = started || start::may_be_head(self.kind, &bytes[..len]);
            if !is_head || len > MAX_HEAD {
                return self.lose(if is_head { Why::LongHead } else { Why::NotAHead });
            }
            self.state = State::AwaitFraming;
            return Piece::Head(len);
        }
        if bytes.len() > MAX_HEAD {
            return self.lose(Why::LongHead);
        }
        // The start line is not judged again for each further line: it may be long.
        if !started && !start::may_be_head(self.kind, bytes) {
            return self.lose(Why::NotAHead);
        }
        let started = started || memchr(b'\n', bytes).is_some();
        self.state = State::Head { scanned: bytes.len(), started };
        Piece::More
    }

    fn chunk_line(&mut self, bytes: &[u8]) -> Piece {
        let Some(end) = memchr(b'\n', bytes) else {
            return match bytes.len() > MAX_CHUNK_LINE {
                true => self.lose(Why::LongChunkLine),
                false => Piece::More,
            };
        };
        self.state = match chunk_size(&bytes[..end]) {
            None => return self.lose(Why::BadChunkSize),
            Some(0) => State::Trailers { scanned: 0 },
            Some(left) => State::ChunkData { left },
        };
        Piece::ChunkLine(end + 1)
    }

    fn chunk_ended(&mut self, len: usize) -> Piece {
        self.state = State::ChunkSize;
        Piece::ChunkEnd(len)
    }

    fn trailers(&mut self, bytes: &[u8], scanned: usize) -> Piece {
        let len = match bytes {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => return Piece::More,
            _ => match find_end_of_head(bytes, scanned) {
                Some(len) => len,
                None if bytes.len() > MAX_HEAD => return self.lose(Why::LongTrailers),
                None => {
                    self.state = State::Trailers { scanned: bytes.len() };
                    return Piece::More;
                }
            },
        };
        self.state = State::Done;
        Piece::Trailers(len)
    }
}

fn at_most(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all pieces of `bytes`, which arrive in parts of `len`.
    fn pieces(kind: Kind, framing: Framing, bytes: &[u8], len: usize) -> Vec<(Piece, Vec<u8>)> {
        let (mut framer, mut held) = (Framer::new(kind), Vec::new());
        let mut all: Vec<(Piece, Vec<u8>)> = Vec::new();
        for part in bytes.chunks(len) {
            held.extend_from_slice(part);
            loop {
                let piece = framer.next(&held);
                let taken = match piece {
                    Piece::More => break,
                    Piece::Begin | Piece::End | Piece::Lost(_) => 0,
                    Piece::Head(len) => {
                        framer.set_framing(framing);
                        len
                    }
                    Piece::Blank(len)
                    | Piece::Content(len)
                    | Piece::ChunkLine(len)
                    | Piece::ChunkEnd(len)
                    | Piece::Trailers(len)
                    | Piece::Tunnel(len) => len,
                };
                let taken: Vec<u8> = held.drain(..taken).collect();
                match (all.last_mut(), piece) {
                    (Some((Piece::Content(_), text)), Piece::Content(_))
                    | (Some((Piece::Blank(_), text)), Piece::Blank(_)) => text.extend(taken),
                    _ => all.push((piece, taken)),
                }
            }
        }
        all
    }

    #[test]
    fn pieces_do_not_depend_on_the_split_of_bytes() {
        let chunked =
            b"\r\nPOST / HTTP/1.1\r\nA: b\r\n\r\n5;x\r\nhello\r\n3\nabc\n0\r\nT: u\r\n\r\nGET";
        let counted = b"GET / HTTP/1.1\n\nhello\n\nGET / HTTP/1.1\r\n\r\nhel";
        let lost = b"POST / HTTP/1.1\r\n\r\n3\r\nabcd";
        for (framing, bytes) in [
            (Framing::Chunked, &chunked[..]),
            (Framing::Length(5), counted),
            (Framing::Chunked, lost),
            (Framing::UntilClose, counted),
            (Framing::Tunnel, b"CONNECT a HTTP/1.1\r\n\r\n"),
        ] {
            let strip = |all: Vec<(Piece, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
                let name =
                    |piece: &Piece| format!("{piece:?}").split('(').next().unwrap().to_owned();
                all.iter().map(|(piece, text)| (name(piece), text.clone())).collect()
            };
            let whole = strip(pieces(Kind::Request, framing, bytes, bytes.len()));
            assert!(whole.len() >= 2, "{whole:?}");
            for len in 1..bytes.len() {
                assert_eq!(strip(pieces(Kind::Request, framing, bytes, len)), whole, "{len}");
            }
        }
    }

    #[test]
    fn parts_beyond_their_bounds_lose_the_framing() {
        let long = [b"GET / HTTP/1.1\r\nA: ", &vec![b'x'; MAX_HEAD][..], b"\r\n\r\n"].concat();
        let mut framer = Framer::new(Kind::Request);
        assert_eq!(framer.next(&long), Piece::Begin);
        assert_eq!(framer.clone().next(&long[..MAX_HEAD + 1]), Piece::Lost(Why::LongHead));
        assert_eq!(framer.next(&long[..MAX_HEAD]), Piece::More);
        assert_eq!(framer.next(&long), Piece::Lost(Why::LongHead));
        for (bytes, why) in [(&b"4;"[..], Why::LongChunkLine), (b"0\r\nA: ", Why::LongTrailers)] {
            let mut framer = Framer { kind: Kind::Request, state: State::ChunkSize };
            let bytes = [bytes, &vec![b'x'; MAX_HEAD]].concat();
            let mut rest = &bytes[..];
            if let Piece::ChunkLine(len) = framer.next(rest) {
                rest = &rest[len..];
                assert_eq!(framer.next(&rest[..100]), Piece::More);
                assert_eq!(framer.next(rest), Piece::Lost(why));
            } else {
                assert_eq!(framer.state(), State::Lost);
                let mut framer = Framer { kind: Kind::Request, state: State::ChunkSize };
                assert_eq!(framer.next(&rest[..MAX_CHUNK_LINE]), Piece::More);
                assert_eq!(framer.next(&rest[..MAX_CHUNK_LINE + 1]), Piece::Lost(why));
            }
        }
    }

    #[test]
    fn missing_bytes_of_content_keep_the_framing() {
        let content = |len, ended, beyond| Missing::Content { len, ended, beyond };
        for (state, len, missing, after) in [
            (State::Length { left: 5 }, 3, content(3, false, 0), State::Length { left: 2 }),
            (State::Length { left: 5 }, 5, content(5, true, 0), State::Start),
            (State::Length { left: 5 }, 7, content(5, true, 2), State::Lost),
            (State::ChunkData { left: 5 }, 5, content(5, false, 0), State::ChunkEnd),
            (State::ChunkData { left: 5 }, 4, content(4, false, 0), State::ChunkData { left: 1 }),
            (State::ChunkData { left: 5 }, 6, Missing::InChunks, State::Lost),
            (State::ChunkEnd, 1, Missing::InChunks, State::Lost),
            (State::UntilClose, 9, content(9, false, 0), State::UntilClose),
            (State::Tunnel, 9, Missing::InTunnel, State::Tunnel),
            (State::Start, 9, Missing::Between, State::Lost),
            (State::Head { scanned: 4, started: true }, 1, Missing::InHead, State::Lost),
        ] {
            let mut framer = Framer { kind: Kind::Response, state };
            assert_eq!((framer.gap(len), framer.state()), (missing, after), "{state:?} {len}");
        }
    }
}
