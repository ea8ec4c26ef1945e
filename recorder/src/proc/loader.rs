//! The libraries that the dynamic loader would load for a command, found without running it.
//!
//! The result need not be perfect. It decides what is probed before the command starts, and probing
//! one library too many costs nothing but the attach. So every `libssl` in the loader's cache is a
//! candidate too, for scripts and for programs that load it later.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf;
use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, FileKind};

use crate::elf_file::ElfFile;

use crate::arch::{HARDWARE_FOLDERS, LIBRARY_FOLDERS};

/// Scripts name their interpreter, which may be a script again; Linux allows four turns.
const INTERPRETERS_MAX: usize = 4;

/// Finds a command as the shell would: by path, or in `PATH`.
///
/// # Errors
/// There is no such command, or it may not be executed.
pub(crate) fn find_command(name: &str) -> Result<PathBuf> {
    if name.contains('/') {
        let meta = fs::metadata(name).with_context(|| format!("cannot run {name}"))?;
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            bail!("cannot run {name}: not an executable file");
        }
        return Ok(name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
        .with_context(|| format!("cannot run {name}: not found in PATH"))
}

/// Returns the executables that a command starts with: itself, and the interpreters if it is a
/// script.
pub(crate) fn executables(command: &Path) -> Vec<PathBuf> {
    let mut all = vec![command.to_path_buf()];
    for _ in 0..INTERPRETERS_MAX {
        let Some(next) = all.last().and_then(|file| interpreter(file)) else { break };
        all.push(next);
    }
    all
}

/// Returns the interpreter of a script, or the argument of `env` if the script uses it.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut head = [0; 256];
    let length = File::open(script).ok()?.read(&mut head).ok()?;
    let line = head[..length].strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let first = words.next()?;
    if !first.ends_with("/env") {
        return Some(first.into());
    }
    let named = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    find_command(named).ok()
}

/// Returns the libraries that these executables need, directly and through each other.
pub(crate) fn needed(executables: &[PathBuf], cache: &[PathBuf]) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let mut queue = executables.to_vec();
    let mut found = Vec::new();
    while let Some(file) = queue.pop() {
        let Some(dynamic) = Dynamic::read(&file) else { continue };
        for name in &dynamic.needed {
            let Some(library) = dynamic.resolve(name, cache) else { continue };
            if seen.insert(library.clone()) {
                queue.push(library.clone());
                found.push(library);
            }
        }
    }
    found
}

/// All files that the loader might load with a file, and all folders it might search, in a process
/// without `LD_LIBRARY_PATH`. Contains every candidate, not only the file that the loader would
/// load.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    /// Files, each once.
    pub(crate) libraries: Vec<PathBuf>,
    /// Folders that the files themselves name, whether they exist or not.
    pub(crate) folders: Vec<PathBuf>,
    /// A file that loads others in a way that is not followed here, and the way.
    pub(crate) unclear: Option<(PathBuf, &'static str)>,
}

impl Dependencies {
    /// Returns the libraries and folders of the file at this path.
    pub(crate) fn of(path: &Path) -> Self {
        let cache = cached_libraries();
        let mut all = Self::default();
        let mut names = HashSet::new();
        let mut queue = vec![path.to_path_buf()];
        while let Some(file) = queue.pop() {
            let Some(dynamic) = Dynamic::read(&file) else {
                all.unclear = Some((file, "is not an ELF file with a dynamic section"));
                return all;
            };
            if let Some(way) = dynamic.unclear {
                all.unclear = Some((file, way));
                return all;
            }
            names.extend(dynamic.needed);
            all.folders.extend(dynamic.run_path);
            // A folder in one file may be searched for the needs of another.
            let candidates: Vec<_> =
                names.iter().flat_map(|name| all.candidates(name, &cache)).collect();
            for library in candidates {
                if !all.libraries.contains(&library) {
                    all.libraries.push(library.clone());
                    queue.push(library);
                }
            }
        }
        let has_more = |folder: &&PathBuf| HARDWARE_FOLDERS.iter().any(|n| folder.join(n).exists());
        if let Some(folder) = all.folders.iter().find(has_more) {
            all.unclear = Some((folder.clone(), "has subfolders for kinds of processors"));
        }
        all
    }

