//! Searches a text that arrives in pieces, for secrets by name ([`super::finder`]) and by pattern
//! ([`super::patterns`]).
//!
//! The text is kept here unchanged but without NUL bytes, so that UTF-16 is searched like ASCII,
//! and with as much of its settled part as a name needs. A value may begin in one piece and end in
//! the next; the possible beginning of a value is held back until it is settled. Bytes are only
//! held up to [`MAX_OPEN`], beyond which they are blanked up to the end of the unfinished value.

use std::ops::Range;

use super::counts::{Place, Rule};
use super::finder::{Blank, CONTEXT, Finder, Look};
use super::patterns::{Live, Tail};
use super::window::{Engine, Window};

/// The most bytes held for a match that has begun.
const MAX_OPEN: usize = 64 << 10;

/// Settled text is dropped when it reaches this length.
pub(super) const SLACK: usize = 4096;

/// The first bytes of compressed contents: gzip (RFC 1952), zstd (RFC 8878), and zlib (RFC 1950) at
/// its usual levels.
const MAGIC: [&[u8]; 6] =
    [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"];

/// The longest of these.
const MAX_MAGIC: usize = 4;

/// The kind of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) place: Place,
    /// A form, which begins with a name.
    pub(super) form: bool,
    /// Possibly not the contents of a message.
    pub(super) unsure: bool,
}

/// Searches a text for secrets, piece by piece.
#[derive(Debug)]
pub(super) struct Search {
    kind: Text,
    text: Vec<u8>,
    /// Number of settled bytes at the beginning.
    settled: usize,
    /// The test for compression is complete.
    judged: bool,
    /// The places of the parts of `text`: place in the text, place in the stream.
    pieces: Vec<(usize, u64)>,
    finder: Finder,
    /// Place before which no literal of a pattern begins that is not in its [`Scan`].
    searched: usize,
    /// Progress of each pattern.
    scans: Vec<Scan>,
    blanks: Vec<Blank>,
}

/// Progress of the search for a pattern.
#[derive(Debug, Default)]
struct Scan {
    /// Place before which all matches are decided.
    from: usize,
    /// Nothing is searched before the text has this length: a match is unfinished, and a new search
    /// for every byte would take quadratic time.
    again: usize,
    /// An unfinished match that is longer than the limit of held bytes.
    tail: Option<Tail>,
    /// A match may begin at `from` or later, other than with the last bytes.
    begun: bool,
}

impl Search {
    pub(super) fn new(kind: Text) -> Self {
        Self {
            kind,
            text: Vec::new(),
            settled: 0,
            judged: false,
            pieces: Vec::new(),
            finder: Finder::new(),
            searched: 0,
            scans: Vec::new(),
            blanks: Vec::new(),
        }
    }

    /// Processes the next bytes.
    pub(super) fn data(&mut self, window: &mut Window, range: Range<u64>, engine: &mut Engine) {
        self.push(window.get(range.clone()), range.start);
        self.settle(window, engine, false);
    }

    /// Processes the end.
    pub(super) fn finish(&mut self, window: &mut Window, engine: &mut Engine) {
        self.settle(window, engine, true);
        *self = Self::new(self.kind);
    }

    /// Returns [`Text::unsure`].
    pub(super) fn is_unsure(&self) -> bool {
        self.kind.unsure
    }

