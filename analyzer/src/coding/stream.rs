//! Undoes content codings as the bytes arrive, for bodies that are read before their end.
//!
//! Output that the sender flushed is returned at once. The limits are those of complete bodies, and
//! apply to all output so far. The output counts towards the limit of decoded contents, and the
//! windows of the decoders towards the memory: many streams can be open at a time. After damage or
//! a gap there is no further output.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::decoders::{ZSTD_WINDOW_LOG, is_zlib};
use super::{Coding, Stop, codings, limit, names};
use crate::budget::{Budget, Charge, Share};
use crate::exchange::Fields;
use crate::exchange::note::Fault;

/// Number of bytes that the brotli decoder returns at a time.
const BROTLI_STEP: usize = 8 << 10;

/// The most that a piece of a body is decoded to: the output is held as a whole.
const MAX_STEP: usize = 32 << 20;

/// Approximate memory of a decoder beside its window.
const STATE: usize = 64 << 10;

/// Decodes the content codings of a body in pieces.
pub(crate) struct StreamDecoder {
    /// The decoders, starting with the coding that was applied last.
    stages: Vec<Stage>,
    taken: usize,
    given: usize,
    budget: Budget,
    held: Charge,
}

impl std::fmt::Debug for StreamDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamDecoder").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl StreamDecoder {
    /// Returns a decoder for a message with these fields; `None` if it has no coding. `transfer`:
    /// it can have transfer codings.
    ///
    /// # Errors
    /// A coding is unknown, or there are too many codings.
    pub(crate) fn of(
        headers: &Fields,
        transfer: bool,
        budget: &Budget,
    ) -> Result<Option<Self>, Fault> {
        let names = names(headers, transfer);
        if names.is_empty() {
            return Ok(None);
        }
        let stage = |coding| Stage { coding, decoder: None, head: Vec::new(), given: 0 };
        let stages = codings(&names)?.into_iter().rev().map(stage).collect();
        let (budget, held) = (budget.clone(), budget.charge(Share::Contents));
        Ok(Some(Self { stages, taken: 0, given: 0, budget, held }))
    }

    /// Returns the limit of decoded contents, if it is reached.
    pub(crate) fn ended(&self) -> Option<u64> {
        (self.budget.decoded_left() == 0).then(|| self.budget.max_decoded())
    }

    /// Decodes bytes. An error ends the decoding, and comes with the output before it.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<Fault>) {
        self.taken = self.taken.saturating_add(bytes.len());
        let left = usize::try_from(self.budget.decoded_left()).unwrap_or(usize::MAX);
        let room = limit(self.taken).saturating_sub(self.given).min(MAX_STEP).min(left);
        let mut fault = None;
        let mut decoded: Option<Vec<u8>> = None;
        for stage in &mut self.stages {
            let (output, stop) = stage.push(decoded.as_deref().unwrap_or(bytes), room);
            if let Some(stop) = stop {
                let len = self.given + output.len();
                fault.get_or_insert_with(|| stop.fault(stage.coding, len));
            }
            decoded = Some(output);
        }
        let output = decoded.unwrap_or_default();
        self.given = self.given.saturating_add(output.len());
        self.budget.count_decoded(output.len());
        if fault.is_none() && !self.count() {
            let coding = self.stages.last().map_or(Coding::Gzip, |stage| stage.coding);
            fault = Some(Stop::Limit.fault(coding, self.given));
        }
        (output, fault)
    }

    /// Counts the memory of the decoders. Returns whether there is room.
    fn count(&mut self) -> bool {
        let now = self.stages.iter().map(Stage::memory).sum::<usize>();
        let more = now.saturating_sub(self.held.bytes());
        more == 0 || self.held.grow(more)
    }
}

/// A coding.
struct Stage {
    coding: Coding,
    decoder: Option<Decoder>,
    /// The first bytes, until they determine the decoder.
    head: Vec<u8>,
    /// Length of the output so far.
    given: usize,
}

