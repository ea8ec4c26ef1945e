//! One recording from beginning to end.

use std::io::{self, BufWriter, Stdout};
use std::mem::MaybeUninit;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use libbpf_rs::{MapCore, MapHandle, PrintLevel};
use sslrec_cli::stderr;
use sslrec_formats::Destination;
use sslrec_formats::record::CaptureInfo;
use sslrec_redact::{Redactor, Rules};

use crate::attach::Attacher;
use crate::attach::nss;
use crate::attach::probes::{Probes, lock};
use crate::attach::self_test;
use crate::cli::{Action, Options};
use crate::clock::Clock;
use crate::collect::batch::{Emptier, Filler, queue};
use crate::collect::collector::collect;
use crate::coverage::usage::Usage;
use crate::coverage::{self, Coverage, Report};
use crate::discovery::stopped::{self, Watchdog};
use crate::discovery::{Discovery, Known, Link, Mappings, Wanted};
use crate::doctor;
use crate::functions::Family;
use crate::kernel::features::Kernel;
use crate::kernel::maps::KernelMaps;
use crate::messages::say;
use crate::proc::cgroups::Cgroup;
use crate::proc::{own, processes};
use crate::process::child::{Child, exit_code};
use crate::process::memory::Ceiling;
use crate::process::priority::{self, Duty};
use crate::process::privileges::Privileges;
use crate::process::signaller::Keeper;
use crate::process::signals::Signals;
use crate::select::{Filters, chosen};
use crate::targets::Targets;
use crate::targets::stack_switchers::{Switcher, find_switcher};
use crate::tracker::Tracker;
use crate::write::output::Output;
use crate::write::stats::{Counters, is_lossy, summary};
use crate::write::text::Text;
use crate::write::writer::{Sinks, Writer, Written};

/// Between looks at whether a command has ended that is no longer recorded.
const WAIT: Duration = Duration::from_millis(10);

/// Exit status where the recording failed.
const EXIT_FAILURE: u8 = 1;
/// Exit status where bytes were lost and `--fail-on-loss` was given.
const EXIT_LOSS: u8 = 3;
/// Exit status where nothing was recorded and `--fail-if-empty` was given.
const EXIT_EMPTY: u8 = 4;

/// Records as the options say, and gives the exit status.
///
/// # Errors
/// The recording could not begin, or an output failed.
pub fn run(options: &Options) -> Result<u8> {
    if options.self_test {
        return self_test::peer::run();
    }
    if options.watchdog {
        return stopped::watch();
    }
    if options.action == Some(Action::Doctor) {
        libbpf_rs::set_print(None);
        return doctor::run(options);
    }
    libbpf_rs::set_print(Some((PrintLevel::Info, if options.verbose { print } else { ignore })));
    let cgroups = Cgroup::find(&options.cgroups)?;
    // Before what is there now is looked for, so that nothing falls between.
    let mappings = options.libs.is_empty().then(Mappings::watch);
    let filters = Filters::of(options, &cgroups);
    let mut targets = Targets::find(options, filters)?;
    if !options.quiet {
        targets.notes.drain(..).for_each(say);
    }
    let clock = Clock::new();
    let info = capture_info(options, clock);
    let privileges = Privileges::wanted(options.user.as_ref())?;
    let files = Output::open_all(options, &info, &privileges)?;
    let mut signals = Signals::catch(!options.command.is_empty())?;
    let kernel = Kernel::probe(&options.without)?;
    if options.verbose {
        say(kernel.describe());
    }
    let mut storage = MaybeUninit::uninit();
    let mut probes = Probes::load(&mut storage, options, &cgroups, kernel)?;
    let privileges = settle(privileges, &probes, options)?;
    let keeper = Keeper::start()?;
    let mut child = follow_processes(&mut probes, options, &signals.caught, &keeper)?;
    let coverage = Coverage::default();
    let mut attacher = Attacher::new(options, coverage.clone());
    attach_files(&mut probes, &mut attacher, options, filters, &mut targets)?;
    nss::learn(&probes.skel.maps.tls_layers, &chosen(options, filters))?;
    let (filler, emptier) = queue();
    let gave_up = Arc::new(AtomicBool::new(false));
    let rules = rules(options);
    let ring_bytes = probes.skel.maps.ring.max_entries();
    let ceiling = Ceiling::new(options.max_memory, ring_bytes.into())?;
    let held = ceiling.for_redactor();
    let redactor = (!rules.is_empty()).then(|| Redactor::new(rules).holding_at_most(held));
    let sinks = Sinks::new(redactor, files, text(options, &info));
    let report = Report {
        coverage: coverage.clone(),
        usage: Usage::default(),
        tcp_users: MapHandle::try_from(&probes.skel.maps.tcp_users)?,
        named: options.names_processes(),
    };
    let mut writer = writer(&probes, clock, report, sinks, emptier, ceiling, &gave_up)?;
    let announcement = announcement(options, &attacher.names());
    // Only a command's processes are stopped.
    let stopped = child.as_ref().map(|_| &probes.skel.maps.stopped);
    let watchdog = stopped.map(|stopped| Watchdog::start(stopped, keeper.clone())).transpose()?;
    let wanted = Wanted::new(options.names_processes(), filters, &probes.skel.maps)?;
    let (probes, link) = (Mutex::new(probes), Link::default());
    let known = Known { attacher, targets, wanted, keeper: keeper.clone(), coverage };
    let discovery = discovery(mappings, &probes, known, &link, options)?;
    lock(&probes).record(true)?;
    // Before the files are begun: they stay as they were if there is nothing to record. What the
    // command does until then waits in the ring.
    if let Some(child) = &mut child
        && let Some(status) = child.start()?
    {
        return Ok(exit_code(status));
    }
    let written = writer.begin().and_then(|()| {
        if !options.quiet {
            say(announcement);
        }
        let (probes, link, child) = (&probes, &link, child.as_ref());
        let recording = Recording { options, privileges, probes, link, child };
        recording.run(discovery, filler, writer, &gave_up, &mut signals)
    });
    let written = written.inspect_err(|error| say(format_args!("{error:#}")));
    // The recording may have ended or failed first; the command goes on to its own end.
    end_probes(&probes, &keeper)?;
    drop(watchdog);
    let code = child.map_or(Ok(0), |child| wait(&child, &mut signals).map(exit_code))?;
    Ok(match written {
        _ if code != 0 => code,
        Ok(written) => exit_status(options, &written),
        Err(_) => EXIT_FAILURE,
    })
}

