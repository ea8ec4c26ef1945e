//! Finds the reason why TLS of a process was not recorded, and what would help: in the files that
//! the process had mapped, and in the calls of the functions that were probed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recognise::{Contents, Kind, Recogniser};
use super::{Inner, Lib, Notes, is_still};
use crate::functions::Family;
use crate::proc::maps::mapped_files;
use crate::proc::processes;

/// Libraries in these folders come with the system. They are searched last: there are many, and the
/// programs of a system use few TLS libraries, which are known by name.
const SYSTEM_FOLDERS: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Implementations that are named in one reason.
const NAMED_MAX: usize = 3;

/// What is known about a process whose TLS was not recorded, or not all of it.
pub(super) struct Case<'a> {
    pub(super) pid: u32,
    pub(super) notes: &'a Notes,
    pub(super) inner: &'a Inner,
    /// Paths of the libraries that the process called.
    pub(super) called: BTreeSet<&'a str>,
    /// Only files that the user named are probed.
    pub(super) files_are_named: bool,
    /// The families whose functions are probed.
    pub(super) families: &'a [Family],
}

/// The files of a process.
pub(crate) struct Program {
    /// `None` if the process has ended.
    pub(crate) pid: Option<u32>,
    pub(crate) exe: Option<PathBuf>,
    /// With the families that are probed in each.
    pub(crate) files: Vec<(PathBuf, Vec<Family>)>,
}

impl Program {
    /// Returns the TLS implementations in a program that no probe can record.
    pub(crate) fn unprobed(&self, recogniser: &mut Recogniser) -> Option<String> {
        let (findings, _) = self.findings(recogniser);
        (!findings.is_empty()).then(|| sentence(&findings))
    }

    /// Returns the unprobed implementations in the files, and whether none of the files could be
    /// read. The program is searched first, and the libraries of the system last.
    fn findings(&self, recogniser: &mut Recogniser) -> (Vec<Finding>, bool) {
        let of_system = |path: &Path| SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder));
        let is_exe = |path: &Path| self.exe.as_deref() == Some(path);
        let mut files: Vec<_> = self.files.iter().collect();
        files.retain(|(path, probed)| !probed.is_empty() || library_of(path).is_none());
        files.sort_by_key(|(path, _)| (!is_exe(path), of_system(path)));
        let (mut findings, mut was_read) = (Vec::new(), false);
        for (path, probed) in files {
            let seen = self.pid.map_or(path.clone(), |pid| processes::path_in(pid, path));
            let Some(contents) = recogniser.look_at(&seen, path) else { continue };
            was_read = true;
            // What a probed file contains beside its functions may be theirs.
            let is_probed = |kind: Kind| match kind.family() {
                Some(family) => probed.contains(&family),
                None => kind == Kind::Unknown && !probed.is_empty(),
            };
            for &kind in contents.kinds.iter().filter(|kind| !is_probed(**kind)) {
                let file = (!is_exe(path) && kind != Kind::Jsse).then(|| file_name(path));
                let contents = Arc::clone(&contents);
                findings.push(Finding { kind, file, path: path.clone(), contents });
            }
        }
        (findings, !was_read)
    }
}

/// An implementation in a file.
struct Finding {
    kind: Kind,
    /// `None` for the program itself.
    file: Option<String>,
    path: PathBuf,
    contents: Arc<Contents>,
}