enum Decoder {
    Gzip(MultiGzDecoder<Room>),
    Zlib(ZlibDecoder<Room>),
    Deflate(DeflateDecoder<Room>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Room>>),
    Zstd(zstd::stream::write::Decoder<'static, Room>),
}

impl Stage {
    /// Returns the approximate memory of the decoder: its window takes memory only as far as there
    /// was output.
    fn memory(&self) -> usize {
        let window = match self.coding {
            Coding::Gzip | Coding::Deflate => 0,
            // The largest window of RFC 7932 section 9.1.
            Coding::Brotli => 16 << 20,
            Coding::Zstd => 1 << ZSTD_WINDOW_LOG,
        };
        STATE + self.given.min(window)
    }

    fn push(&mut self, bytes: &[u8], room: usize) -> (Vec<u8>, Option<Stop>) {
        let head = std::mem::take(&mut self.head);
        let joined;
        let mut input = bytes;
        if !head.is_empty() {
            joined = [&head[..], bytes].concat();
            input = &joined;
        }
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            // Two bytes distinguish the zlib format from a bare stream.
            None if self.coding == Coding::Deflate && input.len() < 2 => {
                self.head = input.to_vec();
                return (Vec::new(), None);
            }
            none => match Decoder::new(self.coding, input) {
                Ok(decoder) => none.insert(decoder),
                Err(error) => return (Vec::new(), Some(Stop::Damaged(error.to_string()))),
            },
        };
        decoder.room().left = room;
        let done = decoder.write(input);
        let room = decoder.room();
        let output = std::mem::take(&mut room.bytes);
        self.given = self.given.saturating_add(output.len());
        let stop = match done {
            Ok(()) => None,
            Err(_) if room.full => Some(Stop::Limit),
            // The decoder takes no more input: it has reached its end.
            Err(error) if error.kind() == io::ErrorKind::WriteZero => Some(Stop::Ended),
            Err(error) => Some(Stop::Damaged(error.to_string())),
        };
        (output, stop)
    }
}

