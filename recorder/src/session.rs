//! One recording, in four stages: prepare, begin, run, end.

use std::io::{self, BufWriter};
use std::mem::MaybeUninit;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::{MapCore, MapHandle, OpenObject, PrintLevel};
use sslrec_cli::stderr;
use sslrec_formats::Destination;
use sslrec_formats::record::CaptureInfo;
use sslrec_redact::Redactor;

use crate::attach::Attacher;
use crate::attach::nss;
use crate::attach::probes::{Probes, lock};
use crate::attach::self_test;
use crate::clock::Clock;
use crate::collect::batch::{Filler, queue};
use crate::collect::collector::collect;
use crate::coverage::account::Account;
use crate::coverage::usage::Usage;
use crate::coverage::{self, Coverage, Report};
use crate::discovery::stopped::{self, Watchdog};
use crate::discovery::{Discovery, Known, Link, Mappings, Wanted};
use crate::doctor;
use crate::exit;
use crate::functions::Family;
use crate::kernel::counters::Counters;
use crate::kernel::features::{Kernel, Sockets};
use crate::kernel::maps::KernelMaps;
use crate::plan::{self, Plan, Task};
use crate::proc::cgroups::Cgroup;
use crate::proc::own;
use crate::process::child::Child;
use crate::process::memory::Ceiling;
use crate::process::priority::{self, Duty};
use crate::process::privileges::Privileges;
use crate::process::signaller::Signaller;
use crate::process::signals::Signals;
use crate::select::{Filters, chosen};
use crate::stderr::{describe, message};
use crate::targets::Targets;
use crate::targets::stack_switchers::{Switcher, Switchers, find_switcher};
use crate::tracker::Tracker;
use crate::write::output::Output;
use crate::write::stats::{is_lossy, summary};
use crate::write::text::Text;
use crate::write::writer::{Sinks, Writer, Written};

/// Interval between checks whether a command that is no longer recorded has ended.
const WAIT: Duration = Duration::from_millis(10);

/// Runs a task, and returns the exit status.
///
/// # Errors
/// The recording could not begin, or an output failed.
pub fn run(task: &Task) -> Result<u8> {
    match task {
        Task::Record(plan) => record(plan),
        Task::Doctor(plan) => {
            libbpf_rs::set_print(None);
            doctor::run(plan)
        }
        Task::SelfTestPeer => self_test::peer::run(),
        Task::Watchdog => stopped::watch(),
        Task::Generate(share) => {
            plan::generate(share)
                .with_context(|| format!("cannot write the manual below {}", share.display()))?;
            Ok(0)
        }
    }
}

fn record(plan: &Plan) -> Result<u8> {
    libbpf_rs::set_print(Some((PrintLevel::Info, if plan.talk.verbose { print } else { ignore })));
    let cgroups = Cgroup::find(&plan.select.cgroups)?;
    let mut storage = MaybeUninit::uninit();
    let Prepared { session, mut command, outlook, pipeline } =
        prepare(plan, &cgroups, &mut storage)?;
    let discovery = session.begin(outlook)?;
    // Before the files are begun: they stay as they were if there is nothing to record. The
    // command's first events wait in the ring.
    if let Some(status) = command.start()? {
        return Ok(exit::of_command(status));
    }
    let written = session.run(discovery, pipeline, &mut command);
    session.end(written, command)
}

/// The state of a recording before it begins.
struct Prepared<'a, 'obj> {
    session: Session<'a, 'obj>,
    command: Command,
    outlook: Outlook<'a>,
    pipeline: Pipeline,
}

/// The state that the stages share.
struct Session<'a, 'obj> {
    plan: &'a Plan,
    privileges: Privileges,
    signaller: Signaller,
    probes: Mutex<Probes<'obj>>,
    link: Link,
}

/// The command, if any, and the signals to pass to it.
struct Command {
    child: Option<Child>,
    signals: Signals,
    /// Resumes the command's processes if the recorder dies.
    watchdog: Option<Watchdog>,
}

/// The state that the discovery of further files needs.
struct Outlook<'a> {
    /// `None` if the user named all files to probe.
    mappings: Option<Result<Mappings>>,
    known: Known<'a>,
}

/// The path of the events from the ring to the files.
struct Pipeline {
    filler: Filler,
    writer: Writer,
    /// Printed once the files are begun.
    announcement: String,
}

