//! A row for each program: everything that a client or server of a TLS library sends and receives
//! is recorded completely, in the right direction, from the right process, with the address that
//! the other end saw, and nothing else.
//!
//! Clients are recorded in child mode and system-wide; servers in both ways and by `-p`.
//! System-wide recordings are restricted to users of a private copy of the library: other programs
//! on this machine use TLS too.

mod clients;
mod databases;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::listing::Listing;
use crate::support::{Live, Recorded, Started, system_library, within};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The packages from PyPI.
const VENV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tools/venv");

/// Not a multiple of the size of a TLS record, chunk or read.
const PAGE_LEN: usize = 70_001;

/// Letters, which go through any shell and any protocol.
fn page() -> Vec<u8> {
    (0..PAGE_LEN).map(|i| b'a' + (i * 7 / 3 % 26) as u8).collect()
}

/// The file that is copied so that no other program uses it.
#[derive(Clone, Copy)]
enum Private<'a> {
    /// Libraries, by the beginnings of their names.
    Libraries(&'a [&'a str]),
    /// A program with the library in it, by name, and the recorder's name for that library.
    Program(&'a str, &'a str),
    /// A folder or file of the virtual environment's packages, and the file with the library in it.
    Package(&'a str, &'a str),
    /// This file already is used by nobody else.
    Own(&'a str, &'a str),
}

/// Private copies: how they are recorded, and how a program is made to use them.
struct Copies {
    options: Vec<String>,
    variable: (&'static str, String),
}

impl Private<'_> {
    fn copy(&self, live: &Live) -> Copies {
        let folder = live.path("copies");
        fs::create_dir_all(&folder).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let in_path = format!("{}:{}", text(&folder), std::env::var("PATH").unwrap());
        let (files, variable) = match *self {
            Self::Libraries(names) => {
                let copy = |name: &&str| text(&copied(&system_library(name), &folder));
                (names.iter().map(copy).collect(), ("LD_LIBRARY_PATH", text(&folder)))
            }
            Self::Program(name, kind) => {
                let program = format!("{kind}:{}", text(&copied(&in_path_of(name), &folder)));
                (vec![program], ("PATH", in_path))
            }
            Self::Package(name, file) => {
                live.succeed("cp", &["-r", &text(&package(name)), &text(&folder)]);
                (vec![text(&folder.join(file))], ("PYTHONPATH", text(&folder)))
            }
            Self::Own(path, kind) => (vec![format!("{kind}:{path}")], ("PATH", in_path)),
        };
        let options = files.into_iter().flat_map(|file| ["--lib".to_owned(), file]).collect();
        Copies { options, variable }
    }
}

fn copied(file: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join(file.file_name().unwrap());
    fs::copy(file, &copy).unwrap();
    copy
}

/// Where the shell finds a program.
fn in_path_of(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("there is no {name}: packaging/install-deps.sh test"))
}

/// The folder or file of an installed package, `lib/pythonX.Y/site-packages/NAME`.
fn package(name: &str) -> PathBuf {
    let versions = fs::read_dir(Path::new(VENV).join("lib")).unwrap();
    let mut folders = versions.map(|v| v.unwrap().path().join("site-packages").join(name));
    folders.find(|f| f.exists()).unwrap_or_else(|| panic!("{name}: packaging/install-deps.sh test"))
}

/// The variables of a row with their values.
fn fill(command: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(command.to_owned(), |text, (word, value)| text.replace(word, value))
}

/// How a program is recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Child,
    Pid,
    SystemWide,
}

/// A client by itself: records this command of the shell, which must succeed, in child mode or
/// system-wide.
fn record_client(live: &Live, way: Way, private: Private<'_>, command: &str) -> Recorded {
    if way == Way::Child {
        return live.record(&[], &["sh", "-c", command]).succeeded();
    }
    let copies = private.copy(live);
    let running = live.attach(&copies.options);
    let (name, value) = &copies.variable;
    let output = live.run(Command::new("sh").args(["-c", command]).env(name, value));
    assert_eq!(output.code(), 0, "{command}: {}", output.stderr);
    running.stop(SIGINT).succeeded()
}

