//! Storage for messages whose contents are kept, up to a limit.

use super::Notes;
use crate::exchange::Note;

/// Maximum number of messages kept of an exchange: an empty message takes two bytes on the wire and
/// fifty times as much here.
const MAX_MESSAGES: usize = 1 << 20;

/// The kept messages, up to a limit; `None` if contents are not kept.
#[derive(Debug)]
pub(super) struct Kept<T>(Option<Vec<T>>);

impl<T> Kept<T> {
    pub(super) fn new(keep: bool) -> Self {
        Self(keep.then(Vec::new))
    }

    /// Returns whether contents are kept.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether the contents of the next message are needed.
    pub(super) fn has_room(&self) -> bool {
        self.0.as_ref().is_some_and(|messages| messages.len() < MAX_MESSAGES)
    }

    /// Stores a message, if contents are kept.
    pub(super) fn push(&mut self, message: T, notes: &mut Notes) {
        match &mut self.0 {
            Some(messages) if messages.len() < MAX_MESSAGES => messages.push(message),
            Some(_) => notes.add(Note::TooManyMessages(MAX_MESSAGES)),
            None => {}
        }
    }

    pub(super) fn into_inner(self) -> Option<Vec<T>> {
        self.0
    }
}
