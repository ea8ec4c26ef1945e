//! Programs that switch stacks: coroutines and fibers that may stop in the midst of a TLS call.
//!
//! A return probe puts an address of the kernel's on the stack in place of the caller's, and takes
//! it for granted that returns come in the opposite order of calls. A program that goes on with
//! its calls in another order is killed by that. So where such a program may run into the probes,
//! none of them may be a return probe. What is known of is who calls the usual functions for it,
//! or has them inside; a program that brings its own is not recognised.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol, ReadCache};

use crate::cli::Options;
use crate::loader;
use crate::processes;
use crate::symbols::open;
use crate::targets::{Targets, mapped_files};

/// glibc's functions that go on with another stack. Whoever calls them imports them.
const IMPORTED: [&str; 2] = ["swapcontext", "setcontext"];

/// Those of Boost.Context, which PHP has inside, of bRPC and of libco, wherever they are.
const ANYWHERE: [&str; 4] =
    ["jump_fcontext", "ontop_fcontext", "bthread_jump_fcontext", "coctx_swap"];

/// A part of OpenSSL that switches stacks only for programs that ask for it, with `SSL_MODE_ASYNC`;
/// what has it inside is not judged by it.
const OPENSSL_ASYNC: &str = "ASYNC_start_job";

/// A program file that switches stacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Switcher {
    pub(crate) path: PathBuf,
    /// By what it was recognised.
    pub(crate) function: &'static str,
}

/// The first one among the programs that will run into the probes, as far as they are known now.
pub(crate) fn find_switcher(options: &Options, targets: &Targets) -> Option<Switcher> {
    let mut search = Search::default();
    if let Some(command) = options.command.first() {
        let executables = loader::executables(&loader::find_command(command).ok()?);
        let needed = loader::needed(&executables, &loader::cached_libraries());
        return executables.iter().chain(&needed).find_map(|file| search.judge(file, file));
    }
    let pids = match options.pids.as_slice() {
        [] => processes::all(),
        pids => processes::with_descendants(pids),
    };
    pids.into_iter().find_map(|pid| search.in_process(pid, targets))
}

/// Each file is read once.
#[derive(Debug, Default)]
struct Search {
    harmless: HashSet<(u64, u64)>,
}

impl Search {
    /// A switcher that is mapped by a process which maps a target as well.
    fn in_process(&mut self, pid: u32, targets: &Targets) -> Option<Switcher> {
        // It may be gone.
        let files = mapped_files(pid).ok()?;
        let is_target = |(open_path, _): &(PathBuf, PathBuf)| {
            fs::metadata(open_path).is_ok_and(|meta| targets.has(&meta))
        };
        if !files.iter().any(is_target) {
            return None;
        }
        files.iter().find_map(|(open_path, path)| self.judge(open_path, path))
    }

    fn judge(&mut self, open_path: &Path, path: &Path) -> Option<Switcher> {
        let file = open(open_path).ok()?;
        let meta = file.metadata().ok()?;
        if !self.harmless.insert((meta.dev(), meta.ino())) {
            return None;
        }
        let cache = ReadCache::new(&file);
        let elf = object::File::parse(&cache).ok()?;
        let mut function = None;
        for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
            // Versions stand behind an @ in names that come from the linker.
            let name = symbol.name().unwrap_or_default().split('@').next().unwrap_or_default();
            if name == OPENSSL_ASYNC {
                return None;
            }
            let imported = IMPORTED.iter().filter(|_| symbol.is_undefined());
            function = function.or(imported.chain(&ANYWHERE).find(|&&known| known == name));
        }
        Some(Switcher { path: path.into(), function: function? })
    }
}
