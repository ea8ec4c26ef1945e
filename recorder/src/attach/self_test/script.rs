//! What the self-test's two ends say to each other: known to the peer, which does it, and to the
//! recorder, which expects to see it.

/// One direction of the conversation with bytes of one length, through one pair of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) direction: Direction,
    /// The functions with `_ex` in their names.
    pub(super) ex: bool,
    pub(super) len: usize,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// A byte, some, more than one size class of events, and all that one TLS record holds.
const LENGTHS: [usize; 4] = [1, 300, 5000, 16384];

/// The rounds, in order.
pub(super) fn rounds() -> impl Iterator<Item = Round> {
    LENGTHS.into_iter().flat_map(|len| {
        [false, true].into_iter().flat_map(move |ex| {
            let round = move |direction| Round { direction, ex, len };
            [Direction::ToServer, Direction::ToClient].map(round)
        })
    })
}

impl Round {
    /// The bytes of this round: no two rounds have the same, and no place in one looks like the
    /// next.
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
