//! The breakpoints that a function needs: which program runs at which place of the file.
//!
//! A function that was placed (see [`crate::placement`]) gets an entry site and exit sites within
//! its code. Any other gets a probe on its first instruction and, where its return matters, a
//! return probe.

use crate::functions::{Kind, site};
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

/// How a file's functions may be probed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    /// At the sites within them.
    pub(crate) sites: bool,
    /// By return probes.
    pub(crate) returns: bool,
}

/// The breakpoints of a function, or `None` if there is no way to probe it.
pub(crate) fn points(defined: &Defined, lib: u16, means: Means) -> Option<Vec<Point>> {
    match &defined.sites {
        Ok(sites) if means.sites => Some(placed(defined, sites, lib)),
        _ if means.returns || !defined.function().needs_return() => Some(unplaced(defined, lib)),
        _ if defined.function().kind == Kind::Handshake => Some(vec![beginning(defined, lib)]),
        _ => None,
    }
}

fn placed(defined: &Defined, sites: &Sites, lib: u16) -> Vec<Point> {
    let function = defined.function();
    let site = site(defined.index, lib);
    let mut entry = match function.kind {
        // Another function tells all, or all but the role.
        Kind::Data(..) if sites.exits.is_empty() => return Vec::new(),
        Kind::Handshake if sites.exits.is_empty() => beginning(defined, lib),
        _ if function.needs_return() => Point { program: Program::Enter, offset: 0, site },
        _ => Point { program: Program::Note, offset: 0, site },
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

/// The breakpoints of a function by its first instruction and its return.
fn unplaced(defined: &Defined, lib: u16) -> Vec<Point> {
    let site = site(defined.index, lib);
    let point = |program| Point { program, offset: defined.offset, site };
    if defined.function().needs_return() {
        vec![point(Program::Return), point(Program::Enter)]
    } else {
        vec![point(Program::Note)]
    }
}

/// The breakpoint of a handshake whose end is not seen: it tells that a connection begins, and in
/// which role.
fn beginning(defined: &Defined, lib: u16) -> Point {
    let kind = site_kind::SITE_ROLE.0 as u8;
    let site = types::site { kind, ..site(defined.index, lib) };
    Point { program: Program::Note, offset: defined.offset, site }
}
