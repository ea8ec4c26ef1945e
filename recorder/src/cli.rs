//! The command line: its options, checked as far as they alone allow. `plan` sorts them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, ArgGroup, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser,
    Subcommand,
};
use sslrec_cli::color::Color;
use sslrec_cli::size;
use sslrec_formats::Destination;
use sslrec_redact::Rules;

use crate::functions::{Family, LIBRARIES, Library, NamedFile, kinds};
use crate::kernel::features::KernelFeature;
use crate::process::privileges::User;

/// Record the plaintext of TLS connections from inside running programs.
///
/// Hooks the TLS library of the chosen processes with eBPF probes and writes the bytes sent and
/// received, before encryption and after decryption, to files or as live text. Needs no proxy,
/// certificate or restart. Needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE.
#[derive(Debug, Parser)]
#[command(
    name = "sslrec",
    version,
    max_term_width = 100,
    group(ArgGroup::new("file_end").args(["file_size", "file_seconds"]).multiple(true)),
    override_usage = "sslrec [OPTIONS] -- COMMAND [ARG]...\n       \
        sslrec [OPTIONS] <-p PID|-u USER|-c NAME|--cgroup PATH|--lib PATH|-a>\n       \
        sslrec doctor",
    disable_help_subcommand = true,
    after_help = "\
Exit status: 0 success; 1 the recording failed; 2 bad usage; 3 data was lost,
with --fail-on-loss; 4 nothing was recorded, with --fail-if-empty. With COMMAND
its own status, or 128 + N if signal N ended it; 1, 3 and 4 only replace a 0.

Examples:
  sslrec -w capture.pcapng -- ./run-tests     record a command and everything it starts
  sslrec -p 4242 -w capture.pcapng            record a running process; Ctrl-C ends
  sslrec -w - -- curl https://localhost/ | wireshark -k -i -
  sslrec -- curl https://localhost/           show the plaintext as it passes"
)]
pub struct Options {
    /// Write a file: NAME.pcapng, NAME.zst (raw log), or - for pcapng on stdout
    ///
    /// May be given twice, once for each format. Without -w the plaintext is shown as text on
    /// stdout. The file is created with mode 0600, since it contains secrets; an existing file is
    /// replaced. Named pipes, links, and files of other users are refused, since others could read
    /// the capture through them. If the file is removed or moved meanwhile, the exit status is 1.
    /// With -, the output of COMMAND goes to stderr, so it does not get into the capture.
    #[arg(short = 'w', long = "write", value_name = "FILE", value_parser = Destination::from_str)]
    pub write: Vec<Destination>,

    /// Record every process of this machine
    ///
    /// Includes processes that start later. The capture then contains the TLS data of all users.
    #[arg(short, long, conflicts_with_all = ["pids", "uids", "comms", "cgroups", "command"])]
    pub all: bool,

    /// Record these processes, and their children
    ///
    /// Includes children that already run and those started later. Repeatable, or a list with
    /// commas. The recording ends when all of these processes have ended.
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,

    /// With -p, do not record children
    #[arg(long, requires = "pids")]
    pub no_children: bool,

    /// Record only processes of this user; repeatable
    #[arg(short, long = "uid", value_name = "UID|NAME", value_parser = parse_user)]
    pub uids: Vec<u32>,

    /// Record only processes of this name; repeatable
    ///
    /// The name is that of the kernel, at most 15 bytes, as shown by `ps -o comm`.
    #[arg(short, long = "comm", value_name = "NAME", value_parser = parse_comm)]
    pub comms: Vec<String>,

    /// Record only processes in this cgroup or below it; repeatable
    ///
    /// A cgroup v2 path, as shown after `0::` in /proc/PID/cgroup, with or without the mount point.
    /// Filters of different kinds are combined with AND, repeated filters of one kind with OR.
    #[arg(long = "cgroup", value_name = "PATH")]
    pub cgroups: Vec<PathBuf>,

