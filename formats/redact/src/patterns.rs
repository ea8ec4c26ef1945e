//! Regular expressions over bytes that come in pieces.
//!
//! A match may begin in one call and end in the next, so what may be the beginning of one is held
//! back until it is settled. Whether it may is asked of a DFA of the same expression: a place is the
//! beginning of nothing once the DFA that started there is dead.
//!
//! Mostly nothing has begun. Where all matches begin with one of some literals, there is none of these,
//! which is found out many bytes at a time. Otherwise one comparison tells: if nothing begins with the
//! last byte, and the DFA that looks for a match anywhere is after the whole text where it is after
//! that byte alone, then nothing has begun before it either.

use std::ops::Range;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::Regex;
use regex_automata::util::prefilter::Prefilter;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, Span, nfa::thompson};
use regex_syntax::hir::literal::Extractor;

/// How many places that look like the beginning of a match are asked one by one.
const MAX_ASKED: usize = 16;

/// A regular expression. Where it has a group, it is about what the first group matches.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
    dfa: DFA,
    prefixes: Option<Prefixes>,
}

/// The literals of which one is at the beginning of each match.
#[derive(Debug, Clone)]
struct Prefixes {
    finder: Prefilter,
    longest: usize,
}

impl Prefixes {
    /// `None` where there are no such literals, or too many.
    fn of(text: &str, syntax: &syntax::Config) -> Option<Self> {
        let mut literals = Extractor::new().extract(&syntax::parse_with(text, syntax).ok()?);
        literals.optimize_for_prefix_by_preference();
        let literals = literals.literals()?;
        let longest = literals.iter().map(|literal| literal.len()).max()?;
        let finder = Prefilter::new(MatchKind::LeftmostFirst, literals)?;
        literals.iter().all(|literal| !literal.is_empty()).then_some(Self { finder, longest })
    }
}

impl Pattern {
    /// Understands an expression in the syntax of Rust's `regex` crate, on bytes: `.` is any byte
    /// but a line feed, and `\w` and the like are ASCII.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let why = |error: &dyn std::fmt::Display| {
            format!("`{text}` is no regular expression: {}", error.to_string().replace('\n', " "))
        };
        let regex = Regex::builder()
            .syntax(syntax)
            .configure(Regex::config().utf8_empty(false))
            .build(text)
            .map_err(|error| match error.syntax_error() {
                Some(syntax) => why(syntax),
                None => why(&error),
            })?;
        // Failing beats clearing: what a cleared cache forgot cannot be compared.
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .minimum_cache_clear_count(Some(0))
            .skip_cache_capacity_check(true);
        let dfa = DFA::builder()
            .syntax(syntax)
            .thompson(thompson::Config::new().utf8(false))
            .configure(config)
            .build(text)
            .map_err(|error| why(&error))?;
        Ok(Self { regex, dfa, prefixes: Prefixes::of(text, &syntax) })
    }
}

/// A pattern at work, and what its DFA has learnt.
#[derive(Debug)]
pub(super) struct Live {
    pattern: Pattern,
    cache: Cache,
}

impl Live {
    pub(super) fn new(pattern: Pattern) -> Self {
        let cache = pattern.dfa.create_cache();
        Self { pattern, cache }
    }

    /// What is to be blanked in a text that is there as a whole.
    pub(super) fn find(&self, text: &[u8]) -> impl Iterator<Item = Range<usize>> {
        self.matches(text, 0).into_iter().map(|(_, part)| part)
    }

    /// Matches in a text from a place on, and what is to be blanked of each.
    fn matches(&self, text: &[u8], from: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let regex = &self.pattern.regex;
        let groups = regex.group_info().group_len(regex_automata::PatternID::ZERO);
        let captures = regex.captures_iter(Input::new(text).range(from..));
        let spans = captures.filter_map(|captures| {
            let all = captures.get_group(0)?;
            let part = (groups > 1).then(|| captures.get_group(1)).flatten().unwrap_or(all);
            Some((all.start..all.end, part.start..part.end))
        });
        spans.filter(|(all, _)| !all.is_empty()).collect()
    }

