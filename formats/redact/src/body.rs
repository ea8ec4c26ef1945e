//! The contents of one message, or of a stream that is not HTTP: what is secret in bytes that come
//! in pieces.

use std::ops::Range;

use super::fields::Contents;
use super::json::Json;
use super::pairs::{Ends, Pairs};
use super::patterns::Scanner;
use super::window::{Engine, Window};

/// See the module.
#[derive(Debug)]
pub(super) enum Body {
    /// No rule concerns it.
    Free,
    /// Whether something in it is secret cannot be known: it is blanked.
    Blank,
    /// It is looked through.
    Search(Box<Search>),
}

#[derive(Debug)]
pub(super) struct Search {
    json: Json,
    pairs: Pairs,
    scanner: Scanner,
    /// Only patterns count.
    opaque: bool,
}

impl Body {
    /// The contents that follow a head.
    pub(super) fn new(engine: &Engine, contents: Contents) -> Self {
        let rules = &engine.rules;
        if !rules.concerns_bodies() {
            return Body::Free;
        }
        if contents.coded || (contents.multipart && !rules.form.is_empty()) {
            return Body::Blank;
        }
        let pairs = match contents.may_be_form() {
            true => Pairs::at_name(Ends::AtAmpersand),
            false => Pairs::within(Ends::WithTheUrl),
        };
        let (json, scanner) = (Json::new(), Scanner::default());
        Body::Search(Box::new(Search { json, pairs, scanner, opaque: false }))
    }

    /// Contents of which the head is not known.
    pub(super) fn unknown(engine: &Engine) -> Self {
        if engine.rules.concerns_bodies() { Body::Blank } else { Body::Free }
    }

    /// A stream that is not HTTP.
    pub(super) fn opaque(engine: &Engine) -> Self {
        if engine.patterns.is_empty() {
            return Body::Free;
        }
        let (json, pairs) = (Json::new(), Pairs::within(Ends::WithTheUrl));
        let scanner = Scanner::default();
        Body::Search(Box::new(Search { json, pairs, scanner, opaque: true }))
    }

    /// The next bytes of it.
    pub(super) fn data(&mut self, window: &mut Window, range: Range<u64>, engine: &mut Engine) {
        match self {
            _ if range.is_empty() => {}
            Body::Free => {}
            Body::Blank => window.blank(range),
            Body::Search(search) => search.data(window, range, engine),
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, window: &mut Window, engine: &mut Engine) {
        if let Body::Search(search) = self {
            let blank = &mut |range| window.blank(range);
            search.scanner.settle(&mut engine.patterns, true, blank);
        }
    }

    /// Bytes are missing: what follows may be the rest of a secret.
    pub(super) fn gap(&mut self, window: &mut Window, engine: &mut Engine) {
        match self {
            Body::Search(search) if search.opaque => self.finish(window, engine),
            Body::Search(search) => {
                search.scanner.give_up(&mut |range| window.blank(range));
                *self = Body::Blank;
            }
            Body::Free | Body::Blank => {}
        }
    }

    /// More is held than may be.
    pub(super) fn give_up(&mut self, window: &mut Window) {
        if let Body::Search(search) = self {
            search.scanner.give_up(&mut |range| window.blank(range));
        }
    }

    /// Where the first byte stands that is held back.
    pub(super) fn held_from(&self) -> Option<u64> {
        match self {
            Body::Search(search) => search.scanner.held_from(),
            Body::Free | Body::Blank => None,
        }
    }
}

impl Search {
    fn data(&mut self, window: &mut Window, range: Range<u64>, engine: &mut Engine) {
        let Engine { rules, patterns } = engine;
        if !patterns.is_empty() {
            // They see the bytes as they were.
            self.scanner.push(window.get(range.clone()), range.start);
        }
        if !self.opaque {
            let bytes = window.get_mut(range);
            if !rules.query.is_empty() || !rules.form.is_empty() {
                self.pairs.data(&[&rules.query, &rules.form], bytes);
            }
            if !rules.json.is_empty() {
                self.json.data(&rules.json, bytes);
            }
        }
        if !patterns.is_empty() {
            self.scanner.settle(patterns, false, &mut |range| window.blank(range));
        }
    }
}
