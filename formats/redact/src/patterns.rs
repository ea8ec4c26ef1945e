//! Regular expressions over bytes that arrive in pieces.
//!
//! A match may begin in one call and end in the next, so the possible beginning of a match is held
//! back until it is settled. A DFA of the same expression decides: no match begins at a place if
//! the DFA that was started there is dead.
//!
//! In most cases no match has begun. If all matches begin with a literal from a list, the text is
//! searched for these literals, which is fast. Otherwise a single comparison is enough: if no match
//! begins with the last byte, and the DFA that searches for a match anywhere is in the same state
//! after the entire text as after that byte alone, then no match has begun before it either. The
//! same comparison finds the end of a match that is too long to be held ([`Tail`]).
//!
//! Each search examines a bounded number of places; beyond it a place counts as the beginning of a
//! match, which holds more than necessary and never less.

use std::ops::Range;
use std::sync::Arc;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::Regex;
use regex_automata::util::prefilter::Prefilter;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, Span, nfa::thompson};
use regex_syntax::hir::literal::Extractor;

use super::counts::Rule;

/// The most places that are examined as possible beginnings of a match.
const MAX_EXAMINED: usize = 16;

/// The most steps of the DFA in a search for the beginning of a match, in multiples of the text.
const MAX_STEPS: usize = 16;

/// The largest automaton of an expression. Each repetition counts: an expression for 100,000
/// arbitrary bytes would take a step for each of them with every byte of the text.
const MAX_SIZE: usize = 256 << 10;

/// A regular expression. If it has a group, the match of the first group is blanked.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    rule: Rule,
    regex: Regex,
    dfa: DFA,
    prefixes: Option<Arc<Prefixes>>,
}

/// The literals with which all matches begin.
#[derive(Debug)]
struct Prefixes {
    literals: Vec<Vec<u8>>,
    finder: Prefilter,
    longest: usize,
    /// The octets that begin a literal.
    may_begin: [bool; 256],
}

impl Prefixes {
    /// Returns the literals, or `None` if there are no such literals, or too many.
    fn of(text: &str, syntax: &syntax::Config) -> Option<Self> {
        let mut literals = Extractor::new().extract(&syntax::parse_with(text, syntax).ok()?);
        literals.optimize_for_prefix_by_preference();
        let literals = literals.literals()?;
        let longest = literals.iter().map(|literal| literal.len()).max()?;
        let finder = Prefilter::new(MatchKind::LeftmostFirst, literals)?;
        let literals: Vec<_> = literals.iter().map(|literal| literal.as_bytes().to_vec()).collect();
        let mut may_begin = [false; 256];
        for literal in &literals {
            may_begin[usize::from(*literal.first()?)] = true;
        }
        Some(Self { literals, finder, longest, may_begin })
    }
}

impl Pattern {
    /// Parses an expression in the syntax of Rust's `regex` crate, on bytes: `.` is any byte but a
    /// line feed, and `\w` and the like are ASCII.
    pub(super) fn new(rule: Rule, text: &str) -> Result<Self, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let why = |error: &dyn std::fmt::Display| {
            format!(
                "`{text}` is not a regular expression: {}",
                error.to_string().replace('\n', " ")
            )
        };
        let regex = Regex::builder()
            .syntax(syntax)
            .configure(Regex::config().utf8_empty(false).nfa_size_limit(Some(MAX_SIZE)))
            .build(text)
            .map_err(|error| match (error.syntax_error(), error.size_limit()) {
                (Some(syntax), _) => why(syntax),
                (None, Some(_)) => format!(
                    "`{text}` is too large; use `*` or `+` in place of a count of thousands"
                ),
                (None, None) => why(&error),
            })?;
        // Failure is preferred to clearing: states from a cleared cache cannot be compared.
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
        let prefixes = Prefixes::of(text, &syntax).map(Arc::new);
        Ok(Self { rule, regex, dfa, prefixes })
    }

    /// Returns the literals with which all matches begin, if there are such literals.
    pub(super) fn prefixes(&self) -> Option<&[Vec<u8>]> {
        self.prefixes.as_ref().map(|prefixes| &prefixes.literals[..])
    }
}

/// A pattern in use, and the cache of its DFA.
#[derive(Debug)]
pub(super) struct Live {
    pattern: Pattern,
    cache: Cache,
    /// Number of times the cache was emptied: earlier states are invalid.
    resets: u64,
    /// Remaining steps of the search.
    steps: usize,
}

/// A match that is too long to be held: its bytes are blanked up to its end.
#[derive(Debug)]
pub(super) struct Tail {
    /// The DFA that searches for a match anywhere; `None` if its state was lost, so that everything
    /// is blanked.
    state: Option<LazyStateID>,
    resets: u64,
}

impl Live {
    pub(super) fn new(pattern: Pattern) -> Self {
        let cache = pattern.dfa.create_cache();
        Self { pattern, cache, resets: 0, steps: 0 }
    }

    /// Returns the rule of the pattern.
    pub(super) fn rule(&self) -> Rule {
        self.pattern.rule
    }

    /// Returns the ranges to blank in a complete text.
    pub(super) fn find(&self, text: &[u8]) -> impl Iterator<Item = Range<usize>> {
        self.matches(text, 0).into_iter().map(|(_, part)| part)
    }

