//! The symbols of a stripped program or library in a file of their own: an ELF file with the same
//! build ID, from a debug package of the distribution, or from debuginfod(8).
//!
//! A file of another user is not read: a wrong symbol would place a probe within an instruction.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::Object;

use super::open;
use crate::elf_file::ElfFile;
use crate::process::privileges::User;
use crate::trust::Trusted;

/// The debug files of distributions, by build ID.
const INSTALLED: &str = "/usr/lib/debug/.build-id";

/// Bytes of a build ID: linkers make 16 or 20, and any number can be given to them.
const BUILD_ID: std::ops::RangeInclusive<usize> = 3..=64;

/// Returns the build ID of an ELF file in hexadecimal digits; `None` if it has none.
pub(crate) fn build_id(file: &File) -> Option<String> {
    id_of(&object::File::parse(&ElfFile::new(file)).ok()?)
}

fn id_of<'data>(elf: &impl Object<'data>) -> Option<String> {
    let id = elf.build_id().ok()??;
    let digits = || id.iter().map(|byte| format!("{byte:02x}")).collect();
    BUILD_ID.contains(&id.len()).then(digits)
}

/// Returns the file with the symbols of this file, if there is one.
pub(super) fn of<'data>(elf: &impl Object<'data>) -> Option<File> {
    let id = id_of(elf)?;
    let trusted = Trusted::here();
    let is_it = |path: &PathBuf| {
        let file = open(path).ok().filter(|_| trusted.wrote(path, path))?;
        (build_id(&file).as_ref() == Some(&id)).then_some(file)
    };
    candidates(&id, &caches()).iter().find_map(is_it)
}

/// Returns the paths at which the file may be.
fn candidates(id: &str, caches: &[PathBuf]) -> Vec<PathBuf> {
    let (first, rest) = id.split_at(2);
    let installed = Path::new(INSTALLED).join(first).join(format!("{rest}.debug"));
    let cached = caches.iter().map(|cache| cache.join(id).join("debuginfo"));
    [installed].into_iter().chain(cached).collect()
}

/// Returns the caches of debuginfod's client (debuginfod_find_debuginfo(3)), of this user and of
/// the caller of sudo(8).
fn caches() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let below = |home: PathBuf| {
        [home.join(".cache/debuginfod_client"), home.join(".debuginfod_client_cache")]
    };
    let given = variable("DEBUGINFOD_CACHE_PATH");
    let standard = variable("XDG_CACHE_HOME").map(|cache| cache.join("debuginfod_client"));
    let homes = [variable("HOME"), User::home_behind_sudo()].into_iter().flatten().flat_map(below);
    let all = given.into_iter().chain(standard).chain(homes);
    all.filter(|path| path.is_absolute()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_names_its_files() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        if let Some(id) = build_id(&file) {
            assert!(id.len() >= 6 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
        }
        assert_eq!(build_id(&File::open("/etc/passwd").unwrap()), None);
        let cache = PathBuf::from("/home/a/.cache/debuginfod_client");
        let expected = [
            "/usr/lib/debug/.build-id/ab/cdef.debug",
            "/home/a/.cache/debuginfod_client/abcdef/debuginfo",
        ];
        assert_eq!(candidates("abcdef", &[cache]), expected.map(PathBuf::from));
    }
}
