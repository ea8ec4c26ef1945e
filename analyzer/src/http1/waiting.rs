//! Requests that wait for their responses, and how certain it is which response is whose.
//!
//! Responses come in the order of their requests (RFC 9112 section 9.3.2). As long as no byte is
//! missing, the next response belongs to the oldest request that waits. Missing bytes may have
//! contained messages. Their number follows, where it does, from:
//!
//! - the bytes around a hole: between the end of a message and the beginning of another, a hole
//!   contains at least one;
//! - its length: so many messages of the shortest length possible fit in it;
//! - the requests that waited: no hole contains more responses.
//!
//! If their number is not certain, it is unknown which request the next responses belong to. The
//! doubt ends with the next request of a client that has read all responses by then, as its
//! [`Habit`] shows: nothing waits, and the counting begins anew.
//!
//! An interim response in a hole counts as no response. A hole that contains nothing but interim
//! responses is recognised where no request was sent after it.

use std::collections::VecDeque;

use super::evidence::{Habit, Hole, SHORTEST_REQUEST, SHORTEST_RESPONSE, Shortest, View};

/// A number of requests without a bound, to which others are added.
const UNKNOWN: u64 = u64::MAX / 2;

/// Requests that wait for their responses.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    queue: VecDeque<Slot<T>>,
    /// Number of holes in `queue`.
    holes: usize,
    /// Messages and missing bytes come in the order in which the ends sent them. Otherwise a
    /// request may be missing before a response although the missing bytes come later.
    is_causal: bool,
    /// It is unknown to which request the next response belongs; the value is the largest possible
    /// number of requests without a response.
    doubt: Option<u64>,
    /// Missing bytes of responses since the last response.
    hole: Option<Hole>,
    /// Bytes of responses, captured or not, came.
    spoken: bool,
    /// Bytes of requests are missing, and no bytes of either side were captured since.
    is_hole_last: bool,
    /// Length of the last missing bytes of requests.
    last_hole: u64,
    /// Number of responses that no request waited for, since the last request. Where the place of
    /// missing bytes is known only from the next bytes of their direction, these responses belong
    /// to requests in the next hole.
    unasked: u64,
    habit: Habit,
    requests: Shortest,
    responses: Shortest,
}

/// A request that waits, or missing bytes that may have contained requests.
#[derive(Debug)]
enum Slot<T> {
    Request(T),
    Hole {
        hole: Hole,
        /// Number of responses that went to requests in the hole.
        answered: u64,
    },
}

/// The request of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<T> {
    Request(T),
    /// A request that is missing.
    Missing,
    /// Unknown, since messages are missing.
    Unknown,
    /// No request waits.
    None,
}

/// The effect of a request on the requests before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled<T> {
    /// Requests whose responses are missing, or stand alone.
    pub(super) lost: Vec<T>,
    /// The client has read everything that was sent before: a response begins with the next byte.
    pub(super) is_restart: bool,
}

