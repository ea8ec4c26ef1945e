//! Finds the beginning of frames in bytes that begin at an unknown place.
//!
//! Three frame headers are required, each at the end of the frame before it, and all of a plausible
//! form ([`Frame::is_plausible`]). In random bytes 1 place in 2^22 looks like a header, and so 1 in
//! 2^66 like three. At the beginning of a call, where programs begin frames, two are enough, and so
//! is a single frame that ends with the call: 1 of 2^36 calls with other contents passes. Bodies
//! are not random. An imitation of a header (runs of zeros) is not followed by further imitations
//! at the computed places; but data that repeats every few bytes (counters, tables) is, and so a
//! header proves nothing if its payload contains another header.

use memchr::memchr_iter;

use super::frame::{Frame, HEADER_LEN, PREFACE};

/// The most bytes held: more than three frames of the largest usual size.
const MAX_HELD: usize = 64 << 10;

/// The most places that wait for further headers; only hostile bytes come near this number.
const MAX_CANDIDATES: usize = 64;

/// The number of headers that are accepted at any place.
const ENOUGH: usize = 3;

/// The part of a payload that is examined for further headers. A frame that carries random bytes
/// contains a header 1 time in 2^13, and is then skipped; the next frames are not.
const REPEATS_WITHIN: usize = 512;

/// Consecutive headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// This number, and then other bytes.
    Broken,
    /// This number; the next header is not there yet. `exact`: the bytes end with a frame.
    Open { frames: usize, exact: bool },
    /// A sufficient number.
    Enough,
}

/// Follows frame headers from the beginning of `bytes`.
fn chain(bytes: &[u8]) -> Chain {
    let mut at = 0usize;
    for frames in 0..ENOUGH {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(frame) = Frame::read(rest) else {
            return Chain::Open { frames, exact: at == bytes.len() };
        };
        if !frame.is_plausible() || repeats(&frame, &rest[HEADER_LEN..]) {
            return Chain::Broken;
        }
        at += HEADER_LEN + frame.len as usize;
    }
    Chain::Enough
}

/// Returns whether the frame's payload, with which `rest` begins, looks like a row of headers.
fn repeats(frame: &Frame, rest: &[u8]) -> bool {
    let payload = &rest[..rest.len().min(frame.len as usize).min(REPEATS_WITHIN)];
    places(payload, 0)
        .filter_map(|at| Frame::read(&payload[at..]))
        .any(|inside| inside.is_plausible())
}

/// Returns whether the chain is accepted; `call`: a call begins with it.
fn is_enough(chain: Chain, call: bool) -> bool {
    match chain {
        Chain::Enough => true,
        Chain::Open { frames, exact } => call && (frames >= 2 || (frames == 1 && exact)),
        Chain::Broken => false,
    }
}

/// Returns the place in the bytes of a call where frames begin.
pub fn find(call: &[u8]) -> Option<usize> {
    if call.starts_with(PREFACE) || is_enough(chain(call), true) {
        return Some(0);
    }
    places(call, 0).find(|&at| is_enough(chain(&call[at..]), false))
}

/// Returns the places at or after `from` that can be the beginning of a plausible frame: its length
/// is less than 2^16.
fn places(bytes: &[u8], from: usize) -> impl Iterator<Item = usize> {
    memchr_iter(0, &bytes[from..]).map(move |at| from + at)
}

/// A place where plausible headers begin, but too few so far.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    at: usize,
    /// A call begins here.
    call: bool,
}

/// Looks for frames in one direction, call by call.
#[derive(Debug, Default)]
pub struct Search {
    held: Vec<u8>,
    /// In the order of places in `held`.
    candidates: Vec<Candidate>,
}

impl Search {
    /// Processes the bytes of a further call, or of a piece of a call. If frames were found,
    /// returns all bytes from there on.
    pub fn data(&mut self, call: &[u8]) -> Option<Vec<u8>> {
        let start = self.held.len();
        self.held.extend_from_slice(call);
        if call.starts_with(PREFACE) {
            return Some(self.take(start));
        }
        let new = places(&self.held, start).map(|at| Candidate { at, call: at == start });
        let mut waiting = Vec::new();
        let mut found = None;
        for candidate in self.candidates.iter().copied().chain(new) {
            match chain(&self.held[candidate.at..]) {
                chain if is_enough(chain, candidate.call) => {
                    found = Some(candidate.at);
                    break;
                }
                Chain::Broken => {}
                _ => waiting.push(candidate),
            }
        }
        if let Some(at) = found {
            return Some(self.take(at));
        }
        self.candidates = waiting;
        self.forget_the_oldest();
        None
    }

    fn take(&mut self, at: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(self).held;
        bytes.drain(..at);
        bytes
    }

