//! Tests the probes of a library before anything is recorded with them.
//!
//! Probes within functions are at places that a proof determines. A wrong proof would corrupt
//! captures, so the kernel must confirm it in practice: a child process loads the library, where a
//! client and a server communicate over memory, and the events must be exactly its calls: the
//! functions, the numbers of bytes, and the bytes.
//!
//! Loading a library runs its code. So only files that nobody but root and the user can write are
//! loaded ([`crate::trust`]), in a child with minimal permissions (`sandbox`), and all tests of a
//! recording share one deadline. Files that are not tested here are tested during the recording
//! ([`super::trials`]).

pub(crate) mod diversion;
pub(crate) mod peer;
mod sandbox;
mod script;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use libbpf_rs::{MapHandle, RingBufferBuilder};
use rustix::process::{Pid, Signal, kill_process_group};

use self::diversion::Diversion;
use self::script::{Round, rounds};
use crate::attach::probes::Probes;
use crate::functions::name_of;
use crate::kernel::event::Event;
use crate::kernel::skel::types::direction;
use crate::proc::own;
use crate::targets::Target;

/// The time limit for one library.
const TEST_TIME: Duration = Duration::from_secs(2);

/// The time limit for all tests of a recording together.
const TOTAL_TIME: Duration = Duration::from_secs(5);

/// The most libraries that are loaded for a recording.
const TESTS_MAX: usize = 64;

/// The longest line that a peer may send.
const LINE_MAX: usize = 16 << 10;

/// The remaining time and number of self-tests of a recording.
#[derive(Debug)]
pub(crate) struct Budget {
    time: Duration,
    tests: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { time: TOTAL_TIME, tests: TESTS_MAX }
    }
}

impl Budget {
    /// Takes the time of one test, if there is any left.
    fn grant(&mut self) -> Option<Duration> {
        self.tests = self.tests.checked_sub(1)?;
        let time = self.time.min(TEST_TIME);
        (!time.is_zero()).then_some(time)
    }

    fn spend(&mut self, time: Duration) {
        self.time = self.time.saturating_sub(time);
    }
}

/// The outcome of a self-test.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Every call was recorded exactly.
    Passed,
    /// Something else was recorded, or the library did not work with the probes, with the reason.
    /// The probes must not be used.
    Failed(String),
    /// The library cannot run the test, for this reason, which the peer reported.
    NotRun(String),
}

/// The source of a self-test's events.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// The ring: nothing is recorded yet.
    Ring,
    /// The diversion, which the thread that empties the ring fills.
    Recording(&'a Diversion),
}

/// Tests the probes that are attached to a library.
///
/// # Errors
/// The kernel side cannot be read.
pub(crate) fn run(
    probes: &mut Probes<'_>,
    target: &Target,
    source: &Source<'_>,
    budget: &mut Budget,
) -> Result<Outcome> {
    let Some(time) = budget.grant() else {
        return Ok(Outcome::NotRun("the time for self-tests is used up".into()));
    };
    let start = Instant::now();
    let outcome = run_within(probes, target, source, start + time);
    budget.spend(start.elapsed());
    outcome
}

fn run_within(
    probes: &mut Probes<'_>,
    target: &Target,
    source: &Source<'_>,
    deadline: Instant,
) -> Result<Outcome> {
    let peer = match Peer::start(target, deadline) {
        Ok(peer) => peer,
        Err(error) => return Ok(Outcome::NotRun(format!("{error:#}"))),
    };
    let pid = peer.pid;
    let seen = RefCell::new(Seen { pid, calls: Vec::new(), broken: None });
    let told_by_others = told_by_others(target);
    let outcome = match source {
        Source::Ring => {
            let ring_map = MapHandle::try_from(&probes.skel.maps.ring)?;
            let mut ring = RingBufferBuilder::new();
            ring.add(&ring_map, |event| {
                seen.borrow_mut().add(event);
                0
            })?;
            let ring = ring.build()?;
            let look = || ring.consume().map_err(|error| error.to_string());
            probes.record_self_test(pid)?;
            converse(peer, &look, &seen, &told_by_others)
        }
        Source::Recording(diversion) => {
            let all_taken = Cell::new(false);
            let look = || {
                let events = diversion.take();
                all_taken.set(events.is_ok());
                events?.iter().for_each(|event| seen.borrow_mut().add(event));
                Ok(())
            };
            diversion.divert(pid);
            probes.record_self_test(pid)?;
            let outcome = converse(peer, &look, &seen, &told_by_others);
            // Unread events are still in the ring, and do not belong to the recording.
            if all_taken.get() {
                diversion.divert(0);
            }
            outcome
        }
    };
    probes.record_self_test(0)?;
    probes.forget(pid)?;
    Ok(outcome)
}