/// What a recording is of.
struct Recording<'a, 'obj> {
    options: &'a Options,
    privileges: Privileges,
    probes: &'a Mutex<Probes<'obj>>,
    link: &'a Link,
    child: Option<&'a Child>,
}

impl<'obj> Recording<'_, 'obj> {
    /// Writes down what comes until something ends it, and completes the files.
    fn run(
        &self,
        discovery: Option<Discovery<'_, 'obj>>,
        filler: Filler,
        writer: Writer,
        gave_up: &AtomicBool,
        signals: &mut Signals,
    ) -> Result<Written> {
        let (realtime, verbose) = (!self.options.no_realtime, self.options.verbose);
        let privileges = self.privileges.clone();
        let writing_ended = Arc::clone(&writer.gave_up);
        let write = move || {
            priority::raise(Duty::Write, realtime, verbose);
            let written = privileges.give_up().and_then(|()| writer.run());
            // Whatever it is that ended it: nobody writes any more.
            writing_ended.store(true, Ordering::Relaxed);
            written
        };
        let thread = thread::Builder::new().name("writer".into()).spawn(write)?;
        let ended = thread::scope(|scope| {
            let discovery = discovery.map(|discovery| scope.spawn(|| discovery.run()));
            priority::raise(Duty::Collect, realtime, verbose);
            let (probes, options) = (self.probes, self.options);
            let ended = self.privileges.give_up().and_then(|()| {
                collect(probes, self.link, filler, gave_up, options, signals, self.child)
            });
            self.link.end();
            if let Some(Err(error)) = discovery.and_then(|thread| thread.join().ok()) {
                say(format_args!("libraries that were loaded late may be missing: {error:#}"));
            }
            ended
        });
        let written = thread.join().map_err(|_| anyhow!("the writer has failed"))??;
        if !self.options.quiet {
            coverage::lines(&written.coverage, self.options.verbose).iter().for_each(say);
            say(summary(&written.stats, written.totals, &written.files));
        }
        ended.map(|_| written)
    }
}

/// What finds files while the recording goes on, unless the user named all that are to be probed.
fn discovery<'a, 'obj>(
    mappings: Option<Result<Mappings>>,
    probes: &'a Mutex<Probes<'obj>>,
    known: Known<'a>,
    link: &'a Link,
    options: &Options,
) -> Result<Option<Discovery<'a, 'obj>>> {
    let Some(mappings) = mappings else { return Ok(None) };
    match mappings {
        Ok(mappings) => Discovery::new(mappings, probes, known, link, options).map(Some),
        Err(error) => {
            say(format_args!("what programs load from now on is not recorded: {error:#}"));
            Ok(None)
        }
    }
}

/// Takes the probes out, and resumes the processes that they stopped.
fn end_probes(probes: &Mutex<Probes<'_>>, keeper: &Keeper) -> Result<()> {
    let mut probes = lock(probes);
    probes.detach();
    stopped::release_all(&MapHandle::try_from(&probes.skel.maps.stopped)?, keeper);
    Ok(())
}

/// Whether the recording can go on without privileges. Before kernel 5.19 it cannot: nobody else
/// may read the tables of the kernel side.
fn settle(privileges: Privileges, probes: &Probes<'_>, options: &Options) -> Result<Privileges> {
    let counters = MapHandle::try_from(&probes.skel.maps.counters)?;
    match privileges.without(|| Counters::read(&counters)) {
        Ok(_) => Ok(privileges),
        Err(error) if options.user.is_some() => {
            Err(error.context("-Z: this kernel lets only root read BPF tables (before 5.19)"))
        }
        Err(error) => {
            if options.verbose {
                say(format_args!("privileges are kept: {error:#}"));
            }
            Ok(Privileges::Keep)
        }
    }
}