    /// The first place at or after `from` that may be the beginning of a match which goes on behind
    /// the end of `text`.
    fn first_open(&mut self, text: &[u8], from: usize) -> usize {
        if from >= text.len() {
            return text.len();
        }
        if let Some(open) = self.first_open_prefix(text, from) {
            return open;
        }
        let last = text.len() - 1;
        if !self.is_open(text, last)
            && let Some(after_all) = self.state(text, from, false)
            && self.state(text, last, false) == Some(after_all)
        {
            return text.len();
        }
        (from..text.len()).find(|&at| self.is_open(text, at)).unwrap_or(text.len())
    }

    /// The same by the literals that matches begin with; `None` where these do not tell.
    fn first_open_prefix(&mut self, text: &[u8], from: usize) -> Option<usize> {
        let Prefixes { finder, longest } = self.pattern.prefixes.clone()?;
        // From here on only a part of a literal may be there.
        let tail = (text.len() + 1).saturating_sub(longest).max(from);
        let mut at = from;
        for _ in 0..MAX_ASKED {
            let found = finder.find(text, Span { start: at, end: text.len() });
            let Some(start) = found.map(|found| found.start).filter(|start| *start < tail) else {
                let open = (tail..text.len()).find(|&at| self.is_open(text, at));
                return Some(open.unwrap_or(text.len()));
            };
            if self.is_open(text, start) {
                return Some(start);
            }
            at = start + 1;
        }
        None
    }

    /// Something that begins here can go on behind the end.
    fn is_open(&mut self, text: &[u8], at: usize) -> bool {
        // What cannot be told counts as open.
        self.state(text, at, true).is_none_or(|state| !state.is_dead())
    }

    /// Where the DFA is at the end of the text; `None` where that cannot be told.
    fn state(&mut self, text: &[u8], at: usize, anchored: bool) -> Option<LazyStateID> {
        let state = self.run(text, at, anchored);
        if state.is_none() {
            self.pattern.dfa.reset_cache(&mut self.cache);
        }
        state
    }

    fn run(&mut self, text: &[u8], at: usize, anchored: bool) -> Option<LazyStateID> {
        let Self { pattern, cache } = self;
        let anchored = if anchored { Anchored::Yes } else { Anchored::No };
        let input = Input::new(text).range(at..).anchored(anchored);
        let mut state = pattern.dfa.start_state_forward(cache, &input).ok()?;
        for &octet in &text[at..] {
            state = pattern.dfa.next_state(cache, state, octet).ok()?;
            if state.is_tagged() {
                if state.is_dead() {
                    break;
                }
                if state.is_quit() {
                    return None;
                }
            }
        }
        Some(state)
    }
}

/// Looks for all patterns in one text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// What is not settled, behind one byte of what is, for look-behind.
    text: Vec<u8>,
    /// How many of these first bytes are settled: 0 or 1.
    settled: usize,
    /// Where in the stream parts of `text` stand: place in it, place in the stream.
    pieces: Vec<(usize, u64)>,
    /// For each pattern, where in `text` its last match ended.
    resume: Vec<usize>,
}

impl Scanner {
    /// Adds bytes that stand at `at` in the stream.
    pub(super) fn push(&mut self, bytes: &[u8], at: u64) {
        self.pieces.push((self.text.len(), at));
        self.text.extend_from_slice(bytes);
    }

    /// Where in the stream the first byte stands that is held back.
    pub(super) fn held_from(&self) -> Option<u64> {
        if self.text.len() <= self.settled {
            return None;
        }
        self.places(self.settled..self.settled + 1).next().map(|range| range.start)
    }

    /// Finds what can be found; with `last` nothing follows. Hands places in the stream to `blank`.
    pub(super) fn settle(
        &mut self,
        patterns: &mut [Live],
        last: bool,
        blank: &mut dyn FnMut(Range<u64>),
    ) {
        self.resume.resize(patterns.len(), 0);
        let mut open = self.text.len();
        for (at, pattern) in patterns.iter_mut().enumerate() {
            let from = self.resume[at].max(self.settled);
            let until = if last { self.text.len() } else { pattern.first_open(&self.text, from) };
            for (all, part) in pattern.matches(&self.text, from) {
                if all.start >= until {
                    break;
                }
                self.resume[at] = all.end;
                self.places(part).for_each(&mut *blank);
            }
            open = open.min(until.max(self.resume[at]));
        }
        if last {
            *self = Self::default();
        } else {
            self.forget(open);
        }
    }

