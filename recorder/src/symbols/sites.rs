//! The sites of a file's functions: the places that `placement` proves, in terms of the file and of
//! the kernel side.

use std::ops::Range;

use object::{Object, ObjectSegment, ObjectSymbol, ObjectSymbolTable, RelocationTarget};
use object::{SegmentFlags, elf};

use crate::arch::{is_refused, stub_slot};
use crate::functions::{self, Count, Fd, Function, Kind, Output, Side};
use crate::kernel::skel::types::site_result;
use crate::placement::{self, Image, Location, Placement, Unplaced, Wanted, Width, place};

/// The places to probe a function, as offsets in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sites {
    pub(crate) entry: Entry,
    /// Empty if only the entry matters, or if a call ends with a call of another function of the
    /// table, which reports the rest.
    pub(crate) exits: Vec<Exit>,
}

/// The beginning of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    /// Bytes from the stack pointer there up to that at the function's first instruction.
    pub(crate) frame: u32,
}

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) offset: u64,
    /// As in [`Entry`].
    pub(crate) frame: u32,
    /// The place of the result, and on the stack its distance from the stack pointer in bytes.
    pub(crate) result: (site_result, u32),
}

/// The code of an ELF file.
pub(crate) struct Code<'data> {
    image: Image<'data>,
    /// Addresses, and their offsets in the file.
    segments: Vec<(Range<u64>, u64)>,
    /// Addresses of the functions of the table.
    exports: Vec<(u64, &'static str)>,
    /// Names of the functions for the entries of the global offset table.
    imports: Vec<(u64, String)>,
}

impl<'data> Code<'data> {
    /// Returns the code of a file in which the functions of the table have these addresses.
    pub(crate) fn of(
        elf: &impl Object<'data>,
        exports: Vec<(u64, &'static str)>,
    ) -> object::Result<Self> {
        let (image, segments, imports) = (Image::default(), Vec::new(), Vec::new());
        let mut code = Self { image, segments, exports, imports };
        for segment in elf.segments() {
            let (offset, size) = segment.file_range();
            let start = segment.address();
            code.segments.push((start..start.saturating_add(size), offset));
            let executable = matches!(segment.flags(),
                SegmentFlags::Elf { p_flags, .. } if p_flags.contains(elf::PF_X));
            if executable {
                code.image.segments.push((start, segment.data()?));
            }
        }
        let names = elf.dynamic_symbol_table();
        let relocations = elf.dynamic_relocations().into_iter().flatten();
        code.imports = relocations
            .filter_map(|(address, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbol = names.as_ref()?.symbol_by_index(index).ok()?;
                    Some((address, symbol.name().ok()?.to_owned()))
                }
                _ => None,
            })
            .collect();
        Ok(code)
    }

    /// Translates an address of the image to the place in the file from which it is mapped.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        let (range, offset) = self.segments.iter().find(|(range, _)| range.contains(&address))?;
        Some(offset + (address - range.start))
    }

    /// Returns whether the kernel refuses a probe on the instruction at this address.
    pub(crate) fn refuses_a_probe(&self, address: u64) -> bool {
        self.image.at(address).is_some_and(is_refused)
    }

    /// Returns the sites of the function that occupies these addresses.
    ///
    /// # Errors
    /// A clause with the reason.
    pub(crate) fn sites_of(
        &self,
        function: &Function,
        addresses: Range<u64>,
    ) -> Result<Sites, String> {
        let wanted = wanted(function);
        let placed = match place(&self.image, addresses.clone(), wanted) {
            Err(Unplaced::TailCalls(targets)) if self.are_told(function, &targets) => {
                place(&self.image, addresses, Wanted { result: None, ..wanted })
            }
            placed => placed,
        };
        self.in_file(&placed.map_err(|reason| reason.to_string())?)
            .ok_or_else(|| "is not in the file".into())
    }

    /// Returns whether these are all functions of the table that report the end of a call of this
    /// function.
    fn are_told(&self, function: &Function, targets: &[u64]) -> bool {
        targets.iter().all(|&target| {
            let exported = self.exports.iter().find(|&&(address, _)| address == target);
            let name = exported.map(|(_, name)| *name).or_else(|| self.own_stub_name(target));
            let target = functions::all().find(|(_, known)| Some(known.name) == name);
            target.is_some_and(|(_, target)| function.is_told_by(target))
        })
    }

    /// Returns the name of the function to which a stub leads, if it is in this file: only then it
    /// is probed with the others.
    fn own_stub_name(&self, address: u64) -> Option<&str> {
        self.stub_name(address).filter(|stub| self.exports.iter().any(|(_, name)| name == stub))
    }

    /// Returns the name of the function to which a stub of the procedure linkage table leads.
    fn stub_name(&self, address: u64) -> Option<&str> {
        let slot = stub_slot(self.image.at(address)?, address)?;
        let (_, name) = self.imports.iter().find(|&&(address, _)| address == slot)?;
        Some(name)
    }

    fn in_file(&self, placement: &Placement) -> Option<Sites> {
        let exit = |exit: &placement::Exit| {
            Some(Exit {
                offset: self.file_offset(exit.address)?,
                frame: exit.frame,
                result: result(exit.result)?,
            })
        };
        let entry = placement.entry;
        Some(Sites {
            entry: Entry { offset: self.file_offset(entry.address)?, frame: entry.frame },
            exits: placement.exits.iter().map(exit).collect::<Option<_>>()?,
        })
    }
}