/// Delivers the pending events of the kernel side, or returns why this fails.
type Look<'a> = &'a dyn Fn() -> Result<(), String>;

/// Returns the functions that end with a call of another function, and are recorded as that
/// function's calls.
fn told_by_others(target: &Target) -> Vec<&'static str> {
    let functions = target.symbols.functions.iter();
    functions
        .filter(|defined| defined.sites.as_ref().is_ok_and(|sites| sites.exits.is_empty()))
        .map(|defined| defined.function().name)
        .collect()
}

fn converse(
    mut peer: Peer,
    look: Look<'_>,
    seen: &RefCell<Seen>,
    told_by_others: &[&str],
) -> Outcome {
    let outcome = compare(&mut peer, look, seen, told_by_others);
    drop(peer);
    // Takes the end of the peer and of its connections, which no other reader may see. If this
    // fails there is no other reader.
    let _ = look();
    outcome
}

fn compare(
    peer: &mut Peer,
    look: Look<'_>,
    seen: &RefCell<Seen>,
    told_by_others: &[&str],
) -> Outcome {
    match peer.step() {
        Ok(_) => {}
        Err(Stop::Told(reason)) => return Outcome::NotRun(reason),
        // A probe at a wrong place may kill the peer.
        Err(Stop::Silent(reason)) => return Outcome::Failed(reason),
    }
    for round in rounds() {
        let told = match peer.step() {
            Ok(told) => told,
            // The test has begun, so the library works without probes.
            Err(Stop::Told(reason) | Stop::Silent(reason)) => return Outcome::Failed(reason),
        };
        if let Err(reason) = look() {
            return Outcome::NotRun(reason);
        }
        let mut seen = seen.borrow_mut();
        let calls = std::mem::take(&mut seen.calls);
        if let Some(reason) =
            seen.broken.take().or_else(|| difference(round, &told, &calls, told_by_others))
        {
            return Outcome::Failed(reason);
        }
    }
    Outcome::Passed
}

/// Returns how the calls of a round that the peer reported differ from those that were recorded.
fn difference(round: Round, told: &str, seen: &[Call], told_by_others: &[&str]) -> Option<String> {
    let is_seen = |(told, seen): (&str, &Call)| {
        told.split_once(' ').is_some_and(|(name, len)| {
            let by_name = name == seen.function || told_by_others.contains(&name);
            by_name && len == seen.bytes.len().to_string()
        })
    };
    let calls = told.split(',');
    if calls.clone().count() != seen.len() || !calls.zip(seen).all(is_seen) {
        let seen: Vec<_> =
            seen.iter().map(|call| format!("{} {}", call.function, call.bytes.len())).collect();
        return Some(format!("expected the calls {told}, recorded {}", seen.join(",")));
    }
    for sent in [true, false] {
        let calls = || seen.iter().filter(|call| call.sent == sent);
        let bytes: Vec<_> = calls().flat_map(|call| call.bytes.iter().copied()).collect();
        if bytes != round.bytes() {
            let what = if sent { "sent" } else { "received" };
            return Some(format!("the {} bytes {what} by {told} were not recorded", round.len));
        }
    }
    let ends = |sent| seen.iter().find(|call| call.sent == sent).map(|call| call.ssl);
    (ends(true) == ends(false)).then(|| "both ends appear as one connection".into())
}

/// A recorded call.
#[derive(Debug)]
struct Call {
    function: &'static str,
    ssl: u64,
    sent: bool,
    bytes: Vec<u8>,
}

/// The calls found in the peer's events.
#[derive(Debug)]
struct Seen {
    pid: u32,
    calls: Vec<Call>,
    /// An event that no call produces.
    broken: Option<String>,
}