impl Case<'_> {
    /// Returns the reason, to follow the words "not recorded:".
    pub(super) fn reason(&self, recogniser: &mut Recogniser) -> String {
        if self.files_are_named {
            return "by no library that --lib names".into();
        }
        let (findings, is_unreadable) = self.findings(recogniser);
        if !findings.is_empty() {
            return sentence(&findings);
        }
        if let Some(name) = self.left_out() {
            return format!("{name} is not probed, as the options say");
        }
        match (self.called_names(), self.probed_names()) {
            (Some(called), _) => format!("by none of the calls of {called}, which are recorded"),
            (None, Some(probed)) => format!("none of the probed functions of {probed} was called"),
            (None, None) if is_unreadable => "its files can no longer be read".into(),
            (None, None) => "no known TLS library was found in it".into(),
        }
    }

    /// Returns whether a TLS implementation is in the process and none that is probed.
    pub(super) fn has_unknown_tls(&self, recogniser: &mut Recogniser) -> bool {
        self.notes.libs.is_empty() && !self.findings(recogniser).0.is_empty()
    }

    fn findings(&self, recogniser: &mut Recogniser) -> (Vec<Finding>, bool) {
        let alive = is_still(self.pid, self.notes);
        let exe = self.notes.exe.clone();
        let program = Program { pid: alive.then_some(self.pid), exe, files: self.files() };
        program.findings(recogniser)
    }

    /// Returns the files to search, each with the families that are probed in it.
    fn files(&self) -> Vec<(PathBuf, Vec<Family>)> {
        let mut files: Vec<(PathBuf, Vec<Family>)> = Vec::new();
        let mut add = |path: &Path, families: &[Family]| {
            if !files.iter().any(|(known, _)| known == path) {
                files.push((path.into(), families.to_vec()));
            }
        };
        self.libs().for_each(|lib| add(&lib.path, &lib.families));
        self.notes.exe.iter().for_each(|exe| add(exe, &[]));
        self.notes.others.iter().for_each(|path| add(path, &[]));
        if self.notes.others.is_empty() && self.notes.libs.is_empty() {
            // Its mappings are from before the recording, and it was not among the chosen then.
            let mapped = mapped_files(self.pid).unwrap_or_default();
            mapped.iter().for_each(|mapping| add(&mapping.path, &[]));
        }
        files
    }

    fn libs(&self) -> impl Iterator<Item = &Lib> {
        let libs = self.inner.libs.iter().zip(0_u16..);
        libs.filter(|(_, number)| self.notes.libs.contains(number)).map(|(lib, _)| lib)
    }

    /// Returns the TLS library that the process has mapped and that the user has left out.
    fn left_out(&self) -> Option<String> {
        let mut names = self.notes.others.iter().filter_map(|path| {
            let family = library_of(path)?;
            let name = path.file_name()?.to_string_lossy().into_owned();
            (!self.families.contains(&family)).then_some(name)
        });
        names.next()
    }

    fn called_names(&self) -> Option<String> {
        let called = self.called.iter().filter(|path| !path.is_empty());
        joined(called.map(|path| file_name(Path::new(path))))
    }

    fn probed_names(&self) -> Option<String> {
        joined(self.libs().filter(|lib| lib.functions > 0).map(|lib| file_name(&lib.path)))
    }
}

/// Returns the family of which a file is the shared library, by its name.
fn library_of(path: &Path) -> Option<Family> {
    let name = path.file_name()?.to_str()?;
    let is_named =
        |family: &Family| family.library().sonames().iter().any(|start| name.starts_with(start));
    Family::all().find(is_named)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns `None` if there are none.
fn joined(names: impl Iterator<Item = String>) -> Option<String> {
    let names: BTreeSet<String> = names.collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(" and "))
}

fn sentence(findings: &[Finding]) -> String {
    let mut named: Vec<String> = Vec::new();
    let mut advice: Vec<String> = Vec::new();
    for finding in findings {
        let name = match &finding.file {
            Some(file) => format!("{} in {file}", finding.kind.name()),
            None => finding.kind.name().to_owned(),
        };
        if !named.contains(&name) && named.len() < NAMED_MAX {
            named.push(name);
            advice.extend(finding.advice().filter(|text| !advice.contains(text)));
        }
    }
    let named = named.join(" or ");
    if advice.is_empty() { named } else { format!("{named}; {}", advice.join("; ")) }
}