/// Finds and probes the files, opens the outputs, and follows the processes. Nothing is recorded
/// yet, and a command waits for its start.
fn prepare<'a, 'obj>(
    plan: &'a Plan,
    cgroups: &'a [Cgroup],
    storage: &'obj mut MaybeUninit<OpenObject>,
) -> Result<Prepared<'a, 'obj>> {
    // Before the present mappings are read, so that no file is missed in between.
    let mappings = plan.probe.files.is_empty().then(Mappings::watch);
    let filters = Filters::of(&plan.select, cgroups);
    let mut targets = find_targets(plan, filters)?;
    let clock = Clock::new();
    let info = capture_info(plan, clock);
    let desired = Privileges::wanted(plan.user.as_ref())?;
    let files = Output::open_all(&plan.write, &info, &desired)?;
    let signals = Signals::catch(plan.select.has_command())?;
    let mut probes = load(plan, cgroups, storage)?;
    let privileges = settle(desired, &probes, plan)?;
    let signaller = Signaller::start()?;
    let child = follow_processes(&mut probes, plan, &signals.caught, &signaller)?;
    let coverage = Coverage::default();
    let mut attacher = Attacher::new(plan, coverage.clone());
    let discovers = matches!(mappings, Some(Ok(_)));
    attach_files(&mut probes, &mut attacher, plan, filters, &mut targets, discovers)?;
    nss::learn(&probes.skel.maps.tls_layers, &chosen(&plan.select, filters))?;
    let sinks = Sinks::new(files, text(plan, &info));
    let announcement = announcement(plan, &attacher.names());
    let pipeline = pipeline(plan, &probes, clock, sinks, coverage.clone(), announcement)?;
    // Only a command's processes are stopped.
    let stopped = child.as_ref().map(|_| &probes.skel.maps.stopped);
    let watchdog = stopped.map(|map| Watchdog::start(map, signaller.clone())).transpose()?;
    let wanted = Wanted::new(plan.select.names_processes(), filters, &probes.skel.maps)?;
    let known = Known { attacher, targets, wanted, signaller: signaller.clone(), coverage };
    let (probes, link) = (Mutex::new(probes), Link::default());
    Ok(Prepared {
        session: Session { plan, privileges, signaller, probes, link },
        command: Command { child, signals, watchdog },
        outlook: Outlook { mappings, known },
        pipeline,
    })
}

impl<'obj> Session<'_, 'obj> {
    /// Turns the recording on.
    fn begin<'s>(&'s self, outlook: Outlook<'s>) -> Result<Option<Discovery<'s, 'obj>>> {
        let Outlook { mappings, known } = outlook;
        let discovery = match mappings {
            Some(Ok(mappings)) => {
                Some(Discovery::new(mappings, &self.probes, known, &self.link, self.plan)?)
            }
            Some(Err(error)) => {
                message(format_args!(
                    "libraries loaded from now on are not recorded: {}",
                    describe(&error)
                ));
                None
            }
            None => None,
        };
        lock(&self.probes).record(true)?;
        Ok(discovery)
    }

    /// Begins the files, records until something ends the recording, and completes the files.
    fn run(
        &self,
        discovery: Option<Discovery<'_, 'obj>>,
        Pipeline { filler, mut writer, announcement }: Pipeline,
        command: &mut Command,
    ) -> Result<Written> {
        writer.begin()?;
        let talk = self.plan.talk;
        if !talk.quiet {
            message(announcement);
        }
        let gave_up = Arc::clone(&writer.gave_up);
        let writing = self.spawn_writer(writer)?;
        let ended = self.collect(discovery, filler, &gave_up, command);
        let written = writing.join().map_err(|_| anyhow!("the writer has failed"))??;
        if !talk.quiet {
            coverage::lines(&written.coverage, talk.verbose).iter().for_each(message);
            message(summary(&written.stats, written.totals, &written.files));
        }
        ended.map(|_| written)
    }

    fn spawn_writer(&self, writer: Writer) -> Result<JoinHandle<Result<Written>>> {
        let (realtime, verbose) = (self.plan.limits.realtime, self.plan.talk.verbose);
        let privileges = self.privileges.clone();
        let writing_ended = Arc::clone(&writer.gave_up);
        let write = move || {
            priority::raise(Duty::Write, realtime, verbose);
            let written = privileges.give_up().and_then(|()| writer.run());
            // Nothing is written any more, in case of success and of failure.
            writing_ended.store(true, Ordering::Relaxed);
            written
        };
        Ok(thread::Builder::new().name("writer".into()).spawn(write)?)
    }

    /// Empties the ring on this thread, while another probes the files that appear.
    fn collect(
        &self,
        discovery: Option<Discovery<'_, 'obj>>,
        filler: Filler,
        gave_up: &AtomicBool,
        Command { child, signals, .. }: &mut Command,
    ) -> Result<Option<ExitStatus>> {
        let Self { plan, probes, link, .. } = self;
        thread::scope(|scope| {
            let discovery = discovery.map(|discovery| scope.spawn(|| discovery.run()));
            priority::raise(Duty::Collect, plan.limits.realtime, plan.talk.verbose);
            let ended = self.privileges.give_up().and_then(|()| {
                collect(probes, link, filler, gave_up, plan, signals, child.as_ref())
            });
            link.end();
            if let Some(Err(error)) = discovery.and_then(|thread| thread.join().ok()) {
                message(format_args!(
                    "libraries that were loaded late may be missing: {}",
                    describe(&error)
                ));
            }
            ended
        })
    }

    /// Detaches the probes, and resumes the processes that they stopped. A command runs to its own
    /// end, even if the recording has ended or failed first.
    fn end(&self, written: Result<Written>, mut command: Command) -> Result<u8> {
        let outcome = written.inspect_err(|error| message(describe(error)));
        let mut probes = lock(&self.probes);
        probes.detach();
        stopped::release_all(&MapHandle::try_from(&probes.skel.maps.stopped)?, &self.signaller);
        drop(probes);
        let code = command.wait()?.map_or(0, exit::of_command);
        Ok(match outcome {
            _ if code != 0 => code,
            Ok(written) => exit_status(self.plan, &written),
            Err(_) => exit::FAILURE,
        })
    }
}

