//! Go programs: the functions of `crypto/tls` in them, and the places to probe them.
//!
//! Each program carries its own copy of the package, so the executable is probed. Its functions are
//! found in the table that the runtime needs for stack traces ([`pclntab`]), which stripping leaves
//! alone, in the file's image in memory ([`image`]). [`code`] returns the places to probe;
//! [`version`] and [`layout`] the offset of a connection's server name. The kernel side at the
//! probes is described in `bpf/go.h`.
//!
//! Only amd64 from Go 1.17 on, which introduced arguments in registers. Return probes are never
//! used: they end a Go program as soon as its stack moves.

mod code;
mod image;
mod layout;
mod pclntab;
mod version;

use object::read::ReadRef;

use self::code::{Places, places};
use self::image::Image;
pub(crate) use self::layout::Layout;
use self::pclntab::FunctionTable;
use self::version::Version;
use crate::arch::GO_RESULT;
use crate::functions::index_of;
use crate::symbols::defined::Defined;
use crate::symbols::sites::{Entry, Exit, Sites};

/// Go 1.17: the first with the register ABI.
const FIRST: Version = Version { minor: 17 };

/// Every Go program has some of these.
const SECTIONS: [&str; 4] =
    [".go.buildinfo", ".note.go.buildid", ".gopclntab", ".data.rel.ro.gopclntab"];

const READ: &str = "crypto/tls.(*Conn).Read";
const WRITE: &str = "crypto/tls.(*Conn).Write";
const WRITE_RECORDS: &str = "crypto/tls.(*Conn).writeRecordLocked";
const CLIENT: &str = "crypto/tls.(*Conn).clientHandshake";
const SERVER: &str = "crypto/tls.(*Conn).serverHandshake";
const CLOSE: &str = "crypto/tls.(*Conn).Close";

/// The TLS functions of a Go program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its functions, each with sites.
    pub(crate) functions: Vec<Defined>,
    pub(crate) layout: Layout,
}

/// Returns the functions to probe in a file. `None` if it is not a Go program, or has no TLS.
///
/// # Errors
/// A clause with the reason why its TLS cannot be recorded.
pub(crate) fn read<'data>(data: impl ReadRef<'data>) -> Result<Option<Program>, String> {
    let Ok(image) = Image::parse(data) else { return Ok(None) };
    if image.has_sections() && image.section(&SECTIONS).is_none() {
        return Ok(None);
    }
    let Some(table) = FunctionTable::find(&image) else { return Ok(None) };
    let names = [READ, WRITE, WRITE_RECORDS, CLIENT, SERVER, CLOSE];
    let Some(found) = table.addresses(&image, names) else {
        return Err("is a Go program whose table of functions is not understood".into());
    };
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let version = version::version(&image);
    if table.may_be_go116() && version.is_none_or(|version| version < FIRST) {
        return Err("is built by a Go before 1.17, which passes arguments on the stack; \
                    build it with a later one"
            .into());
    }
    let functions = names.into_iter().zip(found).filter_map(|(name, addresses)| {
        let addresses = addresses?;
        let start = addresses.start;
        let places = image.bytes(addresses.clone()).map(|code| places(code, addresses));
        Some(Found { name, start, places: places.unwrap_or_else(|| Err("has no code".into())) })
    });
    let functions: Vec<_> = functions.collect();
    let unneeded = if writes_by_records(&functions) { WRITE } else { WRITE_RECORDS };
    let wanted = functions.into_iter().filter(|function| function.name != unneeded);
    let functions = wanted.map(|function| function.defined(&image)).collect::<Result<_, _>>()?;
    Ok(Some(Program { functions, layout: Layout::of(version) }))
}

/// A function that a program has.
#[derive(Debug)]
struct Found {
    name: &'static str,
    start: u64,
    places: Result<Places, String>,
}

impl Found {
    fn defined<'data>(self, image: &Image<'data, impl ReadRef<'data>>) -> Result<Defined, String> {
        let name = self.name;
        let places = self.places.map_err(|reason| format!("has a {name} that {reason}"))?;
        let offset = |address| {
            image
                .file_offset(address)
                .ok_or_else(|| format!("has a {name} that is not in the file"))
        };
        let entry = Entry { offset: offset(places.entry)?, frame: 0 };
        let result = (GO_RESULT, 0);
        let exit = |&address: &u64| Ok(Exit { offset: offset(address)?, frame: 0, result });
        let exits = places.exits.iter().map(exit).collect::<Result<_, String>>()?;
        let start = offset(self.start)?;
        index_of(name)
            .and_then(|index| Defined::new(index, start, Ok(Sites { entry, exits })))
            .ok_or_else(|| "is a Go program".into())
    }
}

/// Returns whether `Write` leaves the writing to `writeRecordLocked`, as it does unless the
/// compiler has inlined that. `writeRecordLocked` is the better place. It runs with the lock for
/// the direction held, so that concurrent writes of two goroutines are recorded in order, and only
/// once the handshake is done.
fn writes_by_records(functions: &[Found]) -> bool {
    let by_name = |name| functions.iter().find(|function| function.name == name);
    let calls = by_name(WRITE).and_then(|write| Some(&write.places.as_ref().ok()?.calls));
    calls.zip(by_name(WRITE_RECORDS)).is_some_and(|(calls, records)| calls.contains(&records.start))
}

#[cfg(test)]
mod tests;
