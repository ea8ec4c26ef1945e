//! The bytes of one direction that are not handed on yet, and the rules at work on them.

use std::ops::Range;

use super::counts::{Counts, Place, Rule};
use super::patterns::Live;
use super::rules::Rules;

/// What stands in place of a secret.
pub(super) const FILL: u8 = b'*';

/// Bytes by their places in the stream.
#[derive(Debug, Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Place of the first of them.
    base: u64,
}

impl Window {
    /// Place behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the first bytes off.
    pub(super) fn forget(&mut self, len: usize) {
        self.bytes.drain(..len);
        self.base += len as u64;
        self.let_go();
    }

    /// Nothing is held; what comes next stands there.
    pub(super) fn move_to(&mut self, base: u64) {
        self.bytes.clear();
        self.base = base;
        self.let_go();
    }

    /// Most connections hold nothing most of the time; then they are not to keep the memory either.
    fn let_go(&mut self) {
        if self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to_fit();
        }
    }

    pub(super) fn head(&self, len: usize) -> &[u8] {
        &self.bytes[..len.min(self.bytes.len())]
    }

    /// What there is from a place on.
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

    /// Index of a place; what lies outside is taken for the nearer end.
    fn index(&self, at: u64) -> usize {
        usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.bytes.len())
    }
}

/// The rules, what their patterns have learnt, and what was blanked.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) rules: Rules,
    pub(super) patterns: Vec<Live>,
    pub(super) counts: Counts,
}

impl Engine {
    pub(super) fn new(rules: Rules) -> Self {
        let patterns = rules.patterns.iter().cloned().map(Live::new).collect();
        Self { rules, patterns, counts: Counts::default() }
    }

    /// Blanks bytes that cannot be searched.
    pub(super) fn blank(&mut self, window: &mut Window, range: Range<u64>, place: Place) {
        if !range.is_empty() {
            self.counts.add(Rule::Unsearchable, place, 0, range.end - range.start);
            window.blank(range);
        }
    }
}