    /// Too much is held: all of it is handed to `blank`.
    pub(super) fn give_up(&mut self, blank: &mut dyn FnMut(Range<u64>)) {
        self.places(self.settled..self.text.len()).for_each(blank);
        self.forget(self.text.len());
    }

    /// All before `open` is settled.
    fn forget(&mut self, open: usize) {
        let cut = open.saturating_sub(1);
        self.settled = open - cut;
        self.text.drain(..cut);
        self.resume.iter_mut().for_each(|resume| *resume = resume.saturating_sub(cut));
        let first = self.pieces.partition_point(|&(start, _)| start <= cut).saturating_sub(1);
        self.pieces.drain(..first);
        for (start, place) in &mut self.pieces {
            *place += cut.saturating_sub(*start) as u64;
            *start = start.saturating_sub(cut);
        }
    }

    /// Where a part of `text` stands in the stream.
    fn places(&self, range: Range<usize>) -> impl Iterator<Item = Range<u64>> {
        let ends = self.pieces.iter().skip(1).map(|(start, _)| *start).chain([self.text.len()]);
        self.pieces.iter().zip(ends).filter_map(move |(&(start, place), end)| {
            let (from, to) = (range.start.max(start), range.end.min(end));
            let at = |inside: usize| place + (inside - start) as u64;
            (from < to).then(|| at(from)..at(to))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(patterns: &[&str]) -> Vec<Live> {
        patterns.iter().map(|text| Live::new(Pattern::new(text).unwrap())).collect()
    }

    /// Blanks a text in pieces of these lengths, and says how much was held at the most.
    fn blanked(patterns: &[&str], text: &str, pieces: &[usize]) -> (String, u64) {
        let mut live = live(patterns);
        let (mut scanner, mut out) = (Scanner::default(), text.as_bytes().to_vec());
        let (mut at, mut most) = (0, 0);
        let mut lens = pieces.iter().copied().cycle();
        while at < text.len() {
            let len = lens.next().unwrap().min(text.len() - at);
            scanner.push(&text.as_bytes()[at..at + len], at as u64);
            at += len;
            scanner.settle(&mut live, false, &mut |range| {
                out[range.start as usize..range.end as usize].fill(b'*');
            });
            most = most.max(scanner.held_from().map_or(0, |from| at as u64 - from));
        }
        scanner.settle(&mut live, true, &mut |range| {
            out[range.start as usize..range.end as usize].fill(b'*');
        });
        (String::from_utf8(out).unwrap(), most)
    }

    #[test]
    fn a_match_is_found_however_it_is_split() {
        let text = "a tok_abc. xtok_q Bearer s3cret, tok_zz id=12345-x 9876 tok_";
        let patterns = [r"\btok_[a-z]+", r"(?i)bearer (\w+)", r"\b\d{5}\b"];
        let whole = "a *******. xtok_q Bearer ******, ****** id=*****-x 9876 tok_";
        for first in 1..text.len() {
            for second in [1, 2, 3, 7, 100] {
                let (out, held) = blanked(&patterns, text, &[first, second]);
                assert_eq!(out, whole, "{first} {second}");
                assert!(held <= 14, "{held}");
            }
        }
    }

    #[test]
    fn nothing_is_held_where_nothing_has_begun() {
        let (out, held) = blanked(&[r"secret\d+"], "no such thing here\n", &[5]);
        assert_eq!((out.as_str(), held), ("no such thing here\n", 0));
    }

    #[test]
    fn too_much_is_given_up_as_a_whole() {
        let mut live = live(&["a.*z"]);
        let mut scanner = Scanner::default();
        scanner.push(b"--a12", 100);
        scanner.push(b"34", 300);
        let mut blanks = Vec::new();
        scanner.settle(&mut live, false, &mut |range| blanks.push(range));
        assert_eq!((scanner.held_from(), blanks.len()), (Some(102), 0));
        scanner.give_up(&mut |range| blanks.push(range));
        assert_eq!(blanks, [102..105, 300..302]);
        assert_eq!(scanner.held_from(), None);
    }
}
