//! The bytes of a direction that were not returned yet, and the rules in use.

use std::ops::Range;

use super::counts::{Counts, Place, Rule};
use super::literals::Literals;
use super::patterns::Live;
use super::rules::Rules;

/// The octet that replaces secrets.
pub(super) const FILL: u8 = b'*';

/// Bytes, addressed by their places in the stream.
#[derive(Debug, Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Place of the first byte.
    base: u64,
}

impl Window {
    /// Returns the place after the last byte.
    pub(super) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Removes the first bytes.
    pub(super) fn forget(&mut self, len: usize) {
        self.bytes.drain(..len);
        self.base += len as u64;
        self.let_go();
    }

    /// Moves the empty window to the place of the next byte.
    pub(super) fn move_to(&mut self, base: u64) {
        self.bytes.clear();
        self.base = base;
        self.let_go();
    }

    /// Frees the memory: most connections hold no bytes most of the time.
    fn let_go(&mut self) {
        if self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to_fit();
        }
    }

    pub(super) fn head(&self, len: usize) -> &[u8] {
        &self.bytes[..len.min(self.bytes.len())]
    }

    /// Returns the bytes from a place on.
    pub(super) fn from(&self, at: u64) -> &[u8] {
        &self.bytes[self.index(at)..]
    }

    pub(super) fn get(&self, range: Range<u64>) -> &[u8] {
        &self.bytes[self.index(range.start)..self.index(range.end)]
    }

    pub(super) fn get_mut(&mut self, range: Range<u64>) -> &mut [u8] {
        let range = self.index(range.start)..self.index(range.end);
        &mut self.bytes[range]
    }

    pub(super) fn blank(&mut self, range: Range<u64>) {
        self.get_mut(range).fill(FILL);
    }

    /// Returns the index of a place; a place outside the window becomes the nearer end.
    fn index(&self, at: u64) -> usize {
        usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.bytes.len())
    }
}

/// The rules, the caches of their patterns, and the counts of blanked values.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) rules: Rules,
    pub(super) patterns: Vec<Live>,
    pub(super) literals: Literals,
    pub(super) counts: Counts,
}

impl Engine {
    pub(super) fn new(rules: Rules) -> Self {
        let patterns = rules.patterns.iter().cloned().map(Live::new).collect();
        let literals = Literals::new(&rules.patterns);
        Self { rules, patterns, literals, counts: Counts::default() }
    }

    /// Blanks bytes that cannot be searched.
    pub(super) fn blank(&mut self, window: &mut Window, range: Range<u64>, place: Place) {
        if !range.is_empty() {
            self.counts.add(Rule::Unsearchable, place, 0, range.end - range.start);
            window.blank(range);
        }
    }
}
