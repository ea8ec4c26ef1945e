//! The literals with which the matches of all patterns begin, searched together.
//!
//! Most texts contain no such literal, and so no pattern has to search them.

use std::ops::Range;

use regex_automata::util::prefilter::Prefilter;
use regex_automata::{MatchKind, Span};

use super::patterns::Pattern;

/// The most literals that are searched in one pass: the limit of the fast search.
const MAX_LITERALS: usize = 64;

/// Literals of fewer bytes make the search for longer ones slow, and are searched apart.
const SHORT: usize = 3;

/// The most places that are examined in a pass; a text with more is searched by all its patterns.
const MAX_EXAMINED: usize = 32;

/// A set of patterns, by their index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    /// Returns the set of a single pattern. All patterns from the 64th on share an element.
    fn of(index: usize) -> Self {
        Self(1 << index.min(63))
    }

    pub(super) fn contains(self, index: usize) -> bool {
        self.0 & Self::of(index).0 != 0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Finds the patterns of which a match may begin in a text.
#[derive(Debug)]
pub(super) struct Literals {
    passes: Vec<Pass>,
    /// Patterns whose matches do not begin with a literal.
    others: Set,
    longest: usize,
}

/// Literals that are searched in one pass.
#[derive(Debug)]
struct Pass {
    finder: Prefilter,
    /// The patterns with a literal that begins with an octet.
    by_octet: Box<[Set; 256]>,
    all: Set,
}

/// The literals of some patterns, each with the index of its pattern.
type Group<'p> = Vec<(usize, &'p [u8])>;

impl Literals {
    pub(super) fn new(patterns: &[Pattern]) -> Self {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut literals = Self { passes: Vec::new(), others: Set::default(), longest: 1 };
        for (index, pattern) in patterns.iter().enumerate() {
            let Some(prefixes) = pattern.prefixes() else {
                literals.others.add(Set::of(index));
                continue;
            };
            let is_short =
                |group: &[(usize, &[u8])]| group.iter().any(|(_, text)| text.len() < SHORT);
            let own: Group<'_> = prefixes.iter().map(|text| (index, &text[..])).collect();
            let fits = |group: &&mut Group<'_>| {
                is_short(group) == is_short(&own) && group.len() + own.len() <= MAX_LITERALS
            };
            match groups.iter_mut().find(fits) {
                Some(group) => group.extend(own),
                None => groups.push(own),
            }
        }
        for group in groups {
            let longest = group.iter().map(|(_, text)| text.len()).max();
            literals.longest = literals.longest.max(longest.unwrap_or(0));
            match Pass::new(&group) {
                Some(pass) => literals.passes.push(pass),
                None => group.iter().for_each(|&(index, _)| literals.others.add(Set::of(index))),
            }
        }
        literals
    }

    /// Returns the length of the longest literal.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Returns the patterns of which a match may begin in `text` at `from` or later.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Set {
        let mut found = self.others;
        for pass in &self.passes {
            let mut of_pass = Set::default();
            let mut add = |_, set| {
                of_pass.add(set);
                of_pass != pass.all
            };
            let all = if pass.find(text, from, &mut add) { of_pass } else { pass.all };
            found.add(all);
        }
        found
    }

    /// Returns the places in `text` where a match may begin.
    pub(super) fn places(&self, text: &[u8]) -> Places {
        let mut places = Places { anywhere: self.others, places: Vec::new() };
        for pass in &self.passes {
            let mut add = |at, set| {
                places.places.push((at, set));
                true
            };
            if !pass.find(text, 0, &mut add) {
                places.anywhere.add(pass.all);
            }
        }
        places
    }
}

/// Places where a match may begin.
#[derive(Debug)]
pub(super) struct Places {
    /// Patterns of which a match may begin at every place.
    anywhere: Set,
    places: Vec<(usize, Set)>,
}

impl Places {
    /// Returns the patterns of which a match may begin in the range.
    pub(super) fn within(&self, range: &Range<usize>) -> Set {
        let mut found = self.anywhere;
        let inside = self.places.iter().filter(|(at, _)| range.contains(at));
        inside.for_each(|&(_, set)| found.add(set));
        found
    }
}

