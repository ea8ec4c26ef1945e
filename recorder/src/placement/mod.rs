//! Where to put the probes of a function, proven from its instructions.
//!
//! A probe costs ten times as much on an instruction that the kernel has to single-step as on one
//! that it emulates, and a return probe, which puts another return address on the stack, kills
//! programs that switch stacks in mid-call. So neither the first instruction nor the return
//! address is a good place. This is `SSL_write` of OpenSSL 3.0 as Debian 12 builds it:
//!
//! ```text
//! +0x00  sub   $0x18,%rsp
//! +0x04  mov   %fs:0x28,%rax
//! +0x0d  mov   %rax,0x8(%rsp)
//! +0x12  xor   %eax,%eax
//! +0x14  test  %edx,%edx
//! +0x16  js    +0x47               entry: emulated; rdi, rsi and rdx are still the arguments
//! +0x18  mov   %rsp,%rcx
//! +0x1b  movslq %edx,%rdx
//! +0x1e  call  ssl_write_internal
//! +0x23  test  %eax,%eax
//! +0x25  jle   +0x2a
//! +0x27  mov   (%rsp),%eax
//! +0x2a  mov   0x8(%rsp),%rdx
//! +0x2f  sub   %fs:0x28,%rdx
//! +0x38  jne   +0x7e               exit: emulated; every way to `ret` comes through, and what
//! +0x3a  add   $0x18,%rsp            eax holds here is the result
//! +0x3e  xor   %edx,%edx ...
//! +0x46  ret
//! +0x47  call  ERR_new ...
//! +0x7c  jmp   +0x2a
//! +0x7e  call  __stack_chk_fail
//! ```
//!
//! At both places rsp is 0x18 below what it was at the first instruction. That difference, the
//! `frame`, ties the exit of a call to its entry.
//!
//! [`place`] finds such places: `graph` decodes the function along all its ways, `symbolic` knows
//! what registers hold, `arch` what the kernel emulates; `entry` looks along the straight
//! line from the first instruction, `exit` for places at which the result is final and nothing
//! is left to do, and `cover` takes the cheapest set of them that no way to a `ret` avoids.
//!
//! A wrong place corrupts a capture, so what cannot be proven is refused, with the reason. The
//! proof takes for granted what every C compiler for this platform keeps to: called functions
//! follow the System V ABI, a `call` at a function's end and one after a damaged canary do not
//! come back, and no code outside of the function jumps into its midst.
//!
//! Bytes in, addresses out: nothing here opens files or knows about symbols and probes.

mod cover;
mod entry;
mod exit;
mod graph;
mod symbolic;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use graph::Graph;

use crate::arch::Reg;

/// The executable parts of a file, as they lie in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image<'a> {
    /// Virtual address of the first byte, and the bytes.
    pub(crate) segments: Vec<(u64, &'a [u8])>,
}

impl<'a> Image<'a> {
    /// Returns the bytes from `address` to its segment's end; never empty.
    pub(crate) fn at(&self, address: u64) -> Option<&'a [u8]> {
        self.segments.iter().find_map(|&(start, bytes)| {
            let within = usize::try_from(address.checked_sub(start)?).ok()?;
            bytes.get(within..).filter(|rest| !rest.is_empty())
        })
    }
}

/// The number of relevant bits of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// The low 32, as of an `int`.
    Int,
    /// All 64, as of a pointer or `size_t`.
    Long,
}

/// The values that the probes of a function must find.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The leading integer arguments, at most [`ARGUMENTS`](crate::arch::ARGUMENTS) of them, each
    /// with the bits that must still be in its register at the entry. Of an [`Width::Int`] the
    /// upper bits may have changed: the probe has to ignore them.
    pub(crate) arguments: &'a [Width],
    /// The result, or `None` if only the entry matters.
    pub(crate) result: Option<Width>,
}

/// Places for the probes of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) entry: Entry,
    /// A call that returns passes at least one of these, in ascending order. The first exit on its
    /// way has its result; others may follow and must be ignored. Other functions may share the
    /// code of an exit, so a crossing counts only if an entry was seen on the same thread with the
    /// same rsp plus `frame`. Empty if no result was wanted.
    pub(crate) exits: Vec<Exit>,
}

/// The beginning of a call. It is met exactly once in each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: u64,
    /// rsp at the function's first instruction, less rsp here, in bytes.
    pub(crate) frame: u32,
    /// Whether the kernel emulates the instruction, rather than single-step it.
    pub(crate) emulated: bool,
}

