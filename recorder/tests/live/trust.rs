//! The code of strangers: never run by the recorder, and recorded all the same. The code of files
//! that nobody but root can change: run in a sandbox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::assert_truth::assert_both_ends;
use crate::peers::{build, text, tls_cases, truth};
use crate::support::{Live, Recorded, SSLREC, read_lossy, within};

/// A user without any relation to the files.
const STRANGER: u32 = 1234;

const SIGINT: i32 = 2;
const SIGCONT: i32 = 18;

/// The library that tries all that a stranger would, built where only root can write.
fn stranger(defines: &[&str]) -> String {
    let name = format!("stranger{}.so", defines.concat().to_lowercase());
    let libraries = ["-shared", "-fPIC", "-Wl,--no-as-needed", "-lssl"];
    build(&name, &["stranger.c"], &[defines, &libraries].concat())
}

/// A copy of a library in a folder of the stranger's, with an empty report for the programs that
/// load it.
fn owned_by_stranger(live: &Live, library: &str) -> (String, PathBuf) {
    let folder = live.path("stranger");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(live.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.join("libstranger.so");
    fs::copy(library, &copy).unwrap();
    let report = folder.join("libstranger.so.report");
    fs::write(&report, "").unwrap();
    fs::set_permissions(&report, fs::Permissions::from_mode(0o666)).unwrap();
    for path in [&folder, &copy, &report] {
        chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    (text(copy), report)
}

/// Records nothing with a library, as a user with the necessary capabilities and no other
/// privilege.
fn record_with_capabilities(live: &Live, library: &str) -> Recorded {
    const CAPABILITIES: &str = "+bpf,+perfmon,+sys_ptrace";
    let sslrec = text(live.path("sslrec"));
    fs::copy(SSLREC, &sslrec).unwrap();
    fs::set_permissions(live.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    let (files, options) = live.sslrec(&["-v", "--lib", library]);
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", "4321", "--regid", "4321", "--clear-groups"]);
    setpriv.args(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES]);
    setpriv.arg(sslrec).args(options.get_args()).args(["--", "true"]);
    files.finish(live.run(&mut setpriv)).succeeded()
}

/// The line of the library that was loaded by the self-test.
fn findings(recorded: &Recorded, library: &str) -> String {
    let stderr = stderr_of(recorded);
    let line = stderr.lines().find(|line| line.contains("a stranger's code:"));
    let found = line.unwrap_or_else(|| panic!("the library was not loaded: {stderr}"));
    assert!(found.contains(&format!("no self-test on {library}: ")), "{found}");
    found.to_owned()
}

fn assert_can_do_nothing(found: &str) {
    for attempt in [
        "tiocsti",
        "tcsetpgrp",
        "tty",
        "inet",
        "unix",
        "netlink",
        "report",
        "create",
        "mkdir",
        "unlink",
        "memfd",
        "shadow",
        "fork",
        "kill",
        "ptrace",
        "setsid",
        "exec",
    ] {
        assert!(found.contains(&format!(" {attempt}=refused")), "{attempt}: {found}");
    }
    for trouble in ["DONE", "OPEN", "SOME", "KEPT", "UNLIMITED"] {
        assert!(!found.contains(trouble), "{trouble}: {found}");
    }
    assert!(found.contains(" CapPrm=none CapEff=none"), "{found}");
}

fn stderr_of(recorded: &Recorded) -> &str {
    &recorded.output.stderr
}

/// The exchange of a program that has mapped the stranger's library, as root would record it: by
/// its number, as another user, and by the library's name for all of the machine.
#[test]
fn a_library_that_a_stranger_can_write_is_never_run() {
    let Some(live) = Live::start() else { return };
    let stopped = build("stopped.so", &["stopped.c"], &["-shared", "-fPIC"]);
    for (name, by_pid, options) in [
        ("by pid", true, &[][..]),
        ("with -Z", true, &["-Z", "nobody"]),
        ("by library", false, &[]),
    ] {
        let (library, report) = owned_by_stranger(&live, &stranger(&[]));
        let mut command = Command::new(tls_cases());
        command.arg("exchange").env("LD_PRELOAD", format!("{stopped}:{library}"));
        let program = live.spawn(&mut command);
        let pid = program.pid().to_string();
        let stat = format!("/proc/{pid}/stat");
        let is_stopped = || fs::read_to_string(&stat).unwrap().contains(") T ").then_some(());
        within(Duration::from_secs(10), is_stopped).expect("the program stops before it begins");
        let target = if by_pid { ["-p", &pid] } else { ["--lib", &library] };
        fs::set_permissions(live.dir(), fs::Permissions::from_mode(0o777)).unwrap();
        let running = live.attach(&[&["-v"][..], &target, options].concat());
        program.signal(SIGCONT);
        let output = program.wait();
        assert_eq!(output.code(), 0, "{name}: {}", output.stderr);
        let recorded = if by_pid { running.wait() } else { running.stop(SIGINT) }.succeeded();
        assert_eq!(read_lossy(&report), "loaded by a program\n", "{name}");
        let stderr = stderr_of(&recorded);
        assert!(!stderr.contains("a stranger's code"), "{name}: {stderr}");
        assert!(
            stderr.contains("libstranger.so is tested during the recording, not before: "),
            "{name}: {stderr}"
        );
        // If the program's libssl is probed as well, calls that are forwarded to it are recorded
        // twice.
        if !by_pid {
            assert_both_ends(&live, &recorded, &truth(&output.stdout).unwrap());
        }
    }
}

/// A user with the recorder's capabilities is not to run the code of another user.
#[test]
fn with_capabilities_and_no_root_a_strangers_library_is_not_run_either() {
    let Some(live) = Live::start() else { return };
    let (library, report) = owned_by_stranger(&live, &stranger(&[]));
    let recorded = record_with_capabilities(&live, &library);
    assert_eq!(read_lossy(&report), "");
    let stderr = stderr_of(&recorded);
    assert!(stderr.contains(&format!("belongs to user {STRANGER}")), "{stderr}");
    assert!(!stderr.contains("a stranger's code"), "{stderr}");
}

/// A user with the recorder's capabilities tests files that root alone can write, without
/// capabilities.
#[test]
fn without_root_the_self_test_is_a_sandbox_too() {
    let Some(live) = Live::start() else { return };
    // Where every user can read it and root alone can write it, which the build's folder need not
    // be.
    let folder = tempfile::Builder::new().prefix("sslrec-test").tempdir_in("/opt").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let library = text(folder.path().join("libstranger.so"));
    fs::copy(stranger(&[]), &library).unwrap();
    let recorded = record_with_capabilities(&live, &library);
    let found = findings(&recorded, &library);
    assert_can_do_nothing(&found);
}

/// Files that root alone can write are tested, and could do nothing if root had been deceived.
#[test]
fn the_self_test_is_a_sandbox() {
    let Some(live) = Live::start() else { return };
    let library = stranger(&[]);
    let recorded = live.record(&["-v", "--lib", &library], &["true"]).succeeded();
    let found = findings(&recorded, &library);
    assert_can_do_nothing(&found);
    assert!(found.contains(" uid=65534 gid=65534 pid=1 env=empty"), "{found}");
}

#[test]
fn a_library_that_never_returns_holds_the_start_no_longer_than_a_test_may_take() {
    let Some(live) = Live::start() else { return };
    let library = stranger(&["-DLOOPS"]);
    let start = Instant::now();
    let recorded = live.record(&["--lib", &library], &["true"]).succeeded();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let stderr = stderr_of(&recorded);
    assert!(stderr.contains("failed the self-test: the peer takes too long"), "{stderr}");
    // In the hands of a stranger it does not hold anything.
    let (library, _) = owned_by_stranger(&live, &library);
    let start = Instant::now();
    live.record(&["--lib", &library], &["true"]).succeeded();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// The lie of `bad_tail_call.c`, which no self-test may uncover: the return probes do, and record.
#[test]
fn sites_that_disagree_with_the_return_never_record() {
    let Some(live) = Live::start() else { return };
    let libraries = ["-shared", "-fPIC", "-Wl,--no-as-needed", "-lssl"];
    let (library, _) =
        owned_by_stranger(&live, &build("bad_tail_call.so", &["bad_tail_call.c"], &libraries));
    let preload = format!("LD_PRELOAD={library}");
    for without in [&[][..], &["--without", "multi"]] {
        for case in ["exchange", "big-write", "ex"] {
            let command = ["env", &preload, &tls_cases(), case];
            let options = [&["-v", "--lib", &library], without].concat();
            let recorded = live.record(&options, &command).succeeded();
            assert_both_ends(&live, &recorded, &truth(&recorded.output.stdout).unwrap());
            let stderr = stderr_of(&recorded);
            let said = stderr.contains("SSL_read in") && stderr.contains("keeps its return probe");
            assert_eq!(said, case != "ex", "{case}: {stderr}");
            assert!(!stderr.contains("SSL_read in libstranger.so passed its trial"), "{stderr}");
        }
    }
}

/// An honest library passes in the run, and nothing is missing or doubled where the probes change.
#[test]
fn sites_that_agree_with_the_return_replace_it() {
    let Some(live) = Live::start() else { return };
    let libssl = live.private_libssl();
    let library = text(libssl.join("libssl.so.3"));
    let path = format!("LD_LIBRARY_PATH={}", libssl.display());
    for without in [&[][..], &["--without", "multi"]] {
        let options = [&["-v", "--lib", &library], without].concat();
        let command = ["env", &path, &tls_cases(), "pace", "2", "2000", "100"];
        let recorded = live.record(&options, &command).succeeded();
        assert_both_ends(&live, &recorded, &truth(&recorded.output.stdout).unwrap());
        let stderr = stderr_of(&recorded);
        for function in ["SSL_read", "SSL_write"] {
            let words = format!("{function} in {library} passed its trial");
            assert!(stderr.contains(&words), "{words}: {stderr}");
        }
    }
}
