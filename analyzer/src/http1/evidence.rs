//! How many messages missing bytes may have contained, and whether a client waits for responses.

/// Length of the shortest request in use, `GET / HTTP/1.1` with a host.
pub(super) const SHORTEST_REQUEST: u64 = 26;

/// Length of the shortest response, a status line and an empty line.
pub(super) const SHORTEST_RESPONSE: u64 = 17;

/// The length of the shortest message that is possible in a direction.
///
/// That no message is shorter than those so far is not certain: a connection of long responses has
/// short ones too, such as 304.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortest(pub(super) u64);

impl Shortest {
    /// Returns how many messages fit in so many bytes.
    pub(super) fn most(self, len: u64) -> u64 {
        len / self.0
    }
}

/// Number of times that a client must have waited for all responses before it is taken to do so
/// always: after single requests, after bursts, and after bursts of two at most. A client that
/// sends a request for each response passes for the last if responses come in pairs.
const SINGLES: u32 = 2;
const BURSTS: u32 = 3;
const PAIRS: u32 = 6;

/// Maximum number of bursts with holes that are kept; of more it is not known whether the client
/// waits.
const MAX_DAMAGED: usize = 16;

/// Requests without bytes of responses between them.
#[derive(Debug, Clone, Copy, Default)]
struct Burst {
    /// Number of requests.
    seen: u32,
    /// Number of holes among them, and of those that begin with a request.
    damages: u32,
    holes: u32,
    /// Number of bytes in the holes that may be of further requests, and after them.
    lost: u64,
    /// Number of heads that may end in the bytes after the holes.
    heads: u64,
}

impl Burst {
    /// Returns the largest possible number of requests.
    fn most(&self, requests: Shortest) -> u64 {
        u64::from(self.seen) + requests.most(self.lost).max(u64::from(self.holes)).max(self.heads)
    }
}

/// What each side had received when it sent its next bytes, by offsets in the connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct View {
    /// The end of the responses that the client had received, if it is known.
    pub(crate) received: Option<u64>,
    /// The end of the requests that the server had received, if it is known.
    pub(crate) served: Option<u64>,
    /// The end of the requests, and of the responses, so far, captured or missing.
    pub(crate) asked: u64,
    pub(crate) there: u64,
}

/// How a client sends its requests: in bursts, with turns between them, at which bytes of responses
/// come.
#[derive(Debug, Default)]
pub(super) struct Habit {
    /// Bytes of responses, captured or not, came after the last request.
    turned: bool,
    /// The client has not received all bytes of responses that came.
    has_unread: bool,
    /// The end of the responses that came before the last request or hole.
    before: u64,
    /// The requests since the last turn.
    burst: Burst,
    /// The largest number of requests in a burst.
    largest: u32,
    /// Number of single requests, and of bursts of several, whose responses all came before the
    /// next request.
    singles: u32,
    bursts: u32,
    /// A request was sent after some of the responses that the client waited for, and before
    /// others.
    interleaves: bool,
    /// Since nothing waited, for certain: the largest number of captured requests in a burst, and
    /// the bursts with holes.
    largest_since: u32,
    damaged: Vec<Burst>,
}

impl Habit {
    /// Notes bytes of responses.
    pub(super) fn spoke(&mut self) {
        self.turned = true;
    }

    /// Takes what the client had received when it sent the request that begins, if it is known.
    pub(super) fn see(&mut self, view: View) {
        let Some(received) = view.received else { return };
        self.turned = received > self.before;
        self.has_unread = received < view.there;
        self.before = self.before.max(received);
    }

    /// Takes it that the client sent missing or skipped bytes after all that came of responses.
    pub(super) fn pass(&mut self, view: View) {
        self.turned = false;
        self.before = self.before.max(view.there);
    }

    /// Notes bytes that may be a request.
    pub(super) fn doubtful_request(&mut self, view: View) {
        self.see(view);
        self.turn();
        self.burst.damages = self.burst.damages.saturating_add(1);
        self.burst.heads = self.burst.heads.saturating_add(1);
    }

    /// Returns whether responses came since the last request, of a client that may wait for all.
    fn has_turned(&self) -> bool {
        self.turned && !self.interleaves && !self.has_unread
    }

    /// Returns the same for a request that the client sends with this view.
    pub(super) fn has_turned_by(&self, view: View) -> bool {
        let has_turned = match view.received {
            Some(received) => received > self.before && received >= view.there,
            None => self.turned,
        };
        has_turned && !self.interleaves
    }

    /// Notes that a request begins although one before it waits, for certain.
    pub(super) fn asks_while_waiting(&mut self) {
        self.interleaves |= self.turned;
    }

    /// Notes that a request begins and that all requests before it were answered, for certain.
    pub(super) fn asks_when_answered(&mut self) {
        // The client did not know of some of the answers.
        self.interleaves |= self.turned && self.has_unread;
        match self.burst.seen {
            _ if !self.turned || self.has_unread => {}
            0 => {}
            1 => self.singles = self.singles.saturating_add(1),
            seen => {
                self.bursts = self.bursts.saturating_add(1);
                self.largest = self.largest.max(seen);
            }
        }
    }

