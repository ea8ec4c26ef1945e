//! The breakpoints that a function needs: which program runs at which place of the file.
//!
//! A function that was placed (see [`crate::placement`]) gets an entry site and exit sites within
//! its code. Any other gets a probe on its first instruction and, where its return matters, a
//! return probe.

use crate::functions::site;
use crate::sites::Sites;
use crate::skel::types::{self, site_kind};
use crate::symbols::Defined;

/// The programs of `bpf/sslrec.bpf.c` that run at breakpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The end of a call, at an exit site.
    Exit,
    /// The end of a call, by a return probe.
    Return,
    /// The entry of a call.
    Enter,
    /// The entry of a function that only tells something.
    Note,
}

impl Program {
    /// In the order in which they are attached: ends first, since a call whose entry was seen must
    /// not lack its end.
    pub(crate) const ALL: [Self; 4] = [Self::Exit, Self::Return, Self::Enter, Self::Note];
}

/// One breakpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) program: Program,
    /// Place in the file.
    pub(crate) offset: u64,
    pub(crate) site: types::site,
}

/// The breakpoints of a function with sites.
pub(crate) fn placed(defined: &Defined, sites: &Sites, lib: u16) -> Vec<Point> {
    let site = site(defined.index, lib);
    let mut entry = types::site { frame: sites.entry.frame, ..site };
    let mut program = Program::Note;
    if !sites.exits.is_empty() {
        program = Program::Enter;
    } else if defined.function().needs_return() {
        // Another function tells how the call ends; this one has only the role to tell.
        entry.kind = site_kind::SITE_ROLE.0 as u8;
    }
    let entry = Point { program, offset: sites.entry.offset, site: entry };
    let exits = sites.exits.iter().map(|exit| {
        let (result, slot) = exit.result;
        let site = types::site { frame: exit.frame, result: result.0 as u8, slot, ..site };
        Point { program: Program::Exit, offset: exit.offset, site }
    });
    exits.chain([entry]).collect()
}

/// The breakpoints of a function whose sites are not known, or not to be used.
pub(crate) fn unplaced(defined: &Defined, lib: u16) -> Vec<Point> {
    let site = site(defined.index, lib);
    let point = |program| Point { program, offset: defined.offset, site };
    if defined.function().needs_return() {
        vec![point(Program::Return), point(Program::Enter)]
    } else {
        vec![point(Program::Note)]
    }
}
