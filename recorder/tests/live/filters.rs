//! The choice of recorded programs: filters, the ways to name a process or a library, and programs
//! that ran before the recording.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::listing::bytes_of;
use crate::peers::{case, text, tls_cases, tls_cases_static};
use crate::support::{Live, Recorded, SSLREC, Started};

const SIGINT: i32 = 2;
const NOBODY: &str = "65534";

/// Names of the processes whose connections are in the raw log, each end counted.
pub(crate) fn recorded_comms(live: &Live, recorded: &Recorded) -> Vec<String> {
    let listing = live.list(&recorded.raw, &["--both-ends"]);
    let comm = |stream: &serde_json::Value| stream["comm"].as_str().unwrap().to_owned();
    let mut comms: Vec<String> = listing.streams.iter().map(comm).collect();
    comms.sort();
    comms
}

/// The peer under another name, where any user can run it.
fn peer_named(folder: &Path, name: &str) -> String {
    let program = folder.join(name);
    std::fs::copy(tls_cases(), &program).unwrap();
    text(program)
}

fn folder_for_all() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("sslrec-open").tempdir_in("/tmp").unwrap();
    let status = Command::new("chmod").arg("0755").arg(folder.path()).status().unwrap();
    assert!(status.success());
    folder
}

#[test]
fn only_processes_of_the_name_are_recorded() {
    let Some(live) = Live::start() else { return };
    let (wanted, other) = (peer_named(live.dir(), "wanted"), peer_named(live.dir(), "other"));
    let script = format!("{other} exchange && {wanted} exchange && {other} exchange");
    let recorded = live.record(&["-c", "wanted"], &["sh", "-c", &script]).succeeded();
    assert_eq!(recorded_comms(&live, &recorded), ["wanted", "wanted"]);
}

#[test]
fn only_processes_of_the_user_are_recorded() {
    let Some(live) = Live::start() else { return };
    let folder = folder_for_all();
    let (theirs, ours) = (peer_named(folder.path(), "theirs"), peer_named(folder.path(), "ours"));
    let as_nobody = format!("setpriv --reuid={NOBODY} --clear-groups {theirs} exchange");
    let script = format!("cd /; {ours} exchange && {as_nobody} && {ours} exchange");
    for user in [NOBODY, "nobody"] {
        let recorded = live.record(&["-u", user], &["sh", "-c", &script]).succeeded();
        assert_eq!(recorded_comms(&live, &recorded), ["theirs", "theirs"], "-u {user}");
    }
}

/// A group that is removed with the test.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes may be ending yet.
        let removed = || std::fs::remove_dir(&self.0).ok();
        crate::support::within(Duration::from_secs(5), removed);
    }
}

/// Where the second version of cgroups is mounted.
fn cgroups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    mount.split(' ').nth(1).map(PathBuf::from)
}

#[test]
fn only_processes_of_the_group_and_below_are_recorded() {
    let Some(live) = Live::start() else { return };
    let Some(root) = cgroups() else {
        eprintln!("skipped: the second version of cgroups is not mounted");
        return;
    };
    let name = format!("sslrec-test-{}", std::process::id());
    let group = Group(root.join(&name));
    std::fs::create_dir(&group.0).unwrap();
    let below = Group(group.0.join("below"));
    std::fs::create_dir(&below.0).unwrap();
    let (wanted, other) = (peer_named(live.dir(), "wanted"), peer_named(live.dir(), "other"));
    let join = |group: &Group| format!("echo $$ >{}", group.0.join("cgroup.procs").display());
    let script = format!(
        "{other} exchange && {} && {wanted} exchange && {} && {wanted} exchange",
        join(&group),
        join(&below)
    );
    for path in [text(group.0.clone()), format!("/{name}")] {
        let options = ["--cgroup", &path];
        let recorded = live.record(&options, &["sh", "-c", &script]).succeeded();
        assert_eq!(recorded_comms(&live, &recorded), ["wanted"; 4], "{path}");
        // All filters must be met.
        let options = ["--cgroup", &path, "-c", "other"];
        let recorded = live.record(&options, &["sh", "-c", &script]).succeeded();
        assert!(recorded_comms(&live, &recorded).is_empty(), "{path}");
    }
    drop(below);
}