/// Returns the values that the kernel side reads at the sites of a function.
fn wanted(function: &Function) -> Wanted<'static> {
    use Width::{Int, Long};
    let width = if function.wide { Long } else { Int };
    let (arguments, result): (&[Width], _) = match function.kind {
        Kind::Data(_, Count::Behind(5..)) => (&[Long; 5], Some(Int)),
        Kind::Data(_, Count::Behind(_)) => (&[Long; 4], Some(Int)),
        // The fourth argument has the flags.
        Kind::Data(..) if function.peeks => (&[Long; 4], Some(width)),
        Kind::Data(..) if function.wide => (&[Long; 3], Some(width)),
        Kind::Data(..) => (&[Long, Long, Int], Some(width)),
        Kind::Flush | Kind::Handshake(_) => (&[Long], Some(Int)),
        Kind::Sendfile => (&[Long], Some(width)),
        Kind::Create(_) => (&[Long; 2], Some(Long)),
        Kind::Get(_, Output::Text | Output::Number) => (&[Long], Some(Long)),
        Kind::Get(..) => (&[Long; 3], Some(Int)),
        Kind::SetFd(Fd::Pointer) => (&[Long; 2], None),
        Kind::SetFd(Fd::Int) => (&[Long, Int], None),
        Kind::Ctrl => (&[Long, Int, Long, Long], None),
        Kind::ServerName(_) => (&[Long; 4], None),
        Kind::Role if matches!(function.side, Side::Is(_)) => (&[Long], None),
        Kind::Role => (&[Long, Int], None),
        Kind::Shutdown | Kind::Free | Kind::Clear | Kind::UpRef => (&[Long], None),
    };
    Wanted { arguments, result }
}

