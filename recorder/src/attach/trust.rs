//! Whose code may run: the self-test loads a library, and so runs its initialisers.
//!
//! Code is run only if nobody but root and the user who records can have written it: the file, what
//! it loads, and every folder above them belong to one of the two and can be written by no other,
//! and they are in this process's own mount namespace, on a file system that may hold set-user-ID
//! programs (a stranger's removable disk may not). Every other file is recorded without being run,
//! see [`super::trials`].

use std::fmt;
use std::fs::{self, File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::process::getuid;

use crate::proc::loader::Dependencies;

/// Any bit by which others than the owner may write. Where access control lists grant that, the
/// group's bits are their mask.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Users whose files may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted {
    uids: Vec<u32>,
}

/// Why a file must not be run, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// This path, the file's own or one above or one that it loads, belongs to another user.
    Owner(PathBuf, u32),
    /// This one can be written by others than its owner.
    Writable(PathBuf),
    /// The path names another file here: it is of another mount namespace, deleted or replaced.
    Elsewhere(PathBuf),
    /// The file system is mounted so that its owners are not vouched for.
    NoSuid(PathBuf),
    /// What the file would load cannot be told.
    Loads(PathBuf, &'static str),
    /// This path cannot be looked at.
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
    /// Root, and the user who records: under sudo(8) the one who called it.
    pub(crate) fn here() -> Self {
        let uid = getuid().as_raw();
        let mut uids = vec![0, uid];
        // Only root's environment is believed: a set-user-ID copy has its caller's.
        if uid == 0 {
            let sudo = std::env::var("SUDO_UID").ok();
            uids.extend(sudo.and_then(|uid| uid.parse::<u32>().ok()));
        }
        uids.dedup();
        Self { uids }
    }

    /// Whether a file, which its users call by this path, may be loaded.
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

    /// The file that this path names here, once every part of the way to it is trusted.
    fn check_path(&self, path: &Path) -> Result<Metadata, Distrust> {
        let unreadable = || Distrust::Unreadable(path.into());
        let whole = fs::canonicalize(path).map_err(|_| unreadable())?;
        // The way by which the path is named, links included, and the way to the file itself.
        for way in [path, &whole] {
            for part in way.ancestors().filter(|part| !part.as_os_str().is_empty()) {
                self.check_part(part)?;
            }
        }
        let meta = fs::metadata(&whole).map_err(|_| unreadable())?;
        if meta.is_file() { Ok(meta) } else { Err(unreadable()) }
    }

    /// A folder in which a library would be looked for. Where it does not exist, nobody else may be
    /// able to make it.
    fn check_folder(&self, folder: &Path) -> Result<(), Distrust> {
        // `$LIB` and `$PLATFORM` are the loader's to fill in.
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

    /// One file, folder or link. A link's own mode means nothing, but whoever owns it may not be
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