    /// Returns the matches in a text from a place on, with the range to blank of each.
    pub(super) fn matches(&self, text: &[u8], from: usize) -> Vec<(Range<usize>, Range<usize>)> {
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

    /// Returns the first place at or after `from` that may be the beginning of a match that
    /// continues beyond the end of `text`.
    pub(super) fn first_open(&mut self, text: &[u8], from: usize) -> usize {
        if from >= text.len() {
            return text.len();
        }
        self.steps = steps(text.len() - from);
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

    /// Like [`Self::first_open`], for a text with no literal of the pattern from that place on: at
    /// most a part of a literal is at the end.
    pub(super) fn first_open_at_end(&mut self, text: &[u8], from: usize) -> usize {
        let prefixes = self.pattern.prefixes.clone();
        let longest = prefixes.as_ref().map_or(usize::MAX, |prefixes| prefixes.longest);
        let may_begin = |at: usize| {
            prefixes.as_ref().is_none_or(|prefixes| prefixes.may_begin[usize::from(text[at])])
        };
        self.steps = steps(text.len().saturating_sub(from));
        let start = (text.len() + 1).saturating_sub(longest).max(from);
        let open = (start..text.len()).find(|&at| may_begin(at) && self.is_open(text, at));
        open.unwrap_or(text.len())
    }

    /// Begins to follow a match that began at or after `from`.
    pub(super) fn tail(&mut self, text: &[u8], from: usize) -> Tail {
        self.steps = usize::MAX;
        let state = self.state(text, from, false);
        Tail { state, resets: self.resets }
    }

    /// Follows the match through the text from a place on. Returns the place after it, and whether
    /// the match ended there.
    pub(super) fn follow(&mut self, tail: &mut Tail, text: &[u8], from: usize) -> (usize, bool) {
        for at in from..text.len() {
            if tail.resets != self.resets {
                tail.state = None;
            }
            let Some(state) = tail.state else { break };
            let next = self.pattern.dfa.next_state(&mut self.cache, state, text[at]);
            let Ok(next) = next else {
                self.reset();
                break;
            };
            let until = &text[..=at];
            self.steps = usize::MAX;
            if !self.is_open(until, at) && self.state(until, at, false) == Some(next) {
                return (at, true);
            }
            tail.state = Some(next);
        }
        (text.len(), false)
    }

    fn reset(&mut self) {
        self.pattern.dfa.reset_cache(&mut self.cache);
        self.resets += 1;
    }

    /// Finds the first such place by the literals of the pattern; `None` if they do not decide.
    fn first_open_prefix(&mut self, text: &[u8], from: usize) -> Option<usize> {
        let prefixes = self.pattern.prefixes.clone()?;
        let Prefixes { finder, longest, .. } = &*prefixes;
        let longest = *longest;
        // From here on only a part of a literal may be there.
        let tail = (text.len() + 1).saturating_sub(longest).max(from);
        let mut at = from;
        for _ in 0..MAX_EXAMINED {
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

    /// Returns whether a match from here can continue beyond the end. An unknown result counts as
    /// true.
    fn is_open(&mut self, text: &[u8], at: usize) -> bool {
        if self.steps == 0 {
            return true;
        }
        self.state(text, at, true).is_none_or(|state| !state.is_dead())
    }

    /// Returns the state of the DFA at the end of the text; `None` if it cannot be determined.
    fn state(&mut self, text: &[u8], at: usize, anchored: bool) -> Option<LazyStateID> {
        let state = self.run(text, at, anchored);
        if state.is_none() {
            self.reset();
        }
        state
    }

    fn run(&mut self, text: &[u8], at: usize, anchored: bool) -> Option<LazyStateID> {
        let Self { pattern, cache, steps, .. } = self;
        let anchored = if anchored { Anchored::Yes } else { Anchored::No };
        let input = Input::new(text).range(at..).anchored(anchored);
        let mut state = pattern.dfa.start_state_forward(cache, &input).ok()?;
        for &octet in &text[at..] {
            *steps = steps.saturating_sub(1);
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

/// Returns the most steps of the DFA in a search of `len` bytes.
fn steps(len: usize) -> usize {
    len.saturating_mul(MAX_STEPS).saturating_add(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(text: &str) -> Live {
        Live::new(Pattern::new(Rule::Regex, text).unwrap())
    }

    #[test]
    fn a_long_match_is_followed_to_its_end_and_no_further() {
        for (pattern, text, end) in
            [("bearer [a-z]+", "bearer abc, and more", 10), ("a.*z", "a1234\nnext", 5)]
        {
            let mut live = live(pattern);
            for cut in 1..end {
                let mut tail = live.tail(&text.as_bytes()[..cut], 0);
                let whole = live.follow(&mut tail, text.as_bytes(), cut);
                // The DFA reports a match after the byte that follows it.
                assert!(whole.1 && (end..=end + 1).contains(&whole.0), "{pattern} {cut} {whole:?}");
            }
        }
        let mut never = live(r"[\w\W]+");
        let mut tail = never.tail(b"a", 0);
        assert_eq!(never.follow(&mut tail, b"a b c", 1), (5, false));
    }

    #[test]
    fn an_automaton_that_is_too_large_is_refused() {
        let error = Pattern::new(Rule::Regex, r"[\w\W]{100000}").unwrap_err();
        assert!(error.contains("too large"), "{error}");
        assert!(Pattern::new(Rule::Regex, r"[a-z]{1000}").is_ok());
    }
}