    fn forget_the_oldest(&mut self) {
        let excess = self.candidates.len().saturating_sub(MAX_CANDIDATES);
        self.candidates.drain(..excess);
        if self.held.len() <= 2 * MAX_HELD {
            return;
        }
        let cut = self.held.len() - MAX_HELD;
        self.held.drain(..cut);
        self.candidates.retain(|candidate| candidate.at >= cut);
        self.candidates.iter_mut().for_each(|candidate| candidate.at -= cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
        let mut bytes = (len as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(vec![b'x'; len]);
        bytes
    }

    fn frames() -> Vec<u8> {
        [frame(30, 1, 4, 5), frame(4, 8, 0, 0), frame(500, 0, 1, 5), frame(8, 6, 0, 0)].concat()
    }

    #[test]
    fn three_headers_are_enough_at_any_place_and_split() {
        let bytes = [b"tail of a frame".to_vec(), frames()].concat();
        assert_eq!(find(&bytes), Some(15));
        for split in 1..bytes.len() {
            let mut search = Search::default();
            let first = search.data(&bytes[..split]);
            let found = first.or_else(|| search.data(&bytes[split..])).unwrap();
            assert!(bytes[15..].starts_with(&found), "{split}");
        }
    }

    #[test]
    fn two_headers_or_a_complete_frame_are_enough_for_a_call() {
        let whole = frame(30, 1, 4, 5);
        let two = [&whole[..], &frame(100, 0, 0, 5)[..9]].concat();
        for call in [&whole, &two] {
            assert_eq!(find(call), Some(0));
            assert_eq!(Search::default().data(call), Some(call.clone()));
            let inside = [b"x", &call[..]].concat();
            assert_eq!(find(&inside), None);
            assert_eq!(Search::default().data(&inside), None);
        }
        assert_eq!(find(&whole[..38]), None);
        let mut search = Search::default();
        assert_eq!(search.data(&whole[..38]), None);
        assert_eq!(search.data(&whole[38..]), Some(whole.clone()));
        assert_eq!(find(PREFACE), Some(0));
    }

    #[test]
    fn a_single_header_is_not_accepted() {
        for bytes in [
            vec![0; 100_000],
            [vec![0; 50], frame(10, 1, 4, 5), vec![7; 100]].concat(),
            (0..20_000u64).flat_map(u64::to_be_bytes).collect(),
            (0..20_000u32).flat_map(u32::to_be_bytes).collect(),
            (0..20_000u32).flat_map(u32::to_le_bytes).collect(),
        ] {
            assert_eq!(find(&bytes), None);
            let mut search = Search::default();
            for call in bytes.chunks(1000) {
                assert_eq!(search.data(call), None);
            }
            assert!(search.candidates.len() <= MAX_CANDIDATES);
        }
    }

    #[test]
    fn counters_are_not_frames() {
        // Each word is its own place. Somewhere in 8 MiB its bytes are those of a header, at every
        // word for a while: any length that is a multiple of 8 leads to another header.
        let counters: Vec<u8> = (0..1u64 << 20).flat_map(|at| (8 * at).to_le_bytes()).collect();
        for call in counters.chunks(16_384) {
            assert_eq!(find(call), None);
        }
    }

    #[test]
    fn held_bytes_are_bounded_and_found_frames_complete() {
        let mut search = Search::default();
        for _ in 0..100 {
            assert_eq!(search.data(&[b'x'; 10_000]), None);
            assert!(search.held.len() <= 2 * MAX_HELD);
        }
        assert_eq!(search.data(&[b"x".to_vec(), frames()].concat()), Some(frames()));
    }

    #[test]
    fn bytes_that_look_like_headers_everywhere_take_no_time() {
        // Each header is plausible, and announces a payload that never arrives.
        let hostile = [0, 0x40, 0, 8].map(|_| frame(16_000, 0, 1, 1)[..9].to_vec()).concat();
        let mut search = Search::default();
        for octet in hostile.iter().cycle().take(100_000) {
            assert_eq!(search.data(&[*octet]), None);
        }
    }

    /// Passes bytes to a search, with calls that end inside of frames: the last call must find the
    /// frames that begin at `place`, and no call before.
    fn check(parts: &[&[u8]], place: usize) {
        let bytes = parts.concat();
        let (mut search, mut at, mut end) = (Search::default(), 0, 0);
        let (last, first) = parts.split_last().unwrap();
        for part in first {
            end += part.len();
            assert_eq!(search.data(&bytes[at..end - 5]).map(|found| found.len()), None);
            assert!(search.held.len() <= 2 * MAX_HELD);
            at = end - 5;
        }
        assert!(last.len() > HEADER_LEN);
        assert!(search.data(&bytes[at..]).is_some_and(|found| found == bytes[place..]));
    }

    #[test]
    fn places_that_cannot_be_headers_do_not_take_the_room_of_others() {
        let mut first = frame(300, 1, 4, 5);
        first[HEADER_LEN..].fill(0);
        check(&[b"the tail", &first, &frame(4, 8, 0, 0), &frame(8, 6, 0, 0)], 8);
    }

    #[test]
    fn a_place_is_kept_when_the_bytes_before_it_are_forgotten() {
        let junk = vec![b'x'; 2 * MAX_HELD - 20];
        let [first, second, third] = [frame(30, 1, 4, 5), frame(500, 0, 1, 5), frame(8, 6, 0, 0)];
        check(&[&junk, &first, &second, &third], junk.len());
    }
}
