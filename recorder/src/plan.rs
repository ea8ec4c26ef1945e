//! The plan of a recording: the options of the command line, sorted by the modules that act on
//! them. Each module receives its part, and only this module and `cli` use the options.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory;
use sslrec_cli::manual;
use sslrec_formats::Destination;
use sslrec_redact::Rules;

use crate::cli::{Action, Options};
use crate::functions::{Family, NamedFile};
use crate::kernel::features::KernelFeature;
use crate::proc::processes;
use crate::process::privileges::User;

/// The task of the program.
#[derive(Debug)]
pub enum Task {
    /// Record.
    Record(Box<Plan>),
    /// Report the processes that could be recorded.
    Doctor(Box<Plan>),
    /// Be the peer of another recorder's self-test.
    SelfTestPeer,
    /// Resume the stopped processes of another recorder if it dies.
    Watchdog,
    /// Write man pages and completions into folders below this one.
    Generate(PathBuf),
}

impl Task {
    /// Parses the command line of this process. Prints help, or an error with status 2, and exits
    /// if the words ask for help or are wrong.
    #[must_use]
    pub fn from_args() -> Self {
        Self::of(Options::from_command_line())
    }

    fn of(options: Options) -> Self {
        match options {
            Options { self_test: true, .. } => Self::SelfTestPeer,
            Options { watchdog: true, .. } => Self::Watchdog,
            Options { generate: Some(share), .. } => Self::Generate(share),
            Options { action: Some(Action::Doctor), .. } => {
                Self::Doctor(Box::new(Plan::of(options)))
            }
            Options { action: None, .. } => Self::Record(Box::new(Plan::of(options))),
        }
    }
}

/// Writes the man page of `sslrec` and of each of its commands, and completions for shells, into
/// folders below `share`.
pub(crate) fn generate(share: &Path) -> io::Result<()> {
    manual::write(Options::command(), share)
}

/// The parts of a recording.
#[derive(Debug)]
pub struct Plan {
    pub(crate) select: Select,
    pub(crate) probe: Probe,
    pub(crate) write: Write,
    pub(crate) show: Show,
    pub(crate) limits: Limits,
    pub(crate) until: Until,
    pub(crate) exit: Exit,
    pub(crate) talk: Talk,
    /// The user to become.
    pub(crate) user: Option<User>,
}

/// The processes to record. Filters of different kinds are combined with AND, filters of one kind
/// with OR.
#[derive(Debug, Default)]
pub(crate) struct Select {
    pub(crate) pids: Vec<u32>,
    /// With `pids`: include their children.
    pub(crate) children: bool,
    pub(crate) uids: Vec<u32>,
    pub(crate) comms: Vec<String>,
    pub(crate) cgroups: Vec<PathBuf>,
    /// The command to start, with its arguments; empty for none.
    pub(crate) command: Vec<String>,
}

impl Select {
    /// Returns whether processes are named, so that only these, and those that they start, are
    /// recorded.
    pub(crate) fn names_processes(&self) -> bool {
        !self.pids.is_empty() || self.has_command()
    }

    pub(crate) fn has_command(&self) -> bool {
        !self.command.is_empty()
    }

    /// Returns the named processes, with their children if these are recorded too.
    pub(crate) fn named(&self) -> Vec<u32> {
        if self.children { processes::with_descendants(&self.pids) } else { self.pids.clone() }
    }
}

/// The functions to probe.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// Only these files, unless empty.
    pub(crate) files: Vec<NamedFile>,
    /// The libraries whose functions are probed.
    pub(crate) families: Vec<Family>,
    /// Kernel features to do without.
    pub(crate) without: Vec<KernelFeature>,
}

/// The files to write.
#[derive(Debug, Default)]
pub(crate) struct Write {
    pub(crate) destinations: Vec<Destination>,
    pub(crate) rotation: Option<Rotation>,
    /// Write server ports into the pcapng as they are.
    pub(crate) keep_port: bool,
    /// Server ports to replace in the pcapng, each with its replacement.
    pub(crate) map_ports: Vec<(u16, u16)>,
    /// Secrets to blank in the files and in the text.
    pub(crate) redact: Rules,
}

/// The conditions to begin another file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rotation {
    /// At this many bytes.
    pub(crate) size: Option<u64>,
    /// After this long.
    pub(crate) period: Option<Duration>,
    /// The number of files to keep; all if `None`.
    pub(crate) keep: Option<usize>,
}

/// The live text.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // each is one switch of the command line
pub(crate) struct Show {
    pub(crate) latency: bool,
    pub(crate) extra: bool,
    pub(crate) hexdump: bool,
    pub(crate) handshake: bool,
    pub(crate) color: bool,
}