    /// Returns the candidate files for a needed name.
    fn candidates(&self, name: &str, cache: &[PathBuf]) -> Vec<PathBuf> {
        if name.contains('/') {
            return vec![name.into()];
        }
        let defaults = LIBRARY_FOLDERS.map(PathBuf::from);
        let in_folders = self.folders.iter().chain(&defaults).map(|folder| folder.join(name));
        let cached = cache.iter().filter(|file| file.file_name().is_some_and(|n| n == name));
        in_folders.chain(cached.cloned()).filter(|file| file.is_file()).collect()
    }
}

/// The parts of an ELF file's dynamic section that determine the libraries it loads.
#[derive(Debug, Default)]
struct Dynamic {
    needed: Vec<String>,
    /// `DT_RPATH` and `DT_RUNPATH`, with `$ORIGIN` filled in.
    run_path: Vec<PathBuf>,
    /// Another way in which the file names libraries to load.
    unclear: Option<&'static str>,
}

impl Dynamic {
    fn read(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let data = ElfFile::new(&file);
        match FileKind::parse(&data).ok()? {
            FileKind::Elf64 => Self::parse::<elf::FileHeader64<Endianness>>(&data, path),
            FileKind::Elf32 => Self::parse::<elf::FileHeader32<Endianness>>(&data, path),
            _ => None,
        }
    }

    fn parse<H: FileHeader<Endian = Endianness>>(data: &ElfFile<'_>, path: &Path) -> Option<Self> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, data).ok()?;
        let (entries, link) = sections.dynamic(endian, data).ok()??;
        let strings = sections.strings(endian, data, link).ok()?;
        let origin = path.parent()?.to_str()?.to_owned();
        let mut dynamic = Self::default();
        for entry in entries {
            let tag = entry.tag(endian);
            match tag {
                elf::DT_NEEDED | elf::DT_RPATH | elf::DT_RUNPATH => {}
                elf::DT_AUDIT | elf::DT_DEPAUDIT => {
                    dynamic.unclear = Some("names libraries that audit it");
                    continue;
                }
                elf::DT_FILTER | elf::DT_AUXILIARY => {
                    dynamic.unclear = Some("names libraries that it stands for");
                    continue;
                }
                _ => continue,
            }
            let Ok(text) = entry.string(endian, strings) else {
                dynamic.unclear = Some("names libraries that cannot be read");
                continue;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            if tag == elf::DT_NEEDED {
                dynamic.needed.push(text);
            } else {
                let text = text.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
                dynamic.run_path.extend(text.split(':').map(PathBuf::from));
            }
        }
        Some(dynamic)
    }

    /// Resolves a name in the order of ld.so(8): run path, `LD_LIBRARY_PATH`, cache, default
    /// folders.
    fn resolve(&self, name: &str, cache: &[PathBuf]) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(name.into());
        }
        let named = |file: &&PathBuf| file.file_name().is_some_and(|n| n == name);
        let in_folders = |folders: &mut dyn Iterator<Item = PathBuf>| {
            folders.map(|folder| folder.join(name)).find(|file| file.is_file())
        };
        in_folders(&mut self.run_path.iter().cloned())
            .or_else(|| in_folders(&mut library_path().into_iter()))
            .or_else(|| cache.iter().find(named).cloned())
            .or_else(|| in_folders(&mut LIBRARY_FOLDERS.map(PathBuf::from).into_iter()))
    }
}

/// Returns the folders of `LD_LIBRARY_PATH`, which a command started from here inherits.
pub(crate) fn library_path() -> Vec<PathBuf> {
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty()).collect()
}

/// Returns the libraries in the loader's cache. Empty if there is no cache (musl), or none in the
/// format that glibc has written since 2.2 (1999).
pub(crate) fn cached_libraries() -> Vec<PathBuf> {
    fs::read("/etc/ld.so.cache").ok().and_then(|bytes| parse_cache(&bytes)).unwrap_or_default()
}

