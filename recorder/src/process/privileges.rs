//! Privileges, and dropping them.
//!
//! Loading and attaching need root, or CAP_BPF and CAP_PERFMON. The threads that afterwards handle
//! data of the recorded programs need neither: the thread that empties the ring, which is the
//! process's first, and the writer's thread. Both drop every capability for good, and become the
//! user of `-Z` or, under sudo(8), its caller. Threads that never handle recorded data keep their
//! privileges: the thread that probes files during the recording (see [`crate::discovery`]), the
//! [`signaller`](crate::process::signaller), and the thread that waits for the command (see
//! [`crate::process::child`]).

use std::path::{Path, PathBuf};
use std::{fmt, fs, io, thread};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{Access, access};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// Returns the user of this name or number. The number need not belong to an existing user.
    ///
    /// # Errors
    /// There is no user of this name.
    pub(crate) fn find(name: &str) -> Result<Self, String> {
        let passwd = match fs::read_to_string("/etc/passwd") {
            // Small container images have no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            passwd => passwd
                .map_err(|error| format!("cannot look up `{name}` in /etc/passwd: {error}"))?,
        };
        if let Some(user) = Self::parse(&passwd, name) {
            return Ok(user);
        }
        match name.parse() {
            Ok(id) => Ok(Self { name: name.into(), uid: id, gid: id }),
            Err(_) => Err(format!("no user `{name}` in /etc/passwd; give the number instead")),
        }
    }

    /// Parses a line of passwd(5): `name:password:uid:gid:...`.
    fn parse(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [login, _, uid, gid, ..] = fields[..] else { return None };
            let wanted = login == name || uid == name;
            let user = || {
                Some(Self { name: login.into(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            };
            wanted.then(user)?
        })
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns the home of the caller of sudo(8), if that is why this process is root.
    pub(crate) fn home_behind_sudo() -> Option<PathBuf> {
        let user = Self::behind_sudo()?;
        Self::home(&fs::read_to_string("/etc/passwd").ok()?, &user.name)
    }

    fn home(passwd: &str, name: &str) -> Option<PathBuf> {
        let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let home = lines.find_map(|fields| (fields[0] == name).then(|| fields.get(5).copied())?);
        home.map(PathBuf::from)
    }

    /// Returns the caller of sudo(8), if that is why this process is root.
    fn behind_sudo() -> Option<Self> {
        let number = |name| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
        let (uid, gid) = (number("SUDO_UID")?, number("SUDO_GID")?);
        let name = std::env::var("SUDO_USER").unwrap_or_else(|_| uid.to_string());
        (geteuid().is_root() && uid != 0).then_some(Self { name, uid, gid })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The fate of a thread that no longer needs privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// Keeps them: root without another user to become.
    Keep,
    /// Drops its capabilities.
    Drop,
    /// Becomes this user, and so has none.
    Become(User),
}

impl Privileges {
    /// Returns the choice of the user: `-Z`, else the caller of sudo.
    ///
    /// # Errors
    /// `-Z` was used without root.
    pub(crate) fn wanted(user: Option<&User>) -> Result<Self> {
        match user {
            Some(_) if !geteuid().is_root() => bail!("only root can become another user (-Z)"),
            Some(user) if user.uid == 0 => Ok(Self::Keep),
            Some(user) => Ok(Self::Become(user.clone())),
            None if !geteuid().is_root() => Ok(Self::Drop),
            None => Ok(User::behind_sudo().map_or(Self::Keep, Self::Become)),
        }
    }

    /// Drops the privileges that this thread does not need. This affects not the other threads, but
    /// those that it starts.
    ///
    /// # Errors
    /// The kernel refuses. The thread must not continue then.
    pub(crate) fn give_up(&self) -> Result<()> {
        match self {
            Self::Keep => Ok(()),
            Self::Drop => clear().context("cannot give up capabilities"),
            Self::Become(user) => {
                become_user(user).with_context(|| format!("cannot become {user}"))
            }
        }
    }

    /// Runs an attempt without privileges, on another thread.
    ///
    /// # Errors
    /// The attempt fails, or the privileges cannot be dropped.
    pub(crate) fn without<T: Send>(&self, attempt: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let attempt = || self.give_up().and_then(|()| attempt());
        let outcome = thread::scope(|scope| scope.spawn(attempt).join());
        outcome.map_err(|_| anyhow!("cannot do without privileges"))?
    }

    /// Checks that files can be created in this folder without privileges.
    ///
    /// # Errors
    /// They cannot; the message contains advice.
    pub(crate) fn check_folder(&self, folder: &Path) -> Result<()> {
        let Self::Become(user) = self else { return Ok(()) };
        let attempt = || Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?);
        self.without(attempt).with_context(|| {
            format!(
                "{user} cannot make further files in {}; choose another folder, or stay root with \
                 -Z root",
                folder.display()
            )
        })
    }
}

fn become_user(user: &User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // Already dropped by that, unless the rules were changed (capabilities(7), "securebits").
    clear()
}

fn clear() -> io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(set_no_new_privs(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:1001:,,,:/:/bin/sh\n";

    #[test]
    fn users_go_by_name_or_number() {
        let ann = User { name: "ann".into(), uid: 1000, gid: 1001 };
        assert_eq!(User::parse(PASSWD, "ann"), Some(ann.clone()));
        assert_eq!(User::parse(PASSWD, "1000"), Some(ann));
        assert_eq!(User::home(PASSWD, "ann").as_deref(), Some(Path::new("/")));
        for unknown in ["bob", "broken", "", "x"] {
            assert_eq!(User::parse(PASSWD, unknown), None, "{unknown}");
        }
        assert_eq!(User::find("4000000000").map(|user| user.uid), Ok(4_000_000_000));
        assert!(User::find("no-such-user").is_err());
    }

    /// Returns the lines of a thread's status that concern privileges.
    fn status() -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let lines = status.lines().filter(|line| {
            ["Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:", "CapAmb:", "NoNewPrivs:"]
                .iter()
                .any(|name| line.starts_with(name))
        });
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    #[test]
    fn a_thread_that_became_a_user_has_nothing_left_and_others_do() {
        if !geteuid().is_root() {
            return;
        }
        let before = status();
        let user = User { name: "nobody".into(), uid: 65534, gid: 65533 };
        let become_nobody = || {
            Privileges::Become(user).give_up().unwrap();
            assert!(set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_err(), "no way back");
            status()
        };
        let after = thread::scope(|scope| scope.spawn(become_nobody).join()).unwrap();
        for line in [
            "Uid: 65534 65534 65534 65534\n",
            "Gid: 65533 65533 65533 65533\n",
            "Groups: 65533\n",
            "CapPrm: 0000000000000000\n",
            "CapEff: 0000000000000000\n",
            "CapAmb: 0000000000000000\n",
            "NoNewPrivs: 1\n",
        ] {
            assert!(after.contains(line), "no {line} in {after}");
        }
        assert_eq!(status(), before, "of this thread");
    }

    #[test]
    fn a_folder_of_roots_is_refused_before_it_is_needed() {
        use std::os::unix::fs::PermissionsExt;
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let privileges = Privileges::Become(User { name: "nobody".into(), uid: 65534, gid: 65534 });
        let error = privileges.check_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("nobody cannot make further files in"), "{error}");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        privileges.check_folder(folder.path()).unwrap();
        assert!(Privileges::Keep.check_folder(Path::new("/no/such/folder")).is_ok());
    }
}