/// Bounds on memory and time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of the kernel buffer.
    pub(crate) ring_size: u64,
    /// Bytes of the recorder, including the kernel buffer.
    pub(crate) max_memory: Option<u64>,
    /// Bytes kept of each call; 0 for all.
    pub(crate) snaplen: u64,
    /// Run the threads that empty the ring and write at real-time priorities.
    pub(crate) realtime: bool,
}

/// The conditions to end the recording.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Until {
    /// After this many calls with data.
    pub(crate) count: Option<u64>,
    /// After this long.
    pub(crate) duration: Option<Duration>,
    /// When no recorded process is left.
    pub(crate) all_ended: bool,
}

/// Results reported by the exit status.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exit {
    pub(crate) fail_on_loss: bool,
    pub(crate) fail_if_empty: bool,
    pub(crate) fail_on_missed: bool,
}

/// The messages on standard error.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Talk {
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

impl Plan {
    pub(crate) fn of(options: Options) -> Self {
        let families = options.families();
        let mut redact = Rules::default();
        options.redact.into_iter().for_each(|rule| redact.add(rule));
        let rotates = options.file_size.is_some() || options.file_seconds.is_some();
        let rotation = Rotation {
            size: options.file_size,
            period: options.file_seconds,
            keep: options.file_count,
        };
        Self {
            probe: Probe { files: options.libs, families, without: options.without },
            write: Write {
                destinations: options.write,
                rotation: rotates.then_some(rotation),
                keep_port: options.keep_port,
                map_ports: options.map_ports,
                redact,
            },
            show: Show {
                latency: options.latency,
                extra: options.extra,
                hexdump: options.hexdump,
                handshake: options.handshake,
                color: options.color.is_on(&std::io::stdout()),
            },
            limits: Limits {
                ring_size: options.ring_size,
                max_memory: options.max_memory,
                snaplen: options.snaplen,
                realtime: !options.no_realtime,
            },
            until: Until {
                count: options.count,
                duration: options.duration,
                all_ended: !options.pids.is_empty(),
            },
            exit: Exit {
                fail_on_loss: options.fail_on_loss,
                fail_if_empty: options.fail_if_empty,
                fail_on_missed: options.fail_on_missed,
            },
            talk: Talk { quiet: options.quiet, verbose: options.verbose },
            user: options.user,
            select: Select {
                pids: options.pids,
                children: !options.no_children,
                uids: options.uids,
                comms: options.comms,
                cgroups: options.cgroups,
                command: options.command,
            },
        }
    }
}

#[cfg(test)]
impl Plan {
    /// Returns the plan of a recording with these words.
    pub(crate) fn parse(words: &[&str]) -> Self {
        use clap::Parser;
        Self::of(Options::parse_from([&["sslrec"], words].concat()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn task(words: &[&str]) -> Task {
        Task::of(Options::parse_from([&["sslrec"], words].concat()))
    }

    fn plan(words: &[&str]) -> Plan {
        Plan::parse(words)
    }

    #[test]
    fn words_choose_the_task() {
        assert!(matches!(task(&["doctor"]), Task::Doctor(_)));
        assert!(matches!(task(&["--self-test"]), Task::SelfTestPeer));
        assert!(matches!(task(&["--watchdog"]), Task::Watchdog));
        assert!(matches!(task(&["--generate", "share"]), Task::Generate(_)));
        assert!(matches!(task(&["--", "doctor"]), Task::Record(_)));
    }

    #[test]
    fn a_command_and_pids_name_processes_and_filters_do_not() {
        assert!(plan(&["--", "true"]).select.names_processes());
        assert!(plan(&["-p", "1"]).select.names_processes());
        assert!(!plan(&["-u", "0", "-c", "curl"]).select.names_processes());
    }

    #[test]
    fn named_processes_are_with_their_children_unless_those_are_left_out() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let of = |args: &[&str]| plan(&[&["-p", &own.to_string()], args].concat()).select.named();
        let (with, without) = (of(&[]), of(&["--no-children"]));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(with.contains(&child.id()) && with.contains(&own));
        assert_eq!(without, [own]);
        assert!(plan(&["--", "true"]).select.named().is_empty());
    }

    #[test]
    fn files_rotate_by_size_or_time_only() {
        assert!(plan(&["-w", "a.zst"]).write.rotation.is_none());
        let rotation = plan(&["-w", "a.zst", "-G", "60", "-W", "3"]).write.rotation.unwrap();
        assert_eq!((rotation.size, rotation.keep), (None, Some(3)));
        assert_eq!(rotation.period, Some(Duration::from_secs(60)));
    }

    #[test]
    fn rules_add_up() {
        assert!(plan(&[]).write.redact.is_empty());
        let redact = plan(&["--redact", "default", "--redact", "json:password"]).write.redact;
        assert!(redact.stated().len() > 1, "{:?}", redact.stated());
    }
}