impl Command {
    /// Starts the command. Returns its end if a signal was faster.
    fn start(&mut self) -> Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::start)
    }

    /// Waits for the end of the command, passing signals on.
    fn wait(&mut self) -> Result<Option<ExitStatus>> {
        drop(self.watchdog.take());
        let Some(child) = &self.child else { return Ok(None) };
        loop {
            self.signals.pass_on(child);
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(WAIT);
        }
    }
}

fn find_targets(plan: &Plan, filters: Filters<'_>) -> Result<Targets> {
    let mut targets = Targets::find(plan, filters)?;
    if !plan.talk.quiet {
        targets.notes.drain(..).for_each(message);
    }
    Ok(targets)
}

fn load<'obj>(
    plan: &Plan,
    cgroups: &[Cgroup],
    storage: &'obj mut MaybeUninit<OpenObject>,
) -> Result<Probes<'obj>> {
    let kernel = Kernel::probe(&plan.probe.without)?;
    if plan.talk.verbose {
        message(kernel.describe());
    }
    Probes::load(storage, plan, cgroups, kernel)
}

/// Returns whether the recording can continue without privileges. Before kernel 5.19 it cannot:
/// only root may read the tables of the kernel side.
fn settle(privileges: Privileges, probes: &Probes<'_>, plan: &Plan) -> Result<Privileges> {
    let counters = MapHandle::try_from(&probes.skel.maps.counters)?;
    match privileges.without(|| Counters::read(&counters)) {
        Ok(_) => Ok(privileges),
        Err(error) if plan.user.is_some() => {
            Err(error.context("-Z: this kernel lets only root read BPF tables (before 5.19)"))
        }
        Err(error) => {
            if plan.talk.verbose {
                message(format_args!("privileges are kept: {}", describe(&error)));
            }
            Ok(Privileges::Keep)
        }
    }
}

/// Has the kernel side follow the processes to record. The command, if any, still waits for its
/// start.
fn follow_processes(
    probes: &mut Probes<'_>,
    plan: &Plan,
    caught: &[i32],
    signaller: &Signaller,
) -> Result<Option<Child>> {
    probes.attach_tracepoints()?;
    let sockets = probes.attach_sockets(|sockets, error| {
        if plan.talk.verbose {
            message(format_args!("cannot use {sockets}: {}", describe(&error)));
        }
    })?;
    if plan.talk.verbose {
        message(format_args!("connection addresses come from {sockets}"));
    }
    if sockets != Sockets::Tracepoints {
        let reason = "TLS at sockets, whoever encrypts it, is not seen: that needs Linux 6.3";
        if plan.exit.fail_on_missed {
            bail!("--fail-on-missed: {reason}");
        } else if plan.talk.verbose {
            message(reason);
        }
    }
    // After the tracepoints, so that no child is missed in between.
    for pid in plan.select.named() {
        probes.add_pid(pid)?;
    }
    if !plan.select.has_command() {
        return Ok(None);
    }
    let keep_stdout = plan.write.destinations.contains(&Destination::Stdout);
    let child = Child::hold(&plan.select.command, caught, keep_stdout, signaller.clone())?;
    probes.add_pid(child.pid)?;
    Ok(Some(child))
}