/// As nobody, so that a recorder that took this for "everything" could do no harm.
#[test]
fn without_a_target_or_with_an_empty_command_nothing_is_recorded() {
    let live = Live::elsewhere();
    let sslrec = text(live.path("sslrec"));
    std::fs::copy(SSLREC, &sslrec).unwrap();
    let folder = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(live.dir(), folder).unwrap();
    for (words, expected) in [
        (&["-w", "x.zst"][..], "nothing is chosen to be recorded"),
        (&[], "nothing is chosen to be recorded"),
        (&["--"], "no command after `--`"),
        (&["-w", "x.pcapng", "--"], "no command after `--`"),
        (&["-a", "--"], "no command after `--`"),
        (&["--", ""], "no command after `--`"),
    ] {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]);
        let output = live.run(setpriv.arg(&sslrec).args(words).current_dir("/"));
        assert_eq!(output.code(), 2, "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(expected), "{words:?}: {}", output.stderr);
    }
}

/// Whether a file is opened while a command runs, by way of inotify(7).
fn opens_of(file: &Path, run: impl FnOnce()) -> usize {
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, file, inotify::WatchFlags::OPEN).unwrap();
    run();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    std::iter::repeat_with(|| reader.next().is_ok()).take_while(|&event| event).count()
}

/// A program with TLS inside it, which runs beside the recording: it may be anybody's.
#[test]
fn no_file_of_a_process_that_is_not_chosen_is_opened() {
    let Some(live) = Live::start() else { return };
    let theirs = live.path("theirs");
    std::fs::copy(tls_cases_static(), &theirs).unwrap();
    let program = live.spawn(Command::new(&theirs).args(["pace", "2", "100000", "100"]));
    let chosen = live.spawn(Command::new("sleep").arg("60"));
    let opens = opens_of(&theirs, || {
        live.record(&[], &["true"]).succeeded();
        let running = live.attach(&["-p", &chosen.pid().to_string()]);
        running.stop(SIGINT).succeeded();
    });
    assert_eq!(opens, 0);
    // The same eyes see it where it is chosen.
    let pid = program.pid().to_string();
    let opens = opens_of(&theirs, || {
        live.attach(&["-p", &pid]).stop(SIGINT).succeeded();
    });
    assert!(opens > 0, "the program has ended too soon");
    drop(program);
}

/// A shell that waits, so that it can be named by pid, and then runs a script.
pub(crate) fn waiting_shell(live: &Live, script: &str) -> (Started, PathBuf) {
    let go = live.path("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; {script}", go.display());
    (live.spawn(Command::new("sh").args(["-c", &script])), go)
}

#[test]
fn children_of_a_process_are_followed_unless_told_otherwise() {
    for (options, expected) in [(&[][..], 4), (&["--no-children"], 0)] {
        let Some(live) = Live::start() else { return };
        let peer = tls_cases();
        let (shell, go) =
            waiting_shell(&live, &format!("{peer} exchange; ({peer} exchange; true)"));
        let pid = shell.pid().to_string();
        let running = live.attach(&[&["-p", &pid], options].concat());
        std::fs::write(&go, "").unwrap();
        assert_eq!(shell.wait().code(), 0);
        let recorded = running.stop(SIGINT).succeeded();
        assert_eq!(recorded_comms(&live, &recorded).len(), expected, "{options:?}");
    }
}

#[test]
fn a_process_that_becomes_another_program_is_followed() {
    let Some(live) = Live::start() else { return };
    let (shell, go) = waiting_shell(&live, &format!("exec {} exchange", tls_cases()));
    let running = live.attach(&["--no-children", "-p", &shell.pid().to_string()]);
    std::fs::write(&go, "").unwrap();
    assert_eq!(shell.wait().code(), 0);
    let recorded = running.stop(SIGINT).succeeded();
    assert_eq!(recorded_comms(&live, &recorded), ["tls_cases", "tls_cases"]);
}

/// Complete messages, beginning with the first: a message that was in progress when probes were
/// attached is left out, not truncated.
#[test]
fn a_connection_older_than_the_recording_is_joined() {
    const SIZE: usize = 100;
    let Some(live) = Live::start() else { return };
    let peer = live.spawn(Command::new(tls_cases()).args(["pace", "4", "2000", "100"]));
    std::thread::sleep(Duration::from_millis(500));
    let running = live.attach(&["-p", &peer.pid().to_string()]);
    std::thread::sleep(Duration::from_millis(1000));
    let recorded = running.stop(SIGINT).succeeded();
    assert_eq!(peer.wait().code(), 0, "the traced program goes on");
    let listing = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_eq!(listing.streams.len(), 2, "both ends of one connection");
    for stream in &listing.streams {
        assert_eq!(stream["lost_bytes"], 0);
        // No handshake was seen: which end is the client's may be unknown.
        let known = !stream["role"].is_null();
        let fields =
            if known { ["client_data", "server_data"] } else { ["local_data", "remote_data"] };
        let data = fields.map(|field| bytes_of(stream, field)).concat();
        assert!(data.len() > 50 * SIZE, "{} bytes of a second", data.len());
        assert_eq!(data.len() % SIZE, 0);
        let times: Vec<u64> = data
            .chunks_exact(SIZE)
            .map(|message| std::str::from_utf8(&message[..20]).unwrap().parse().unwrap())
            .collect();
        assert!(times.is_sorted());
        // At 2 ms a message, a message that is left out would show as a step; a busy machine makes
        // small steps.
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest < 500_000_000, "a hole of {longest} ns");
    }
}