/// A server with a single request: records the command of the shell, which must become the server,
/// and returns the result of `ask` too.
fn record_server<T>(
    live: &Live,
    way: Way,
    private: Private<'_>,
    (command, port): &(String, u16),
    ask: impl FnOnce() -> T,
) -> (Recorded, T) {
    let shell = ["sh", "-c", command];
    let ask = || {
        let answer = ask();
        wait_until_it_has_closed(*port);
        answer
    };
    let start = |variable: Option<(&str, String)>| {
        let server = live.spawn(Command::new(shell[0]).args(&shell[1..]).envs(variable));
        wait_until_it_listens(&server, *port);
        server
    };
    match way {
        Way::Child => {
            let running = live.attach_to_command(&shell);
            wait_until_it_listens(running.started(), *port);
            let answer = ask();
            // The recorder passes it on, and ends with the server's exit status.
            (running.stop(SIGTERM), answer)
        }
        Way::Pid => {
            let server = start(None);
            let running = live.attach(&["-p", &server.pid().to_string()]);
            let answer = ask();
            let recorded = running.stop(SIGINT).succeeded();
            server.end();
            (recorded, answer)
        }
        Way::SystemWide => {
            let copies = private.copy(live);
            let running = live.attach(&copies.options);
            let server = start(Some(copies.variable));
            let answer = ask();
            let recorded = running.stop(SIGINT).succeeded();
            server.end();
            (recorded, answer)
        }
    }
}

/// To connect would be a connection more, which the recording would have.
fn wait_until_it_listens(server: &Started, port: u16) {
    let listens = || states(port).contains(&LISTEN).then_some(());
    let said = || fs::read_to_string(&server.stderr).unwrap_or_default();
    assert!(within(Duration::from_secs(15), listens).is_some(), "nobody listens: {}", said());
}

/// The client may leave while the server is still within the call that sent the answer, and the
/// data of a call that does not return is not recorded. The server closes once it has seen the
/// client leave.
fn wait_until_it_has_closed(port: u16) {
    let is_gone = |state: &u8| [LISTEN, TIME_WAIT].contains(state);
    let has_closed = || states(port).iter().all(is_gone).then_some(());
    assert!(within(Duration::from_secs(15), has_closed).is_some(), "{:?}", states(port));
}

const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

/// States of the sockets with this local port (the kernel's `include/net/tcp_states.h`).
fn states(port: u16) -> Vec<u8> {
    let read = |file| fs::read_to_string(file).unwrap();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(read).concat();
    let state = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let is_here = local.ends_with(&format!(":{port:04X}"));
        is_here.then(|| u8::from_str_radix(state, 16).unwrap())
    };
    tables.lines().filter_map(state).collect()
}

/// Asserts that nothing but a single connection was recorded, and that it is complete.
fn list_one_connection(live: &Live, recorded: &Recorded) -> Listing {
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    let said = &recorded.output.stderr;
    assert_eq!(listing.exchanges.len() + listing.streams.len(), 1, "{said}");
    assert_eq!(listing.summary["connections"], 1, "of no file and no other program: {said}");
    assert_eq!(listing.summary["lost_bytes"], 0, "{said}");
    assert_eq!(listing.summary["dropped_events"], 0, "{said}");
    listing
}

/// Asserts that the connection is that of the program and library of a row.
fn check_identity(object: &Value, role: &str, [comm, lib, addr]: [&str; 3], way: Way) {
    assert_eq!(object["comm"], comm, "{way:?}");
    assert_eq!(object["role"], role, "{comm} {way:?}");
    assert_eq!(object["addr"], addr, "{comm} {way:?}");
    assert_eq!(object["complete"], true, "{comm} {way:?}: {}", object["notes"]);
    let name = object["lib"].as_str().unwrap_or_default();
    assert!(name.starts_with(lib), "{comm} {way:?}: {name}");
}

fn check_get(exchange: &Value, proto: &str, comm: &str) {
    assert_eq!(exchange["proto"], proto, "{comm}");
    assert_eq!(exchange["request"]["method"], "GET", "{comm}");
    assert_eq!(exchange["response"]["status"], 200, "{comm}");
}