    /// Probe this library or executable, and no other; repeatable
    #[arg(long = "lib", value_name = "[KIND:]PATH", value_parser = NamedFile::from_str,
          long_help = lib_help())]
    pub libs: Vec<NamedFile>,

    #[command(flatten)]
    pub(crate) left_out: LeftOut,

    /// Size of the kernel buffer, such as 64M [default: 16M]
    ///
    /// Rounded up to a power of two, at least 64K. Data that does not fit is lost, counted, and
    /// reported as missing in the files.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "16M",
          hide_default_value = true)]
    pub ring_size: u64,

    /// Memory limit of the recorder, including the kernel buffer [default: 256M]
    ///
    /// Beyond the limit new connections are not recorded; their bytes are counted and reported as
    /// missing. The default has room for the 65,536 connections that can be followed at once, and
    /// grows with --ring-size beyond 16M. The program itself and the tables of the kernel side do
    /// not count.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub max_memory: Option<u64>,

    /// Run at normal priority: a busy machine loses data instead of slowing programs
    ///
    /// By default the two threads that empty the kernel buffer and write run at the lowest
    /// real-time priorities, where permitted: a program that outruns them is slowed.
    #[arg(long)]
    pub no_realtime: bool,

    /// Keep at most BYTES of each call; 0 means no limit [default: 0]
    ///
    /// The rest is marked as missing.
    #[arg(long, value_name = "BYTES", value_parser = size::parse, default_value = "0",
          hide_default_value = true)]
    pub snaplen: u64,

    /// Blank secrets while writing, length kept; repeatable
    ///
    /// RULE is default (credential headers, cookies, secrets in URLs and forms, bearer tokens, and
    /// tokens by their shape), header:NAME, cookie, cookie:NAME, query:NAME, json:NAME, form:NAME,
    /// bearer, basic, or regex:RE. Rules apply to every file and to the text. Bytes that may be
    /// secret and cannot be searched, such as compressed bodies, are blanked completely; see
    /// `sslanalyze redact --help`. Example: `--redact default --redact
    /// json:password`
    #[arg(long, value_name = "RULE")]
    pub redact: Vec<Rules>,

    /// Write the real server ports into the pcapng
    ///
    /// By default a server port is written as 80, and the real port into the comment of each
    /// packet, since Wireshark decodes HTTP/2 without settings only on an HTTP port.
    #[arg(long)]
    pub keep_port: bool,

    /// Write server port A as B into the pcapng; repeatable
    #[arg(long = "map-port", value_name = "A:B", value_parser = parse_port_pair)]
    pub map_ports: Vec<(u16, u16)>,

    /// Begin another file at this size, such as 100M
    ///
    /// `-w capture.pcapng` then writes capture-00001.pcapng, capture-00002.pcapng and so on, each
    /// complete by itself. In a name with conversions of strftime(3), such as
    /// `capture-%H%M%S.pcapng`, the time replaces the number. Files may slightly exceed SIZE.
    #[arg(short = 'C', long, value_name = "SIZE", value_parser = parse_file_size,
          requires = "write")]
    pub file_size: Option<u64>,

    /// Begin another file after this many seconds, if there is something to write
    #[arg(short = 'G', long, value_name = "SECONDS", value_parser = parse_seconds,
          requires = "write")]
    pub file_seconds: Option<Duration>,

    /// With -C or -G, keep only the last COUNT files
    #[arg(short = 'W', long, value_name = "COUNT", value_parser = parse_file_count,
          requires = "file_end")]
    pub file_count: Option<usize>,

    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub duration: Option<Duration>,

    /// Stop once this many calls carried data
    ///
    /// Calls made while the probes are being removed are recorded too.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Become this user once attached
    ///
    /// The threads that handle recorded data give up root for good; other threads, such as the
    /// thread that probes files that appear later, keep it. Default: under sudo, the user who
    /// called it; else no change. `-Z root` stays root. COMMAND is not affected: it runs as the
    /// user who started sslrec. With -C or -G, this user creates the files after the first. Paths
    /// of other users' executables are then unknown.
    #[arg(short = 'Z', long, value_name = "USER", value_parser = User::find)]
    pub user: Option<User>,

    /// Text: show how long each call took
    #[arg(short = 'l', long)]
    pub latency: bool,

    /// Text: show user and thread id
    #[arg(short = 'x', long)]
    pub extra: bool,

    /// Text: show data as a hex dump
    #[arg(long)]
    pub hexdump: bool,

    /// Text: show handshakes
    #[arg(long)]
    pub handshake: bool,

    /// Exit 3 if anything was lost
    #[arg(long)]
    pub fail_on_loss: bool,

    /// Exit 4 if nothing was recorded
    #[arg(long)]
    pub fail_if_empty: bool,

    /// Exit 5 if TLS was seen and not recorded
    ///
    /// That is a TLS connection of a chosen process that was seen at its socket, and whose
    /// plaintext was not recorded: see the lines at the end. Needs Linux 6.3.
    #[arg(long)]
    pub fail_on_missed: bool,

    /// No messages but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print the probed functions and the kernel features in use
    #[arg(short, long)]
    pub verbose: bool,

    /// Colour the text: auto, always or never [default: auto]
    ///
    /// `auto` colours on a terminal unless NO_COLOR is set and not empty, or TERM is dumb.
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    pub color: Color,

    /// Be the peer of another recorder's self-test
    #[arg(long, hide = true)]
    pub self_test: bool,

    /// Be the process that lets held ones go if another recorder dies
    #[arg(long, hide = true)]
    pub watchdog: bool,

    /// Write man pages and completions into folders below DIR, such as /usr/local/share
    #[arg(long, hide = true, value_name = "DIR", exclusive = true)]
    pub generate: Option<PathBuf>,

    /// Do without these kernel features, as on an older kernel (for tests)
    #[arg(long, hide = true, value_parser = KernelFeature::from_str, value_delimiter = ',')]
    pub without: Vec<KernelFeature>,

    /// Start and record this command and everything it starts; exit with its status
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pids")]
    pub command: Vec<String>,

    /// The subcommand to run instead of recording.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// Other things to do than to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Report what can be recorded on this machine and what prevents the rest
    ///
    /// Prints the kernel's features, this user's privileges, and a line for each process that uses
    /// TLS. Nothing is probed. Exits with 1 if nothing can be recorded.
    Doctor,
}

