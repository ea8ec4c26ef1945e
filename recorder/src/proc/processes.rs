//! Identity and state of processes. Any of them may end at any moment, so every result may be
//! `None`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sslrec_formats::record::Process;

use super::file;

/// Returns these processes and all their descendants, each once.
pub(crate) fn with_descendants(pids: &[u32]) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in all() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found: Vec<u32> = Vec::new();
    let mut queue = pids.to_vec();
    while let Some(pid) = queue.pop() {
        if !found.contains(&pid) {
            found.push(pid);
            queue.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// Returns all visible processes.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the facts about a process that are known without any event.
pub(crate) fn describe(pid: u32, ts_ns: u64) -> Process {
    let (uid, comm) = (uid(pid).unwrap_or_default(), comm(pid).unwrap_or_default());
    Process { ts_ns, pid, uid, comm, exe: executable(pid) }
}

/// Returns the kernel's short name for it.
pub(crate) fn comm(pid: u32) -> Option<String> {
    read(pid, "comm").map(|text| text.trim_end_matches('\n').to_owned())
}

/// Returns the path of its executable.
pub(crate) fn executable(pid: u32) -> Option<String> {
    fs::read_link(path(pid, "exe")).ok().map(|path| path.display().to_string())
}

/// Returns its user.
pub(crate) fn uid(pid: u32) -> Option<u32> {
    let uids = status_field(&read(pid, "status")?, "Uid")?;
    uids.split_whitespace().next()?.parse().ok()
}

/// Returns the process to which a thread belongs: for a process its own number.
pub(crate) fn of_thread(tid: u32) -> Option<u32> {
    status_field(&read(tid, "status")?, "Tgid")?.parse().ok()
}

/// Returns whether it has not begun to end; false for a zombie. The first thread may end before
/// others.
pub(crate) fn is_alive(pid: u32) -> bool {
    /// In the flags of a task that is past the point of no return, set before the kernel reports
    /// its end to tracers.
    const PF_EXITING: u32 = 4;
    let Some(stat) = read(pid, "stat") else { return false };
    let number = |index| field_after_name(&stat, index).and_then(|text| text.parse::<u32>().ok());
    let exiting = number(6).is_none_or(|flags| flags & PF_EXITING != 0);
    !exiting || number(17).is_some_and(|threads| threads > 1)
}

fn parent(pid: u32) -> Option<u32> {
    field_after_name(&read(pid, "stat")?, 1)?.parse().ok()
}

/// Returns a field of `stat` after the name. The second field is the name in parentheses, which may
/// contain any bytes.
fn field_after_name(stat: &str, index: usize) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)
}

fn read(pid: u32, name: &str) -> Option<String> {
    file::read(path(pid, name)).ok()
}

/// Returns a field of the text of a `status` file, such as `Uid`, without the blanks around it.
pub(super) fn status_field(status: &str, field: &str) -> Option<String> {
    let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned());
    status.lines().find_map(value)
}

/// Returns the path of a file about a process.
pub(super) fn path(pid: u32, name: &str) -> PathBuf {
    format!("/proc/{pid}/{name}").into()
}

/// Returns the path by which the recorder opens a file of this path in the mount namespace of a
/// process.
pub(crate) fn path_in(pid: u32, file: &Path) -> PathBuf {
    path(pid, "root").join(file.strip_prefix("/").unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_descends_from_its_parent() {
        let mut child = Command::new("sleep").arg("10").spawn().unwrap();
        let family = with_descendants(&[std::process::id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()));
        assert!(family.contains(&std::process::id()));
    }

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let stat = "7 (a) b (c) S 5 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 1";
        assert_eq!(field_after_name(stat, 0), Some("S"));
        assert_eq!(field_after_name(stat, 1), Some("5"));
        assert_eq!(field_after_name(stat, 17), Some("3"));

        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("a) b (c");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("10").spawn().unwrap();
        let parent = parent(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(parent, Some(std::process::id()));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("sleep").arg("10").spawn().unwrap();
        assert!(is_alive(child.id()));
        child.kill().unwrap();
        while is_alive(child.id()) {
            std::thread::yield_now();
        }
        assert_eq!(of_thread(child.id()), Some(child.id()), "not yet reaped");
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
    }

    #[test]
    fn a_thread_belongs_to_its_process() {
        let of_this_thread = || {
            let thread = fs::read_link("/proc/thread-self").unwrap();
            let tid = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
            (tid, of_thread(tid))
        };
        let (tid, process) = std::thread::spawn(of_this_thread).join().unwrap();
        assert_ne!(tid, std::process::id());
        assert_eq!(process, Some(std::process::id()));
    }

    #[test]
    fn a_process_that_is_gone_descends_from_nobody() {
        assert_eq!(with_descendants(&[u32::MAX]), [u32::MAX]);
        assert_eq!(parent(u32::MAX), None);
    }

    #[test]
    fn the_own_process_is_described() {
        let process = describe(std::process::id(), 1);
        assert!(!process.comm.is_empty());
        assert_eq!(process.exe, std::env::current_exe().ok().map(|p| p.display().to_string()));
    }
}