    /// Returns the bytes of memory in use, approximately.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>()
            + self.text.capacity()
            + self.pieces.capacity() * size_of::<(usize, u64)>()
            + self.scans.capacity() * size_of::<Scan>()
            + self.blanks.capacity() * size_of::<Blank>()
    }

    pub(super) fn place(&self) -> Place {
        self.kind.place
    }

    /// Returns the place in the stream of the first byte that is held back.
    pub(super) fn held_from(&self) -> Option<u64> {
        let held = self.places(self.settled..self.text.len()).next();
        held.map(|range| range.start)
    }

    /// Blanks all held bytes, which exceed the limit; unfinished values stay unfinished.
    pub(super) fn give_up(&mut self, window: &mut Window, engine: &mut Engine) {
        let held: Vec<_> = self.places(self.settled..self.text.len()).collect();
        for range in held {
            engine.counts.add(Rule::Unsearchable, self.kind.place, 0, range.end - range.start);
            window.blank(range);
        }
        let end = self.text.len();
        self.scans.resize_with(engine.patterns.len(), Scan::default);
        for (scan, live) in self.scans.iter_mut().zip(&mut engine.patterns) {
            if scan.tail.is_none() && scan.from < end {
                scan.tail = Some(live.tail(&self.text, scan.from));
            }
            (scan.from, scan.again) = (end, 0);
        }
        self.finder.skip_to(end);
        self.forget(end);
    }

    /// Processes missing bytes: the rest of the line may be the rest of a secret.
    pub(super) fn gap(&mut self, window: &mut Window, engine: &mut Engine) {
        self.give_up(window, engine);
        self.finder.gap();
    }

    fn push(&mut self, bytes: &[u8], at: u64) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = memchr::memchr(0, rest).unwrap_or(rest.len());
            let place = at + (bytes.len() - rest.len()) as u64;
            if len > 0 {
                let is_next = self.pieces.last().is_some_and(|&(start, before)| {
                    before + (self.text.len() - start) as u64 == place
                });
                if !is_next {
                    self.pieces.push((self.text.len(), place));
                }
                self.text.extend_from_slice(&rest[..len]);
            }
            rest = rest.get(len + 1..).unwrap_or_default();
        }
    }

    fn settle(&mut self, window: &mut Window, engine: &mut Engine, last: bool) {
        if !self.judged && !self.judge(engine, last) {
            return;
        }
        let Engine { rules, patterns, literals, counts } = engine;
        let Text { form, unsure, place } = self.kind;
        let look = Look { rules, form, unsure, head: false };
        let mut blanks = std::mem::take(&mut self.blanks);
        let mut settled = self.finder.run(look, &self.text, last, &mut blanks);
        for blank in blanks.drain(..) {
            counts.add(blank.rule, place, u64::from(blank.begins), blank.range.len() as u64);
            let places: Vec<_> = self.places(blank.range).collect();
            let mut fill = blank.fill;
            for range in places {
                fill.write(window.get_mut(range));
                fill = fill.next();
            }
        }
        self.blanks = blanks;
        let begun = literals.find(&self.text, self.searched);
        self.searched = (self.text.len() + 1).saturating_sub(literals.longest());
        self.scans.resize_with(patterns.len(), Scan::default);
        let mut scans = std::mem::take(&mut self.scans);
        for (index, (scan, live)) in scans.iter_mut().zip(patterns).enumerate() {
            scan.begun |= begun.contains(index);
            let open = scan.search(live, &self.text, last, &mut |rule, range| {
                counts.add(rule, place, 1, range.len() as u64);
                let places: Vec<_> = self.places(range).collect();
                places.into_iter().for_each(|range| window.blank(range));
            });
            settled = settled.min(open);
        }
        self.scans = scans;
        self.forget(settled);
    }

    /// Tests whether the text is compressed without a declaration. Returns whether the result is
    /// final.
    fn judge(&mut self, engine: &Engine, last: bool) -> bool {
        let head = &self.text[..self.text.len().min(MAX_MAGIC)];
        let may_be = |magic: &&[u8]| magic.starts_with(head) && head.len() < magic.len();
        if !last && (head.is_empty() || MAGIC.iter().any(may_be)) {
            return false;
        }
        self.judged = true;
        let is_magic = |magic: &&[u8]| self.text.starts_with(magic);
        if MAGIC.iter().any(is_magic) && engine.rules.concerns_bodies() {
            self.finder.blank_rest();
        }
        true
    }

    /// Drops text before `open`, which is settled.
    fn forget(&mut self, open: usize) {
        self.settled = open;
        let keep = open.min(self.finder.cursor()).saturating_sub(CONTEXT);
        if keep < SLACK {
            return;
        }
        self.text.drain(..keep);
        self.settled -= keep;
        self.searched = self.searched.saturating_sub(keep);
        self.finder.shift(keep);
        for scan in &mut self.scans {
            scan.from = scan.from.saturating_sub(keep);
            scan.again = scan.again.saturating_sub(keep);
        }
        let first = self.pieces.partition_point(|&(start, _)| start <= keep).saturating_sub(1);
        self.pieces.drain(..first);
        for (start, place) in &mut self.pieces {
            *place += keep.saturating_sub(*start) as u64;
            *start = start.saturating_sub(keep);
        }
    }

    /// Returns the places in the stream of a part of `text`.
    fn places(&self, range: Range<usize>) -> impl Iterator<Item = Range<u64>> {
        let first = self.pieces.partition_point(|&(start, _)| start <= range.start);
        let pieces = &self.pieces[first.saturating_sub(1)..];
        let ends = pieces.iter().skip(1).map(|(start, _)| *start).chain([self.text.len()]);
        let overlaps = pieces.iter().zip(ends).take_while({
            let end = range.end;
            move |((start, _), _)| *start < end
        });
        overlaps.filter_map(move |(&(start, place), end)| {
            let (from, to) = (range.start.max(start), range.end.min(end));
            let at = |inside: usize| place + (inside - start) as u64;
            (from < to).then(|| at(from)..at(to))
        })
    }
}

impl Scan {
    /// Passes all findings to `blank`. Returns the place before which all is decided.
    fn search(
        &mut self,
        live: &mut Live,
        text: &[u8],
        last: bool,
        blank: &mut dyn FnMut(Rule, Range<usize>),
    ) -> usize {
        let rule = live.rule();
        if let Some(tail) = &mut self.tail {
            let (end, is_over) = live.follow(tail, text, self.from);
            if self.from < end {
                blank(rule, self.from..end);
            }
            self.from = end;
            if !is_over {
                return text.len();
            }
            self.tail = None;
        }
        if !self.begun {
            self.from = match last {
                true => text.len(),
                false => live.first_open_at_end(text, self.from),
            };
            return self.from;
        }
        if text.len() < self.again && !last {
            return self.from;
        }
        let open = if last { text.len() } else { live.first_open(text, self.from) };
        let mut decided = open;
        for (all, part) in live.matches(text, self.from) {
            if all.start >= open {
                break;
            }
            decided = decided.max(all.end);
            blank(rule, part);
        }
        self.from = decided;
        self.begun = decided < text.len();
        let held = text.len() - decided;
        self.again = text.len() + held / 4;
        if held > MAX_OPEN {
            self.tail = Some(live.tail(text, decided));
            blank(rule, decided..text.len());
            self.from = text.len();
            return text.len();
        }
        decided
    }
}
