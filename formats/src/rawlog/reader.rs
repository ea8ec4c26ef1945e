//! Reads a raw log: decompresses a frame, verifies it, then returns its records.

use std::io::{ErrorKind, Read};

use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::{
    FORMAT_NAME, FRAME_LIMIT, OPENING_LEN, RECORD_HEAD, VERSION, ZSTD_MAGIC, decode, encode,
    is_raw_log, kind,
};
use crate::io::{Error, RecordReader};
use crate::record::{CaptureInfo, Record};

/// Bytes requested from the input at a time.
const INPUT_LEN: usize = 128 << 10;

/// Growth of the buffer for a frame's contents.
const CONTENTS_STEP: usize = 256 << 10;

/// Bit in a zstd frame's descriptor byte: a checksum follows the contents (RFC 8878 section
/// 3.1.1.1.1.4).
const CHECKSUM_FLAG: u8 = 1 << 2;

/// Returns the records of a raw log.
///
/// Only data verified by a checksum is returned. If a frame is truncated or damaged, its records up
/// to the last valid checkpoint inside it are returned, then [`Error::Damaged`] with the place of
/// the frame. An end of the file on the boundary of a frame is not an error, since a killed
/// recorder leaves such files; see [`Self::is_complete`].
///
/// Memory: one frame, at most 64 MiB of contents.
pub struct RawLogReader<R: Read> {
    input: Input<R>,
    decompressor: DCtx<'static>,
    info: CaptureInfo,
    /// The current frame, from its head to the last verified byte.
    contents: Vec<u8>,
    position: usize,
    frame_offset: u64,
    next_seq: u64,
    complete: bool,
    /// Error to return after the current records.
    failure: Option<Error>,
    ended: bool,
}

impl<R: Read> RawLogReader<R> {
    /// Begins to read a raw log.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the file has another format or an unknown version, [`Error::Damaged`]
    /// if not even the first frame is complete.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut input = Input::new(input);
        let available = input.fill(OPENING_LEN)?;
        check_opening(available)?;
        input.consume(OPENING_LEN);
        let mut reader = Self {
            input,
            decompressor: DCtx::create(),
            info: CaptureInfo::default(),
            contents: Vec::new(),
            position: 0,
            frame_offset: 0,
            next_seq: 0,
            complete: false,
            failure: None,
            ended: false,
        };
        if !reader.next_frame()? {
            return Err(damaged(OPENING_LEN as u64, "the file ends before its first frame"));
        }
        match reader.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(reader),
        }
    }

    /// Returns whether the capture was completed in an orderly way. Valid after the last record;
    /// `false` for a file that was truncated at the boundary of a frame or is still being written.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Returns place and length of the next record's fields in `contents`, and its kind.
    fn advance(&mut self) -> Result<Option<(u8, usize, usize)>, Error> {
        loop {
            let Some((kind, len)) = decode::record_head(&self.contents[self.position..]) else {
                if self.position < self.contents.len() {
                    return Err(damaged(self.frame_offset, "a record longer than its frame"));
                }
                if let Some(failure) = self.failure.take() {
                    return Err(failure);
                }
                if !self.next_frame()? {
                    return Ok(None);
                }
                continue;
            };
            let start = self.position + RECORD_HEAD;
            self.position = start + len;
            match kind {
                kind::END => self.complete = true,
                kind::PROCESS..=kind::STATS | kind::COVERAGE | kind::EXIT => {
                    return Ok(Some((kind, start, len)));
                }
                // Checkpoints, repeated descriptions, and kinds of a later version.
                _ => {}
            }
        }
    }

    /// Decompresses the next frame that has contents. Returns `false` at the end of the file.
    fn next_frame(&mut self) -> Result<bool, Error> {
        loop {
            let offset = self.input.offset;
            let available = self.input.fill(8)?;
            let Some(magic) = available.first_chunk::<4>() else {
                return match available {
                    [] => Ok(false),
                    _ => Err(damaged(offset, "the file ends inside a frame")),
                };
            };
            match u32::from_le_bytes(*magic) {
                ZSTD_MAGIC => {
                    self.frame_offset = offset;
                    self.load_frame()?;
                    return Ok(true);
                }
                0x184D_2A50..=0x184D_2A5F => self.skip_frame(offset)?,
                _ => return Err(damaged(offset, "no frame begins here")),
            }
        }
    }

    /// Skips a skippable frame, such as the seek table.
    fn skip_frame(&mut self, offset: u64) -> Result<(), Error> {
        let available = self.input.fill(8)?;
        let Some([_, _, _, _, len @ ..]) = available.first_chunk::<8>() else {
            return Err(damaged(offset, "the file ends inside a skippable frame"));
        };
        let mut left = 8 + u64::from(u32::from_le_bytes(*len));
        while left > 0 {
            let available = self.input.fill(1)?.len();
            if available == 0 {
                return Err(damaged(offset, "the file ends inside a skippable frame"));
            }
            let skipped = available.min(usize::try_from(left).unwrap_or(available));
            self.input.consume(skipped);
            left -= skipped as u64;
        }
        Ok(())
    }

    /// Decompresses a frame into `contents` and keeps only the verified part; an error in the rest
    /// is stored in `failure`.
    fn load_frame(&mut self) -> Result<(), Error> {
        self.contents.clear();
        self.position = 0;
        if let Err(reason) = self.decompress()? {
            self.failure = Some(damaged(self.frame_offset, reason));
            // The writer sets this number at the end, after the checkpoints.
            encode::set_record_count(&mut self.contents, 0);
            self.contents.truncate(verified_len(&self.contents));
            if self.contents.is_empty() {
                return Ok(());
            }
        }
        let head = decode::frame_head(&self.contents)
            .map_err(|reason| damaged(self.frame_offset, reason))?;
        if head.seq != self.next_seq {
            let reason = format!("frame {} where {} should be", head.seq, self.next_seq);
            return Err(damaged(self.frame_offset, reason));
        }
        self.next_seq += 1;
        self.position = head.len;
        if head.seq == 0 {
            self.info = head.info;
        } else if self.info != head.info {
            return Err(damaged(self.frame_offset, "a frame of another capture"));
        }
        Ok(())
    }

    /// Appends to `contents` as much of the frame as decompresses. The inner result is an error if
    /// the frame is incomplete or its checksum is wrong.
    fn decompress(&mut self) -> Result<Result<(), String>, Error> {
        let descriptor = self.input.fill(5)?.get(4).copied();
        if descriptor.is_some_and(|descriptor| descriptor & CHECKSUM_FLAG == 0) {
            return Ok(Err("a frame without checksum".into()));
        }
        if let Err(code) = self.decompressor.reset(ResetDirective::SessionOnly) {
            return Ok(Err(get_error_name(code).into()));
        }
        loop {
            let available = self.input.fill(1)?;
            let at_end = available.is_empty();
            let written = self.contents.len();
            if written >= FRAME_LIMIT {
                return Ok(Err(format!("a frame larger than {FRAME_LIMIT} bytes")));
            }
            self.contents.reserve(CONTENTS_STEP);
            let mut source = InBuffer::around(available);
            let mut target = OutBuffer::around_pos(&mut self.contents, written);
            let result = self.decompressor.decompress_stream(&mut target, &mut source);
            let consumed = source.pos();
            let produced = self.contents.len() - written;
            self.input.consume(consumed);
            match result {
                Err(code) => return Ok(Err(get_error_name(code).into())),
                Ok(0) => return Ok(Ok(())),
                Ok(_) if at_end && produced == 0 => {
                    return Ok(Err("the file ends inside this frame".into()));
                }
                Ok(_) => {}
            }
        }
    }
}

