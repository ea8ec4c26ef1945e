//! The breakpoints of a function: the programs to run, and their places in the file.
//!
//! A function that was placed (see [`crate::placement`]) gets an entry site and exit sites within
//! its code. Any other gets a probe on its first instruction and, where its return matters, a
//! return probe.

use crate::functions::{Family, Kind, site};
use crate::kernel::skel::types::{self, site_kind, trial_side as TrialSide};
use crate::symbols::Defined;
use crate::symbols::sites::Sites;

/// The programs of `bpf/sslrec.bpf.c` and `bpf/go.bpf.c` that run at breakpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The end of a call, at an exit site.
    Exit,
    /// The end of a call, by a return probe.
    Return,
    /// The entry of a call.
    Enter,
    /// The entry of a function that needs only an entry probe.
    EntryOnly,
    /// The end of a call of a Go function.
    GoExit,
    /// The entry of a call of a Go function.
    GoEnter,
    /// The entry of a Go function that needs only an entry probe.
    GoEntryOnly,
}

impl Program {
    /// In the order in which they are attached. Ends come first, since a call whose entry was
    /// recorded must not lack its end.
    pub(crate) const ALL: [Self; 7] = [
        Self::Exit,
        Self::Return,
        Self::Enter,
        Self::EntryOnly,
        Self::GoExit,
        Self::GoEnter,
        Self::GoEntryOnly,
    ];

    /// Returns its name in `bpf/`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exit => "call_exit",
            Self::Return => "call_return",
            Self::Enter => "call_enter",
            Self::EntryOnly => "entry_only",
            Self::GoExit => "go_call_exit",
            Self::GoEnter => "go_call_enter",
            Self::GoEntryOnly => "go_entry_only",
        }
    }
}

/// One breakpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) program: Program,
    /// Place in the file.
    pub(crate) offset: u64,
    pub(crate) site: types::site,
}

/// The allowed ways to probe a file's functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Means {
    pub(crate) sites: SiteUse,
    /// Whether return probes may be used.
    pub(crate) returns: bool,
}

/// The degree to which the placed sites of a file are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SiteUse {
    /// Not trusted: they are not probed.
    Never,
    /// They run beside return probes until both agreed often enough (`bpf/trial.h`).
    OnTrial,
    /// They record.
    Always,
}

/// The breakpoints of a function on trial.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Needed in either case.
    pub(crate) always: Vec<Point>,
    /// The entry and return probes, removed once the trial has passed.
    pub(crate) until_passed: Vec<Point>,
    /// The placed sites, removed once the trial has failed.
    pub(crate) once_passed: Vec<Point>,
}

/// Returns whether the placed sites of a function can be compared with its return probe. If a call
/// ends with a call of another function, the other function is on trial instead. Go functions
/// cannot have a return probe, and for sendfile the sites store more than arguments.
pub(crate) fn can_be_tried(defined: &Defined) -> bool {
    let function = defined.function();
    let has_exits = defined.sites.as_ref().is_ok_and(|sites| !sites.exits.is_empty());
    let is_tried = matches!(function.kind, Kind::Data(..) | Kind::Flush | Kind::Handshake(_));
    has_exits && is_tried && defined.family() != Family::Go
}

/// Returns the breakpoints of a function on trial number `trial`, or `None` if it [cannot be
/// tried](can_be_tried).
pub(crate) fn trial(defined: &Defined, lib: u16, trial: u16) -> Option<Trial> {
    let sites = defined.sites.as_ref().ok().filter(|_| can_be_tried(defined))?;
    let on = |side: TrialSide| {
        let trial_side = side.0 as u8;
        move |point: Point| Point { site: types::site { trial, trial_side, ..point.site }, ..point }
    };
    // A single probe serves as both if the placed entry is the first instruction.
    let is_shared = sites.entry.offset == defined.offset;
    let unplaced = unplaced(defined, lib).into_iter();
    let (shared, until_passed) = unplaced.partition(|p| is_shared && p.program == Program::Enter);
    let shared: Vec<Point> = shared;
    let until_passed: Vec<Point> = until_passed;
    let placed = placed(defined, sites, lib).into_iter();
    let placed = placed.filter(|point| !is_shared || point.program != Program::Enter);
    Some(Trial {
        always: shared.into_iter().map(on(TrialSide::TRIAL_BOTH)).collect(),
        until_passed: until_passed.into_iter().map(on(TrialSide::TRIAL_UNPLACED)).collect(),
        once_passed: placed.map(on(TrialSide::TRIAL_PLACED)).collect(),
    })
}

