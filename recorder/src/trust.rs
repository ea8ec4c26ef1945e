//! Users whose code may be run: the self-test loads a library, and so runs its initialisers.
//!
//! Code is run only if nobody but root and the user who records can have written it. The file, the
//! libraries it loads, and every folder above them must belong to one of the two and be writable by
//! no other. They must be in this process's own mount namespace, on a file system that may hold
//! set-user-ID programs (another user's removable disk may not). Every other file is recorded
//! without being run, see [`crate::attach::trials`].

use std::fmt;
use std::fs::{self, File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::process::getuid;

use crate::proc::loader::Dependencies;

/// The permission bits that let others than the owner write. Where access control lists grant that,
/// the group's bits are their mask.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Users whose files may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted {
    uids: Vec<u32>,
}

/// The reason not to run a file, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// This path belongs to another user. It is the path of the file, of a folder above it, or of a
    /// library it loads.
    Owner(PathBuf, u32),
    /// This path is writable by others than its owner.
    Writable(PathBuf),
    /// The path names another file here: the file is in another mount namespace, deleted or
    /// replaced.
    Elsewhere(PathBuf),
    /// The file system is mounted so that its file owners are not reliable.
    NoSuid(PathBuf),
    /// The libraries that the file would load cannot be determined.
    Loads(PathBuf, &'static str),
    /// This path cannot be examined.
    Unreadable(PathBuf),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(path, uid) => write!(f, "{} belongs to user {uid}", path.display()),
            Self::Writable(path) => {
                write!(f, "{} can be written by other users", path.display())
            }
            Self::Elsewhere(path) => {
                write!(f, "{} is another file in this mount namespace", path.display())
            }
            Self::NoSuid(path) => {
                write!(f, "{} is on a file system mounted nosuid or noexec", path.display())
            }
            Self::Loads(path, why) => write!(f, "{} {why}", path.display()),
            Self::Unreadable(path) => write!(f, "{} cannot be examined", path.display()),
        }
    }
}

impl Trusted {
    /// Trusts root and the user who records: under sudo(8), its caller.
    pub(crate) fn here() -> Self {
        let sudo = std::env::var("SUDO_UID").ok();
        Self::of(getuid().as_raw(), sudo.as_deref())
    }

    /// Trusts root and the user; for root, the user that `SUDO_UID` names.
    fn of(uid: u32, sudo: Option<&str>) -> Self {
        let mut uids = vec![0, uid];
        // Only root's environment is trusted: the environment of a set-user-ID copy is that of its
        // caller.
        if uid == 0 {
            uids.extend(sudo.and_then(|uid| uid.parse::<u32>().ok()));
        }
        uids.dedup();
        Self { uids }
    }

    /// Returns whether a file, which its users call by this path, may be loaded.
    ///
    /// # Errors
    /// It may not, for this reason.
    pub(crate) fn may_run(&self, file: &File, path: &Path) -> Result<(), Distrust> {
        let here = self.check_path(path)?;
        let opened = file.metadata().map_err(|_| Distrust::Unreadable(path.into()))?;
        if !is_same(&here, &opened) {
            return Err(Distrust::Elsewhere(path.into()));
        }
        self.check_file_system(file, path)?;
        let dependencies = Dependencies::of(path);
        if let Some((path, why)) = dependencies.unclear {
            return Err(Distrust::Loads(path, why));
        }
        for folder in &dependencies.folders {
            self.check_folder(folder)?;
        }
        for library in &dependencies.libraries {
            self.check_path(library)?;
            let opened = File::open(library).map_err(|_| Distrust::Unreadable(library.clone()))?;
            self.check_file_system(&opened, library)?;
        }
        Ok(())
    }

    /// Returns whether the file that `open_path` leads to has this path here, and only trusted
    /// users can have written it.
    pub(crate) fn wrote(&self, path: &Path, open_path: &Path) -> bool {
        let (here, there) = (self.check_path(path), fs::metadata(open_path));
        matches!((here, there), (Ok(here), Ok(there)) if is_same(&here, &there))
    }

    /// Returns the file that this path names here, once every part of the way to it is trusted.
    fn check_path(&self, path: &Path) -> Result<Metadata, Distrust> {
        let unreadable = || Distrust::Unreadable(path.into());
        let whole = fs::canonicalize(path).map_err(|_| unreadable())?;
        // Both the path as given, links included, and the path of the file itself.
        for way in [path, &whole] {
            for part in way.ancestors().filter(|part| !part.as_os_str().is_empty()) {
                self.check_part(part)?;
            }
        }
        let meta = fs::metadata(&whole).map_err(|_| unreadable())?;
        if meta.is_file() { Ok(meta) } else { Err(unreadable()) }
    }

