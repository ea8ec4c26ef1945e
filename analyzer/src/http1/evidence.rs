//! How many messages missing bytes may have contained, and whether a client waits for responses.

/// Length of the shortest request in use, `GET / HTTP/1.1` with a host.
pub(super) const SHORTEST_REQUEST: u64 = 26;

/// Length of the shortest response, a status line and an empty line.
pub(super) const SHORTEST_RESPONSE: u64 = 17;

/// Lengths of messages of a direction.
#[derive(Debug)]
pub(super) struct Lengths {
    /// The shortest that is possible.
    possible: u64,
    /// The shortest so far.
    shortest: u64,
    messages: u32,
}

impl Lengths {
    /// Number of messages that show how long messages are.
    const ENOUGH: u32 = 4;

    pub(super) fn new(possible: u64) -> Self {
        Self { possible, shortest: u64::MAX, messages: 0 }
    }

    pub(super) fn add(&mut self, len: u64) {
        self.shortest = self.shortest.min(len);
        self.messages = self.messages.saturating_add(1);
    }

    /// Returns whether so many bytes are no more than the shortest of several messages.
    pub(super) fn is_one(&self, len: u64) -> bool {
        self.messages > 1 && len <= self.shortest
    }

    /// Returns how many messages fit in so many bytes. One at least of several is as long as the
    /// shortest so far.
    fn most(&self, len: u64) -> u64 {
        let first = if self.messages < Self::ENOUGH { self.possible } else { self.shortest };
        len.checked_sub(first).map_or(0, |rest| 1 + rest / self.possible)
    }
}

/// Requests without bytes of responses between them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Burst {
    /// Number of requests.
    pub(super) seen: u32,
    /// Number of holes among them that begin a request.
    pub(super) holes: u32,
    /// Number of holes, and of the bytes in them that may be of further requests.
    pub(super) damages: u32,
    pub(super) lost: u64,
}

impl Burst {
    /// Returns the largest possible number of requests.
    pub(super) fn most(&self, requests: &Lengths) -> u64 {
        u64::from(self.seen) + requests.most(self.lost).max(u64::from(self.holes))
    }
}

/// The bursts since nothing waited, for certain. A client that does not wait for all responses
/// sends several requests in one of them.
#[derive(Debug, Default)]
pub(super) struct Since {
    /// The largest number of requests that were captured of a burst.
    largest: u32,
    /// Bursts with holes.
    damaged: Vec<Burst>,
}

impl Since {
    /// Maximum number of bursts with holes; of more it is not known whether the client waits.
    const MAX_DAMAGED: usize = 16;

    pub(super) fn add(&mut self, burst: Burst) {
        self.largest = self.largest.max(burst.seen);
        if burst.damages > 0 && self.damaged.len() <= Self::MAX_DAMAGED {
            self.damaged.push(burst);
        }
    }

    /// Returns whether no burst had several requests.
    pub(super) fn has_single_requests(&self, requests: &Lengths) -> bool {
        self.largest <= 1
            && self.damaged.len() <= Self::MAX_DAMAGED
            && self.damaged.iter().all(|burst| burst.most(requests) <= 1)
    }
}

/// Missing bytes of a direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) len: u64,
    /// It begins where a message begins.
    pub(super) begins: bool,
    /// It ends where a message begins.
    pub(super) ends: bool,
    /// Number of requests that waited at its end.
    pub(super) waiting: u64,
}

impl Hole {
    /// Returns the number of bytes that may be of further messages: one at least is of the message
    /// before.
    pub(super) fn further(self) -> u64 {
        self.len.saturating_sub(u64::from(!self.begins))
    }

    /// Returns the least and the largest number of messages in it, without a message that began
    /// before it.
    pub(super) fn messages(self, lengths: &Lengths) -> (u64, u64) {
        let least = u64::from(self.begins && self.ends);
        // The bytes after it may be the rest of a message.
        let rest = if self.ends || self.further() == 0 { 0 } else { lengths.possible - 1 };
        (least, lengths.most(self.further().saturating_add(rest)).max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(len: u64, begins: bool, ends: bool) -> Hole {
        Hole { len, begins, ends, waiting: 0 }
    }

    #[test]
    fn the_number_of_messages_follows_from_the_places_and_the_length_of_a_hole() {
        let mut lengths = Lengths::new(26);
        // Between two messages: one at least, and as many as the shortest possible.
        assert_eq!(hole(25, true, true).messages(&lengths), (1, 1));
        assert_eq!(hole(51, true, true).messages(&lengths), (1, 1));
        assert_eq!(hole(52, true, true).messages(&lengths), (1, 2));
        // A byte is of the message before; the bytes after may be the rest of a message.
        assert_eq!(hole(26, false, true).messages(&lengths), (0, 0));
        assert_eq!(hole(27, false, true).messages(&lengths), (0, 1));
        assert_eq!(hole(1, false, false).messages(&lengths), (0, 0));
        assert_eq!(hole(2, false, false).messages(&lengths), (0, 1));
        assert_eq!(hole(1, true, false).messages(&lengths), (0, 1));
        // Enough messages show how long one of several is at least.
        [300, 100, 200].iter().for_each(|&len| lengths.add(len));
        assert_eq!(hole(125, true, true).messages(&lengths), (1, 4));
        lengths.add(150);
        assert_eq!(hole(125, true, true).messages(&lengths), (1, 1));
        assert_eq!(hole(126, true, true).messages(&lengths), (1, 2));
        assert!(hole(u64::MAX, true, false).messages(&lengths).1 > 1 << 58);
    }

    #[test]
    fn the_shortest_of_several_messages_is_one() {
        let mut lengths = Lengths::new(17);
        assert!(!lengths.is_one(10));
        lengths.add(100);
        assert!(!lengths.is_one(10));
        lengths.add(90);
        assert!(lengths.is_one(90) && !lengths.is_one(91));
    }
}