/// The ways to choose the processes to record, for a command line without any.
const TARGETS: &str = "\
nothing is chosen to be recorded; give a target:
  -- COMMAND [ARG]...   a command and everything it starts
  -p PID                a running process and its children
  -u USER               the processes of a user
  -c NAME               the processes of a name
  --cgroup PATH         the processes of a cgroup
  --lib PATH            every process that uses this library or executable
  -a                    every process of this machine";

const EMPTY_COMMAND: &str = "\
there is no command after `--`; if it comes from a variable, the variable is empty";

impl Options {
    /// Parses the command line, and exits if it is wrong or asks for help.
    pub fn from_command_line() -> Self {
        Self::try_from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// # Errors
    /// The words are not a command line, or choose nothing to record.
    fn try_from_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        let ends_in_dashes = words.last().is_some_and(|word| word == "--");
        let options = Self::try_parse_from(words)?;
        let refused = |kind, text| Err(Self::command().error(kind, text));
        let is_empty = match options.command.first() {
            Some(name) => name.is_empty(),
            None => ends_in_dashes,
        };
        if is_empty {
            return refused(ErrorKind::InvalidValue, EMPTY_COMMAND);
        }
        if options.records() && !options.has_target() {
            return refused(ErrorKind::MissingRequiredArgument, TARGETS);
        }
        Ok(options)
    }

    /// Returns whether this is a recording, and not another task.
    fn records(&self) -> bool {
        self.action.is_none() && !self.self_test && !self.watchdog && self.generate.is_none()
    }

    fn has_target(&self) -> bool {
        self.all
            || !self.pids.is_empty()
            || !self.command.is_empty()
            || !self.uids.is_empty()
            || !self.comms.is_empty()
            || !self.cgroups.is_empty()
            || !self.libs.is_empty()
    }

    /// Returns the libraries whose functions are probed.
    pub(crate) fn families(&self) -> Vec<Family> {
        Family::all().filter(|family| !self.left_out.0.contains(family)).collect()
    }
}

/// The libraries that `--no-KIND` leaves out. The table of libraries has the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOut(Vec<Family>);

