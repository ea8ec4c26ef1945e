//! Programs and libraries that the recorder could not know of when it began. In a command's
//! family nothing of them may be missed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::assert_truth::assert_both_ends;
use crate::filters::{recorded_comms, waiting_shell};
use crate::listing::{lines, sha256_of};
use crate::openssl_api::both_ends_match_the_truth;
use crate::peers::{case, text, tls_cases, truth};
use crate::server::Nginx;
use crate::support::{Live, read_lossy, sha256, signal, system_library, within};

const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;

/// A shell's command that uses a private copy of the library, known to that command alone.
fn with_private_library(folder: &Path, command: &str) -> Vec<String> {
    let script = format!("LD_LIBRARY_PATH={} {command}; exit $?", folder.display());
    ["sh", "-c", &script].map(str::to_owned).into()
}

#[test]
fn a_grandchild_with_a_library_of_its_own() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let command = with_private_library(&folder, &case(&["exchange"]).join(" "));
    assert!(both_ends_match_the_truth(&live, &[], &command).is_some());
}

#[test]
fn a_library_behind_a_mount_of_a_namespace() {
    let Some(live) = Live::start() else { return };
    let copy = live.private_libssl().join("libssl.so.3");
    let system = fs::canonicalize(system_library("libssl.so.3")).unwrap();
    let script = format!("mount --bind {} {} && exec \"$@\"", copy.display(), system.display());
    let mut command = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    command.extend(case(&["exchange"]));
    assert!(both_ends_match_the_truth(&live, &[], &command).is_some());
}

const LATE_CLIENT: &str = "
import sys, time
time.sleep(1)
import http.client, ssl
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
connection = http.client.HTTPSConnection('localhost', port, context=context)
connection.request('GET', '/page')
assert len(connection.getresponse().read()) == 50000
";

#[test]
fn a_library_that_is_loaded_a_second_later() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let page: Vec<u8> = (0..50_000u32).map(|i| (i / 7) as u8).collect();
    nginx.serve("page", &page);
    let folder = live.private_libssl();
    let script = live.path("client.py");
    fs::write(&script, LATE_CLIENT).unwrap();
    let client = format!("/usr/bin/python3 {} {} {}", script.display(), nginx.port(), nginx.ca());
    let recorded = live.record(&["-v"], &with_private_library(&folder, &client)).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_eq!(lines(&listing.exchanges), ["GET /page 200"]);
    assert_eq!(sha256_of(&listing.exchanges[0]["response"], "body"), sha256(&page));
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("lib/libssl.so.3 was probed"), "{stderr}");
}

/// Processes that the recorder did not start are never stopped, but their files are found.
#[test]
fn a_process_started_later_with_a_library_of_its_own() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let script = format!("LD_LIBRARY_PATH={} {} pace 3 2000 100", folder.display(), tls_cases());
    let (shell, go) = waiting_shell(&live, &script);
    let running = live.attach(&["-v", "-p", &shell.pid().to_string()]);
    fs::write(&go, "").unwrap();
    assert_eq!(shell.wait().code(), 0);
    let recorded = running.stop(SIGINT).succeeded();
    assert_eq!(recorded_comms(&live, &recorded), ["tls_cases", "tls_cases"]);
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("was probed") && !stderr.contains("was held"), "{stderr}");
}

#[test]
fn a_process_started_later_is_recorded_from_its_first_byte() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    // For all processes, which is why the copy is named.
    let running = live.attach(&["--lib", &text(folder.join("libssl.so.3"))]);
    let mut later = Command::new(tls_cases());
    let output = live.run(later.arg("exchange").env("LD_LIBRARY_PATH", &folder));
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let recorded = running.stop(SIGINT).succeeded();
    assert_both_ends(&live, &recorded, &truth(&output.stdout).unwrap());
}

#[test]
fn two_hundred_processes_with_one_library() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let library = text(folder.join("libssl.so.3"));
    let mut sleep = Command::new("sleep");
    sleep.arg("60").env("LD_PRELOAD", &library).env("LD_LIBRARY_PATH", &folder);
    let sleepers: Vec<_> = (0..200).map(|_| live.spawn(&mut sleep)).collect();
    let mapped = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(&library))
    };
    for sleeper in &sleepers {
        within(Duration::from_secs(10), || mapped(sleeper.pid()).then_some(())).unwrap();
    }
    let pids: Vec<_> = sleepers.iter().map(|sleeper| sleeper.pid().to_string()).collect();
    let line = format!("functions probed in {library}");
    let attach = |_| {
        let start = Instant::now();
        let running = live.attach(&["-v", "-p", &pids.join(",")]);
        let took = start.elapsed();
        let recorded = running.stop(SIGINT).succeeded();
        let stderr = &recorded.output.stderr;
        assert_eq!(stderr.matches(&line).count(), 1, "{stderr}");
        eprintln!("from the recorder's start to 200 processes recorded: {took:?}");
        took
    };
    // Of several, for whatever else runs on the machine takes its time too.
    assert!((0..5).map(attach).any(|took| took < Duration::from_secs(1)));
}

/// The state of a process, as `ps` shows it.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A recorder that is stopped holds a process that it does not let go.
fn held_by_a_stopped_recorder(then: impl FnOnce(u32)) {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let (go, number, done) = (live.path("go"), live.path("pid"), live.path("done"));
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.05; done; export LD_LIBRARY_PATH={}; \
         {} exchange >/dev/null & echo $! >{}; wait; touch {}",
        go.display(),
        folder.display(),
        tls_cases(),
        number.display(),
        done.display()
    );
    let (_, mut sslrec) = live.sslrec(&[]);
    let recorder = live.spawn(sslrec.args(["--", "sh", "-c", &script]));
    let recording = || read_lossy(&recorder.stderr).contains("recording").then_some(());
    within(Duration::from_secs(30), recording).expect("it records");
    recorder.signal(SIGSTOP);
    fs::write(&go, "").unwrap();
    let held = within(Duration::from_secs(4), || {
        let pid = read_lossy_if_there(&number)?.trim().parse().ok()?;
        (state(pid) == Some('T')).then_some(pid)
    });
    let held = held.expect("a process is held");
    then(recorder.pid());
    let goes_on = || done.exists().then_some(());
    within(Duration::from_secs(15), goes_on).expect("it was let go, and ran to its end");
    assert_eq!(state(held), None);
    // It ends only if it is let.
    let _ = Command::new("kill").args(["-CONT", &recorder.pid().to_string()]).status();
}

fn read_lossy_if_there(path: &Path) -> Option<String> {
    path.exists().then(|| read_lossy(path))
}

#[test]
fn a_held_process_goes_on_when_the_recorder_is_killed() {
    held_by_a_stopped_recorder(|recorder| signal(recorder, SIGKILL));
}

#[test]
fn a_held_process_goes_on_when_the_recorder_does_nothing() {
    held_by_a_stopped_recorder(|_| {});
}