/// Probes the files that are known now.
fn attach_files(
    probes: &mut Probes<'_>,
    attacher: &mut Attacher,
    plan: &Plan,
    filters: Filters<'_>,
    targets: &mut Targets,
    discovers: bool,
) -> Result<()> {
    let stops = discovers && plan.select.has_command() && probes.kernel.task_vma;
    let switcher = find_switcher(&plan.select, filters, targets, stops);
    if let Some(switcher) = &switcher {
        let Switcher { path, function, .. } = switcher;
        let place = if switcher.is_confined() { " in its libraries" } else { "" };
        message(format_args!(
            "{} switches stacks ({function}): no return probes are used{place}, which would kill it",
            path.display()
        ));
    }
    attacher.attach_all(probes, std::mem::take(&mut targets.files), switcher.as_ref())?;
    attacher.switchers = stops.then(|| Switchers::new(switcher.as_ref()));
    let may_be_stopped = plan.select.has_command() && probes.kernel.task_vma;
    let may_meet_go = plan.probe.files.is_empty() && plan.probe.families.contains(&Family::Go);
    if may_meet_go && !may_be_stopped {
        // Go programs that start later are not stopped while their functions are probed, and their
        // calls until then are missing; loading the programs of the kernel side now shortens that
        // time. A refusal is reported when such a program appears.
        let _ = probes.load_go();
    }
    Ok(())
}

/// Returns the exit status of a recording whose command, if any, succeeded.
fn exit_status(plan: &Plan, written: &Written) -> u8 {
    if written.failed {
        exit::FAILURE
    } else if plan.exit.fail_on_loss && is_lossy(&written.stats, written.totals) {
        exit::LOSS
    } else if plan.exit.fail_if_empty && written.stats.calls == 0 {
        exit::EMPTY
    } else if plan.exit.fail_on_missed && written.coverage.iter().any(|of| of.unrecorded > 0) {
        exit::MISSED
    } else {
        0
    }
}

fn capture_info(plan: &Plan, clock: Clock) -> CaptureInfo {
    CaptureInfo {
        start_ns: clock.now_ns(),
        tool: concat!("sslrec ", env!("CARGO_PKG_VERSION")).into(),
        os: format!(
            "{} {} {}",
            own::kernel_setting("ostype"),
            own::kernel_setting("osrelease"),
            std::env::consts::ARCH
        ),
        snaplen: plan.limits.snaplen,
        redacted: plan.write.redact.stated().to_vec(),
    }
}

/// Returns the live text, unless the capture is written elsewhere.
fn text(plan: &Plan, info: &CaptureInfo) -> Option<Text<BufWriter<io::Stdout>>> {
    let out = || BufWriter::with_capacity(1 << 16, io::stdout());
    plan.write.destinations.is_empty().then(|| Text::new(out(), plan.show, info.start_ns))
}

fn pipeline(
    plan: &Plan,
    probes: &Probes<'_>,
    clock: Clock,
    sinks: Sinks,
    coverage: Coverage,
    announcement: String,
) -> Result<Pipeline> {
    let maps = &probes.skel.maps;
    let ceiling = Ceiling::new(plan.limits.max_memory, maps.ring.max_entries().into())?;
    let rules = &plan.write.redact;
    let redactor = (!rules.is_empty())
        .then(|| Redactor::new(rules.clone()).holding_at_most(ceiling.for_redactor()));
    let (filler, emptier) = queue();
    let writer = Writer {
        queue: emptier,
        clock,
        tracker: Tracker::new(clock, KernelMaps::of(maps)?, coverage.clone(), ceiling),
        sinks: sinks.redacted(redactor),
        counters: MapHandle::try_from(&maps.counters)?,
        gave_up: Arc::new(AtomicBool::new(false)),
        report: Report {
            coverage,
            usage: Usage::default(),
            account: Account::default(),
            seen_sockets: MapHandle::try_from(&maps.seen_sockets)?,
            tcp_users: MapHandle::try_from(&maps.tcp_users)?,
            named: plan.select.names_processes(),
            sees_sockets: probes.kernel.sock_length,
            files_are_named: !plan.probe.files.is_empty(),
            families: plan.probe.families.clone(),
        },
    };
    Ok(Pipeline { filler, writer, announcement })
}

fn announcement(plan: &Plan, names: &[String]) -> String {
    let files: Vec<_> = plan.write.destinations.iter().map(ToString::to_string).collect();
    let to = if files.is_empty() { String::new() } else { format!(" to {}", files.join(" and ")) };
    let end = if plan.select.has_command() { "" } else { "; Ctrl-C ends" };
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
