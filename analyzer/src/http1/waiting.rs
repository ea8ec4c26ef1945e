//! Requests that wait for their responses, and how certain it is which response is whose.
//!
//! Responses come in the order of their requests (RFC 9112 section 9.3.2). As long as no byte is
//! missing, the next response belongs to the oldest request that waits. Missing bytes may have
//! contained messages. Their number follows, where it does, from:
//!
//! - the bytes around a hole: between the end of a message and the beginning of another, a hole
//!   contains at least one;
//! - its length: several messages are longer than the shortest of the connection so far;
//! - the requests that waited: no hole contains more responses.
//!
//! If their number is not certain, the following responses are of unknown requests, until nothing
//! waits: a client that was never seen to send a request before it had read all responses to the
//! requests before, in a burst, has read them when it sends the next.
//!
//! An interim response in a hole counts as no response. A hole that contains nothing but interim
//! responses is recognised where no request was sent after it.

use std::collections::VecDeque;

use super::evidence::{Burst, Hole, Lengths, SHORTEST_REQUEST, SHORTEST_RESPONSE, Since};

/// Number of times that a client must have waited for all responses before it is taken to do so
/// always: after single requests, after bursts, and after bursts of two at most, for which a client
/// that sends a request for each response passes if responses come in pairs.
const SINGLES: u32 = 2;
const BURSTS: u32 = 3;
const PAIRS: u32 = 6;

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
    /// Bytes of responses, captured or not, came after the last request.
    turned: bool,
    /// Bytes of responses, captured or not, came.
    spoken: bool,
    /// Number of responses that no request waited for, since the last request. Where the place of
    /// missing bytes is known only from the next bytes of their direction, these responses belong
    /// to requests in the next hole.
    unasked: u64,
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
    requests: Lengths,
    responses: Lengths,
    since: Since,
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
    /// This request. The responses to the requests in `lost` are missing.
    Request { request: T, lost: Vec<T> },
    /// A request that is missing.
    Missing { lost: Vec<T> },
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
            turned: false,
            spoken: false,
            unasked: 0,
            burst: Burst::default(),
            largest: 0,
            singles: 0,
            bursts: 0,
            interleaves: false,
            requests: Lengths::new(SHORTEST_REQUEST),
            responses: Lengths::new(SHORTEST_RESPONSE),
            since: Since::default(),
        }
    }
}

impl<T> Waiting<T> {
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

    /// Returns the newest request, if it waits.
    pub(super) fn newest_mut(&mut self) -> Option<&mut T> {
        match self.queue.back_mut()? {
            Slot::Request(request) => Some(request),
            Slot::Hole { .. } => None,
        }
    }

    /// Returns the oldest request, if it waits.
    pub(super) fn oldest_mut(&mut self) -> Option<&mut T> {
        self.queue.iter_mut().find_map(|slot| match slot {
            Slot::Request(request) => Some(request),
            Slot::Hole { .. } => None,
        })
    }

    /// Removes the oldest request. Its response may still come.
    pub(super) fn remove_oldest(&mut self) -> Option<T> {
        self.begin_doubt();
        let at = self.queue.iter().position(|slot| matches!(slot, Slot::Request(_)))?;
        match self.queue.remove(at)? {
            Slot::Request(request) => Some(request),
            Slot::Hole { .. } => None,
        }
    }