/// Returns the breakpoints of a function, or `None` if there is no way to probe it.
pub(crate) fn points(defined: &Defined, lib: u16, means: Means) -> Option<Vec<Point>> {
    match &defined.sites {
        Ok(sites) if defined.family() == Family::Go => Some(in_go(defined, sites, lib)),
        // A return probe ends a Go program as soon as its stack moves.
        Err(_) if defined.family() == Family::Go => None,
        Ok(sites) if means.sites == SiteUse::Always => Some(placed(defined, sites, lib)),
        _ if means.returns || !defined.function().needs_return() => Some(unplaced(defined, lib)),
        _ if matches!(defined.function().kind, Kind::Handshake(_)) => {
            Some(vec![beginning(defined, lib)])
        }
        _ => None,
    }
}

fn placed(defined: &Defined, sites: &Sites, lib: u16) -> Vec<Point> {
    let function = defined.function();
    let site = site(defined.index, lib);
    let mut entry = match function.kind {
        // Another function reports everything, or everything but the role.
        Kind::Data(..) if sites.exits.is_empty() => return Vec::new(),
        Kind::Handshake(_) if sites.exits.is_empty() => beginning(defined, lib),
        _ if function.needs_return() => Point { program: Program::Enter, offset: 0, site },
        _ => Point { program: Program::EntryOnly, offset: 0, site },
    };
    entry.offset = sites.entry.offset;
    entry.site.frame = sites.entry.frame;
    let exits = sites.exits.iter().map(|exit| {
        let (result, slot) = exit.result;
        let site = types::site { frame: exit.frame, result: result.0 as u8, slot, ..site };
        Point { program: Program::Exit, offset: exit.offset, site }
    });
    exits.chain([entry]).collect()
}

/// Returns the breakpoints of a Go function. There is no other way to probe it.
fn in_go(defined: &Defined, sites: &Sites, lib: u16) -> Vec<Point> {
    let site = site(defined.index, lib);
    let point = |program, offset| Point { program, offset, site };
    if !defined.function().needs_return() {
        return vec![point(Program::GoEntryOnly, sites.entry.offset)];
    }
    let exits = sites.exits.iter().map(|exit| point(Program::GoExit, exit.offset));
    exits.chain([point(Program::GoEnter, sites.entry.offset)]).collect()
}

/// Returns the breakpoints of a function by its first instruction and its return.
fn unplaced(defined: &Defined, lib: u16) -> Vec<Point> {
    let site = site(defined.index, lib);
    let point = |program| Point { program, offset: defined.offset, site };
    if defined.function().needs_return() {
        vec![point(Program::Return), point(Program::Enter)]
    } else {
        vec![point(Program::EntryOnly)]
    }
}

