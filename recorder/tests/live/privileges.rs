//! The privileges of root that remain during a recording, and recordings without root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::listing::bytes_of;
use crate::peers::case;
use crate::support::{Live, SSLREC, within};

const SIGTERM: i32 = 15;

/// A line of a thread's status, without its name.
fn line(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Name and status of each thread.
fn threads(pid: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let paths = tasks.map(|task| task.unwrap().path().join("status"));
    let statuses = paths.filter_map(|path| fs::read_to_string(path).ok());
    statuses.map(|status| (line(&status, "Name:"), status)).collect()
}

fn has_none(status: &str) -> bool {
    ["CapPrm:", "CapEff:", "CapAmb:"].iter().all(|name| line(status, name) == "0000000000000000")
}

/// Names of the threads that have no privileges, and of those that do.
fn by_privileges(pid: u32) -> (Vec<String>, Vec<String>) {
    let mut threads = threads(pid);
    threads.sort();
    let (none, some): (Vec<_>, Vec<_>) =
        threads.into_iter().partition(|(_, status)| has_none(status));
    let names = |threads: Vec<_>| threads.into_iter().map(|(name, _)| name).collect();
    (names(none), names(some))
}

/// The threads that handle recorded bytes, the first thread of the process and the writing thread,
/// have none. A thread without a name of its own, such as the thread that finds files, has the name
/// of the process.
fn assert_only_helpers_keep_privileges(pid: u32) {
    let expected = (["sslrec", "writer"], ["child", "signaller", "sslrec"]);
    // The command is there a moment before the recorder is.
    let settled = || (by_privileges(pid).0 == expected.0).then_some(());
    let settled = within(Duration::from_secs(10), settled);
    let (none, some) = by_privileges(pid);
    assert!(settled.is_some() && some == expected.1, "without: {none:?}, with: {some:?}");
    let first = fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap();
    assert!(has_none(&first), "{first}");
}

/// A recorder that became nobody: its threads while the child runs, and its file.
#[test]
fn a_recorder_that_became_nobody_has_no_capability_left() {
    let Some(live) = Live::start() else { return };
    let ready = live.path("ready");
    let (files, mut sslrec) = live.sslrec(&["-Z", "nobody"]);
    let script = "\"$0\" \"$@\"; touch \"$READY\"; sleep 60";
    sslrec.args(["--", "sh", "-c", script]).args(case(&["exchange"])).env("READY", &ready);
    let started = live.spawn(&mut sslrec);
    within(Duration::from_secs(30), || ready.exists().then_some(())).expect("the peer runs");
    let pid = started.pid();
    assert_only_helpers_keep_privileges(pid);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert_eq!(line(&status, "Uid:"), "65534 65534 65534 65534");

    // The signal still reaches the command, which is root's, and ends it.
    started.signal(SIGTERM);
    let recorded = files.finish(started.wait());
    assert_eq!(recorded.code(), 128 + SIGTERM, "{}", recorded.output.stderr);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_eq!(bytes_of(&listing.streams[0], "client_data").len(), 1000);
}

#[test]
fn further_files_that_the_user_could_not_make_are_refused_at_the_start() {
    let Some(live) = Live::start() else { return };
    let (files, mut sslrec) = live.sslrec(&["-Z", "nobody", "-C", "1M"]);
    let output = live.run(sslrec.args(["--", "true"]));
    assert_eq!(output.code(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("nobody cannot make further files"), "{}", output.stderr);
    assert!(!files.pcapng.exists());
}

/// A folder that everybody may use, with the programs in it.
fn open_folder(live: &Live) -> PathBuf {
    let folder = live.path("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(folder.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    for (name, file) in [("sslrec", SSLREC), ("peer", &case(&[])[0])] {
        fs::copy(file, folder.join(name)).unwrap();
    }
    folder
}

#[test]
fn two_capabilities_are_enough() {
    let Some(live) = Live::start() else { return };
    let folder = open_folder(&live);
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    setpriv.args(["--inh-caps=-all,+bpf,+perfmon", "--ambient-caps=-all,+bpf,+perfmon"]);
    setpriv.args(["--bounding-set=-all,+bpf,+perfmon"]).current_dir(&folder);
    setpriv.args(["./sslrec", "-w", "a.pcapng", "--", "./peer", "exchange"]);
    let output = live.run(&mut setpriv);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let listing = live.list(&folder.join("a.pcapng"), &["--bodies"]);
    assert_eq!(bytes_of(&listing.streams[0], "client_data").len(), 1000);
    assert_eq!(listing.streams[0]["addr"], "exact");
}

#[test]
fn an_ordinary_user_keeps_no_capability_where_it_is_not_needed() {
    let Some(live) = Live::start() else { return };
    let folder = open_folder(&live);
    let ready = folder.join("ready");
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let capabilities = "-all,+bpf,+perfmon,+sys_ptrace";
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        setpriv.arg(format!("{set}={capabilities}"));
    }
    setpriv.args(["./sslrec", "-w", "a.pcapng", "--", "sh", "-c"]).current_dir(&folder);
    setpriv.args(["./peer exchange; touch ready; exec sleep 60"]);
    let recorder = live.spawn(&mut setpriv);
    within(Duration::from_secs(30), || ready.exists().then_some(())).expect("the peer runs");
    assert_only_helpers_keep_privileges(recorder.pid());
    recorder.signal(SIGTERM);
    let output = recorder.wait();
    assert_eq!(output.code(), 128 + SIGTERM, "{}", output.stderr);
    assert_eq!(live.list(&folder.join("a.pcapng"), &[]).streams.len(), 1);
}

#[test]
fn without_capabilities_it_is_said_what_is_missing() {
    let Some(live) = Live::start() else { return };
    let folder = open_folder(&live);
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).current_dir(&folder);
    let output = live.run(setpriv.args(["./sslrec", "-w", "a.pcapng", "--", "./peer", "exchange"]));
    assert_eq!(output.code(), 1, "{}", output.stderr);
    for name in ["CAP_BPF", "CAP_PERFMON"] {
        assert!(output.stderr.contains(name), "no {name}: {}", output.stderr);
    }
}

#[test]
fn under_sudo_the_recorder_becomes_the_caller_and_files_are_the_callers() {
    use std::os::unix::fs::MetadataExt;
    let Some(live) = Live::start() else { return };
    let folder = open_folder(&live);
    let file = folder.join("a.pcapng");
    let mut sslrec = Command::new(SSLREC);
    sslrec.env("SUDO_UID", "65534").env("SUDO_GID", "65534").env("SUDO_USER", "nobody");
    sslrec.arg("-w").arg(&file).arg("--").args(case(&["exchange"]));
    let output = live.run(&mut sslrec);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (65534, 65534, 0o600));
    assert_eq!(live.list(&file, &[]).streams.len(), 1);
}
