//! The places of the probed functions in a file.
//!
//! Probes are attached by file offset, so that a stripped library, a path inside another mount
//! namespace and a symbol in `.symtab` only are all the same to the kernel.

mod debug_file;
mod defined;
pub(crate) mod go;
mod mini_debug_info;
pub(crate) mod sites;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use object::{Object, ObjectSymbol};

pub(crate) use self::debug_file::build_id;
pub(crate) use self::defined::Defined;
use self::go::Layout;
use self::sites::Code;
use crate::arch;
use crate::elf_file::ElfFile;
use crate::functions::{self, Family, Function, function};

/// Opens a file whose symbols are of interest.
///
/// # Errors
/// It cannot be opened, or is not a regular file.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        // If it is a pipe, do not wait for a writer.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if !file.metadata()?.is_file() {
        bail!("{} is not a file", path.display());
    }
    Ok(file)
}

/// More of a file would have to be read than is allowed. The text ends a sentence about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TooLarge(pub(crate) String);

/// The functions of the table that one file defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbols {
    pub(crate) functions: Vec<Defined>,
    /// The layout of a Go program with TLS, or the reason why it cannot be recorded.
    pub(crate) go: Option<Result<Layout, String>>,
}

impl Symbols {
    /// Reads the symbols of an ELF file that belong to these libraries. `path` is for messages.
    ///
    /// # Errors
    /// The file cannot be read, is not ELF, or is for another kind of machine.
    pub(crate) fn read(file: &File, path: &Path, families: &[Family]) -> anyhow::Result<Self> {
        let elf_file = ElfFile::new(file);
        let symbols = Self::of(&elf_file, path, families);
        match elf_file.refusal() {
            Some(reason) => Err(TooLarge(reason).into()),
            None => symbols,
        }
    }

    fn of(file: &ElfFile<'_>, path: &Path, families: &[Family]) -> anyhow::Result<Self> {
        let elf = object::File::parse(file)
            .with_context(|| format!("{} is not an ELF file", path.display()))?;
        if elf.architecture() != arch::ELF {
            let other = elf.architecture();
            let host = arch::ELF;
            bail!("{} is built for {other:?}; only {host:?} can be recorded here", path.display());
        }
        let mut found = Found::of(families);
        found.add(&elf);
        if !found.carry_data()
            && let Some(data) = mini_debug_info::of(&elf)
            && let Ok(more) = object::File::parse(data.as_slice())
        {
            found.add(&more);
        }
        if !found.carry_data()
            && let Some(symbols) = debug_file::of(&elf)
        {
            let symbols = ElfFile::new(&symbols);
            if let Ok(more) = object::File::parse(&symbols) {
                found.add(&more);
            }
        }
        let (go_functions, go) = match families.contains(&Family::Go).then(|| go::read(file)) {
            None | Some(Ok(None)) => (Vec::new(), None),
            Some(Ok(Some(program))) => (program.functions, Some(Ok(program.layout))),
            Some(Err(reason)) => (Vec::new(), Some(Err(reason))),
        };
        if found.addresses.is_empty() {
            return Ok(Self { functions: go_functions, go });
        }
        let code = Code::of(&elf, found.exports())
            .with_context(|| format!("cannot read {}", path.display()))?;
        let defined = |(index, addresses): (u16, Range<u64>)| {
            let (family, function) = function(index)?;
            let offset = code.file_offset(addresses.start)?;
            // Proven sites are tested before use, unless there is no other way.
            let sites = if family.library().has_self_test() || code.refuses_a_probe(addresses.start)
            {
                code.sites_of(function, addresses)
            } else {
                Err("is of a library that has no self-test".into())
            };
            Defined::new(index, offset, sites)
        };
        let functions = found.in_order().into_iter().filter_map(defined);
        Ok(Self { functions: functions.chain(go_functions).collect(), go })
    }

    /// Returns whether TLS calls can be recorded with these: at least one function reads or writes
    /// data, or reports the calls of functions in another file.
    pub(crate) fn are_useful(&self) -> bool {
        self.functions.iter().any(|defined| {
            defined.function().carries_data() || defined.family().library().is_split()
        })
    }

    /// Returns whether some functions are to be probed within, and can be tested before.
    pub(crate) fn have_self_test(&self) -> bool {
        self.functions
            .iter()
            .any(|defined| defined.family().library().has_self_test() && defined.sites.is_ok())
    }

    /// Returns the libraries with at least one function.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        let has = |family: &Family| self.functions.iter().any(|known| known.family() == *family);
        Family::all().filter(has)
    }

    /// Returns the functions of the file's library that are missing, except for optional functions,
    /// and for libraries whose functions are in several files.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let here: Vec<_> = self.families().filter(|family| !family.library().is_split()).collect();
        let has =
            |row: &Function| self.functions.iter().any(|known| known.function().name == row.name);
        functions::all()
            .filter(|(family, row)| here.contains(family) && !row.optional && !has(row))
            .map(|(_, row)| row.name)
            .collect()
    }
}