impl<T> Waiting<T> {
    /// Creates a queue of messages that come in causal order, or nearly so.
    pub(super) fn new(is_causal: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            holes: 0,
            is_causal,
            doubt: None,
            hole: None,
            spoken: false,
            is_hole_last: false,
            last_hole: 0,
            unasked: 0,
            habit: Habit::default(),
            requests: Shortest(SHORTEST_REQUEST),
            responses: Shortest(SHORTEST_RESPONSE),
        }
    }

    /// Returns the number of requests that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len() - self.holes
    }

    /// Returns whether the next response belongs to a request that waits, for certain.
    pub(super) fn is_certain(&self) -> bool {
        self.doubt.is_none()
            && self.hole.is_none()
            && matches!(self.queue.front(), Some(Slot::Request(_)))
    }

    /// Returns whether nothing that is missing can contain a message.
    pub(super) fn is_whole(&self) -> bool {
        self.doubt.is_none() && self.hole.is_none() && self.holes == 0
    }

    /// Returns whether no request, captured or not, waits for a response.
    pub(super) fn is_idle(&self) -> bool {
        self.is_whole() && self.queue.is_empty()
    }

    /// Returns the newest request, if it waits.
    pub(super) fn newest_mut(&mut self) -> Option<&mut T> {
        self.queue.back_mut()?.as_request_mut()
    }

    /// Returns the oldest request, if it waits.
    pub(super) fn oldest_mut(&mut self) -> Option<&mut T> {
        self.queue.iter_mut().find_map(Slot::as_request_mut)
    }

    /// Removes the oldest request. Its response may still come.
    pub(super) fn remove_oldest(&mut self) -> Option<T> {
        self.begin_doubt();
        let at = self.queue.iter().position(|slot| matches!(slot, Slot::Request(_)))?;
        self.queue.remove(at)?.into_request()
    }

    /// Removes all requests.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        self.holes = 0;
        let slots = std::mem::take(&mut self.queue).into_iter();
        slots.filter_map(Slot::into_request).collect()
    }

    /// Returns whether responses came since the last request, of a client that may wait for all.
    pub(super) fn has_turned(&self, view: View) -> bool {
        self.habit.has_turned_by(view)
    }

    /// Notes bytes of responses.
    pub(super) fn spoke(&mut self) {
        self.habit.spoke();
        (self.spoken, self.is_hole_last) = (true, false);
    }

    /// Returns whether responses may be missing, or stand alone.
    pub(super) fn may_be_answered(&self) -> bool {
        self.spoken && !self.is_whole()
    }

    /// Adds the requests that may precede the first that was captured.
    pub(super) fn begins_late(&mut self) {
        let hole = Hole { len: 1, heads: 0, begins: true, ends: false, waiting: 0 };
        self.habit.hole(hole);
        self.push_hole(hole, 0);
    }

    /// Notes that a request begins. `resumes`: it follows directly on missing bytes.
    pub(super) fn ask(&mut self, resumes: bool, view: View) -> Settled<T> {
        self.habit.see(view);
        if resumes && let Some(Slot::Hole { hole, .. }) = self.queue.back_mut() {
            hole.ends = true;
        }
        let mut settled = Settled { lost: Vec::new(), is_restart: false };
        if self.is_certain() {
            self.habit.asks_while_waiting();
        } else if !self.is_whole() {
            // If nothing waits, a response may still go on.
            let is_restart = self.habit.has_read_all(self.requests);
            if is_restart || self.most_waiting() == 0 {
                settled = Settled { lost: self.take_all(), is_restart };
                (self.doubt, self.hole) = (None, None);
            }
        } else {
            self.habit.asks_when_answered();
        }
        self.habit.turn();
        if self.is_idle() {
            self.habit.settle();
        }
        self.habit.request(self.is_causal);
        (self.unasked, self.is_hole_last) = (0, false);
        settled
    }

    /// Adds a request, after [`Self::ask`].
    pub(super) fn push(&mut self, request: T) {
        self.queue.push_back(Slot::Request(request));
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Notes a request that may be the content of another, or a part of another.
    pub(super) fn doubtful_request(&mut self, view: View) {
        self.habit.doubtful_request(view);
        self.begin_doubt();
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Returns a request whose response is expected again.
    pub(super) fn push_front(&mut self, request: T) {
        self.queue.push_front(Slot::Request(request));
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Returns a request of which the server had received nothing when it sent the response: more
    /// requests wait than are known.
    pub(super) fn answered_another(&mut self, request: T) {
        self.push_front(request);
        self.doubt = Some(UNKNOWN);
        self.hole = None;
    }

    /// Takes back that a response came for an unknown request: only interim responses did.
    pub(super) fn was_interim(&mut self) {
        self.begin_doubt();
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Returns the largest possible number of requests without a response.
    fn most_waiting(&self) -> u64 {
        if let Some(most) = self.doubt {
            return most;
        }
        if self.holes == 0 {
            return self.queue.len() as u64;
        }
        let slots = self.queue.iter().map(|slot| match slot {
            Slot::Request(_) => 1,
            Slot::Hole { hole, answered } => {
                hole.messages(self.requests).1.saturating_sub(*answered)
            }
        });
        slots.sum()
    }

    /// From here on it is unknown to which request a response belongs.
    fn begin_doubt(&mut self) {
        self.doubt = Some(self.most_waiting());
        self.hole = None;
    }

    /// Notes missing bytes of requests. `begins`: a request begins with them.
    pub(super) fn request_hole(&mut self, len: u64, begins: bool, view: View) {
        if begins && self.is_certain() {
            self.habit.asks_while_waiting();
        }
        if begins && self.habit.has_read_all(self.requests) {
            if !self.is_whole() {
                // The requests so far are answered; they are listed with the next request.
                self.doubt = Some(0);
                self.hole = None;
            }
            self.habit.settle_all();
        }
        let hole = Hole { len, heads: 0, begins, ends: false, waiting: 0 };
        self.habit.turn();
        self.habit.hole(hole);
        let most = hole.messages(self.requests).1;
        if let Some(hole) = &mut self.hole {
            // Which of the two holes is the first is not known.
            hole.waiting = hole.waiting.saturating_add(most);
        }
        (self.is_hole_last, self.last_hole) = (true, len);
        self.habit.pass(view);
        match (&mut self.doubt, self.queue.back_mut()) {
            (Some(doubt), _) => *doubt = doubt.saturating_add(most),
            (None, Some(Slot::Hole { hole, .. })) => hole.len = hole.len.saturating_add(len),
            (None, _) => {
                let answered = std::mem::take(&mut self.unasked);
                self.push_hole(hole, answered);
            }
        }
    }

    fn push_hole(&mut self, hole: Hole, answered: u64) {
        self.holes += 1;
        self.queue.push_back(Slot::Hole { hole, answered });
    }

    /// Notes bytes behind a hole that are the rest of requests in it, or requests that were not
    /// recognised: so many heads may end in them. A request follows.
    pub(super) fn skip_rest(&mut self, len: u64, heads: u64, view: View) {
        // In a short hole no head ends: the first is that of the message in the hole.
        let heads = heads.saturating_sub(u64::from(self.last_hole < SHORTEST_REQUEST));
        self.habit.skip(len, heads);
        if heads > 0 {
            self.habit.pass(view);
        }
        if self.doubt.is_none()
            && let Some(Slot::Hole { hole, .. }) = self.queue.back_mut()
        {
            hole.len = hole.len.saturating_add(len);
            hole.heads = hole.heads.saturating_add(heads);
            hole.ends = true;
        }
    }

    /// Notes that bytes of responses are missing, of a response or between responses. Of two holes
    /// it is not known which is the first.
    pub(super) fn miss_responses(&mut self, view: View) {
        if self.is_hole_last {
            self.habit.pass(view);
        }
    }

    /// Notes missing bytes of responses. `begins`: a response begins with them.
    pub(super) fn response_hole(&mut self, len: u64, begins: bool) {
        if self.is_hole_last {
            self.spoken = true;
        } else {
            self.spoke();
        }
        if self.doubt.is_some() {
            return;
        }
        let waiting = self.most_waiting();
        match &mut self.hole {
            Some(hole) => {
                hole.len = hole.len.saturating_add(len);
                hole.waiting = waiting;
            }
            None => self.hole = Some(Hole { len, heads: 0, begins, ends: false, waiting }),
        }
    }

    /// Notes a response that may be the content of another.
    pub(super) fn doubtful_response(&mut self) {
        if !self.is_idle() {
            self.begin_doubt();
        }
    }

    /// Returns the request of the response that begins, and the requests before it whose responses
    /// are missing. `resumes`: it follows directly on the missing bytes.
    pub(super) fn respond(&mut self, resumes: bool) -> (Asked<T>, Vec<T>) {
        let mut lost = Vec::new();
        if let Some(hole) = self.hole.take() {
            match self.lost_in(Hole { ends: resumes, ..hole }) {
                Some(count) => {
                    lost = self.queue.drain(..count).filter_map(Slot::into_request).collect();
                }
                None => self.begin_doubt(),
            }
        }
        (self.next_asked(), lost)
    }

    /// Takes the request of the next response.
    fn next_asked(&mut self) -> Asked<T> {
        if let Some(most) = &mut self.doubt {
            *most = most.saturating_sub(1);
            return Asked::Unknown;
        }
        let is_last = self.queue.len() == 1;
        if let Some(Slot::Hole { hole, answered }) = self.queue.front_mut() {
            let (least, most) = hole.messages(self.requests);
            let is_missing = is_last || least > *answered;
            if !is_missing && most > *answered {
                self.begin_doubt();
                return self.next_asked();
            }
            *answered += u64::from(is_missing);
            // More requests of the last hole may wait.
            if !is_last && most <= *answered {
                self.queue.pop_front();
                self.holes -= 1;
            }
            if is_missing {
                return Asked::Missing;
            }
        }
        match self.queue.pop_front().and_then(Slot::into_request) {
            Some(request) => Asked::Request(request),
            None => {
                self.unasked += 1;
                Asked::None
            }
        }
    }

    /// Returns how many of the oldest requests have their responses in the hole, if it is certain.
    fn lost_in(&self, hole: Hole) -> Option<usize> {
        if !hole.ends {
            return self.queue.is_empty().then_some(0);
        }
        let (least, most) = hole.messages(self.responses);
        let is_later = self.most_waiting() > hole.waiting;
        // The response that begins now belongs to a request that waits.
        let waiting = if is_later { hole.waiting } else { hole.waiting.saturating_sub(1) };
        let most = match self.is_causal {
            true => most.min(waiting),
            false if self.responses.most(hole.len) <= 1 => 1,
            false => return None,
        };
        if least.min(most) != most || waiting < most {
            return None;
        }
        let count = usize::try_from(most).ok()?;
        let is_request = |slot: &Slot<T>| matches!(slot, Slot::Request(_));
        self.queue.iter().take(count).all(is_request).then_some(count.min(self.queue.len()))
    }
}

impl<T> Slot<T> {
    fn into_request(self) -> Option<T> {
        match self {
            Slot::Request(request) => Some(request),
            Slot::Hole { .. } => None,
        }
    }

    fn as_request_mut(&mut self) -> Option<&mut T> {
        match self {
            Slot::Request(request) => Some(request),
            Slot::Hole { .. } => None,
        }
    }
}