    /// Checks a folder in which a library would be searched for. If it does not exist, no other
    /// user may be able to create it.
    fn check_folder(&self, folder: &Path) -> Result<(), Distrust> {
        // The loader replaces `$LIB` and `$PLATFORM`.
        let has_variable = folder.as_os_str().as_encoded_bytes().contains(&b'$');
        if has_variable || folder.is_relative() || folder.components().any(is_parent) {
            let why = "is a folder with libraries that is not named in full";
            return Err(Distrust::Loads(folder.into(), why));
        }
        let existing = folder.ancestors().find_map(|part| fs::canonicalize(part).ok());
        let existing = existing.ok_or_else(|| Distrust::Unreadable(folder.into()))?;
        let parts = folder.ancestors().filter(|part| part.symlink_metadata().is_ok());
        parts.chain(existing.ancestors()).try_for_each(|part| self.check_part(part))
    }

    /// Checks one file, folder or link. A link's own mode has no effect, but its owner may not be
    /// able to change it either, since the folder around it is checked too.
    fn check_part(&self, part: &Path) -> Result<(), Distrust> {
        let meta =
            fs::symlink_metadata(part).map_err(|_| Distrust::Unreadable(part.to_path_buf()))?;
        if !self.uids.contains(&meta.uid()) {
            return Err(Distrust::Owner(part.into(), meta.uid()));
        }
        if !meta.is_symlink() && meta.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(Distrust::Writable(part.into()));
        }
        Ok(())
    }

    fn check_file_system(&self, file: &File, path: &Path) -> Result<(), Distrust> {
        let flags = fstatvfs(file.as_fd()).map_err(|_| Distrust::Unreadable(path.into()))?.f_flag;
        if flags.intersects(StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC) {
            return Err(Distrust::NoSuid(path.into()));
        }
        Ok(())
    }
}