impl Decoder {
    fn new(coding: Coding, head: &[u8]) -> io::Result<Self> {
        let room = Room::default();
        Ok(match coding {
            Coding::Gzip => Decoder::Gzip(MultiGzDecoder::new(room)),
            Coding::Deflate if is_zlib(head) => Decoder::Zlib(ZlibDecoder::new(room)),
            Coding::Deflate => Decoder::Deflate(DeflateDecoder::new(room)),
            Coding::Brotli => Decoder::Brotli(Box::new(
                brotli_decompressor::DecompressorWriter::new(room, BROTLI_STEP),
            )),
            Coding::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(room)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Decoder::Zstd(decoder)
            }
        })
    }

    fn room(&mut self) -> &mut Room {
        match self {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zlib(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// Writes bytes and flushes all available output.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // On damage, the brotli decoder withholds its output of the same write, so that the result
        // would depend on the size of the writes. So it is given single bytes.
        let (writer, piece): (&mut dyn Write, usize) = match self {
            Decoder::Gzip(decoder) => (decoder, bytes.len()),
            Decoder::Zlib(decoder) => (decoder, bytes.len()),
            Decoder::Deflate(decoder) => (decoder, bytes.len()),
            Decoder::Brotli(decoder) => (decoder, 1),
            Decoder::Zstd(decoder) => (decoder, bytes.len()),
        };
        let written = bytes.chunks(piece.max(1)).try_for_each(|piece| writer.write_all(piece));
        // Flush after damage too: earlier output may still be in the decoder.
        let flushed = writer.flush();
        written.and(flushed)
    }
}

/// Collects the output of a decoder, up to a limit.
#[derive(Default)]
struct Room {
    bytes: Vec<u8>,
    left: usize,
    /// The output exceeded the limit.
    full: bool,
}

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            self.full = true;
            self.left = 0;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.left -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use flate2::Compression;

    use super::*;
    use crate::budget::Limits;

    fn headers(codings: &str) -> Fields {
        let mut headers = Fields::default();
        headers.push(b"content-encoding", codings.as_bytes());
        headers
    }

    fn decoder(codings: &str) -> StreamDecoder {
        let budget = Budget::new(Limits::DEFAULT);
        StreamDecoder::of(&headers(codings), false, &budget).unwrap().unwrap()
    }

    /// Encodes texts, each flushed separately. Returns the offsets of their ends too.
    fn flushed<W: Write>(
        mut encoder: W,
        texts: &[&str],
        len: impl Fn(&mut W) -> usize,
    ) -> (W, Vec<usize>) {
        let mut ends = Vec::new();
        for text in texts {
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.flush().unwrap();
            ends.push(len(&mut encoder));
        }
        (encoder, ends)
    }

    fn encoded(coding: &str, texts: &[&str]) -> (Vec<u8>, Vec<usize>) {
        let level = Compression::default();
        match coding {
            "gzip" => {
                let encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                let (encoder, ends) = flushed(encoder, texts, |e| e.get_ref().len());
                (encoder.finish().unwrap(), ends)
            }
            "deflate" => {
                let encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                let (encoder, ends) = flushed(encoder, texts, |e| e.get_ref().len());
                (encoder.finish().unwrap(), ends)
            }
            "br" => {
                let encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 18);
                let (encoder, ends) = flushed(encoder, texts, |e| e.get_ref().len());
                (encoder.into_inner(), ends)
            }
            _ => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                let (encoder, ends) = flushed(encoder, texts, |e| e.get_ref().len());
                (encoder.finish().unwrap(), ends)
            }
        }
    }

    const TEXTS: [&str; 3] = ["data: one\n\n", "data: two\n\n", "data: three and more\n\n"];

    #[test]
    fn flushed_data_is_returned_at_once_however_it_is_split() {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let (bytes, ends) = encoded(coding, &TEXTS);
            for split in 1..=bytes.len() {
                let mut decoder = decoder(coding);
                let mut output = Vec::new();
                let mut taken = 0;
                for piece in bytes.chunks(split) {
                    let (more, problem) = decoder.push(piece);
                    assert_eq!(problem, None, "{coding} {split}");
                    output.extend(more);
                    taken += piece.len();
                    for (text, end) in ends.iter().enumerate() {
                        let want: usize = TEXTS[..=text].iter().map(|text| text.len()).sum();
                        assert!(taken < *end || output.len() >= want, "{coding} {split} {taken}");
                    }
                }
                assert_eq!(output, TEXTS.concat().as_bytes(), "{coding} {split}");
            }
        }
    }

    /// Found by fuzzing: the number of bytes before the damage depended on where calls ended.
    #[test]
    fn damage_is_reported_alike_however_it_is_split() {
        let (mut bytes, _) = encoded("gzip", &TEXTS);
        let checksum = bytes.len() - 8;
        bytes[checksum] ^= 1;
        // The end of the stream is detected once more data follows.
        bytes.extend(b"more");
        let problem = |split: usize| {
            let mut decoder = decoder("gzip");
            bytes.chunks(split).find_map(|piece| decoder.push(piece).1).unwrap()
        };
        let whole = problem(bytes.len());
        assert!(matches!(whole, Fault::Damaged("gzip", 44, _)), "{whole}");
        for split in 1..bytes.len() {
            assert_eq!(problem(split), whole, "{split}");
        }
    }

    /// Found by fuzzing: the output of brotli before the damage was not always returned.
    #[test]
    fn output_before_damage_is_the_same_however_it_is_split() {
        let (whole, _) = encoded("br", &TEXTS);
        let mut damaged = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let decode = |split: usize| {
                let (mut decoder, mut output) = (decoder("br"), Vec::new());
                let problem = bytes.chunks(split).find_map(|piece| {
                    let (more, problem) = decoder.push(piece);
                    output.extend(more);
                    problem
                });
                (output, problem)
            };
            let once = decode(bytes.len());
            damaged += usize::from(once.1.is_some());
            for split in [1, 2, 3, 7] {
                assert_eq!(decode(split), once, "{at} {split}");
            }
        }
        assert!(damaged > 20, "{damaged}");
    }

    #[test]
    fn chains_damage_and_bombs() {
        let (inner, _) = encoded("gzip", &TEXTS);
        let mut outer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        outer.write_all(&inner).unwrap();
        let bytes = outer.finish().unwrap();
        let mut chain = decoder("gzip, zstd");
        let output: Vec<u8> = bytes.chunks(7).flat_map(|piece| chain.push(piece).0).collect();
        assert_eq!(output, TEXTS.concat().as_bytes());

        for coding in ["gzip", "deflate", "br", "zstd"] {
            let (_, problem) = decoder(coding).push(&[0xff; 64]);
            assert!(matches!(problem, Some(Fault::OtherCoding(_))), "{coding}");
            let zeros = "\0".repeat(1 << 20);
            let (bomb, _) = encoded(coding, &[&*zeros; 20]);
            let mut decoder = decoder(coding);
            let mut len = 0;
            let problem = bomb.chunks(1000).find_map(|piece| {
                let (output, problem) = decoder.push(piece);
                len += output.len();
                problem
            });
            let problem = problem.unwrap_or_else(|| panic!("{coding}: {len} of {}", bomb.len()));
            assert!(matches!(problem, Fault::Limit(..)), "{coding}: {problem}");
            assert!(len <= 17 << 20, "{coding}: {len}");
        }
        let mut headers = Fields::default();
        headers.push(b"content-encoding", b"rot13");
        let budget = Budget::new(Limits::DEFAULT);
        let fault = StreamDecoder::of(&headers, false, &budget).unwrap_err();
        assert!(fault.to_string().contains("rot13"));
    }

    /// Returns a body of this many zeros.
    fn zeros(len: usize) -> Vec<u8> {
        zstd::bulk::compress(&vec![0; len], 1).unwrap()
    }

    #[test]
    fn windows_count_towards_the_memory_as_far_as_there_was_output() {
        // 6/16 of the memory are for contents: 12 MiB.
        let budget = Budget::new(Limits { max_memory: 32 << 20, max_decoded: u64::MAX });
        let decoder = || StreamDecoder::of(&headers("zstd"), false, &budget).unwrap().unwrap();
        let body = zeros(5 << 20);
        let mut open: Vec<_> = (0..3).map(|_| decoder()).collect();
        let faults: Vec<_> = open.iter_mut().map(|decoder| decoder.push(&body).1).collect();
        assert_eq!(faults[..2], [None, None]);
        let fault = faults[2].as_ref().unwrap().to_string();
        assert_eq!(fault, "more than 5.0M of zstd; the rest is not decoded");
        assert!(open.iter().all(|decoder| decoder.ended().is_none()));
        // Memory is given back, and gzip has no such window.
        drop(open);
        assert_eq!(decoder().push(&body).1, None);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&vec![0; 5 << 20]).unwrap();
        let gzip = gzip.finish().unwrap();
        for _ in 0..20 {
            let decoder = StreamDecoder::of(&headers("gzip"), false, &budget).unwrap().unwrap();
            let decoder = Box::leak(Box::new(decoder));
            assert_eq!(decoder.push(&gzip).1, None);
        }
    }

    #[test]
    fn output_counts_towards_the_limit_of_decoded_contents() {
        let budget = Budget::new(Limits { max_decoded: 2500, ..Limits::DEFAULT });
        let decoder = || StreamDecoder::of(&headers("zstd"), false, &budget).unwrap().unwrap();
        let (mut first, mut second, mut third) = (decoder(), decoder(), decoder());
        let body = zeros(1000);
        assert_eq!((first.push(&body).0.len(), first.ended()), (1000, None));
        assert_eq!((second.push(&body).0.len(), second.ended()), (1000, None));
        let (output, fault) = third.push(&zeros(3000));
        assert!(output.len() <= 500 && fault.is_some(), "{} {fault:?}", output.len());
        assert_eq!(budget.decoded_left(), 500 - output.len() as u64);
    }
}