/// The end of a call: its result is certain, it calls no other function any more, and it writes to
/// nothing but its own frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) address: u64,
    /// As in [`Entry`].
    pub(crate) frame: u32,
    pub(crate) result: Location,
    /// As in [`Entry`]. If not, the instruction is a `ret`.
    pub(crate) emulated: bool,
}

/// The place of the result, with the wanted number of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    Register(Reg),
    /// In memory, this many bytes above rsp.
    Stack(u32),
    /// In eax if that is 0 or less as an `int`, otherwise in memory, this many bytes above rsp.
    Guarded(u32),
}

/// The reason why a function's probes could not be placed. Numbers are distances from its first
/// byte, except in [`TailCalls`](Self::TailCalls).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// The range is empty, or a way leads out of the image.
    NoCode(i64),
    Undecodable(i64),
    /// An instruction that does not belong in such functions, or whose target is unknown.
    Unsupported(i64),
    /// Two instructions share bytes.
    Overlap(i64),
    /// More than this many instructions.
    TooLarge(usize),
    /// The last instruction is not a jump, return or call.
    RunsOff(i64),
    /// A branch leads back to the first instruction.
    EntryLoop,
    /// A `ret` where rsp may differ from its initial value.
    UnknownStack(i64),
    /// A jump whose targets are in a table or in memory.
    Table(i64),
    /// The function is left there for a function whose address is not in the code.
    IndirectTailCall(i64),
    /// Some ways, but not all, end with a jump into another function, for example here.
    TailCall(i64),
    /// All ways out are jumps into other functions, at these addresses.
    TailCalls(Vec<u64>),
    /// No way leads to a `ret`.
    NeverReturns,
}

/// Places the probes of the function that occupies these addresses.
///
/// If no result is wanted, any function with code can be placed: on its first instruction if
/// nothing better can be proven.
///
/// # Errors
/// The result is wanted, and its place or the completeness of the ways cannot be proven.
pub(crate) fn place(
    image: &Image<'_>,
    function: Range<u64>,
    wanted: Wanted<'_>,
) -> Result<Placement, Unplaced> {
    let start = function.start;
    if function.is_empty() || image.at(start).is_none() {
        return Err(Unplaced::NoCode(0));
    }
    let graph = Graph::of(image, function);
    let Some(width) = wanted.result else {
        let first = Entry { address: start, frame: 0, emulated: false };
        let entry = graph.and_then(|graph| entry::find(&graph, wanted.arguments)).unwrap_or(first);
        return Ok(Placement { entry, exits: Vec::new() });
    };
    let graph = graph?;
    let exits = exit::find(&graph, width)?;
    let entry = entry::find(&graph, wanted.arguments)?;
    Ok(Placement { entry, exits })
}

impl Display for Location {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(register) => f.write_str(register.name()),
            Self::Stack(offset) => write!(f, "[rsp+{offset:#x}]"),
            Self::Guarded(offset) => write!(f, "eax or [rsp+{offset:#x}]"),
        }
    }
}

impl Display for Unplaced {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCode(at) => write!(f, "has no code at {}", Distance(*at)),
            Self::Undecodable(at) => {
                write!(f, "has an unknown instruction at {}", Distance(*at))
            }
            Self::Unsupported(at) => {
                write!(f, "has an instruction that cannot be followed at {}", Distance(*at))
            }
            Self::Overlap(at) => {
                write!(f, "jumps into the midst of an instruction at {}", Distance(*at))
            }
            Self::TooLarge(limit) => write!(f, "has more than {limit} instructions"),
            Self::RunsOff(at) => write!(f, "runs past its end at {}", Distance(*at)),
            Self::EntryLoop => f.write_str("jumps back to its beginning"),
            Self::UnknownStack(at) => {
                write!(f, "returns with a stack that is not understood at {}", Distance(*at))
            }
            Self::Table(at) => write!(f, "jumps by a table at {}", Distance(*at)),
            Self::IndirectTailCall(at) => {
                write!(f, "leaves by a jump through a pointer at {}", Distance(*at))
            }
            Self::TailCall(at) => {
                write!(f, "leaves by a jump to another function at {}", Distance(*at))
            }
            Self::TailCalls(_) => f.write_str("leaves only by jumps to other functions"),
            Self::NeverReturns => f.write_str("never returns"),
        }
    }
}

/// A distance from a function's first byte. Parts that the compiler moved away may be before it.
struct Distance(i64);

impl Display for Distance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}