/// Has the kernel side follow the processes to record. The command, if there is one, is left
/// waiting for its start.
fn follow_processes(
    probes: &mut Probes<'_>,
    options: &Options,
    caught: &[i32],
    keeper: &Keeper,
) -> Result<Option<Child>> {
    probes.attach_tracepoints()?;
    let sockets = probes.attach_sockets(|sockets, error| {
        if options.verbose {
            say(format_args!("not by {sockets}: {error:#}"));
        }
    })?;
    if options.verbose {
        say(format_args!("addresses by {sockets}"));
    }
    // After the tracepoints, so that no child falls between.
    let pids = match options.no_children {
        true => options.pids.clone(),
        false => processes::with_descendants(&options.pids),
    };
    for pid in pids {
        probes.add_pid(pid)?;
    }
    if options.command.is_empty() {
        return Ok(None);
    }
    let keep_stdout = options.write.contains(&Destination::Stdout);
    let held = Child::hold(&options.command, caught, keep_stdout, keeper.clone())?;
    probes.add_pid(held.pid)?;
    Ok(Some(held))
}

/// Probes the files that are known now.
fn attach_files(
    probes: &mut Probes<'_>,
    attacher: &mut Attacher<'_>,
    options: &Options,
    filters: Filters<'_>,
    targets: &mut Targets,
) -> Result<()> {
    let switcher = find_switcher(options, filters, targets);
    if let Some(Switcher { path, function }) = &switcher {
        say(format_args!(
            "{} switches stacks ({function}): no return probes are used, which would kill it",
            path.display()
        ));
    }
    attacher.attach_all(probes, std::mem::take(&mut targets.files), switcher.as_ref())?;
    let are_held = !options.command.is_empty() && probes.kernel.task_vma;
    let may_meet_go = options.libs.is_empty() && options.families().contains(&Family::Go);
    if may_meet_go && !are_held {
        // Go programs that start later go on while their functions are probed, and what they do
        // meanwhile is lost: at least nothing else is to be waited for then. A refusal is told when
        // there is one.
        let _ = probes.load_go();
    }
    Ok(())
}

/// Waits for the child, passing signals on.
fn wait(child: &Child, signals: &mut Signals) -> Result<ExitStatus> {
    loop {
        signals.pass_on(child);
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(WAIT);
    }
}

/// The status of a recording whose command, if there was one, succeeded.
fn exit_status(options: &Options, written: &Written) -> u8 {
    if written.failed {
        EXIT_FAILURE
    } else if options.fail_on_loss && is_lossy(&written.stats, written.totals) {
        EXIT_LOSS
    } else if options.fail_if_empty && written.stats.calls == 0 {
        EXIT_EMPTY
    } else {
        0
    }
}

/// What is to be blanked.
fn rules(options: &Options) -> Rules {
    let mut rules = Rules::default();
    options.redact.iter().for_each(|rule| rules.add(rule.clone()));
    rules
}

fn capture_info(options: &Options, clock: Clock) -> CaptureInfo {
    CaptureInfo {
        start_ns: clock.now_ns(),
        tool: concat!("sslrec ", env!("CARGO_PKG_VERSION")).into(),
        os: format!(
            "{} {} {}",
            own::kernel_setting("ostype"),
            own::kernel_setting("osrelease"),
            std::env::consts::ARCH
        ),
        snaplen: options.snaplen,
        redacted: rules(options).stated().to_vec(),
    }
}

fn writer(
    probes: &Probes<'_>,
    clock: Clock,
    report: Report,
    sinks: Sinks,
    queue: Emptier,
    ceiling: Ceiling,
    gave_up: &Arc<AtomicBool>,
) -> Result<Writer> {
    let coverage = report.coverage.clone();
    Ok(Writer {
        queue,
        clock,
        tracker: Tracker::new(clock, KernelMaps::of(&probes.skel.maps)?, coverage, ceiling),
        sinks,
        counters: MapHandle::try_from(&probes.skel.maps.counters)?,
        gave_up: Arc::clone(gave_up),
        report,
    })
}

/// Live text, unless the capture goes elsewhere.
fn text(options: &Options, info: &CaptureInfo) -> Option<Text<BufWriter<Stdout>>> {
    let out = || BufWriter::with_capacity(1 << 16, io::stdout());
    options.write.is_empty().then(|| Text::new(out(), options, info.start_ns))
}

fn announcement(options: &Options, names: &[String]) -> String {
    let files: Vec<_> = options.write.iter().map(ToString::to_string).collect();
    let to = if files.is_empty() { String::new() } else { format!(" to {}", files.join(" and ")) };
    let end = if options.command.is_empty() { "; Ctrl-C ends" } else { "" };
    let from = match names {
        [] => "; no TLS library is in use yet".to_owned(),
        names => format!(" from {}", names.join(", ")),
    };
    format!("recording{to}{from}{end}")
}

fn print(_: PrintLevel, text: String) {
    stderr::lines(text);
}

fn ignore(_: PrintLevel, _: String) {}
