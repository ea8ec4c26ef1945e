//! Tries the probes of a library before anything is recorded with them.
//!
//! Probes within functions stand where a proof says. A proof that is wrong would corrupt captures,
//! so the kernel must show in practice what it claims: a child process of our own loads the
//! library and has a client and a server talk over memory, and the events must be exactly its
//! calls: which functions, how many bytes, which bytes.
//!
//! The library may come from anywhere, a container for one, and loading it runs its code. So the
//! child has no privileges. Programs with the library inside cannot be loaded; for these the proof
//! has to do, and the kernel side's check that no call gives more than was asked for.

pub(crate) mod diversion;
pub(crate) mod peer;
mod script;

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::{MapHandle, RingBufferBuilder};

use self::diversion::Diversion;
use self::script::{Round, rounds};
use crate::attach::probes::Probes;
use crate::functions::name_of;
use crate::kernel::event::Event;
use crate::kernel::skel::types::direction;
use crate::proc::own;
use crate::targets::Target;

/// The peer's user and group where it can be chosen: those of `nobody`.
const NOBODY: u32 = 65534;

/// A library that takes longer for one step is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the probes did.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Every call was seen as it was.
    Passed,
    /// Something else was seen, or the library did not work with them, as this says. The probes
    /// are not to be used.
    Failed(String),
    /// The library cannot have the conversation, for this reason, which the peer told.
    NotRun(String),
}

/// Where the events of a self-test come from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// The ring: nothing is recorded yet.
    Ring,
    /// Whoever empties the ring.
    Recording(&'a Diversion),
}

/// Tries the probes that are attached to a library.
///
/// # Errors
/// The kernel side cannot be read.
pub(crate) fn run(
    probes: &mut Probes<'_>,
    target: &Target,
    source: &Source<'_>,
) -> Result<Outcome> {
    let peer = match Peer::start(target) {
        Ok(peer) => peer,
        Err(error) => return Ok(Outcome::NotRun(format!("{error:#}"))),
    };
    let pid = peer.process.id();
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
            // What could not be had yet is still in the ring, and no part of the recording.
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

/// Has the kernel side's events seen, as far as there are any now; gives why that fails.
type Look<'a> = &'a dyn Fn() -> Result<(), String>;

/// The functions whose calls are seen as those of others that they end with.
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
    // Its end, and that of its connections: nobody else is to see them. If they cannot be had
    // there is nobody else either.
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
        // A probe at a wrong place may kill.
        Err(Stop::Silent(reason)) => return Outcome::Failed(reason),
    }
    for round in rounds() {
        let told = match peer.step() {
            Ok(told) => told,
            // What has begun works without probes.
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

/// What differs between the calls of a round as the peer told of them and as they were seen.
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
        return Some(format!("of the calls {told} these were seen: {}", seen.join(",")));
    }
    for sent in [true, false] {
        let calls = || seen.iter().filter(|call| call.sent == sent);
        let bytes: Vec<_> = calls().flat_map(|call| call.bytes.iter().copied()).collect();
        if bytes != round.bytes() {
            let what = if sent { "sent" } else { "received" };
            return Some(format!("the {} bytes {what} by {told} were not seen", round.len));
        }
    }
    let ends = |sent| seen.iter().find(|call| call.sent == sent).map(|call| call.ssl);
    (ends(true) == ends(false)).then(|| "both ends look like one".into())
}

/// A call that was seen.
#[derive(Debug)]
struct Call {
    function: &'static str,
    ssl: u64,
    sent: bool,
    bytes: Vec<u8>,
}

/// What the events of the peer came to.
#[derive(Debug)]
struct Seen {
    pid: u32,
    calls: Vec<Call>,
    /// Something that no call makes.
    broken: Option<String>,
}

impl Seen {
    fn add(&mut self, event: &[u8]) {
        let Some(event) = Event::parse(event) else {
            self.broken = Some("an event was none".into());
            return;
        };
        match event {
            Event::Data(data, bytes) if data.head.pid == self.pid => {
                if data.call_offset == 0 {
                    self.calls.push(Call {
                        function: name_of(data.head.func),
                        ssl: data.head.ssl,
                        sent: data.dir == direction::DIR_SENT.0,
                        bytes: Vec::new(),
                    });
                }
                match self.calls.last_mut() {
                    Some(call) if call.bytes.len() as u64 == data.call_offset => {
                        call.bytes.extend_from_slice(bytes);
                    }
                    _ => self.broken = Some("a call was seen in part".into()),
                }
            }
            Event::Gap(gap) if gap.head.pid == self.pid => {
                self.broken = Some(format!("{} bytes could not be read", gap.len));
            }
            // Others end meanwhile, and the peer's connections come and go.
            _ => {}
        }
    }
}

/// Why the peer did not go on.
#[derive(Debug)]
enum Stop {
    /// It says so itself.
    Told(String),
    /// It died, or does nothing.
    Silent(String),
}

/// The child process.
#[derive(Debug)]
struct Peer {
    process: Child,
    input: BufReader<UnixStream>,
    output: UnixStream,
}

impl Peer {
    fn start(target: &Target) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let mut command = Command::new(own::EXECUTABLE);
        command.arg("--self-test").env_clear().current_dir("/").stderr(Stdio::null());
        command.stdin(target.file.try_clone()?).stdout(OwnedFd::from(theirs));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        // Ctrl-C is for the recorder.
        command.process_group(0);
        let process = command.spawn().context("cannot start the peer")?;
        Ok(Self { process, input: BufReader::new(ours.try_clone()?), output: ours })
    }

    /// Lets the peer go on, and gives what it says of that.
    fn step(&mut self) -> Result<String, Stop> {
        let silent = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => Stop::Silent("the peer takes too long".into()),
            _ => Stop::Silent(format!("the peer cannot be heard: {error}")),
        };
        // It may have ended. What it said before that can still be read.
        let _ = self.output.write_all(b"go\n");
        let mut line = String::new();
        match self.input.read_line(&mut line).map_err(silent)? {
            0 => Err(Stop::Silent("the peer ended".into())),
            _ => match line.trim_end().strip_prefix("failed: ") {
                Some(reason) => Err(Stop::Told(reason.to_owned())),
                None => Ok(line.trim_end().to_owned()),
            },
        }
    }
}

impl Drop for Peer {
    /// Has it end by itself, or else ends it.
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.output.write_all(b"go\n").and_then(|()| self.output.shutdown(Shutdown::Write));
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
