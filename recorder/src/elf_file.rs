//! An ELF file read piece by piece, with a bound on the stored bytes: the file may belong to any
//! user, and claim tables of any size.
//!
//! Small reads are served from blocks, so that thousands of symbol names take a few system calls
//! rather than one each. Nothing is mapped: the owner could truncate the file meanwhile, which
//! would end the recorder by a signal.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use elsa::FrozenMap;
use object::ReadRef;

/// The most bytes stored of one file. The code of the largest programs in use takes some 200 MiB,
/// and their tables of symbols some 50.
const KEPT_MAX: u64 = 384 << 20;

/// Bytes of a read when fewer are requested.
const BLOCK: u64 = 64 << 10;

/// The longest name.
const NAME_MAX: u64 = 64 << 10;

/// A file and its bytes read so far.
pub(crate) struct ElfFile<'file> {
    file: &'file File,
    len: u64,
    /// Bytes that may still be stored.
    left: Cell<u64>,
    was_refused: Cell<bool>,
    /// By number; the last block of the file is shorter.
    blocks: FrozenMap<u64, Box<[u8]>>,
    /// Reads that do not fit in one block, by offset and length.
    ranges: FrozenMap<(u64, u64), Box<[u8]>>,
}

impl<'file> ElfFile<'file> {
    /// Returns a file with nothing read yet.
    pub(crate) fn new(file: &'file File) -> Self {
        Self::keeping_at_most(file, KEPT_MAX)
    }

    fn keeping_at_most(file: &'file File, most: u64) -> Self {
        Self {
            file,
            // A file that cannot be examined is read as empty, and so is not an ELF file.
            len: file.metadata().map_or(0, |meta| meta.len()),
            left: Cell::new(most),
            was_refused: Cell::new(false),
            blocks: FrozenMap::new(),
            ranges: FrozenMap::new(),
        }
    }

    /// Returns why a read was refused, if the bound is the reason, as the end of a sentence about
    /// the file.
    pub(crate) fn refusal(&self) -> Option<String> {
        let limit = KEPT_MAX >> 20;
        let refused = self.was_refused.get();
        refused.then(|| format!("has tables or code of more than {limit} MiB, which is not read"))
    }

    /// Reads a range within the file.
    fn load(&self, offset: u64, len: u64) -> Result<Box<[u8]>, ()> {
        let Some(left) = self.left.get().checked_sub(len) else {
            self.was_refused.set(true);
            return Err(());
        };
        let mut bytes = vec![0; usize::try_from(len).map_err(drop)?].into_boxed_slice();
        self.file.read_exact_at(&mut bytes, offset).map_err(drop)?;
        self.left.set(left);
        Ok(bytes)
    }

    fn block(&self, number: u64) -> Result<&[u8], ()> {
        if let Some(block) = self.blocks.get(&number) {
            return Ok(block);
        }
        let start = number * BLOCK;
        let block = self.load(start, BLOCK.min(self.len.saturating_sub(start)))?;
        Ok(self.blocks.insert(number, block))
    }
}

impl<'a> ReadRef<'a> for &'a ElfFile<'_> {
    fn len(self) -> Result<u64, ()> {
        Ok(self.len)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        let end = offset.checked_add(size).filter(|&end| end <= self.len).ok_or(())?;
        if size == 0 {
            return Ok(&[]);
        }
        let number = offset / BLOCK;
        if (end - 1) / BLOCK == number {
            let start = usize::try_from(offset % BLOCK).map_err(drop)?;
            let size = usize::try_from(size).map_err(drop)?;
            return self.block(number)?.get(start..start + size).ok_or(());
        }
        if let Some(bytes) = self.ranges.get(&(offset, size)) {
            return Ok(bytes);
        }
        Ok(self.ranges.insert((offset, size), self.load(offset, size)?))
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let end = range.end.min(self.len).min(range.start.saturating_add(NAME_MAX));
        let mut at = range.start;
        while at < end {
            let start = usize::try_from(at % BLOCK).map_err(drop)?;
            let block = self.block(at / BLOCK)?.get(start..).ok_or(())?;
            if let Some(found) = memchr::memchr(delimiter, block) {
                let found = at + found as u64;
                return if found < end {
                    self.read_bytes_at(range.start, found - range.start)
                } else {
                    Err(())
                };
            }
            at += block.len() as u64;
        }
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Returns a file of several blocks in which no two places look alike.
    fn file() -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..3 * BLOCK + 100)
            .map(|at| ((at.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 56) as u8)
            .collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn bytes_are_those_of_the_file_wherever_blocks_end() {
        let (file, bytes) = file();
        let elf = ElfFile::new(file.as_file());
        let len = bytes.len() as u64;
        for offset in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 5, len - 1, len] {
            for size in [0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, u64::MAX] {
                let expected = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..start.checked_add(size as usize)?));
                let read = (&elf).read_bytes_at(offset, size).ok();
                assert!(read == expected, "{size} bytes at {offset}");
            }
        }
        assert!(elf.refusal().is_none());
    }

    #[test]
    fn names_end_at_their_delimiter_wherever_blocks_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![b'x'; 3 * BLOCK as usize];
        for end in [5, BLOCK as usize - 1, BLOCK as usize, 2 * BLOCK as usize + 1] {
            bytes[end] = 0;
        }
        file.write_all(&bytes).unwrap();
        let elf = ElfFile::new(file.as_file());
        let len = bytes.len() as u64;
        for start in [0, 5, 6, BLOCK - 3, BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK + 2] {
            let rest = &bytes[start as usize..];
            let expected = rest.iter().position(|&byte| byte == 0).map(|end| &rest[..end]);
            assert!((&elf).read_bytes_at_until(start..len, 0).ok() == expected, "from {start}");
        }
        assert!((&elf).read_bytes_at_until(0..5, 0).is_err(), "the range ends before");
        assert!((&elf).read_bytes_at_until(0..6, 0).is_ok());
    }

    #[test]
    fn a_name_without_an_end_is_not_looked_for_through_all_of_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![b'x'; 4 * NAME_MAX as usize]).unwrap();
        file.write_all(&[0]).unwrap();
        let elf = ElfFile::new(file.as_file());
        assert!((&elf).read_bytes_at_until(0..u64::MAX, 0).is_err());
        assert!(elf.left.get() >= KEPT_MAX - NAME_MAX - BLOCK);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let (file, _) = file();
        let elf = ElfFile::keeping_at_most(file.as_file(), 2 * BLOCK);
        assert!((&elf).read_bytes_at(0, 2 * BLOCK + 1).is_err());
        assert!(elf.refusal().unwrap().contains("MiB"));
        for _ in 0..10 {
            assert!((&elf).read_bytes_at(0, BLOCK).is_ok(), "read once, kept once");
        }
        assert!((&elf).read_bytes_at(BLOCK, 1).is_ok());
        assert!((&elf).read_bytes_at(2 * BLOCK, 1).is_err());
    }

    #[test]
    fn a_file_that_shrinks_meanwhile_causes_an_error() {
        let (file, _) = file();
        let elf = ElfFile::new(file.as_file());
        file.as_file().set_len(10).unwrap();
        assert!((&elf).read_bytes_at(0, BLOCK).is_err());
        assert!((&elf).read_bytes_at_until(0..BLOCK, 0).is_err());
    }
}