/// Returns the kernel side's form; `None` for registers that hold no result at any exit.
fn result(location: Location) -> Option<(site_result, u32)> {
    Some(match location {
        Location::Register(register) => (register.site_result()?, 0),
        Location::Stack(slot) => (site_result::RESULT_STACK, slot),
        Location::Guarded(slot) => (site_result::RESULT_GUARDED, slot),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x40_1000;
    /// Of the segment in the file.
    const OFFSET: u64 = 0x1000;

    fn code<'data>(bytes: &'data [u8], imports: &[(u64, &str)]) -> Code<'data> {
        Code {
            image: Image { segments: vec![(START, bytes)] },
            segments: vec![(START..START + bytes.len() as u64, OFFSET)],
            exports: Vec::new(),
            imports: imports.iter().map(|&(slot, name)| (slot, name.to_owned())).collect(),
        }
    }

    fn function(name: &str) -> &'static Function {
        functions::all().find(|(_, function)| function.name == name).unwrap().1
    }

    /// `prefix`, then a jump through the slot at START + 0x2000.
    fn stub(prefix: &[u8]) -> Vec<u8> {
        let distance = 0x2000 - (prefix.len() as i32 + 6);
        [prefix, &[0xff, 0x25], &distance.to_le_bytes()].concat()
    }

    #[test]
    fn stubs_are_known_by_the_slot_through_which_they_jump() {
        const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
        let imports = [(START + 0x1ff8, "SSL_free"), (START + 0x2000, "SSL_do_handshake")];
        for prefix in [&[][..], &ENDBR64, &[0xf2], &[0xf3, 0x0f, 0x1e, 0xfa, 0xf2]] {
            let bytes = stub(prefix);
            let name = code(&bytes, &imports).stub_name(START).map(str::to_owned);
            assert_eq!(name.as_deref(), Some("SSL_do_handshake"), "{bytes:x?}");
        }
    }

    #[test]
    fn a_slot_may_lie_before_its_stub() {
        let bytes = [&[0xff, 0x25][..], &(-0x106i32).to_le_bytes()].concat();
        let imports = [(START - 0x100, "SSL_do_handshake")];
        assert_eq!(code(&bytes, &imports).stub_name(START), Some("SSL_do_handshake"));
    }

    #[test]
    fn code_that_is_not_a_stub_has_no_name() {
        let imports = [(START + 0x2000, "SSL_do_handshake")];
        let whole = stub(&[0xf3, 0x0f, 0x1e, 0xfa, 0xf2]);
        for len in 1..whole.len() {
            assert_eq!(code(&whole[..len], &imports).stub_name(START), None, "cut after {len}");
        }
        // A call through the slot, a jump to a place, a jump through a register.
        let mut call = stub(&[]);
        call[1] = 0x15;
        for other in [&call[..], &[0xe9, 0, 0x20, 0, 0, 0], &[0xff, 0xe0, 0, 0, 0, 0]] {
            assert_eq!(code(other, &imports).stub_name(START), None, "{other:x?}");
        }
        let other_slot = [(START + 0x2008, "SSL_do_handshake")];
        assert_eq!(code(&stub(&[]), &other_slot).stub_name(START), None);
        assert_eq!(code(&stub(&[]), &imports).stub_name(START + 0x2000), None, "not in the image");
    }

    #[test]
    fn addresses_become_places_in_the_file() {
        let code = code(&[0x90; 16], &[]);
        assert_eq!(code.file_offset(START), Some(OFFSET));
        assert_eq!(code.file_offset(START + 15), Some(OFFSET + 15));
        assert_eq!(code.file_offset(START + 16), None);
        assert_eq!(code.file_offset(START - 1), None);
    }

    #[test]
    fn a_symbol_outside_of_the_image_has_no_sites() {
        let code = code(&[0xc3; 16], &[]);
        for start in [0, START - 16, START + 16, u64::MAX - 16] {
            let sites = code.sites_of(function("SSL_free"), start..start + 16);
            assert_eq!(sites, Err("has no code at +0x0".into()), "{start:#x}");
        }
        assert!(code.sites_of(function("SSL_free"), START..START + 16).is_ok());
    }

    /// Returns an `SSL_read` that is a jump over the code before it to a target.
    fn jumping_to(target: &[u8]) -> (Vec<u8>, Range<u64>) {
        let back = -(target.len() as i32 + 5);
        let bytes = [target, &[0xe9], &back.to_le_bytes()].concat();
        let start = START + target.len() as u64;
        (bytes, start..start + 5)
    }

    #[test]
    fn a_function_may_end_with_a_call_of_an_equivalent_function_of_the_file() {
        let (bytes, addresses) = jumping_to(&[0xc3]);
        let mut code = code(&bytes, &[]);
        let read = function("SSL_read");
        let reason = "leaves only by jumps to other functions";
        assert_eq!(code.sites_of(read, addresses.clone()), Err(reason.into()));
        // The other direction, and functions without data.
        for other in ["SSL_write_ex", "SSL_do_handshake", "SSL_free"] {
            code.exports = vec![(START, other)];
            assert_eq!(code.sites_of(read, addresses.clone()), Err(reason.into()), "{other}");
        }
        code.exports = vec![(START, "SSL_read_ex")];
        let sites = code.sites_of(read, addresses.clone()).unwrap();
        assert_eq!(sites.exits, []);
        assert_eq!(sites.entry, Entry { offset: OFFSET + 1, frame: 0 });
        // Its result is the count, and no function of the table reports that of a peek.
        code.exports = vec![(START, "SSL_peek")];
        assert_eq!(code.sites_of(read, addresses), Err(reason.into()));
    }

    #[test]
    fn a_function_may_end_with_a_call_through_a_stub() {
        let (bytes, addresses) = jumping_to(&stub(&[]));
        let mut code = code(&bytes, &[(START + 0x2000, "SSL_do_handshake")]);
        assert!(code.sites_of(function("SSL_connect"), addresses.clone()).is_err(), "elsewhere");
        code.exports = vec![(START + 0x3000, "SSL_do_handshake")];
        let connect = code.sites_of(function("SSL_connect"), addresses.clone()).unwrap();
        assert_eq!(connect.exits, []);
        assert!(code.sites_of(function("SSL_read"), addresses).is_err());
    }
}