impl Finding {
    fn advice(&self) -> Option<String> {
        match (self.kind, &self.contents.build_id) {
            _ if self.contents.writes_keys => Some("SSLKEYLOGFILE gives its keys".into()),
            (Kind::Jsse, _) => Some("the agent jSSLKeyLog gives its keys".into()),
            (Kind::Erlang, _) => Some("its option {keep_secrets, true} gives its keys".into()),
            // Distributions keep the symbols of their own files, by this number.
            (kind, Some(_)) if kind.has_symbols() && self.path.starts_with("/usr") => {
                Some(format!(
                    "`debuginfod-find debuginfo {}` may make it recordable",
                    self.path.display()
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::targets::Found;

    fn finding(kind: Kind, file: Option<&str>, contents: Contents) -> Finding {
        let path = PathBuf::from("/usr/bin/p");
        Finding { kind, file: file.map(str::to_owned), path, contents: Arc::new(contents) }
    }

    #[test]
    fn advice_is_given_only_where_it_works() {
        let without = sentence(&[finding(Kind::Rustls, None, Contents::default())]);
        assert_eq!(without, "rustls (no functions to probe)");
        let keys = Contents { writes_keys: true, ..Contents::default() };
        let with = sentence(&[finding(Kind::BoringSsl, Some("a.so"), keys)]);
        assert_eq!(with, "BoringSSL without symbols in a.so; SSLKEYLOGFILE gives its keys");
        let numbered = Contents { build_id: Some("00ff".into()), ..Contents::default() };
        let with = sentence(&[finding(Kind::OpenSsl, None, numbered.clone())]);
        let expected = "OpenSSL without symbols; `debuginfod-find debuginfo /usr/bin/p` may make it \
                        recordable";
        assert_eq!(with, expected);
        let rustls = sentence(&[finding(Kind::Rustls, None, numbered)]);
        assert_eq!(rustls, "rustls (no functions to probe)");
    }

    #[test]
    fn several_implementations_are_alternatives() {
        let of = |kind, file| finding(kind, Some(file), Contents::default());
        let all = [of(Kind::Go, "a"), of(Kind::Go, "a"), of(Kind::S2n, "b"), of(Kind::S2n, "c")];
        let expected = "crypto/tls of Go (not probed, -v prints the reason) in a or s2n without \
                        symbols in b or s2n without symbols in c";
        assert_eq!(sentence(&all), expected);
    }

    fn reason(notes: &Notes, called: &[&str], families: &[Family], named: bool) -> String {
        let lib = |path: &str, functions| Lib {
            path: path.into(),
            found: Found::Needed,
            functions,
            families: vec![Family::OpenSsl],
        };
        let libs = vec![lib("/no/libssl.so.3", 20), lib("/no/libssl.so.1.1", 20)];
        let inner = Inner { libs, ..Inner::default() };
        let called = called.iter().copied().collect();
        let files_are_named = named;
        let case = Case { pid: u32::MAX, notes, inner: &inner, called, files_are_named, families };
        case.reason(&mut Recogniser::default())
    }

    #[test]
    fn a_probed_library_is_blamed_only_if_it_was_not_called() {
        let all: Vec<_> = Family::all().collect();
        let mut notes = Notes { exe: Some("/no/program".into()), ..Notes::default() };
        assert_eq!(reason(&notes, &[], &all, false), "its files can no longer be read");
        notes.exe = Some("/bin/true".into());
        assert_eq!(reason(&notes, &[], &all, false), "no known TLS library was found in it");
        notes.libs = BTreeSet::from([0]);
        let silent = "none of the probed functions of libssl.so.3 was called";
        assert_eq!(reason(&notes, &[], &all, false), silent);
        let other = "by none of the calls of libssl.so.3, which are recorded";
        assert_eq!(reason(&notes, &["/no/libssl.so.3"], &all, false), other);
        assert_eq!(reason(&notes, &[], &all, true), "by no library that --lib names");
    }

    #[test]
    fn a_library_that_the_user_left_out_is_named() {
        let others = vec![Arc::from(Path::new("/no/libgnutls.so.30"))];
        let notes = Notes { exe: Some("/bin/true".into()), others, ..Notes::default() };
        let said = reason(&notes, &[], &[Family::OpenSsl], false);
        assert_eq!(said, "libgnutls.so.30 is not probed, as the options say");
    }
}
