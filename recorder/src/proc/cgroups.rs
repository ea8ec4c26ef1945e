//! Cgroups (version 2) that the user named.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{file, processes};

/// The limit of the kernel side: `CGROUPS_MAX`.
const CGROUPS_MAX: usize = 64;

/// A named group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// Its folder, open.
    pub(crate) folder: File,
    path: PathBuf,
}

impl Cgroup {
    /// Finds the groups.
    ///
    /// # Errors
    /// A group does not exist, or is not a cgroup.
    pub(crate) fn find(names: &[PathBuf]) -> Result<Vec<Self>> {
        if names.len() > CGROUPS_MAX {
            bail!("--cgroup can be given {CGROUPS_MAX} times");
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let root = mount_point().context(
            "--cgroup needs the second version of cgroups, which is not mounted here \
             (mount -t cgroup2 none /sys/fs/cgroup)",
        )?;
        names.iter().map(|name| Self::open(name, &root)).collect()
    }

    fn open(name: &Path, root: &Path) -> Result<Self> {
        let below = root.join(name.strip_prefix("/").unwrap_or(name));
        let given = fs::canonicalize(name).ok().filter(|path| path.starts_with(root));
        let path = given.unwrap_or(below);
        // A folder of the file system is a group, and every group but the root has this file.
        if path != root && !path.join("cgroup.events").exists() {
            bail!(
                "no cgroup {}; `cat /proc/PID/cgroup` shows a process's after 0::",
                name.display()
            );
        }
        let folder =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { folder, path })
    }

    /// Returns whether a process is in this group, or in a group below.
    pub(crate) fn has(&self, pid: u32) -> bool {
        let Ok(groups) = file::read(processes::path(pid, "cgroup")) else { return false };
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let root = mount_point();
        group.zip(root).is_some_and(|(group, root)| {
            root.join(group.trim_start_matches('/')).starts_with(&self.path)
        })
    }
}

/// Returns the mount point of version 2; on its own, or beside version 1.
pub(crate) fn mount_point() -> Option<PathBuf> {
    let mut found = None;
    file::each_line("/proc/self/mounts", |line| {
        let fields: Vec<_> = line.split(|&byte| byte == b' ').collect();
        match fields[..] {
            [_, folder, b"cgroup2", ..] => {
                found = Some(PathBuf::from(OsStr::from_bytes(folder)));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    })
    .ok()?;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_a_cgroup_is_refused() {
        assert!(Cgroup::find(&[]).unwrap().is_empty());
        for name in ["/tmp", "/no/such/group"] {
            assert!(Cgroup::find(&[name.into()]).is_err(), "{name}");
        }
        let error = Cgroup::find(&vec![PathBuf::from("/"); CGROUPS_MAX + 1]).unwrap_err();
        assert!(error.to_string().contains("64"), "{error}");
    }

    #[test]
    fn every_process_is_below_the_first_group() {
        // Not mounted in every container.
        let Some(root) = mount_point() else { return };
        for name in [PathBuf::from("/"), root] {
            let groups = Cgroup::find(&[name]).unwrap();
            assert!(groups[0].has(std::process::id()));
            assert!(!groups[0].has(u32::MAX));
        }
    }
}
