//! Splits a file into blocks and keeps the place of each block.
//!
//! The crate `pcap-file` parses blocks, but its errors have no place in the file, and a report of
//! damage needs the place.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use pcap_file::Endianness;
use pcap_file::pcapng::PcapNgParser;
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::{Block, SECTION_HEADER_BLOCK};

use super::comment::pairs::Pairs;
use super::comment::read;
use super::{FORMAT_NAME, VERSION};
use crate::io::Error;
use crate::record::CaptureInfo;

/// Bytes requested from the input at a time.
const INPUT_LEN: usize = 256 << 10;

/// Length beyond which a block is damaged: blocks of sslrec are below 128 KiB.
const BLOCK_LIMIT: usize = 16 << 20;

/// Part of a block that is read before more memory is allocated for it, as its length may be wrong.
const BLOCK_STEP: usize = 1 << 20;

/// Type and length at the head of a block, and the length again at its end.
const BLOCK_HEAD: usize = 8;
const BLOCK_MIN: usize = 12;

/// A file as a sequence of blocks.
pub(super) struct Blocks<R> {
    source: BufReader<R>,
    parser: Option<PcapNgParser>,
    block: Vec<u8>,
    offset: u64,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(source: R) -> Self {
        let source = BufReader::with_capacity(INPUT_LEN, source);
        Self { source, parser: None, block: Vec::new(), offset: 0 }
    }

    /// Reads the first block: the properties of the entire capture.
    pub(super) fn section(&mut self) -> Result<CaptureInfo, Error> {
        let foreign =
            |reason: &str| Error::Foreign { expected: FORMAT_NAME, reason: reason.into() };
        match self.read_block() {
            Ok(true) if self.is_section() => {}
            Err(Error::Damaged { .. }) | Ok(_) if !self.is_section() => {
                return Err(foreign("it is not a pcapng at all"));
            }
            other => return Err(other.err().unwrap_or_else(|| foreign("it is empty"))),
        }
        let info = section_info(&self.block)?.ok_or_else(|| foreign("another program wrote it"))?;
        let (_, parser) =
            PcapNgParser::new(&self.block).map_err(|error| self.damaged(error.to_string()))?;
        self.parser = Some(parser);
        Ok(info)
    }

    /// Returns all bytes of the current block.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.block
    }

    /// Reads the next block; returns `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Block<'_>>, Error> {
        self.offset += self.block.len() as u64;
        if !self.read_block()? {
            return Ok(None);
        }
        let Self { parser: Some(parser), block, offset, .. } = self else { return Ok(None) };
        match parser.next_block(block) {
            Ok((_, block)) => Ok(Some(block)),
            Err(error) => Err(Error::Damaged { offset: *offset, reason: error.to_string() }),
        }
    }

    pub(super) fn damaged(&self, reason: String) -> Error {
        Error::Damaged { offset: self.offset, reason }
    }

    /// Reads a complete block into `block`. Returns `false` at the end of the file.
    fn read_block(&mut self) -> Result<bool, Error> {
        self.block.clear();
        // The section header's byte order is unknown before its third word.
        self.read_to(BLOCK_HEAD)?;
        if self.block.is_empty() {
            return Ok(false);
        }
        self.expect(BLOCK_HEAD)?;
        let endianness = match &self.parser {
            Some(parser) if !self.is_section() => parser.section().endianness,
            _ => self.read_byte_order()?,
        };
        let len = self.word(4, endianness) as usize;
        if len < BLOCK_MIN || !len.is_multiple_of(4) || len > BLOCK_LIMIT {
            return Err(self.damaged(format!("a block of {len} bytes")));
        }
        while self.block.len() < len {
            let target = len.min(self.block.len() + BLOCK_STEP);
            self.read_to(target)?;
            self.expect(target)?;
        }
        if self.word(len - 4, endianness) as usize != len {
            return Err(self.damaged("a block with two different lengths".into()));
        }
        Ok(true)
    }

    /// Returns whether the current block is a section header. Its type is the same in either byte
    /// order.
    fn is_section(&self) -> bool {
        self.block.starts_with(&SECTION_HEADER_BLOCK.to_be_bytes())
    }

    fn read_byte_order(&mut self) -> Result<Endianness, Error> {
        self.read_to(BLOCK_MIN)?;
        self.expect(BLOCK_MIN)?;
        match self.block[8..12] {
            [0x1A, 0x2B, 0x3C, 0x4D] => Ok(Endianness::Big),
            [0x4D, 0x3C, 0x2B, 0x1A] => Ok(Endianness::Little),
            _ => Err(self.damaged("a section of unknown byte order".into())),
        }
    }

    /// Reads until the block has `len` bytes or the file ends.
    fn read_to(&mut self, len: usize) -> Result<(), Error> {
        while self.block.len() < len {
            let available = match self.source.fill_buf() {
                Ok([]) => break,
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let taken = available.len().min(len - self.block.len());
            self.block.extend_from_slice(&available[..taken]);
            self.source.consume(taken);
        }
        Ok(())
    }

    fn expect(&self, len: usize) -> Result<(), Error> {
        if self.block.len() < len {
            return Err(self.damaged("the file ends inside this block".into()));
        }
        Ok(())
    }

    fn word(&self, at: usize, endianness: Endianness) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.block[at..at + 4]);
        match endianness {
            Endianness::Big => u32::from_be_bytes(bytes),
            Endianness::Little => u32::from_le_bytes(bytes),
        }
    }
}

/// Reads the capture's properties from a section header; returns `None` for a complete section
/// header of another program.
pub(super) fn section_info(first_bytes: &[u8]) -> Result<Option<CaptureInfo>, Error> {
    let damaged = |reason: String| Error::Damaged { offset: 0, reason };
    let (_, parser) = PcapNgParser::new(first_bytes).map_err(|error| damaged(error.to_string()))?;
    let Some(comment) =
        comments(parser.section()).find(|comment| Pairs(comment).raw("sslrec").is_some())
    else {
        return Ok(None);
    };
    let pairs = Pairs(comment);
    if pairs.raw("sslrec") != Some(VERSION) {
        let reason = format!("it is of another version than {VERSION}");
        return Err(Error::Foreign { expected: FORMAT_NAME, reason });
    }
    read::capture(pairs).map(Some).map_err(|key| damaged(read::bad_key(key)))
}

fn comments<'a>(section: &'a SectionHeaderBlock<'_>) -> impl Iterator<Item = &'a str> {
    section.options.iter().filter_map(|option| match option {
        SectionHeaderOption::Common(CommonOption::Comment(comment)) => Some(&**comment),
        _ => None,
    })
}
