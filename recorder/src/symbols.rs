//! Where in a file the probed functions begin.
//!
//! Probes are attached by file offset, so that a stripped library, a path inside another mount
//! namespace and a symbol in `.symtab` only are all the same to the kernel.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Architecture, Object, ObjectSegment, ObjectSymbol, ReadCache};

use crate::functions::OPENSSL;

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
pub(crate) fn open(path: &Path) -> Result<File> {
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

/// The functions of the table that one file defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbols {
    /// Index into the table of functions, and offset of the function's first byte in the file.
    pub(crate) offsets: Vec<(u16, u64)>,
}

impl Symbols {
    /// Reads the symbols of an ELF file. `path` is for messages.
    ///
    /// # Errors
    /// The file cannot be read, is not ELF, or is for machines of another kind.
    pub(crate) fn read(file: &File, path: &Path) -> Result<Self> {
        let cache = ReadCache::new(file);
        let elf = object::File::parse(&cache)
            .with_context(|| format!("{} is not an ELF file", path.display()))?;
        if elf.architecture() != HOST {
            let other = elf.architecture();
            bail!("{} is built for {other:?}; only {HOST:?} can be recorded here", path.display());
        }
        let segments: Vec<_> =
            elf.segments().map(|segment| (segment.address(), segment.file_range())).collect();
        let mut found = vec![None; OPENSSL.len()];
        for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
            if !symbol.is_definition() {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            if let Some(index) = OPENSSL.iter().position(|function| function.name == name) {
                found[index] = found[index].or(file_offset(&segments, symbol.address()));
            }
        }
        let offsets = found
            .into_iter()
            .enumerate()
            .filter_map(|(index, offset)| Some((u16::try_from(index).ok()?, offset?)))
            .collect();
        Ok(Self { offsets })
    }

    /// Whether TLS calls can be recorded with these: at least one that reads or writes data.
    pub(crate) fn carry_data(&self) -> bool {
        self.offsets.iter().any(|&(index, _)| OPENSSL[usize::from(index)].carries_data())
    }

    /// The functions of the table that the file lacks.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let has = |index| self.offsets.iter().any(|&(known, _)| usize::from(known) == index);
        let rows = OPENSSL.iter().enumerate();
        rows.filter(|&(index, _)| !has(index)).map(|(_, function)| function.name).collect()
    }
}

/// Translates an address of the image to the place in the file from which it is mapped.
fn file_offset(segments: &[(u64, (u64, u64))], address: u64) -> Option<u64> {
    segments.iter().find_map(|&(start, (offset, size))| {
        let within = address.checked_sub(start)?;
        (within < size).then(|| offset + within)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(path: impl AsRef<Path>) -> Result<Symbols> {
        Symbols::read(&open(path.as_ref())?, path.as_ref())
    }

    #[test]
    fn addresses_translate_by_segment() {
        let segments = [(0x1000, (0x400, 0x100)), (0x3000, (0x800, 0x10))];
        assert_eq!(file_offset(&segments, 0x1010), Some(0x410));
        assert_eq!(file_offset(&segments, 0x300f), Some(0x80f));
        assert_eq!(file_offset(&segments, 0x3010), None);
        assert_eq!(file_offset(&segments, 0), None);
    }

    #[test]
    fn a_file_without_tls_has_none() {
        let symbols = read("/proc/self/exe").unwrap();
        assert!(!symbols.carry_data());
        assert_eq!(symbols.missing().len(), OPENSSL.len());
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