/// The addresses of the functions of the table that were found so far.
struct Found {
    wanted: HashMap<&'static str, u16>,
    addresses: HashMap<u16, Range<u64>>,
}

impl Found {
    fn of(families: &[Family]) -> Self {
        let rows = (0..).zip(functions::all());
        // Functions of Go are found by the runtime's own table, which has the sites too. Found by
        // their symbols they would have return probes, which kill a Go program.
        let wanted =
            rows.filter(|(_, (family, _))| families.contains(family) && *family != Family::Go);
        Self {
            wanted: wanted.map(|(index, (_, row))| (row.name, index)).collect(),
            addresses: HashMap::new(),
        }
    }

    /// Adds the functions in the symbol tables of a file.
    fn add<'data>(&mut self, elf: &impl Object<'data>) {
        for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
            if !symbol.is_definition() {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            if let Some(&index) = self.wanted.get(name) {
                let start = symbol.address();
                let addresses = start..start.saturating_add(symbol.size());
                self.addresses.entry(index).or_insert(addresses);
            }
        }
    }

    fn carry_data(&self) -> bool {
        let row = |index: &u16| function(*index).is_some_and(|(_, row)| row.carries_data());
        self.addresses.keys().any(row)
    }

    fn exports(&self) -> Vec<(u64, &'static str)> {
        let named = |(&index, range): (&u16, &Range<u64>)| (range.start, functions::name_of(index));
        self.addresses.iter().map(named).collect()
    }

    fn in_order(self) -> Vec<(u16, Range<u64>)> {
        let mut all: Vec<_> = self.addresses.into_iter().collect();
        all.sort_unstable_by_key(|(index, _)| *index);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(path: impl AsRef<Path>) -> anyhow::Result<Symbols> {
        Symbols::read(&open(path.as_ref())?, path.as_ref(), &Family::all().collect::<Vec<_>>())
    }

    #[test]
    fn a_file_without_tls_has_none() {
        let symbols = read("/proc/self/exe").unwrap();
        assert!(!symbols.are_useful());
        assert!(symbols.missing().is_empty());
    }

    #[test]
    fn a_file_that_is_not_elf_is_refused() {
        let error = read("/etc/passwd").unwrap_err();
        assert!(error.to_string().contains("not an ELF file"), "{error}");
    }

    #[test]
    fn a_path_that_is_not_a_file_is_refused() {
        assert!(read("/tmp").unwrap_err().to_string().contains("not a file"));
        assert!(read("/no/such/file").unwrap_err().to_string().contains("cannot open"));
    }

    #[test]
    fn functions_of_go_are_not_found_by_their_symbols() {
        let found = Found::of(&Family::all().collect::<Vec<_>>());
        assert!(found.wanted.contains_key("SSL_read"));
        assert!(found.wanted.keys().all(|name| !name.contains('.')), "{:?}", found.wanted);
    }

    /// A program whose table of symbols claims to be larger than the read limit, in a file that
    /// takes no room.
    #[test]
    fn a_table_beyond_the_bound_is_refused_and_not_read() {
        const SECTION_HEADERS_AT: usize = 0x28;
        const SECTION_HEADER_LEN: usize = 64;
        const DYNSYM: u32 = 11;
        const CLAIMED: u64 = 30_000_000 * 24;
        let mut program = fs::read("/bin/true").unwrap();
        let word =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let headers = word(&program, SECTION_HEADERS_AT) as usize;
        let at = (headers..)
            .step_by(SECTION_HEADER_LEN)
            .find(|at| u32::from_le_bytes(program[at + 4..at + 8].try_into().unwrap()) == DYNSYM);
        let at = at.unwrap();
        let end = program.len() as u64;
        program[at + 24..at + 32].copy_from_slice(&end.to_le_bytes());
        program[at + 32..at + 40].copy_from_slice(&CLAIMED.to_le_bytes());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &program).unwrap();
        file.as_file().set_len(end + CLAIMED).unwrap();
        let start = std::time::Instant::now();
        let error = read(file.path()).unwrap_err();
        assert!(error.is::<TooLarge>(), "{error}");
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn programs_for_other_machines_are_refused() {
        /// The place of the machine in an ELF header, and the number of 32-bit ARM.
        const MACHINE: usize = 18;
        const ARM: u8 = 40;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let mut program = fs::read("/bin/true").unwrap();
        program[MACHINE] = ARM;
        fs::write(&path, program).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("is built for Arm"), "{error}");
    }
}
