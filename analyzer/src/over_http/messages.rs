//! Storage for messages whose contents are kept, up to a limit.

use super::Notes;
use crate::budget::{Charge, Keep};
use crate::exchange::Note;

/// Maximum number of messages kept of an exchange: an empty message takes two bytes on the wire and
/// fifty times as much here.
const MAX_MESSAGES: usize = 1 << 20;

/// The kept messages, up to a limit; `None` if contents are not kept.
#[derive(Debug)]
pub(super) struct Kept<T> {
    messages: Option<Vec<T>>,
    /// Memory for them, and for those that are being read.
    held: Charge,
    /// The most that is kept of one message.
    max_len: usize,
}

impl<T> Kept<T> {
    pub(super) fn new(keep: &Keep) -> Self {
        let charge = keep.charge();
        Self {
            messages: charge.is_some().then(Vec::new),
            held: charge.unwrap_or_default(),
            max_len: keep.budget.max_part(),
        }
    }

    /// Returns whether contents are kept.
    pub(super) fn is_on(&self) -> bool {
        self.messages.is_some()
    }

    /// Returns whether the contents of the next message are needed.
    pub(super) fn has_room(&self) -> bool {
        self.messages.as_ref().is_some_and(|messages| messages.len() < MAX_MESSAGES)
    }

    /// Counts so many bytes more of a message of which `len` bytes are kept. Returns how many of
    /// them there is memory for.
    pub(super) fn hold(&mut self, len: usize, more: usize) -> usize {
        self.held.grow_up_to(self.max_len.saturating_sub(len).min(more))
    }

    /// So many bytes are not held any more.
    pub(super) fn release(&mut self, bytes: usize) {
        self.held.shrink(bytes);
    }

    /// The most that is kept of one message, and the memory for it.
    pub(super) fn memory(&mut self) -> (usize, &mut Charge) {
        (self.max_len, &mut self.held)
    }

    /// Stores a message, if contents are kept.
    pub(super) fn push(&mut self, message: T, notes: &mut Notes) {
        match &mut self.messages {
            Some(messages) if messages.len() < MAX_MESSAGES => {
                if self.held.grow(size_of::<T>()) {
                    messages.push(message);
                } else {
                    notes.add(Note::MessagesLeftOut);
                }
            }
            Some(_) => notes.add(Note::TooManyMessages(MAX_MESSAGES)),
            None => {}
        }
    }

    /// The messages and the memory for them.
    pub(super) fn into_parts(self) -> (Option<Vec<T>>, Charge) {
        (self.messages, self.held)
    }
}