    /// Removes all requests.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        self.holes = 0;
        let slots = std::mem::take(&mut self.queue).into_iter();
        slots.filter_map(Slot::request).collect()
    }

    /// Notes the length of a complete request.
    pub(super) fn request_has(&mut self, len: u64) {
        self.requests.add(len);
    }

    /// Notes the length of a complete final response.
    pub(super) fn response_has(&mut self, len: u64) {
        self.responses.add(len);
    }

    /// Returns whether the client is known to have read all responses before it sends its next
    /// request.
    pub(super) fn has_turned(&self) -> bool {
        self.turned && !self.interleaves
    }

    /// Notes bytes of responses.
    pub(super) fn spoke(&mut self) {
        self.turned = true;
        self.spoken = true;
    }

    /// Returns whether responses may be missing, or stand alone.
    pub(super) fn may_be_answered(&self) -> bool {
        self.spoken && !self.is_whole()
    }

    /// Adds the requests that may precede the first that was captured.
    pub(super) fn begins_late(&mut self) {
        let hole = Hole { len: 1, begins: true, ends: false, waiting: 0 };
        self.burst.holes += 1;
        self.burst.damages += 1;
        self.holes += 1;
        self.queue.push_back(Slot::Hole { hole, answered: 0 });
    }

    /// Notes that a request begins. `resumes`: it follows directly on missing bytes.
    pub(super) fn ask(&mut self, resumes: bool) -> Settled<T> {
        if resumes && let Some(Slot::Hole { hole, .. }) = self.queue.back_mut() {
            hole.ends = true;
        }
        let mut settled = Settled { lost: Vec::new(), is_restart: false };
        if self.turned && self.is_certain() {
            self.interleaves = true;
        }
        if self.turned && self.is_whole() && self.queue.is_empty() {
            match self.burst.seen {
                0 => {}
                1 => self.singles = self.singles.saturating_add(1),
                seen => {
                    self.bursts = self.bursts.saturating_add(1);
                    self.largest = self.largest.max(seen);
                }
            }
        } else if !self.is_whole() && self.all_answered() {
            settled.lost = self.take_all();
            settled.is_restart = true;
            (self.doubt, self.hole) = (None, None);
        }
        self.turn();
        if self.is_whole() && self.queue.is_empty() {
            self.since = Since::default();
        }
        self.unasked = 0;
        self.burst.seen = self.burst.seen.saturating_add(1);
        if self.is_causal {
            self.largest = self.largest.max(self.burst.seen);
        }
        settled
    }

    /// Begins a burst, if responses came after the last request.
    fn turn(&mut self) {
        if std::mem::take(&mut self.turned) {
            self.since.add(std::mem::take(&mut self.burst));
        }
    }

    /// Adds a request, after [`Self::ask`].
    pub(super) fn push(&mut self, request: T) {
        self.queue.push_back(Slot::Request(request));
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Notes a request that may be the content of another.
    pub(super) fn doubtful_request(&mut self) {
        self.begin_doubt();
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Returns a request whose response is expected again.
    pub(super) fn push_front(&mut self, request: T) {
        self.queue.push_front(Slot::Request(request));
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Takes back that a response came for an unknown request: only interim responses did.
    pub(super) fn was_interim(&mut self) {
        self.begin_doubt();
        self.doubt = self.doubt.map(|most| most + 1);
    }

    /// Returns whether, if a request begins now, all requests before were answered.
    fn all_answered(&self) -> bool {
        self.most_waiting() == 0
            || (self.has_turned() && (self.waits_for_one() || self.waits_for_all()))
    }

    /// Returns whether the client has always waited for all responses, often enough.
    fn waits_for_all(&self) -> bool {
        match self.largest {
            0 | 1 => self.singles >= SINGLES,
            2 => self.bursts >= PAIRS,
            _ => self.bursts >= BURSTS,
        }
    }

    /// Returns whether a single request waited at a time.
    fn waits_for_one(&self) -> bool {
        self.burst.most(&self.requests) <= 1 && self.since.has_single_requests(&self.requests)
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
                hole.messages(&self.requests).1.saturating_sub(*answered)
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
    pub(super) fn request_hole(&mut self, len: u64, begins: bool) {
        if begins && self.turned && self.is_certain() {
            self.interleaves = true;
        }
        if begins && self.has_turned() && (self.waits_for_one() || self.waits_for_all()) {
            if !self.is_whole() {
                // The requests so far are answered; they are listed with the next request.
                self.doubt = Some(0);
                self.hole = None;
            }
            (self.since, self.burst) = (Since::default(), Burst::default());
        }
        self.turn();
        let hole = Hole { len, begins, ends: false, waiting: 0 };
        self.burst.holes = self.burst.holes.saturating_add(u32::from(begins));
        self.burst.damages = self.burst.damages.saturating_add(1);
        self.burst.lost = self.burst.lost.saturating_add(hole.further());
        let most = hole.messages(&self.requests).1;
        match (&mut self.doubt, self.queue.back_mut()) {
            (Some(doubt), _) => *doubt = doubt.saturating_add(most),
            (None, Some(Slot::Hole { hole, .. })) => hole.len = hole.len.saturating_add(len),
            (None, _) => {
                let answered = std::mem::take(&mut self.unasked);
                self.holes += 1;
                self.queue.push_back(Slot::Hole { hole, answered });
            }
        }
    }

    /// Notes bytes behind a hole that are the rest of requests in it. A request follows.
    pub(super) fn skip_rest(&mut self, len: u64) {
        match (&mut self.doubt, self.queue.back_mut()) {
            (None, Some(Slot::Hole { hole, .. })) => {
                hole.len = hole.len.saturating_add(len);
                hole.ends = true;
                self.burst.lost = self.burst.lost.saturating_add(len);
            }
            _ => self.burst.lost = self.burst.lost.saturating_add(len),
        }
    }

    /// Notes missing bytes of responses. `begins`: a response begins with them.
    pub(super) fn response_hole(&mut self, len: u64, begins: bool) {
        self.spoke();
        if self.doubt.is_some() {
            return;
        }
        let waiting = self.most_waiting();
        match &mut self.hole {
            Some(hole) => {
                hole.len = hole.len.saturating_add(len);
                hole.waiting = waiting;
            }
            None => self.hole = Some(Hole { len, begins, ends: false, waiting }),
        }
    }

    /// Notes a response that may be the content of another.
    pub(super) fn doubtful_response(&mut self) {
        if !self.is_whole() || !self.queue.is_empty() {
            self.begin_doubt();
        }
    }

    /// Returns the request of the response that begins. `resumes`: it follows directly on the
    /// missing bytes.
    pub(super) fn respond(&mut self, resumes: bool) -> Asked<T> {
        let mut lost = Vec::new();
        if let Some(hole) = self.hole.take()
            && !self.resolve(Hole { ends: resumes, ..hole }, &mut lost)
        {
            for request in lost.into_iter().rev() {
                self.queue.push_front(Slot::Request(request));
            }
            self.begin_doubt();
            lost = Vec::new();
        }
        if let Some(most) = &mut self.doubt {
            *most = most.saturating_sub(1);
            return Asked::Unknown;
        }
        match self.queue.pop_front() {
            None => {
                self.unasked += 1;
                Asked::None
            }
            Some(Slot::Request(request)) => Asked::Request { request, lost },
            Some(Slot::Hole { hole, answered }) => {
                self.holes -= 1;
                let (least, most) = hole.messages(&self.requests);
                if self.queue.is_empty() {
                    // More requests of the hole may wait.
                    self.holes += 1;
                    self.queue.push_front(Slot::Hole { hole, answered: answered + 1 });
                    return Asked::Missing { lost };
                }
                if least > answered {
                    if most > answered + 1 {
                        self.holes += 1;
                        self.queue.push_front(Slot::Hole { hole, answered: answered + 1 });
                    }
                    return Asked::Missing { lost };
                }
                if most <= answered {
                    return match self.queue.pop_front() {
                        Some(Slot::Request(request)) => Asked::Request { request, lost },
                        _ => Asked::Missing { lost },
                    };
                }
                self.holes += 1;
                self.queue.push_front(Slot::Hole { hole, answered });
                for request in lost.into_iter().rev() {
                    self.queue.push_front(Slot::Request(request));
                }
                self.begin_doubt();
                self.doubt = self.doubt.map(|most| most.saturating_sub(1));
                Asked::Unknown
            }
        }
    }

    /// Removes the requests whose responses are in the hole. Returns whether their number is
    /// certain.
    fn resolve(&mut self, hole: Hole, lost: &mut Vec<T>) -> bool {
        if !hole.ends {
            return self.queue.is_empty();
        }
        let (least, most) = hole.messages(&self.responses);
        let is_later = self.most_waiting() > hole.waiting;
        // The response that begins now belongs to a request that waits.
        let waiting = if is_later { hole.waiting } else { hole.waiting.saturating_sub(1) };
        let most = match self.is_causal {
            true => most.min(waiting),
            false if self.responses.is_one(hole.len) => 1,
            false => return false,
        };
        let least = least.min(most);
        if least != most || waiting < most {
            return false;
        }
        for _ in 0..most {
            match self.queue.pop_front() {
                Some(Slot::Request(request)) => lost.push(request),
                Some(slot) => {
                    self.queue.push_front(slot);
                    return false;
                }
                None => {}
            }
        }
        true
    }
}

impl<T> Slot<T> {
    fn request(self) -> Option<T> {
        match self {
            Slot::Request(request) => Some(request),
            Slot::Hole { .. } => None,
        }
    }
}