impl Pass {
    fn new(group: &Group<'_>) -> Option<Self> {
        let literals: Vec<_> = group.iter().map(|(_, text)| text).collect();
        let finder = Prefilter::new(MatchKind::LeftmostFirst, &literals)?;
        let (mut by_octet, mut all) = (Box::new([Set::default(); 256]), Set::default());
        for &(index, text) in group {
            by_octet[usize::from(*text.first()?)].add(Set::of(index));
            all.add(Set::of(index));
        }
        Some(Self { finder, by_octet, all })
    }

    /// Passes the places of literals to `add`, until it returns false. Returns whether these are
    /// all places; if not, a match of each pattern may begin anywhere.
    fn find(&self, text: &[u8], from: usize, add: &mut dyn FnMut(usize, Set) -> bool) -> bool {
        let mut at = from.min(text.len());
        for _ in 0..MAX_EXAMINED {
            let Some(literal) = self.finder.find(text, Span { start: at, end: text.len() }) else {
                return true;
            };
            if !add(literal.start, self.by_octet[usize::from(text[literal.start])]) {
                return false;
            }
            at = literal.start + 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::counts::Rule;
    use super::super::patterns::Live;
    use super::super::rules::Rules;
    use super::*;

    /// Returns the patterns of these rules, and of more expressions than one pass can search.
    fn patterns() -> Vec<Pattern> {
        let mut rules = Rules::default();
        for rule in ["default", "basic", "regex:[0-9]{3}", "regex:tok_[a-z]+", "regex:(?i)//x"] {
            rules.add(rule.parse().unwrap());
        }
        let more = (b'a'..=b'z').map(|octet| format!("(?i){}zzz=", char::from(octet)));
        let more = more.map(|text| Pattern::new(Rule::Regex, &text).unwrap());
        rules.patterns.into_iter().chain(more).collect()
    }

    #[test]
    fn a_pattern_with_a_match_is_always_found() {
        let patterns = patterns();
        let literals = Literals::new(&patterns);
        assert!(literals.passes.len() > 2 && literals.longest() >= 11);
        let live: Vec<_> = patterns.iter().cloned().map(Live::new).collect();
        let parts = [
            "bearer abc ",
            "Basic dXNlcg==",
            "//u:p@h/",
            "%2f%2Fu@h",
            "host: u@h",
            "Zzzz=",
            "azzz=",
            "-----BEGIN PRIVATE KEY-----",
            "123",
            "tok_a",
            "//X",
            "ghp_",
            " ",
            "be",
            "/",
            "eyJ",
        ];
        let (mut seed, mut matches) = (1u32, 0);
        for _ in 0..2000 {
            let mut text = String::new();
            for _ in 0..seed % 12 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(parts[(seed >> 16) as usize % parts.len()]);
            }
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) >> 1;
            let text = text.as_bytes();
            let (set, places) = (literals.find(text, 0), literals.places(text));
            for (index, live) in live.iter().enumerate() {
                for (all, _) in live.matches(text, 0) {
                    matches += 1;
                    assert!(set.contains(index), "{index} {}", text.escape_ascii());
                    let within = places.within(&(all.start..all.start + 1));
                    assert!(within.contains(index), "{index} {}", text.escape_ascii());
                    assert!(literals.find(text, all.start).contains(index));
                }
            }
        }
        assert!(matches > 1000, "{matches}");
        let nothing = literals.find(b"a text with nothing in it, {\"a\":1}", 0);
        assert!((0..5).all(|index| !nothing.contains(index)));
    }

    #[test]
    fn a_text_with_many_places_is_searched_by_all_patterns_of_the_pass() {
        let literals = Literals::new(&patterns());
        let text = "tok_".repeat(MAX_EXAMINED + 1);
        let all = literals.find(text.as_bytes(), 0);
        assert!(all.contains(0) && literals.places(text.as_bytes()).within(&(0..1)).contains(0));
        let text = "tok_".repeat(MAX_EXAMINED / 2);
        assert!(!literals.find(text.as_bytes(), 0).contains(0));
    }
}