fn is_parent(part: Component<'_>) -> bool {
    part == Component::ParentDir
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use rustix::process::geteuid;

    use super::*;

    const STRANGER: u32 = 1234;

    /// Returns a folder whose parents belong to root and can be written by nobody else, unlike
    /// perhaps the build folder of the tests. `None` if this is not root.
    fn private_folder() -> Option<tempfile::TempDir> {
        if !geteuid().is_root() {
            eprintln!("skipped: this test wants root");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("sslrec-trust").tempdir_in("/opt").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Some(folder)
    }

    fn library(folder: &Path) -> PathBuf {
        let path = folder.join("libx.so");
        let gcc = ["-shared", "-fPIC", "-x", "c", "/dev/null", "-o"];
        let status = std::process::Command::new("gcc").args(gcc).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    fn judge(path: &Path) -> Result<(), Distrust> {
        Trusted::here().may_run(&File::open(path).unwrap(), path)
    }

    #[test]
    fn the_caller_of_sudo_is_trusted_if_root_names_the_caller() {
        for (uid, sudo, uids) in [
            (0, None, &[0][..]),
            (0, Some("1000"), &[0, 1000]),
            (0, Some("-1"), &[0]),
            (0, Some(""), &[0]),
            (1000, None, &[0, 1000]),
            // Anybody can set the variable.
            (1000, Some("1001"), &[0, 1000]),
        ] {
            assert_eq!(Trusted::of(uid, sudo).uids, uids, "{uid} {sudo:?}");
        }
    }

    #[test]
    fn the_reason_names_the_path() {
        let path = || PathBuf::from("/a/b.so");
        for (distrust, text) in [
            (Distrust::Owner(path(), 7), "/a/b.so belongs to user 7"),
            (Distrust::Writable(path()), "/a/b.so can be written by other users"),
            (Distrust::Elsewhere(path()), "/a/b.so is another file in this mount namespace"),
            (Distrust::NoSuid(path()), "/a/b.so is on a file system mounted nosuid or noexec"),
            (Distrust::Loads(path(), "loads what it likes"), "/a/b.so loads what it likes"),
            (Distrust::Unreadable(path()), "/a/b.so cannot be examined"),
        ] {
            assert_eq!(distrust.to_string(), text);
        }
    }

    #[test]
    fn a_file_that_root_alone_can_write_may_be_run() {
        let Some(folder) = private_folder() else { return };
        let path = library(folder.path());
        assert_eq!(judge(&path), Ok(()));
        assert!(Trusted::here().wrote(&path, &path));
    }

    #[test]
    fn a_file_in_another_users_hands_may_not() {
        let Some(folder) = private_folder() else { return };
        let path = library(folder.path());
        chown(&path, Some(STRANGER), None).unwrap();
        assert_eq!(judge(&path), Err(Distrust::Owner(path.clone(), STRANGER)));
        assert!(!Trusted::here().wrote(&path, &path));
        let caller = Trusted { uids: vec![0, STRANGER] };
        assert_eq!(caller.may_run(&File::open(&path).unwrap(), &path), Ok(()), "of the caller");
        chown(&path, Some(0), None).unwrap();
        for mode in [0o775, 0o757, 0o722] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(judge(&path), Err(Distrust::Writable(path.clone())), "{mode:o}");
        }
    }

    #[test]
    fn every_folder_above_counts() {
        let Some(folder) = private_folder() else { return };
        let (outer, inner) = (folder.path().join("a"), folder.path().join("a/b"));
        fs::create_dir_all(&inner).unwrap();
        let path = library(&inner);
        assert_eq!(judge(&path), Ok(()));
        chown(&outer, Some(STRANGER), None).unwrap();
        assert_eq!(judge(&path), Err(Distrust::Owner(outer.clone(), STRANGER)));
        chown(&outer, Some(0), None).unwrap();
        // A user who may write there can replace the inner folder.
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(judge(&path), Err(Distrust::Writable(outer)));
    }

    #[test]
    fn a_link_does_not_lend_its_trust() {
        let Some(folder) = private_folder() else { return };
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).unwrap();
        let (path, link) = (library(&shared), folder.path().join("link.so"));
        symlink(&path, &link).unwrap();
        assert_eq!(judge(&link), Ok(()));
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(judge(&link), Err(Distrust::Writable(shared.clone())));
        // Nor does a trusted file make a link trusted that others can redirect.
        let (path, link) = (library(folder.path()), shared.join("link.so"));
        symlink(&path, &link).unwrap();
        assert_eq!(judge(&link), Err(Distrust::Writable(shared)));
    }

    #[test]
    fn a_path_that_names_another_file_here_is_of_another_namespace() {
        let Some(folder) = private_folder() else { return };
        let path = library(folder.path());
        let other = File::open("/proc/self/exe").unwrap();
        let judged = Trusted::here().may_run(&other, &path);
        assert_eq!(judged, Err(Distrust::Elsewhere(path.clone())));
        fs::remove_file(&path).unwrap();
        let judged = Trusted::here().may_run(&other, &path);
        assert_eq!(judged, Err(Distrust::Unreadable(path)));
    }

    #[test]
    fn a_nosuid_file_system_is_not_trusted() {
        let Some(folder) = private_folder() else { return };
        for option in ["nosuid", "noexec", "nodev"] {
            let script = format!(
                "mount -t tmpfs -o {option} none {} && echo mounted && exec sleep 60",
                folder.path().display()
            );
            let mut unshare = std::process::Command::new("unshare");
            unshare.args(["--mount", "sh", "-c", &script]).stdout(std::process::Stdio::piped());
            let mut mounter = unshare.spawn().unwrap();
            let mut line = [0; 8];
            std::io::Read::read_exact(mounter.stdout.as_mut().unwrap(), &mut line).unwrap();
            let within = format!("/proc/{}/root{}", mounter.id(), folder.path().display());
            let path = PathBuf::from(within);
            let judged = Trusted::here().check_file_system(&File::open(&path).unwrap(), &path);
            mounter.kill().unwrap();
            mounter.wait().unwrap();
            let expected = if option == "nodev" { Ok(()) } else { Err(Distrust::NoSuid(path)) };
            assert_eq!(judged, expected, "{option}");
        }
    }

    #[test]
    fn the_libraries_of_a_file_must_be_trusted() {
        let Some(folder) = private_folder() else { return };
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).unwrap();
        let needed = library(&shared);
        let path = folder.path().join("liby.so");
        let link = |run_path: &str| {
            let mut gcc = std::process::Command::new("gcc");
            gcc.args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-x", "c", "/dev/null", "-o"]);
            gcc.arg(&path).args(["-x", "none"]).arg(&needed).arg(run_path);
            assert!(gcc.status().unwrap().success(), "{gcc:?}");
        };
        // Named by its path.
        link("-Wl,-O1");
        assert_eq!(judge(&path), Ok(()));
        chown(&needed, Some(STRANGER), None).unwrap();
        assert_eq!(judge(&path), Err(Distrust::Owner(needed.clone(), STRANGER)));
        chown(&needed, Some(0), None).unwrap();
        // Searched for in a folder that others can write, or create.
        for folder in ["/tmp/no-such-folder", "/var/tmp"] {
            link(&format!("-Wl,-rpath,{folder}"));
            let distrust = judge(&path).unwrap_err();
            assert!(matches!(distrust, Distrust::Writable(_)), "{folder}: {distrust}");
        }
        for folder in ["relative", "/opt/../tmp", "$ORIGIN/../x", "/usr/$LIB"] {
            link(&format!("-Wl,-rpath,{folder}"));
            let distrust = judge(&path).unwrap_err();
            assert!(matches!(distrust, Distrust::Loads(..)), "{folder}: {distrust}");
        }
        link("-Wl,--audit,/tmp/audit.so");
        assert!(matches!(judge(&path), Err(Distrust::Loads(..))), "{:?}", judge(&path));
        link("-Wl,-f,/tmp/filter.so");
        assert!(matches!(judge(&path), Err(Distrust::Loads(..))), "{:?}", judge(&path));
        link("-Wl,-rpath,/opt/no-such-folder");
        assert_eq!(judge(&path), Ok(()), "nobody else can make this folder");
    }

    /// Where libssl is as the distribution installs it.
    #[test]
    fn the_systems_libraries_may_be_run() {
        let Some(path) = crate::proc::loader::cached_libraries()
            .into_iter()
            .find(|path| path.file_name().is_some_and(|name| name == "libssl.so.3"))
        else {
            return;
        };
        assert_eq!(judge(&path), Ok(()));
    }
}