/// Returns the breakpoint of a handshake whose end is not seen: it reports that a connection
/// begins, and in which role.
fn beginning(defined: &Defined, lib: u16) -> Point {
    let kind = site_kind::SITE_ROLE.0 as u8;
    let site = types::site { kind, ..site(defined.index, lib) };
    Point { program: Program::EntryOnly, offset: defined.offset, site }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::index_of;
    use crate::kernel::skel::types::site_result;
    use crate::symbols::sites::{Entry, Exit};

    const OFFSET: u64 = 0x1000;
    const ENTRY: Entry = Entry { offset: 0x1016, frame: 0x18 };
    const EXIT: Exit = Exit { offset: 0x1038, frame: 0x18, result: (site_result::RESULT_STACK, 8) };

    const ALL: Means = Means { sites: SiteUse::Always, returns: true };
    const NO_SITES: Means = Means { sites: SiteUse::Never, returns: true };
    const NO_RETURNS: Means = Means { sites: SiteUse::Always, returns: false };
    const NEITHER: Means = Means { sites: SiteUse::Never, returns: false };

    fn defined(name: &str, sites: Result<Sites, String>) -> Defined {
        Defined::new(index_of(name).unwrap(), OFFSET, sites).unwrap()
    }

    fn placed_at(exits: &[Exit]) -> Result<Sites, String> {
        Ok(Sites { entry: ENTRY, exits: exits.to_vec() })
    }

    fn unplaceable() -> Result<Sites, String> {
        Err("has a reason".into())
    }

    /// Returns the programs and their places, for one way to probe a function.
    fn of(defined: &Defined, means: Means) -> Option<Vec<(Program, u64, site_kind)>> {
        let points = points(defined, 7, means)?;
        assert!(points.iter().all(|point| point.site.func == defined.index && point.site.lib == 7));
        let shape = |point: Point| (point.program, point.offset, site_kind(point.site.kind.into()));
        Some(points.into_iter().map(shape).collect())
    }

    #[test]
    fn a_placed_function_is_probed_at_its_sites_and_nowhere_else() {
        let second = Exit { offset: 0x1060, result: (site_result::RESULT_AX, 0), ..EXIT };
        let read = defined("SSL_read", placed_at(&[EXIT, second]));
        for means in [ALL, NO_RETURNS] {
            let points = points(&read, 7, means).unwrap();
            let [first, second, entry] = points[..] else { panic!("{points:?}") };
            assert_eq!(
                (first.program, first.offset, first.site.frame),
                (Program::Exit, 0x1038, 0x18)
            );
            assert_eq!(u32::from(first.site.result), site_result::RESULT_STACK.0);
            assert_eq!(first.site.slot, 8);
            assert_eq!((second.program, second.offset), (Program::Exit, 0x1060));
            assert_eq!(u32::from(second.site.result), site_result::RESULT_AX.0);
            assert_eq!(second.site.slot, 0);
            assert_eq!(
                (entry.program, entry.offset, entry.site.frame),
                (Program::Enter, 0x1016, 0x18)
            );
        }
    }

    #[test]
    fn a_function_of_go_without_sites_is_not_probed() {
        let read = defined("crypto/tls.(*Conn).Read", unplaceable());
        for means in [ALL, NO_SITES, NO_RETURNS, NEITHER] {
            assert_eq!(of(&read, means), None);
        }
    }

    /// Covers both reasons: nothing was proven, or the proof must not be used.
    #[test]
    fn without_sites_a_call_is_probed_at_its_first_instruction_and_its_return() {
        let expected = |kind| vec![(Program::Return, OFFSET, kind), (Program::Enter, OFFSET, kind)];
        for (name, kind) in [
            ("SSL_read", site_kind::SITE_DATA),
            ("SSL_write_ex2", site_kind::SITE_DATA),
            ("SSL_sendfile", site_kind::SITE_SENDFILE),
            ("SSL_connect", site_kind::SITE_HANDSHAKE),
        ] {
            assert_eq!(of(&defined(name, unplaceable()), ALL), Some(expected(kind)), "{name}");
            let placed = defined(name, placed_at(&[EXIT]));
            assert_eq!(of(&placed, NO_SITES), Some(expected(kind)), "{name}");
            let told = defined(name, placed_at(&[]));
            assert_eq!(of(&told, NO_SITES), Some(expected(kind)), "{name}");
        }
        let point = points(&defined("SSL_read", placed_at(&[EXIT])), 7, NO_SITES).unwrap()[1];
        assert_eq!(point.site.frame, 0);
    }

    #[test]
    fn data_cannot_be_probed_without_sites_and_returns() {
        for name in ["SSL_read", "SSL_write_ex", "SSL_sendfile"] {
            assert_eq!(of(&defined(name, unplaceable()), NO_RETURNS), None, "{name}");
            assert_eq!(of(&defined(name, placed_at(&[EXIT])), NEITHER), None, "{name}");
        }
    }

    #[test]
    fn of_a_handshake_the_beginning_can_always_be_probed() {
        let at = |offset| Some(vec![(Program::EntryOnly, offset, site_kind::SITE_ROLE)]);
        for name in ["SSL_connect", "SSL_accept", "SSL_do_handshake"] {
            assert_eq!(of(&defined(name, unplaceable()), NO_RETURNS), at(OFFSET), "{name}");
            assert_eq!(of(&defined(name, placed_at(&[EXIT])), NEITHER), at(OFFSET), "{name}");
        }
    }

    /// Its bytes would be recorded twice.
    #[test]
    fn a_function_that_ends_with_another_call_is_left_to_the_other() {
        assert_eq!(of(&defined("SSL_write_ex", placed_at(&[])), ALL), Some(Vec::new()));
    }

    #[test]
    fn a_handshake_that_ends_with_another_call_reports_the_role() {
        let accept = defined("SSL_accept", placed_at(&[]));
        let [point] = points(&accept, 7, ALL).unwrap()[..] else { panic!() };
        assert_eq!((point.program, point.offset), (Program::EntryOnly, ENTRY.offset));
        assert_eq!(u32::from(point.site.kind), site_kind::SITE_ROLE.0);
        assert_eq!(u32::from(point.site.role), types::role::ROLE_SERVER.0);
    }

    #[test]
    fn functions_without_data_are_probed_by_any_method() {
        let at = |offset| Some(vec![(Program::EntryOnly, offset, site_kind::SITE_FREE)]);
        for means in [ALL, NO_SITES, NO_RETURNS, NEITHER] {
            assert_eq!(of(&defined("SSL_free", unplaceable()), means), at(OFFSET), "{means:?}");
            let offset = if means.sites == SiteUse::Always { ENTRY.offset } else { OFFSET };
            assert_eq!(of(&defined("SSL_free", placed_at(&[])), means), at(offset), "{means:?}");
        }
    }

    /// A call whose entry was recorded must not lack its end.
    #[test]
    fn ends_are_attached_before_beginnings() {
        let place = |wanted| Program::ALL.iter().position(|&program| program == wanted).unwrap();
        assert!(place(Program::Exit) < place(Program::Enter));
        assert!(place(Program::Return) < place(Program::Enter));
        for sites in [placed_at(&[EXIT]), unplaceable()] {
            let points = points(&defined("SSL_read", sites), 7, ALL).unwrap();
            let order: Vec<_> = points.iter().map(|point| place(point.program)).collect();
            assert!(order.is_sorted(), "{points:?}");
        }
    }
}
