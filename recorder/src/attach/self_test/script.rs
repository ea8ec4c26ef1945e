//! The script of the self-test's conversation: the peer runs it, and the recorder compares it with
//! the recorded calls.

/// One direction of the conversation with bytes of one length, through one pair of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) direction: Direction,
    /// Use the functions with `_ex` in their names.
    pub(super) ex: bool,
    pub(super) len: usize,
}

/// The sending end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// A byte, some, more than one size class of events, and a full TLS record.
const LENGTHS: [usize; 4] = [1, 300, 5000, 16384];

/// Returns the rounds, in order.
pub(super) fn rounds() -> impl Iterator<Item = Round> {
    LENGTHS.into_iter().flat_map(|len| {
        [false, true].into_iter().flat_map(move |ex| {
            let round = move |direction| Round { direction, ex, len };
            [Direction::ToServer, Direction::ToClient].map(round)
        })
    })
}

impl Round {
    /// Returns the bytes of this round. No two rounds have the same bytes, and no two places within
    /// a round look alike.
    pub(super) fn bytes(self) -> Vec<u8> {
        let seed = self.len * 4 + usize::from(self.ex) * 2 + self.direction as usize;
        let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..self.len).map(|_| next()).collect()
    }
}
