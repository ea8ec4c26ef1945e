//! Programs that switch stacks: coroutines and fibers that may stop in the middle of a TLS call.
//!
//! A return probe replaces the caller's address on the stack by an address of the kernel, and
//! relies on returns in the opposite order of calls. A program that continues its calls in another
//! order is killed by that. So where such a program may hit the probes, none of them may be a
//! return probe. A program is recognised if it calls the usual functions for this, or contains
//! them; a program with an implementation of its own is not recognised.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol};

use crate::elf_file::ElfFile;
use crate::plan::Select;
use crate::proc::loader;
use crate::proc::maps::{FileKey, Mapping, mapped_files};
use crate::proc::processes;
use crate::select::{Filters, chosen};
use crate::symbols::open;
use crate::targets::{Target, Targets};
use crate::trust::Trusted;

/// glibc's function that continues on another stack and can come back. Callers import it. A file
/// with `setcontext` alone contains OpenSSL, stripped or not, or ends a context for good.
const IMPORTED: [&str; 1] = ["swapcontext"];

/// Functions of Boost.Context, which PHP contains, of bRPC and of libco, wherever they are.
const ANYWHERE: [&str; 4] =
    ["jump_fcontext", "ontop_fcontext", "bthread_jump_fcontext", "coctx_swap"];

/// Defined by OpenSSL, which switches stacks only for programs that request it, with
/// `SSL_MODE_ASYNC`: its own imports for that do not count, which include `swapcontext` where the
/// processor protects return addresses.
const OPENSSL_ASYNC: &str = "ASYNC_start_job";

/// A program file that switches stacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Switcher {
    pub(crate) path: PathBuf,
    /// The function by which it was recognised.
    pub(crate) function: &'static str,
    /// The files that it needs; `None` if it may have mapped any. It can map others later.
    needs: Option<Vec<FileKey>>,
}

impl Switcher {
    /// Returns whether it hits the probes of a file, unless it maps the file later.
    pub(crate) fn may_hit(&self, target: &Target) -> bool {
        let key = target.file.metadata().ok().map(|meta| FileKey::of(&meta));
        let needs = |key| self.needs.as_ref().is_none_or(|needs| needs.contains(&key));
        key.is_none_or(needs)
    }

    /// Returns whether it may hit only the files that it needs, since it is stopped before it uses
    /// others.
    pub(crate) fn is_confined(&self) -> bool {
        self.needs.is_some()
    }
}

/// Returns the first of the programs known now that will hit the probes. If processes are selected
/// by filters, others hit the probes too; of these only files that no other user can have written
/// are opened. `stops`: the processes of a command are stopped before they use further files.
pub(crate) fn find_switcher(
    select: &Select,
    filters: Filters<'_>,
    targets: &Targets,
    stops: bool,
) -> Option<Switcher> {
    let mut search = Search::default();
    if let Some(command) = select.command.first() {
        let executables = loader::executables(&loader::find_command(command).ok()?);
        let needed = loader::needed(&executables, &loader::cached_libraries());
        let files = || executables.iter().chain(&needed);
        let key = |file: &PathBuf| Some(FileKey::of(&fs::metadata(file).ok()?));
        let needs = stops.then(|| files().filter_map(key).collect());
        let switcher = files().find_map(|file| search.judge(file, file))?;
        return Some(Switcher { needs, ..switcher });
    }
    let chosen = chosen(select, filters);
    if let Some(switcher) = chosen.iter().find_map(|&pid| search.in_process(pid, targets)) {
        return Some(switcher);
    }
    if select.names_processes() {
        return None;
    }
    search.trusted_only = Some(Trusted::here());
    let others = processes::all().into_iter().filter(|pid| !chosen.contains(pid));
    others.into_iter().find_map(|pid| search.in_process(pid, targets))
}

/// Returns the switcher in a process, if any.
pub(crate) fn switcher_in(pid: u32) -> Option<Switcher> {
    Search::default().among(pid, &mapped_files(pid).ok()?)
}