    /// Notes a request. In causal order it is certain that requests of a burst were sent without
    /// waiting.
    pub(super) fn request(&mut self, is_causal: bool) {
        self.burst.seen = self.burst.seen.saturating_add(1);
        if is_causal {
            self.largest = self.largest.max(self.burst.seen);
        }
    }

    /// Notes missing bytes of requests.
    pub(super) fn hole(&mut self, hole: Hole) {
        self.burst.damages = self.burst.damages.saturating_add(1);
        self.burst.holes = self.burst.holes.saturating_add(u32::from(hole.begins));
        self.lost(hole.further());
    }

    /// Notes bytes that may be of requests.
    fn lost(&mut self, len: u64) {
        self.burst.lost = self.burst.lost.saturating_add(len);
    }

    /// Notes bytes behind a hole, in which so many heads may end.
    pub(super) fn skip(&mut self, len: u64, heads: u64) {
        self.lost(len);
        self.burst.heads = self.burst.heads.saturating_add(heads);
    }

    /// Begins a burst, if responses came after the last request.
    pub(super) fn turn(&mut self) {
        if std::mem::take(&mut self.turned) {
            let burst = std::mem::take(&mut self.burst);
            self.largest_since = self.largest_since.max(burst.seen);
            if burst.damages > 0 && self.damaged.len() <= MAX_DAMAGED {
                self.damaged.push(burst);
            }
        }
    }

    /// Forgets the bursts before this one: nothing of them waits.
    pub(super) fn settle(&mut self) {
        self.largest_since = 0;
        self.damaged.clear();
    }

    /// Forgets this burst too.
    pub(super) fn settle_all(&mut self) {
        self.burst = Burst::default();
        self.settle();
    }

    /// Returns whether the client, if it sends a request now, has read all responses before.
    pub(super) fn has_read_all(&self, requests: Shortest) -> bool {
        self.has_turned() && (self.waits_for_one(requests) || self.waits_for_all())
    }

    /// Returns whether a single request at most waited at a time.
    fn waits_for_one(&self, requests: Shortest) -> bool {
        let is_single = |burst: &Burst| burst.most(requests) <= 1;
        self.largest_since <= 1
            && self.damaged.len() <= MAX_DAMAGED
            && self.damaged.iter().chain([&self.burst]).all(is_single)
    }

    /// Returns whether the client has always waited for all responses, often enough.
    fn waits_for_all(&self) -> bool {
        match self.largest {
            0 | 1 => self.singles >= SINGLES,
            2 => self.bursts >= PAIRS,
            _ => self.bursts >= BURSTS,
        }
    }
}

/// Missing bytes of a direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) len: u64,
    /// Number of further messages whose heads may end in bytes after it, which count towards its
    /// length.
    pub(super) heads: u64,
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
    fn further(self) -> u64 {
        self.len.saturating_sub(u64::from(!self.begins))
    }

    /// Returns the least and the largest number of messages in it, without a message that began
    /// before it.
    pub(super) fn messages(self, shortest: Shortest) -> (u64, u64) {
        let least = u64::from(self.begins && self.ends);
        // The bytes after it may be the rest of a message.
        let rest = if self.ends || self.further() == 0 { 0 } else { shortest.0 - 1 };
        let most = shortest.most(self.further().saturating_add(rest));
        // A message that begins in it may be shorter than any before.
        (least, most.max(u64::from(self.begins)).max(self.heads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(len: u64, begins: bool, ends: bool) -> Hole {
        Hole { len, heads: 0, begins, ends, waiting: 0 }
    }

    #[test]
    fn the_number_of_messages_follows_from_the_places_and_the_length_of_a_hole() {
        let shortest = Shortest(26);
        // Between two messages: one at least, and as many as the shortest possible.
        assert_eq!(hole(25, true, true).messages(shortest), (1, 1));
        assert_eq!(hole(51, true, true).messages(shortest), (1, 1));
        assert_eq!(hole(52, true, true).messages(shortest), (1, 2));
        // A byte is of the message before; the bytes after may be the rest of a message.
        assert_eq!(hole(26, false, true).messages(shortest), (0, 0));
        assert_eq!(hole(27, false, true).messages(shortest), (0, 1));
        assert_eq!(hole(1, false, false).messages(shortest), (0, 0));
        assert_eq!(hole(2, false, false).messages(shortest), (0, 1));
        // A message begins in it, of whatever length.
        assert_eq!(hole(1, true, false).messages(shortest), (0, 1));
        assert_eq!(Hole { heads: 2, ..hole(1, true, true) }.messages(shortest), (1, 2));
        assert!(hole(u64::MAX, true, false).messages(shortest).1 > 1 << 58);
    }
}
