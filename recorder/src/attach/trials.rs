//! Trials: placed sites that could not be tested before the recording are compared with return
//! probes during the recording.
//!
//! A self-test runs the code of a library, which is allowed only for files that nobody but root and
//! the user can change (see [`crate::trust`]). Every other file is recorded by entry and return
//! probes at first, with its placed sites beside them. The kernel side compares the two, call by
//! call (`bpf/trial.h`), and this module removes the part that is no longer needed. A site on trial
//! never records before it has passed. Where there can be no return probe there is no trial, and
//! the proof from the code decides.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use libbpf_rs::Link;

use crate::kernel::skel::types::{self, trial_limit};

/// Entries of the kernel side's table of trials; the first is unused.
const TRIALS_MAX: usize = trial_limit::TRIALS_MAX.0 as usize;

/// Successful calls that must agree.
pub(crate) const TRIAL_CALLS: u32 = trial_limit::TRIAL_CALLS.0;

/// All trials of a recording. Links are of another type in the tests.
#[derive(Debug)]
pub(crate) struct Trials<L = Link> {
    /// The first is number 1.
    all: Vec<TrialOf<L>>,
    /// Decisions already acted on, as counted by the kernel side.
    decided: u32,
}

/// A function on trial, with the links to close when it is decided.
#[derive(Debug)]
pub(crate) struct TrialOf<L = Link> {
    pub(crate) name: &'static str,
    /// The file, as its users call it.
    pub(crate) path: PathBuf,
    /// Links of the placed sites.
    pub(crate) placed: Vec<L>,
    /// Links of the entry and return probes.
    pub(crate) unplaced: Vec<L>,
    /// At the last look no call was between an exit site and its return.
    pub(crate) is_quiet: bool,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The placed sites record from now on, without return probes.
    Passed,
    /// The return probes stay.
    Failed,
}

/// A decision, for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) verdict: Verdict,
}

impl Verdict {
    /// Applies the kernel side's rule, `has_passed()` of `bpf/trial.h`.
    fn of(trial: &types::trial) -> Option<Self> {
        match (trial.agreed, trial.disagreed) {
            (_, 1..) => Some(Self::Failed),
            (TRIAL_CALLS.., 0) => Some(Self::Passed),
            _ => None,
        }
    }
}

impl<L> Default for Trials<L> {
    fn default() -> Self {
        Self { all: Vec::new(), decided: 0 }
    }
}

impl Trials {
    /// Acts on the kernel side's decisions since the last call: detaches the losing part of each
    /// trial. `results` are its counts, `decided` its number of decisions.
    pub(crate) fn settle(&mut self, results: &[types::trial], decided: u32) -> Vec<Decision> {
        let (decisions, links) = self.decide(results, decided);
        close(links);
        decisions
    }
}

impl<L> Trials<L> {
    /// Returns the number of the next trial, if there is room for it.
    pub(crate) fn next_number(&self) -> Option<u16> {
        let number = self.all.len() + 1;
        (number < TRIALS_MAX).then_some(u16::try_from(number).ok()?)
    }

    /// Adds the trial with [`Self::next_number`].
    pub(crate) fn begin(&mut self, trial: TrialOf<L>) {
        self.all.push(trial);
    }

    /// Returns the number of trials.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Ends the trials after the first `count`, with their links: their file is probed again.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.all.truncate(count);
    }

    /// Ends the trials of a file without a decision of their own. Returns the numbers of those
    /// whose sites are not known to be wrong, and the links of all return probes.
    pub(crate) fn end(&mut self, path: &Path) -> (Vec<usize>, Vec<L>) {
        let (mut numbers, mut links) = (Vec::new(), Vec::new());
        for (trial, number) in self.all.iter_mut().zip(1..).filter(|(of, _)| of.path == path) {
            // After a failure there are only return probes.
            if !trial.placed.is_empty() {
                numbers.push(number);
            }
            links.append(&mut trial.unplaced);
        }
        (numbers, links)
    }

    /// Takes all links, to be closed with the others.
    pub(crate) fn take_links(&mut self) -> Vec<L> {
        let links = self.all.iter_mut().flat_map(|trial| [&mut trial.placed, &mut trial.unplaced]);
        links.flat_map(std::mem::take).collect()
    }

    /// Returns the decisions since the last call, and the links of the losing part of each trial.
    fn decide(&mut self, results: &[types::trial], decided: u32) -> (Vec<Decision>, Vec<L>) {
        if decided == self.decided {
            return (Vec::new(), Vec::new());
        }
        let mut is_done = true;
        let mut decisions = Vec::new();
        let mut links = Vec::new();
        for (trial, result) in self.all.iter_mut().zip(results.iter().skip(1)) {
            let Some(verdict) = Verdict::of(result) else { continue };
            let losing = match verdict {
                Verdict::Passed => &mut trial.unplaced,
                Verdict::Failed => &mut trial.placed,
            };
            if losing.is_empty() {
                continue;
            }
            // A call that passed its exit site before it recorded ends with its return probe. No
            // further call gets there, but a thread may be on its way to count itself.
            let was_quiet = std::mem::replace(&mut trial.is_quiet, result.leaving == 0);
            if verdict == Verdict::Passed && !(was_quiet && trial.is_quiet) {
                is_done = false;
                continue;
            }
            links.append(losing);
            decisions.push(Decision { name: trial.name, path: trial.path.clone(), verdict });
        }
        if is_done {
            self.decided = decided;
        }
        (decisions, links)
    }
}