#[test]
fn two_recorders_see_the_same_program() {
    let Some(live) = Live::start() else { return };
    let (shell, go) = waiting_shell(&live, &format!("{} exchange", tls_cases()));
    let pid = shell.pid().to_string();
    let (one, other) = (live.attach(&["-p", &pid]), live.attach(&["-p", &pid]));
    std::fs::write(&go, "").unwrap();
    assert_eq!(shell.wait().code(), 0);
    for running in [one, other] {
        let recorded = running.stop(SIGINT).succeeded();
        assert_eq!(recorded_comms(&live, &recorded).len(), 2);
    }
}

#[test]
fn a_private_library_is_found_by_what_the_command_will_load() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let (files, mut sslrec) = live.sslrec(&[]);
    let command = sslrec.arg("--").args(case(&["exchange"])).env("LD_LIBRARY_PATH", &folder);
    let recorded = files.finish(live.run(command)).succeeded();
    assert_eq!(recorded_comms(&live, &recorded).len(), 2, "{}", recorded.output.stderr);
}

#[test]
fn a_library_linked_into_the_program_is_recorded() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &[tls_cases_static().as_str(), "exchange"]).succeeded();
    assert_eq!(recorded_comms(&live, &recorded).len(), 2, "{}", recorded.output.stderr);
}

#[test]
fn a_recording_ends_when_its_processes_have_ended() {
    let Some(live) = Live::start() else { return };
    let (shell, go) = waiting_shell(&live, &format!("{} exchange", tls_cases()));
    let running = live.attach(&["-p", &shell.pid().to_string()]);
    std::fs::write(&go, "").unwrap();
    assert_eq!(shell.wait().code(), 0);
    let recorded = running.wait().succeeded();
    assert_eq!(recorded_comms(&live, &recorded).len(), 2);
}

#[test]
fn a_recording_ends_after_so_many_calls() {
    let Some(live) = Live::start() else { return };
    let peer = live.spawn(Command::new(tls_cases()).args(["pace", "5", "2000", "100"]));
    let (files, mut sslrec) = live.sslrec(&["--count", "20", "-p", &peer.pid().to_string()]);
    let recorded = files.finish(live.run(&mut sslrec)).succeeded();
    let ended = std::fs::read_dir(format!("/proc/{}", peer.pid())).is_err();
    assert!(!ended, "long before the program did");
    let listing = live.list(&recorded.raw, &["--both-ends"]);
    let fields = ["client_bytes", "server_bytes", "local_bytes", "remote_bytes"];
    let bytes =
        |s: &serde_json::Value| fields.map(|f| s[f].as_u64().unwrap_or(0)).iter().sum::<u64>();
    let total: u64 = listing.streams.iter().map(bytes).sum();
    // Each call carries 100 bytes. The count is looked at now and then, so that some follow.
    assert!((20 * 100..20_000).contains(&total), "{total} bytes");
}

/// How the server's port is written for Wireshark.
#[test]
fn ports_are_written_as_asked() {
    let Some(live) = Live::start() else { return };
    for (options, expected) in [(&[][..], Some("80")), (&["--keep-port"], None)] {
        let recorded = live.record(options, &case(&["exchange"])).succeeded();
        let truth = crate::peers::truth(&recorded.output.stdout).unwrap();
        let server = truth[0].server.clone().unwrap();
        let real = server.rsplit_once(':').unwrap().1.to_owned();
        let ports = live.tshark_fields(
            &recorded.pcapng,
            "tcp.flags.syn == 1 && tcp.flags.ack == 0",
            "tcp.dstport",
        );
        assert_eq!(ports, [expected.unwrap_or(&real)]);
        let comment = format!("frame.comment contains \"->127.0.0.1:{real} \"");
        assert!(!live.tshark_fields(&recorded.pcapng, &comment, "frame.number").is_empty());
    }
}
