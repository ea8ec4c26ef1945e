//! The processes to record, among those that already run.
//!
//! Files of other processes are never opened: they may belong to any user.

use crate::plan::Select;
use crate::proc::cgroups::Cgroup;
use crate::proc::processes;

/// The filters for a process, in addition to the named processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filters<'a> {
    uids: &'a [u32],
    comms: &'a [String],
    cgroups: &'a [Cgroup],
}

impl<'a> Filters<'a> {
    pub(crate) fn of(select: &'a Select, cgroups: &'a [Cgroup]) -> Self {
        Self { uids: &select.uids, comms: &select.comms, cgroups }
    }

    /// Returns whether a process meets every kind of filter that is set.
    pub(crate) fn are_met_by(&self, pid: u32) -> bool {
        let Self { uids, comms, cgroups } = self;
        (uids.is_empty() || processes::uid(pid).is_some_and(|uid| uids.contains(&uid)))
            && (comms.is_empty() || processes::comm(pid).is_some_and(|comm| comms.contains(&comm)))
            && (cgroups.is_empty() || cgroups.iter().any(|group| group.has(pid)))
    }
}

/// Returns the processes that already run and are to be recorded.
pub(crate) fn chosen(select: &Select, filters: Filters<'_>) -> Vec<u32> {
    // A command has not begun.
    let named = if select.names_processes() { select.named() } else { processes::all() };
    let own = std::process::id();
    named.into_iter().filter(|&pid| pid != own && filters.are_met_by(pid)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::plan::Plan;

    /// A process that runs as long as its test.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            Self(Command::new("sleep").arg("60").spawn().unwrap())
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn chosen_by(words: &[&str]) -> Vec<u32> {
        let select = Plan::parse(words).select;
        chosen(&select, Filters::of(&select, &[]))
    }

    #[test]
    fn a_command_chooses_no_process_that_runs_already() {
        assert_eq!(chosen_by(&["--", "true"]), []);
    }

    #[test]
    fn all_processes_are_chosen_only_without_a_filter_and_never_the_recorder() {
        let sleeper = Sleeper::start();
        assert!(chosen_by(&["-a"]).contains(&sleeper.0.id()));
        assert!(!chosen_by(&["-a"]).contains(&std::process::id()));
        assert!(!chosen_by(&["-c", "no-such-name"]).contains(&sleeper.0.id()));
        assert!(!chosen_by(&["-u", "4000000000"]).contains(&sleeper.0.id()));
    }

    #[test]
    fn a_named_process_must_meet_the_filters_too() {
        let sleeper = Sleeper::start();
        let pid = sleeper.0.id().to_string();
        // Before its exec the child still has this process's name.
        while processes::comm(sleeper.0.id()).as_deref() != Some("sleep") {
            std::thread::yield_now();
        }
        assert_eq!(chosen_by(&["-p", &pid]), [sleeper.0.id()]);
        assert_eq!(chosen_by(&["-p", &pid, "-c", "sleep"]), [sleeper.0.id()]);
        assert_eq!(chosen_by(&["-p", &pid, "-c", "wake"]), []);
    }
}
