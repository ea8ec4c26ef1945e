//! Blanks secrets in the contents of a message, or of a stream that is not HTTP, which arrive in
//! pieces.

use std::ops::Range;

use super::counts::Place;
use super::fields::Contents;
use super::search::{Search, Text};
use super::window::{Engine, Window};

/// The contents of a message, or a stream.
#[derive(Debug)]
pub(super) enum Body {
    /// No rule applies.
    Free,
    /// The contents cannot be searched and are blanked.
    Blank(Place),
    /// The contents are searched.
    Search(Box<Search>),
}

impl Body {
    /// Starts the contents that follow a head.
    pub(super) fn new(engine: &Engine, contents: Contents) -> Self {
        let rules = &engine.rules;
        if contents.coded || (contents.multipart && !rules.form.is_empty()) {
            return Self::unknown(engine);
        }
        let text = Text { place: Place::Body, form: contents.may_be_form(), unsure: false };
        Self::of(engine, text)
    }

    /// Starts contents that cannot be searched, or whose head is unknown.
    pub(super) fn unknown(engine: &Engine) -> Self {
        match engine.rules.concerns_bodies() {
            true => Body::Blank(Place::Body),
            false => Body::Free,
        }
    }

    /// Starts a message of a WebSocket, or a frame of HTTP/2 that is not content.
    pub(super) fn text(engine: &Engine, place: Place) -> Self {
        Self::of(engine, Text { place, form: false, unsure: false })
    }

    /// Starts bytes that are not HTTP, or were not recognised as HTTP: they may be anything, even a
    /// head.
    pub(super) fn unsure(engine: &Engine) -> Self {
        Self::of(engine, Text { place: Place::Other, form: false, unsure: true })
    }

    fn of(engine: &Engine, text: Text) -> Self {
        match engine.rules.is_empty() {
            true => Body::Free,
            false => Body::Search(Box::new(Search::new(text))),
        }
    }

    /// Processes the next bytes.
    pub(super) fn data(&mut self, window: &mut Window, range: Range<u64>, engine: &mut Engine) {
        match self {
            _ if range.is_empty() => {}
            Body::Free => {}
            Body::Blank(place) => engine.blank(window, range, *place),
            Body::Search(search) => search.data(window, range, engine),
        }
    }

    /// Processes the end.
    pub(super) fn finish(&mut self, window: &mut Window, engine: &mut Engine) {
        if let Body::Search(search) = self {
            search.finish(window, engine);
        }
    }

    /// Processes missing bytes: the next bytes may be the rest of a secret.
    pub(super) fn gap(&mut self, window: &mut Window, engine: &mut Engine) {
        match self {
            Body::Search(search) if search.is_unsure() => search.gap(window, engine),
            Body::Search(search) => {
                search.give_up(window, engine);
                let place = search.place();
                // Without rules about contents, only lines that look like header fields are
                // searched.
                match engine.rules.concerns_bodies() {
                    true => *self = Body::Blank(place),
                    false => search.gap(window, engine),
                }
            }
            Body::Free | Body::Blank(_) => {}
        }
    }

    /// Blanks the held bytes, which exceed the limit.
    pub(super) fn give_up(&mut self, window: &mut Window, engine: &mut Engine) {
        if let Body::Search(search) = self {
            search.give_up(window, engine);
        }
    }

    /// Returns the bytes of memory in use, approximately.
    pub(super) fn memory(&self) -> usize {
        match self {
            Body::Search(search) => search.memory(),
            Body::Free | Body::Blank(_) => 0,
        }
    }

    /// Returns the place of the first byte that is held back.
    pub(super) fn held_from(&self) -> Option<u64> {
        match self {
            Body::Search(search) => search.held_from(),
            Body::Free | Body::Blank(_) => None,
        }
    }
}
