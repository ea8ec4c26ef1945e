//! What `/proc` tells of processes. Any of them may be gone at any moment, so every answer may
//! be "not known".

use std::collections::HashMap;
use std::fs;

use sslrec_formats::record::Process;

/// These processes and all that descend from them, each once.
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

/// All processes that can be seen.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What is to be known of a process without any event.
pub(crate) fn describe(pid: u32, ts_ns: u64) -> Process {
    let comm = read(pid, "comm").map(|text| text.trim_end().to_owned()).unwrap_or_default();
    Process { ts_ns, pid, uid: uid(pid).unwrap_or_default(), comm, exe: executable(pid) }
}

/// The path of its executable.
pub(crate) fn executable(pid: u32) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/exe")).ok().map(|path| path.display().to_string())
}

fn uid(pid: u32) -> Option<u32> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The second field of `stat` is the name in parentheses, which may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = read(pid, "stat")?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn read(pid: u32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
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