impl<R: Read> RecordReader for RawLogReader<R> {
    fn info(&self) -> &CaptureInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let (kind, start, len) = match self.advance() {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.ended = true;
                return Ok(None);
            }
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        };
        decode::record(kind, &self.contents[start..start + len]).map_err(|reason| {
            self.ended = true;
            damaged(self.frame_offset, reason)
        })
    }
}

/// Returns the length of the contents verified by checkpoints, for a frame without a valid
/// checksum.
fn verified_len(contents: &[u8]) -> usize {
    let mut verified = 0;
    let Ok(head) = decode::frame_head(contents) else { return 0 };
    let mut position = head.len;
    while let Some((kind, len)) = decode::record_head(&contents[position..]) {
        let start = position + RECORD_HEAD;
        if kind == kind::CHECKPOINT {
            let crc = crc32fast::hash(&contents[verified..position]);
            if decode::checkpoint(&contents[start..start + len]) != Ok(crc) {
                break;
            }
            verified = start + len;
        }
        position = start + len;
    }
    verified
}

fn check_opening(bytes: &[u8]) -> Result<(), Error> {
    let foreign = |reason: String| Error::Foreign { expected: FORMAT_NAME, reason };
    if !is_raw_log(bytes) {
        return Err(foreign("the first bytes differ".into()));
    }
    let Some(&[low, high]) = bytes.get(14..16) else {
        return Err(damaged(bytes.len() as u64, "the file ends inside its opening"));
    };
    match u16::from_le_bytes([low, high]) {
        VERSION => Ok(()),
        other => Err(foreign(format!("version {other}; this program reads only {VERSION}"))),
    }
}

fn damaged(offset: u64, reason: impl Into<String>) -> Error {
    Error::Damaged { offset, reason: reason.into() }
}

/// Buffered input with its place in the file.
struct Input<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Place in the file of `buffer[start]`.
    offset: u64,
}

impl<R: Read> Input<R> {
    fn new(source: R) -> Self {
        let buffer = vec![0; INPUT_LEN].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, offset: 0 }
    }

    /// Returns the buffered bytes, after reading until there are `len` bytes or the input ends.
    fn fill(&mut self, len: usize) -> Result<&[u8], Error> {
        if self.end - self.start < len && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < len {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, len: usize) {
        self.start += len;
        self.offset += len as u64;
    }
}
