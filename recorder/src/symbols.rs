//! Where in a file the probed functions are.
//!
//! Probes are attached by file offset, so that a stripped library, a path inside another mount
//! namespace and a symbol in `.symtab` only are all the same to the kernel.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use object::{Architecture, Object, ObjectSymbol, ReadCache};

use crate::functions::{Function, OPENSSL, row};
use crate::go::{self, Layout};
use crate::sites::{Code, Sites};

/// What this recorder is built for. Arguments of functions are found by its calling convention,
/// so that 32-bit programs on a 64-bit machine are not for it.
#[cfg(target_arch = "x86_64")]
const HOST: Architecture = Architecture::X86_64;
#[cfg(target_arch = "aarch64")]
const HOST: Architecture = Architecture::Aarch64;

/// Opens a file whose symbols are of interest.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        // Without waiting for somebody to write, if it is a pipe.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if !file.metadata()?.is_file() {
        bail!("{} is not a file", path.display());
    }
    Ok(file)
}

/// A function of the table, in the file that defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Defined {
    /// Index into the table of functions.
    pub(crate) index: u16,
    /// Place of its first byte in the file.
    pub(crate) offset: u64,
    /// Where to probe it, or why only its first byte and its return will do.
    pub(crate) sites: Result<Sites, String>,
}

impl Defined {
    pub(crate) fn function(&self) -> &'static Function {
        row(self.index).unwrap_or(&OPENSSL[0])
    }
}

/// The functions of the table that one file defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbols {
    pub(crate) functions: Vec<Defined>,
    /// Of a Go program with TLS, or why that cannot be recorded.
    pub(crate) go: Option<Result<Layout, String>>,
}

impl Symbols {
    /// Reads the symbols of an ELF file. `path` is for messages.
    ///
    /// # Errors
    /// The file cannot be read, is not ELF, or is for machines of another kind.
    pub(crate) fn read(file: &File, path: &Path) -> anyhow::Result<Self> {
        let cache = ReadCache::new(file);
        let elf = object::File::parse(&cache)
            .with_context(|| format!("{} is not an ELF file", path.display()))?;
        if elf.architecture() != HOST {
            let other = elf.architecture();
            bail!("{} is built for {other:?}; only {HOST:?} can be recorded here", path.display());
        }
        let mut found = vec![None; OPENSSL.len()];
        for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
            if !symbol.is_definition() {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            if let Some(index) = OPENSSL.iter().position(|function| function.name == name) {
                let start = symbol.address();
                found[index].get_or_insert(start..start.saturating_add(symbol.size()));
            }
        }
        let (go_functions, go) = match go::read(&cache) {
            Ok(None) => (Vec::new(), None),
            Ok(Some(program)) => (program.functions, Some(Ok(program.layout))),
            Err(reason) => (Vec::new(), Some(Err(reason))),
        };
        if found.iter().all(Option::is_none) {
            return Ok(Self { functions: go_functions, go });
        }
        let exports = found
            .iter()
            .zip(OPENSSL)
            .filter_map(|(addresses, function)| Some((addresses.as_ref()?.start, function.name)));
        let code = Code::of(&elf, exports.collect())
            .with_context(|| format!("cannot read {}", path.display()))?;
        let defined = |(index, addresses): (usize, Option<Range<u64>>)| {
            let addresses = addresses?;
            Some(Defined {
                index: u16::try_from(index).ok()?,
                offset: code.file_offset(addresses.start)?,
                sites: code.sites_of(&OPENSSL[index], addresses),
            })
        };
        let functions = found.into_iter().enumerate().filter_map(defined);
        Ok(Self { functions: functions.chain(go_functions).collect(), go })
    }

    /// Whether TLS calls can be recorded with these: at least one that reads or writes data.
    pub(crate) fn carry_data(&self) -> bool {
        self.functions.iter().any(|defined| defined.function().carries_data())
    }

    /// Whether there are functions of OpenSSL's among them.
    pub(crate) fn has_openssl(&self) -> bool {
        self.functions.iter().any(|defined| !defined.function().go)
    }

    /// The functions of OpenSSL that the file lacks, but for recent ones.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let has = |index| self.functions.iter().any(|known| usize::from(known.index) == index);
        let rows = OPENSSL.iter().enumerate();
        rows.filter(|&(index, function)| !has(index) && !function.recent)
            .map(|(_, function)| function.name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(path: impl AsRef<Path>) -> anyhow::Result<Symbols> {
        Symbols::read(&open(path.as_ref())?, path.as_ref())
    }

    #[test]
    fn a_file_without_tls_has_none() {
        let symbols = read("/proc/self/exe").unwrap();
        assert!(!symbols.carry_data());
        assert_eq!(symbols.missing().len(), OPENSSL.iter().filter(|f| !f.recent).count());
    }

    #[test]
    fn what_is_not_elf_is_refused() {
        let error = read("/etc/passwd").unwrap_err();
        assert!(error.to_string().contains("not an ELF file"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(read("/tmp").unwrap_err().to_string().contains("not a file"));
        assert!(read("/no/such/file").unwrap_err().to_string().contains("cannot open"));
    }

    #[test]
    fn programs_for_other_machines_are_refused() {
        /// Where an ELF header says the machine, and 32-bit ARM.
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
