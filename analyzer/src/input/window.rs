//! Reads a file in parts of known length, without copies, and keeps the place in it.

use std::io::{self, ErrorKind, Read};

/// Bytes requested from the input at a time.
const INPUT_LEN: usize = 256 << 10;

/// Part of a long item that is read before more memory is allocated for it, as its length may be
/// wrong.
const STEP: usize = 1 << 20;

/// The unread beginning of a file.
pub(super) struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    /// The unread bytes of `buffer`.
    start: usize,
    end: usize,
    /// Place of `start` in the file.
    offset: u64,
}

impl<R: Read> Window<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: vec![0; INPUT_LEN], start: 0, end: 0, offset: 0 }
    }

    /// Returns the place of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next `len` bytes, or fewer at the end of the file. They stay unread.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.end - self.start < len {
            self.make_room(len);
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + len)])
    }

    /// Makes room behind the unread bytes, for an item of `len` bytes.
    fn make_room(&mut self, len: usize) {
        if self.start > 0 && self.start + len > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let needed = self.start + len - self.end;
            self.buffer.resize(self.end + needed.clamp(1, STEP), 0);
        }
    }

    /// Skips bytes, which must have been peeked at.
    pub(super) fn skip(&mut self, len: usize) {
        let len = len.min(self.end - self.start);
        self.start += len;
        self.offset += len as u64;
    }

    /// Skips bytes that need not be in memory. Returns whether all of them exist.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(super) fn skip_far(&mut self, mut len: u64) -> io::Result<bool> {
        while len > 0 {
            let part = usize::try_from(len).unwrap_or(usize::MAX).min(INPUT_LEN);
            let present = self.peek(part)?.len();
            if present == 0 {
                return Ok(false);
            }
            self.skip(present);
            len -= present as u64;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns at most so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(buffer.len()).min(self.0.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    #[test]
    fn parts_of_any_length_are_in_order() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 + at / 251) as u8).collect();
        for at_a_time in [1000, 300_000] {
            let mut window = Window::new(Slow(&bytes, at_a_time));
            let mut at = 0;
            for len in [1, 24, 255 << 10, 16, 2 << 20, 5, 400_000].into_iter().cycle() {
                let part = window.peek(len).unwrap().to_vec();
                assert!(part == bytes[at..(at + len).min(bytes.len())], "{at}");
                window.skip(part.len());
                at += part.len();
                assert_eq!(window.offset(), at as u64);
                if part.len() < len {
                    break;
                }
            }
            assert_eq!(at, bytes.len());
        }
    }

    #[test]
    fn memory_grows_with_the_file_and_not_with_a_length() {
        let mut window = Window::new(&[1; 100][..]);
        assert_eq!(window.peek(1 << 40).unwrap().len(), 100);
        assert!(window.buffer.len() <= INPUT_LEN + STEP);
    }

    #[test]
    fn a_long_item_is_skipped_without_memory() {
        let bytes = vec![7; 5_000_000];
        let mut window = Window::new(&bytes[..]);
        assert!(window.skip_far(4_000_000).unwrap());
        assert_eq!(window.offset(), 4_000_000);
        assert!(!window.skip_far(2_000_000).unwrap());
        assert!(window.buffer.len() <= INPUT_LEN);
    }
}