impl Args for LeftOut {
    fn augment_args(command: Command) -> Command {
        command.args(LIBRARIES.map(|library| {
            let help = format!("Leave out {}", library.members());
            let option = Arg::new(library.option()).long(library.option());
            option.help(help).action(ArgAction::SetTrue)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LeftOut {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_left_out = |library: &&&Library| matches.get_flag(library.option());
        Ok(Self(LIBRARIES.iter().filter(is_left_out).map(|library| library.family()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn lib_help() -> String {
    let kinds: Vec<_> = kinds().collect();
    format!(
        "Probe this library or executable, and no other; repeatable\n\n\
         KIND is one of {}, and restricts the search to that library. Without KIND all known \
         functions are searched.",
        kinds.join(", ")
    )
}

fn parse_port_pair(text: &str) -> Result<(u16, u16), String> {
    text.split_once(':')
        .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))
        .ok_or_else(|| format!("`{text}` is not A:B with two ports, such as 9999:8080"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds, such as 30 or 0.5"))
}

fn parse_file_size(text: &str) -> Result<u64, String> {
    /// One call may carry this much.
    const MIN: u64 = 64 << 10;
    match size::parse(text)? {
        size if size >= MIN => Ok(size),
        _ => {
            Err(format!("`{text}` is less than 64K; expected a size with K, M or G, such as 100M"))
        }
    }
}

fn parse_file_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("`{text}` is not a number of files, 1 or more")),
    }
}

fn parse_comm(text: &str) -> Result<String, String> {
    match text.len() {
        1..=15 => Ok(text.into()),
        _ => Err("a process name has 1 to 15 bytes, as `ps -o comm` shows it".into()),
    }
}

fn parse_user(text: &str) -> Result<u32, String> {
    User::find(text).map(|user| user.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["sslrec"], args].concat())
    }

    /// Parses the words, including the checks that concern several options.
    fn parse_all(args: &[&str]) -> Result<Options, clap::Error> {
        Options::try_from_words([&["sslrec"], args].concat().into_iter().map(OsString::from))
    }

    #[test]
    fn the_processes_to_record_must_be_chosen() {
        for nothing in [&[][..], &["-w", "a.pcapng"], &["-v", "--no-go", "-w", "-"]] {
            let error = parse_all(nothing).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{nothing:?}");
            let text = error.to_string();
            let forms =
                ["-- COMMAND", "-p PID", "-u USER", "-c NAME", "--cgroup PATH", "--lib", "-a "];
            assert!(forms.iter().all(|form| text.contains(form)), "{nothing:?}: {text}");
        }
        for target in [
            &["-a"][..],
            &["--all"],
            &["-p", "1"],
            &["-u", "root"],
            &["-c", "curl"],
            &["--cgroup", "/x"],
            &["--lib", "/x"],
            &["-a", "--lib", "/x"],
            &["--", "true"],
            &["doctor"],
            &["--self-test"],
            &["--watchdog"],
            &["--generate", "share"],
        ] {
            assert!(parse_all(target).is_ok(), "{target:?}");
        }
    }

    #[test]
    fn an_empty_command_is_refused_whatever_else_is_chosen() {
        for empty in [
            &["--"][..],
            &["-w", "a.pcapng", "--"],
            &["-p", "1", "--"],
            &["-a", "--"],
            &["--", ""],
            &["--", "", "x"],
        ] {
            let error = parse_all(empty).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{empty:?}");
        }
        assert!(
            parse_all(&["-p", "1", "--"]).unwrap_err().to_string().contains("no command after")
        );
        assert_eq!(parse_all(&["--", "x", ""]).unwrap().command, ["x", ""]);
        assert_eq!(parse_all(&["--", "x", "--"]).unwrap().command, ["x", "--"]);
    }

    #[test]
    fn all_processes_and_some_exclude_each_other() {
        for some in [&["-p", "1"][..], &["-u", "root"], &["-c", "x"], &["--cgroup", "/x"]] {
            assert!(parse(&[&["-a"], some].concat()).is_err(), "{some:?}");
        }
        assert!(parse(&["-a", "--", "true"]).is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn short_help_fits_a_terminal() {
        let help = Options::command().term_width(79).render_help().to_string();
        let long: Vec<_> = help.lines().filter(|line| line.chars().count() > 79).collect();
        assert!(long.is_empty(), "{long:#?}");
    }

    #[test]
    fn everything_after_the_dashes_is_the_command() {
        let options = parse(&["-w", "a.pcapng", "--", "curl", "-w", "x"]).unwrap();
        assert_eq!(options.command, ["curl", "-w", "x"]);
        assert_eq!(options.write, [Destination::Pcapng("a.pcapng".into())]);
    }

    #[test]
    fn pids_are_repeatable_and_take_lists() {
        assert_eq!(parse(&["-p", "1,2", "-p", "3"]).unwrap().pids, [1, 2, 3]);
    }

    #[test]
    fn files_end_by_size_or_time_and_only_then_are_counted() {
        let options = parse(&["-w", "a.zst", "-C", "10M", "-G", "60", "-W", "3"]).unwrap();
        assert_eq!((options.file_size, options.file_count), (Some(10 << 20), Some(3)));
        assert_eq!(options.file_seconds, Some(Duration::from_secs(60)));
        for bad in [
            &["-w", "a.zst", "-C", "100"][..],
            &["-w", "a.zst", "-W", "3"],
            &["-w", "a.zst", "-G", "60", "-W", "0"],
            &["-C", "10M"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_command_and_pids_exclude_each_other() {
        assert!(parse(&["-p", "1", "--", "true"]).is_err());
    }

    #[test]
    fn libraries_can_be_left_out() {
        let families = |args: &[&str]| parse(args).unwrap().families();
        assert!(families(&[]).into_iter().eq(Family::all()));
        let left = families(&["--no-openssl", "--no-gnutls", "--no-nss", "--no-go"]);
        assert_eq!(left, [Family::WolfSsl, Family::MbedTls, Family::S2n]);
    }

    #[test]
    fn every_library_can_be_left_out_and_named() {
        for library in LIBRARIES {
            let option = format!("--{}", library.option());
            let families = parse(&[&option]).unwrap().families();
            assert_eq!(families.len(), LIBRARIES.len() - 1, "{option}");
            assert!(!families.contains(&library.family()), "{option}");
        }
        use clap::CommandFactory;
        let help = Options::command().render_long_help().to_string();
        assert!(kinds().all(|kind| help.contains(kind)), "{help}");
    }

    #[test]
    fn users_go_by_name_or_number() {
        assert_eq!(parse_user("1234"), Ok(1234));
        assert_eq!(parse_user("root"), Ok(0));
        assert!(parse_user("no-such-user").is_err());
    }
}
