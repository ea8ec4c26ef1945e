//! Files that commands write: targets that they refuse, and that a refusal changes nothing.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sslrec_analyzer_testing::records::{Script, raw_log};

/// O_NONBLOCK, the same number on every architecture of Linux that Rust's tests run on.
const NONBLOCK: i32 = 0o4000;

/// A user without a login.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn capture(dir: &Path) {
    let script = Script::client()
        .sent("GET /secret HTTP/1.1\r\nHost: h\r\n\r\n")
        .received("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .close();
    fs::write(dir.join("c.zst"), raw_log(&script.records())).unwrap();
}

/// Every command that writes a file, with `out` as the file.
fn commands(out: &str) -> [Vec<&str>; 4] {
    [
        vec!["convert", "c.zst", out],
        vec!["redact", "c.zst", out],
        vec!["html", "-o", out, "c.zst"],
        vec!["check", "--max-status", "399", "--junit", out, "c.zst"],
    ]
}

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    command.args(args).current_dir(dir).output().unwrap()
}

#[track_caller]
fn refused(output: &Output, status: i32, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.contains(says) && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn pipes_sockets_and_links_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    capture(dir);
    let path = |name: &str| dir.join(name);
    assert!(Command::new("mkfifo").arg(path("pipe.zst")).status().unwrap().success());
    let mut reader = OpenOptions::new();
    let mut reader = reader.read(true).custom_flags(NONBLOCK).open(path("pipe.zst")).unwrap();
    let _listener = UnixListener::bind(path("socket.zst")).unwrap();
    fs::write(path("target.zst"), "older").unwrap();
    symlink("target.zst", path("link.zst")).unwrap();
    for (name, says) in
        [("pipe.zst", "a named pipe"), ("socket.zst", "a socket"), ("link.zst", "a symbolic link")]
    {
        for command in commands(name) {
            refused(&run(dir, &command), 1, says);
        }
    }
    let read = reader.read(&mut [0; 16]);
    let nothing = matches!(&read, Ok(0))
        || read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    assert!(nothing, "{read:?}");
    assert_eq!(fs::read(path("target.zst")).unwrap(), b"older");
}

#[test]
fn a_second_name_in_a_folder_of_others_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    capture(dir);
    fs::write(dir.join("mine"), "older").unwrap();
    fs::hard_link(dir.join("mine"), dir.join("out.zst")).unwrap();
    fs::set_permissions(dir, Permissions::from_mode(0o1777)).unwrap();
    for command in commands("out.zst") {
        refused(&run(dir, &command), 1, "hard link");
    }
    assert_eq!(fs::read(dir.join("mine")).unwrap(), b"older");
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    for command in commands("out.zst") {
        assert_eq!(run(dir, &command).status.code(), Some(0), "{command:?}");
    }
}

#[test]
fn another_users_file_is_refused() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    capture(dir);
    fs::write(dir.join("out.zst"), "older").unwrap();
    chown(dir.join("out.zst"), Some(NOBODY), None).unwrap();
    for command in commands("out.zst") {
        refused(&run(dir, &command), 1, "another user's");
    }
    // The other way round: `nobody` and a file of somebody else that everybody may write.
    let program = dir.join("sslanalyze");
    fs::copy(env!("CARGO_BIN_EXE_sslanalyze"), &program).unwrap();
    chown(dir.join("out.zst"), Some(4242), None).unwrap();
    fs::set_permissions(dir.join("out.zst"), Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(dir, Permissions::from_mode(0o777)).unwrap();
    for command in commands("out.zst") {
        refused(&run_as_nobody(dir, &program, &command), 1, "another user's");
    }
    assert_eq!(fs::read(dir.join("out.zst")).unwrap(), b"older");
    for command in commands("own.zst") {
        let output = run_as_nobody(dir, &program, &command);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(fs::metadata(dir.join("own.zst")).unwrap().uid(), NOBODY);
    }
}

fn run_as_nobody(dir: &Path, program: &PathBuf, args: &[&str]) -> Output {
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    setpriv.args(args).current_dir(dir).output().unwrap()
}

#[test]
fn devices_are_written() {
    let dir = tempfile::tempdir().unwrap();
    capture(dir.path());
    for command in ["html", "check"] {
        let commands = commands("/dev/null");
        let args = commands.iter().find(|args| args[0] == command).unwrap();
        assert_eq!(run(dir.path(), args).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn the_capture_itself_is_refused_by_every_name_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    capture(dir);
    let before = fs::read(dir.join("c.zst")).unwrap();
    fs::hard_link(dir.join("c.zst"), dir.join("other.zst")).unwrap();
    symlink("c.zst", dir.join("link.zst")).unwrap();
    for name in ["c.zst", "./c.zst", "other.zst", "link.zst"] {
        for command in commands(name) {
            refused(&run(dir, &command), 2, "write to another name");
        }
    }
    assert_eq!(fs::read(dir.join("c.zst")).unwrap(), before);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 3);
}