/// The files of a command's processes that switch stacks.
#[derive(Debug, Default)]
pub(crate) struct Switchers(HashMap<FileKey, PathBuf>);

impl Switchers {
    /// Returns a set with the switcher that is known at the start.
    pub(crate) fn new(known: Option<&Switcher>) -> Self {
        let key = |path: &Path| Some(FileKey::of(&fs::metadata(path).ok()?));
        let known = known.and_then(|known| Some((key(&known.path)?, known.path.clone())));
        Self(known.into_iter().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a file that a process has mapped, if it switches stacks. Returns whether it does.
    pub(crate) fn consider(&mut self, pid: u32, mapping: &Mapping) -> bool {
        let judge = |open_path: PathBuf| Search::default().judge(&open_path, &mapping.path);
        let switches = mapping.open_path(pid).and_then(judge).is_some();
        if switches {
            self.0.insert(mapping.key, mapping.path.clone());
        }
        switches
    }

    /// Returns the switcher among the files of a process.
    pub(crate) fn among(&self, files: &[Mapping]) -> Option<&Path> {
        files.iter().find_map(|mapping| self.0.get(&mapping.key)).map(PathBuf::as_path)
    }
}

/// Reads each file once.
#[derive(Debug, Default)]
struct Search {
    seen: HashSet<(u64, u64)>,
    /// Set if only files that no other user can write may be opened.
    trusted_only: Option<Trusted>,
}

impl Search {
    /// Returns a switcher that is mapped by a process which also maps a target.
    fn in_process(&mut self, pid: u32, targets: &Targets) -> Option<Switcher> {
        // The process may have exited.
        let files = mapped_files(pid).ok()?;
        let is_target = |mapping: &Mapping| {
            let meta = mapping.open_path(pid).and_then(|path| fs::metadata(path).ok());
            meta.is_some_and(|meta| targets.has(&meta))
        };
        if !files.iter().any(is_target) {
            return None;
        }
        self.among(pid, &files)
    }

    fn among(&mut self, pid: u32, files: &[Mapping]) -> Option<Switcher> {
        files.iter().find_map(|mapping| {
            let open_path = mapping.open_path(pid)?;
            let may_open = |trusted: &Trusted| trusted.wrote(&mapping.path, &open_path);
            if !self.trusted_only.as_ref().is_none_or(may_open) {
                return None;
            }
            self.judge(&open_path, &mapping.path)
        })
    }

    fn judge(&mut self, open_path: &Path, path: &Path) -> Option<Switcher> {
        let file = open(open_path).ok()?;
        let meta = file.metadata().ok()?;
        if !self.seen.insert((meta.dev(), meta.ino())) {
            return None;
        }
        let data = ElfFile::new(&file);
        let elf = object::File::parse(&data).ok()?;
        let (mut inside, mut imported, mut openssl) = (None, None, false);
        for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
            // Versions follow an @ in names that come from the linker.
            let name = symbol.name().unwrap_or_default().split('@').next().unwrap_or_default();
            let known = |names: &[&'static str]| names.iter().copied().find(|&known| known == name);
            openssl |= name == OPENSSL_ASYNC && symbol.is_definition();
            inside = inside.or_else(|| known(&ANYWHERE));
            imported = imported.or_else(|| known(&IMPORTED).filter(|_| symbol.is_undefined()));
        }
        let function = inside.or(imported.filter(|_| !openssl));
        Some(Switcher { path: path.into(), function: function?, needs: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn judge(path: &Path) -> Option<&'static str> {
        let switcher = Search::default().judge(path, Path::new("shown"))?;
        assert_eq!(switcher.path, Path::new("shown"));
        Some(switcher.function)
    }

    fn library(name: &str) -> PathBuf {
        let cache = loader::cached_libraries();
        let found = cache.into_iter().find(|path| path.file_name().is_some_and(|n| n == name));
        found.unwrap_or_else(|| panic!("{name} is not in the loader's cache"))
    }

    /// Returns the compiled program.
    fn compiled(source: &str, options: &[&str]) -> tempfile::TempPath {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut gcc = Command::new("gcc");
        gcc.args(options).args(["-x", "c", "-", "-o"]).arg(&path).stdin(Stdio::piped());
        let mut gcc = gcc.spawn().unwrap();
        gcc.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        assert!(gcc.wait().unwrap().success());
        path
    }

    const SWAPS: &str = "#include <ucontext.h>\n\
        static ucontext_t a, b;\n\
        int main(void) { return swapcontext(&a, &b); }\n";

    #[test]
    fn a_program_that_calls_swapcontext_is_a_switcher() {
        assert_eq!(judge(&compiled(SWAPS, &[])), Some("swapcontext"));
        assert_eq!(judge(&compiled(SWAPS, &["-s"])), Some("swapcontext"), "stripped");
    }

    #[test]
    fn a_program_with_anothers_switch_inside_is_a_switcher() {
        let source = "void jump_fcontext(void) {}\nint main(void) { jump_fcontext(); }\n";
        assert_eq!(judge(&compiled(source, &[])), Some("jump_fcontext"));
        let library = compiled("void bthread_jump_fcontext(void) {}\n", &["-shared", "-s"]);
        assert_eq!(judge(&library), Some("bthread_jump_fcontext"));
    }

    #[test]
    fn the_c_library_is_not_a_switcher() {
        assert_eq!(judge(&library("libc.so.6")), None);
    }

    /// It imports the functions that coroutines call.
    #[test]
    fn openssl_is_not_a_switcher() {
        let libcrypto = library("libcrypto.so.3");
        let bytes = fs::read(&libcrypto).unwrap();
        assert!(bytes.windows(10).any(|name| name == b"setcontext"));
        assert_eq!(judge(&libcrypto), None);
        let source = format!("{SWAPS}void ASYNC_start_job(void) {{}}\n");
        assert_eq!(judge(&compiled(&source, &[])), None, "linked into a program");
    }

    /// A static OpenSSL whose symbols are stripped.
    #[test]
    fn a_context_that_is_only_entered_is_no_switch() {
        let source = "#include <ucontext.h>\n\
            static ucontext_t a;\n\
            int main(void) { return setcontext(&a); }\n";
        assert_eq!(judge(&compiled(source, &["-s"])), None);
    }

    #[test]
    fn openssl_inside_does_not_excuse_anothers_switch() {
        let source = "void ASYNC_start_job(void) {}\n\
            void jump_fcontext(void) {}\n\
            int main(void) { jump_fcontext(); }\n";
        assert_eq!(judge(&compiled(source, &[])), Some("jump_fcontext"));
    }

    /// It only uses OpenSSL's functions.
    #[test]
    fn importing_from_openssl_does_not_excuse_a_switch_of_its_own() {
        let source =
            format!("{SWAPS}void ASYNC_start_job(void);\nvoid f(void) {{ ASYNC_start_job(); }}\n");
        assert_eq!(judge(&compiled(&source, &["-shared", "-fPIC"])), Some("swapcontext"));
    }

    #[test]
    fn other_files_are_not_switchers() {
        for path in ["/bin/true", "/etc/passwd", "/tmp", "/no/such/file"] {
            assert_eq!(judge(Path::new(path)), None, "{path}");
        }
        let defines = "int swapcontext(void) { return 0; }\nint main(void) { swapcontext(); }\n";
        assert_eq!(judge(&compiled(defines, &["-w"])), None, "its own is no switch of stacks");
    }

    #[test]
    fn a_file_is_read_once() {
        let program = compiled(SWAPS, &[]);
        let mut search = Search::default();
        assert!(search.judge(&program, &program).is_some());
        assert_eq!(search.judge(&program, &program), None);
    }
}
