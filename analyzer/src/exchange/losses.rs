//! The missing bytes of a message or a stream: number, direction and cause.

use sslrec_formats::record::{Direction, GapCause};

use super::{End, Note};

/// Missing bytes by direction and cause, in the order of their first occurrence.
///
/// The length is at most directions times causes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Losses(Vec<(Direction, GapCause, u64)>);

impl Losses {
    /// Adds `len` missing bytes.
    pub(crate) fn add(&mut self, direction: Direction, cause: GapCause, len: u64) {
        match self.0.iter_mut().find(|(d, c, _)| (*d, *c) == (direction, cause)) {
            Some((_, _, known)) => *known = known.saturating_add(len),
            None => self.0.push((direction, cause, len)),
        }
    }

    /// Iterates over all missing bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Direction, GapCause, u64)> {
        self.0.iter().copied()
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().fold(0, |total, (_, _, len)| total.saturating_add(*len))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a note for each direction and cause; `note` makes it. See [`End::of`] for `client`.
    pub(crate) fn notes(
        &self,
        note: fn(u64, End, GapCause) -> Note,
        client: Option<Direction>,
    ) -> impl Iterator<Item = Note> {
        self.0
            .iter()
            .map(move |&(direction, cause, bytes)| note(bytes, End::of(direction, client), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_added_up_by_direction_and_cause() {
        let mut losses = Losses::default();
        for (direction, cause, len) in [
            (Direction::Sent, GapCause::RingFull, 5),
            (Direction::Received, GapCause::RingFull, 1),
            (Direction::Sent, GapCause::Unknown, 7),
            (Direction::Sent, GapCause::RingFull, 6),
        ] {
            losses.add(direction, cause, len);
        }
        let notes = |client| losses.notes(Note::Missing, client).collect::<Vec<_>>();
        assert_eq!(
            notes(Some(Direction::Sent)),
            [
                "11 bytes missing from the client: ring_full",
                "1 byte missing from the server: ring_full",
                "7 bytes missing from the client"
            ]
        );
        assert_eq!(notes(None)[1], "1 byte missing from the remote end: ring_full");
        assert_eq!(losses.total(), 19);
    }

    #[test]
    fn absurd_lengths_do_not_wrap() {
        let mut losses = Losses::default();
        losses.add(Direction::Sent, GapCause::Unknown, u64::MAX);
        losses.add(Direction::Sent, GapCause::Unknown, 2);
        losses.add(Direction::Received, GapCause::Unknown, 2);
        assert_eq!(losses.total(), u64::MAX);
    }
}