/// Parses `struct cache_file_new` of glibc's `dl-cache.h`: a 48-byte header with the magic and the
/// number of entries, then 24-byte entries, whose third word is the offset of the path.
fn parse_cache(bytes: &[u8]) -> Option<Vec<PathBuf>> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    let start = bytes.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let table = &bytes[start..];
    let word = |at: usize| Some(u32::from_ne_bytes(table.get(at..at + 4)?.try_into().ok()?));
    let count = word(20)? as usize;
    let mut paths = Vec::new();
    for entry in 0..count {
        let at = word(48 + entry.checked_mul(24)? + 8)? as usize;
        let path = table.get(at..)?.split(|&byte| byte == 0).next()?;
        paths.push(PathBuf::from(std::str::from_utf8(path).ok()?));
    }
    Some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_of_this_machine_parses() {
        if !Path::new("/etc/ld.so.cache").exists() {
            return;
        }
        let libraries = cached_libraries();
        assert!(libraries.iter().any(|path| path.ends_with("libc.so.6")), "{libraries:?}");
    }

    #[test]
    fn a_cut_cache_gives_nothing_and_no_panic() {
        let Ok(bytes) = fs::read("/etc/ld.so.cache") else { return };
        for length in (0..bytes.len()).step_by(97) {
            parse_cache(&bytes[..length]);
        }
    }

    /// Returns a cache as ldconfig(8) writes it, with an older cache in front as on some systems.
    fn cache_of(paths: &[&str]) -> Vec<u8> {
        const HEADER: usize = 48;
        const ENTRY: usize = 24;
        let mut entries = Vec::new();
        let mut strings = Vec::new();
        for path in paths {
            let at = HEADER + ENTRY * paths.len() + strings.len();
            // Flags, name, path, and the required hardware.
            entries.extend(1_u32.to_ne_bytes());
            entries.extend((at as u32).to_ne_bytes());
            entries.extend((at as u32).to_ne_bytes());
            entries.extend([0; 12]);
            strings.extend_from_slice(path.as_bytes());
            strings.push(0);
        }
        let mut cache = b"ld.so-1.7.0\0an older format".to_vec();
        let start = cache.len();
        cache.extend_from_slice(b"glibc-ld.so.cache1.1");
        cache.extend((paths.len() as u32).to_ne_bytes());
        cache.extend((strings.len() as u32).to_ne_bytes());
        cache.resize(start + HEADER, 0);
        [cache, entries, strings].concat()
    }

    #[test]
    fn a_cache_gives_its_paths() {
        let paths = ["/lib/libssl.so.3", "/opt/a b/libssl.so.1.1"];
        let cache = cache_of(&paths);
        assert_eq!(parse_cache(&cache).unwrap(), paths.map(PathBuf::from));
        for length in 0..cache.len() - 1 {
            assert_ne!(parse_cache(&cache[..length]), Some(paths.map(PathBuf::from).to_vec()));
        }
        assert_eq!(parse_cache(b"no cache"), None);
    }

    /// A command with a run path, linked by the system's compiler.
    #[test]
    fn run_paths_go_by_where_the_command_is() {
        let folder = tempfile::tempdir().unwrap();
        let (source, lib) = (folder.path().join("x.c"), folder.path().join("lib"));
        fs::create_dir(&lib).unwrap();
        fs::write(&source, "int x(void) { return 0; } int main(void) { return x(); }").unwrap();
        let library = lib.join("libx.so");
        let gcc = |args: &[&str], output: &Path, more: &[&str]| {
            let mut gcc = std::process::Command::new("gcc");
            gcc.args(args).arg("-o").arg(output).arg(&source).args(more);
            assert!(gcc.status().unwrap().success(), "{gcc:?}");
        };
        gcc(&["-shared", "-fPIC"], &library, &[]);
        let at = format!("-L{}", lib.display());
        for (name, run_path) in [("a", "-Wl,-rpath,$ORIGIN/lib"), ("b", "-Wl,-rpath,${ORIGIN}/lib")]
        {
            let command = folder.path().join(name);
            gcc(&[], &command, &["-Wl,--no-as-needed", run_path, &at, "-lx"]);
            assert_eq!(needed(&[command], &[])[0], library);
        }
    }

    #[test]
    fn a_command_needs_libc() {
        let command = find_command("ls").unwrap();
        let libraries = needed(&executables(&command), &cached_libraries());
        assert!(libraries.iter().any(|path| path.ends_with("libc.so.6")), "{libraries:?}");
    }

    #[test]
    fn without_a_cache_libraries_are_where_the_loader_looks_by_itself() {
        let command = find_command("ls").unwrap();
        let libraries = needed(&executables(&command), &[]);
        assert!(libraries.iter().any(|path| path.ends_with("libc.so.6")), "{libraries:?}");
    }

    #[test]
    fn a_script_leads_to_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "#!/usr/bin/env -S sh -e\n").unwrap();
        assert_eq!(executables(&script)[1..], [find_command("sh").unwrap()]);
        fs::write(&script, "#! /bin/sh -e\n").unwrap();
        assert_eq!(executables(&script)[1], Path::new("/bin/sh"));
    }

    #[test]
    fn an_unknown_command_is_named() {
        let error = find_command("no-such-command").unwrap_err().to_string();
        assert!(error.contains("no-such-command"), "{error}");
    }
}