/// Closes links without waiting: the kernel takes some 50 ms for each, and the caller may be the
/// thread that empties the ring.
fn close(links: Vec<Link>) {
    let last: Vec<OwnedFd> =
        links.iter().filter_map(|link| link.as_fd().try_clone_to_owned().ok()).collect();
    drop(links);
    if !last.is_empty() {
        thread::spawn(move || drop(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(agreed: u32, disagreed: u32) -> types::trial {
        types::trial { agreed, disagreed, ..types::trial::default() }
    }

    #[test]
    fn a_trial_passes_after_enough_calls_and_fails_after_a_single_call() {
        for (agreed, disagreed, expected) in [
            (0, 0, None),
            (TRIAL_CALLS - 1, 0, None),
            (TRIAL_CALLS, 0, Some(Verdict::Passed)),
            (u32::MAX, 0, Some(Verdict::Passed)),
            (0, 1, Some(Verdict::Failed)),
            (TRIAL_CALLS, 1, Some(Verdict::Failed)),
        ] {
            assert_eq!(Verdict::of(&trial(agreed, disagreed)), expected, "{agreed} {disagreed}");
        }
    }

    #[test]
    fn there_is_room_for_as_many_as_the_kernel_side_has() {
        let mut trials = Trials::default();
        assert_eq!(trials.next_number(), Some(1));
        while trials.next_number().is_some() {
            trials.begin(of("SSL_read"));
        }
        assert_eq!(trials.len(), TRIALS_MAX - 1);
        trials.truncate(2);
        assert_eq!((trials.len(), trials.next_number()), (2, Some(3)));
        assert_eq!(trials.take_links(), ["placed", "unplaced", "placed", "unplaced"]);
        assert_eq!(trials.take_links(), [""; 0]);
    }

    fn of(name: &'static str) -> TrialOf<&'static str> {
        let (placed, unplaced) = (vec!["placed"], vec!["unplaced"]);
        TrialOf { name, path: PathBuf::from("/lib"), placed, unplaced, is_quiet: false }
    }

    /// Asserts the next decisions: names and verdicts, and the links to close.
    #[track_caller]
    fn check(
        trials: &mut Trials<&'static str>,
        (results, decided): (&[types::trial], u32),
        expected: &[(&str, Verdict)],
        closed: &[&str],
    ) {
        let (decisions, links) = trials.decide(results, decided);
        let decisions: Vec<_> =
            decisions.iter().map(|decision| (decision.name, decision.verdict)).collect();
        assert_eq!((&decisions[..], &links[..]), (expected, closed));
    }

    #[test]
    fn a_failed_trial_loses_its_placed_sites_at_once() {
        let mut trials = Trials::default();
        ["a", "b"].map(of).into_iter().for_each(|trial| trials.begin(trial));
        // The first entry of the table is unused.
        let unused = trial(9, 9);
        let results = [unused, trial(3, 0), types::trial { leaving: 1, ..trial(3, 1) }];
        check(&mut trials, (&results, 0), &[], &[]);
        check(&mut trials, (&results, 1), &[("b", Verdict::Failed)], &["placed"]);
        check(&mut trials, (&results, 1), &[], &[]);
        // Not again at the next decision.
        let results = [unused, trial(0, 1), trial(3, 1)];
        check(&mut trials, (&results, 2), &[("a", Verdict::Failed)], &["placed"]);
        assert_eq!(trials.take_links(), ["unplaced", "unplaced"]);
    }

    #[test]
    fn a_passed_trial_loses_its_return_probes_once_it_was_quiet_at_two_looks() {
        let mut trials = Trials::default();
        ["a", "b"].map(of).into_iter().for_each(|trial| trials.begin(trial));
        let passed = |leaving| types::trial { leaving, ..trial(TRIAL_CALLS, 0) };
        let results = |leaving| [trial(0, 0), passed(leaving), trial(0, 0)];
        for leaving in [0, 1, 1, 0] {
            check(&mut trials, (&results(leaving), 1), &[], &[]);
        }
        // The other is decided meanwhile.
        let both = [trial(0, 0), passed(1), trial(0, 1)];
        check(&mut trials, (&both, 2), &[("b", Verdict::Failed)], &["placed"]);
        let both = [trial(0, 0), passed(0), trial(0, 1)];
        check(&mut trials, (&both, 2), &[], &[]);
        check(&mut trials, (&both, 2), &[("a", Verdict::Passed)], &["unplaced"]);
        check(&mut trials, (&both, 2), &[], &[]);
        assert_eq!(trials.take_links(), ["placed", "unplaced"]);
    }
}