impl Seen {
    fn add(&mut self, event: &[u8]) {
        let Some(event) = Event::parse(event) else {
            self.broken = Some("an event was invalid".into());
            return;
        };
        match event {
            Event::Data(data, bytes) if data.head.pid == self.pid => {
                if data.call_offset == 0 {
                    self.calls.push(Call {
                        function: name_of(data.head.func),
                        ssl: data.head.ssl,
                        sent: u32::from(data.head.dir) == direction::DIR_SENT.0,
                        bytes: Vec::new(),
                    });
                }
                match self.calls.last_mut() {
                    Some(call) if call.bytes.len() as u64 == data.call_offset => {
                        call.bytes.extend_from_slice(bytes);
                    }
                    _ => self.broken = Some("a call was recorded in part".into()),
                }
            }
            Event::Gap(gap) if gap.head.pid == self.pid => {
                self.broken = Some(format!("{} bytes could not be read", gap.len));
            }
            // Other processes end meanwhile, and the peer's connections begin and end.
            _ => {}
        }
    }
}

/// The reason why the peer did not continue.
#[derive(Debug)]
enum Stop {
    /// The peer reported it.
    Told(String),
    /// The peer died, or hangs.
    Silent(String),
}

/// The child process and its descendants: it is the leader of a session of its own.
#[derive(Debug)]
struct Peer {
    process: Child,
    /// The process that loads the library: the child, or a child of it.
    pid: u32,
    socket: UnixStream,
    /// Received, and not yet taken as a line.
    received: Vec<u8>,
    deadline: Instant,
}

impl Peer {
    fn start(target: &Target, deadline: Instant) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
        let mut command = Command::new(own::EXECUTABLE);
        command.arg("--self-test").env_clear().envs(sandbox::ENVIRONMENT).current_dir("/");
        command.stderr(Stdio::null());
        command.stdin(target.file.try_clone()?).stdout(OwnedFd::from(theirs));
        // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
        unsafe {
            // Capabilities of the recorder's file are not for its child, and with them the loader
            // would ignore the environment.
            command.pre_exec(|| Ok(rustix::thread::set_no_new_privs(true)?));
        }
        let process = command.spawn().context("cannot start the peer")?;
        // The child has the other end; a copy kept here would hide the closing of the child's end.
        drop(command);
        let mut peer = Self { process, pid: 0, socket: ours, received: Vec::new(), deadline };
        let first = peer.line().map_err(Stop::into_error)?;
        peer.pid = first
            .strip_prefix("pid ")
            .and_then(|pid| pid.parse().ok())
            .with_context(|| format!("the peer is not confined: {first}"))?;
        Ok(peer)
    }

    /// Lets the peer take the next step, and returns its report of that.
    fn step(&mut self) -> Result<String, Stop> {
        // The peer may have ended. Its earlier output can still be read.
        let _ = self.socket.write_all(b"go\n");
        let line = self.line()?;
        match line.strip_prefix("failed: ") {
            Some(reason) => Err(Stop::Told(reason.to_owned())),
            None => Ok(line),
        }
    }

    /// Returns the next line, if it is complete before the deadline.
    fn line(&mut self) -> Result<String, Stop> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.received.len() > LINE_MAX {
                return Err(Stop::Silent("the peer sends a line without an end".into()));
            }
            let mut buffer = [0; 4096];
            let rest = self.deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(Stop::Silent("the peer takes too long".into()));
            }
            let received = self
                .socket
                .set_read_timeout(Some(rest))
                .and_then(|()| self.socket.read(&mut buffer));
            match received {
                Ok(0) => return Err(Stop::Silent("the peer ended".into())),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Stop::Silent("the peer takes too long".into()));
                }
                Err(error) => {
                    return Err(Stop::Silent(format!("cannot read from the peer: {error}")));
                }
            }
        }
    }
}

impl Stop {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Told(reason) | Self::Silent(reason) => anyhow!(reason),
        }
    }
}

impl Drop for Peer {
    /// Ends the child and every process in its session.
    fn drop(&mut self) {
        let leader = Pid::from_child(&self.process);
        // Fails if the child has not begun its session, or has ended.
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_self_tests_share_a_deadline() {
        let mut budget = Budget::default();
        let mut spent = Duration::ZERO;
        while let Some(time) = budget.grant() {
            budget.spend(time);
            spent += time;
        }
        assert_eq!(spent, TOTAL_TIME);
    }

    #[test]
    fn the_number_of_tests_is_bounded_too() {
        let mut budget = Budget::default();
        let granted = std::iter::from_fn(|| budget.grant()).take(10 * TESTS_MAX).count();
        assert_eq!(granted, TESTS_MAX);
    }
}
