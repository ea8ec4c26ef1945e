//! One recording from beginning to end.

use std::fs;
use std::io::{self, BufWriter, Stdout};
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use libbpf_rs::{MapHandle, OpenObject, PrintLevel};
use sslrec_formats::record::CaptureInfo;

use crate::batch::{Emptier, Filler, queue};
use crate::child::{Child, exit_code};
use crate::cli::{Destination, Options};
use crate::clock::{Clock, unix_time_ns};
use crate::collector::collect;
use crate::kernel::Kernel;
use crate::kernel_state::KernelMaps;
use crate::messages::{self, say};
use crate::output::Output;
use crate::points::Means;
use crate::priority::{self, Duty};
use crate::probes::Probes;
use crate::processes;
use crate::self_test::{self, Outcome};
use crate::signals::Signals;
use crate::stacks::{Switcher, find_switcher};
use crate::stats::{is_lossy, summary};
use crate::targets::{Target, Targets};
use crate::text::Text;
use crate::tracker::Tracker;
use crate::writer::{Sinks, Writer, Written};

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
    libbpf_rs::set_print(Some((PrintLevel::Info, if options.verbose { print } else { ignore })));
    let mut targets = Targets::find(options)?;
    if !options.quiet {
        targets.notes.iter().for_each(say);
    }
    let info = capture_info(options);
    let files = Output::open_all(options, &info)?;
    let mut signals = Signals::catch(!options.command.is_empty())?;
    let kernel = Kernel::probe(&options.without)?;
    if options.verbose {
        say(kernel.describe());
    }
    let mut storage = MaybeUninit::uninit();
    let (mut probes, mut child) =
        attach_all(&mut storage, options, kernel, &mut targets, &signals.caught)?;
    let (filler, emptier) = queue();
    let gave_up = Arc::new(AtomicBool::new(false));
    let sinks = Sinks::new(files, text(options, &info));
    let writer = writer(&probes, &targets, sinks, emptier, &gave_up)?;
    probes.record(true)?;
    // Before the files are begun: they stay as they were if there is nothing to record. What the
    // command does until then waits in the ring.
    if let Some(child) = &mut child
        && let Some(status) = child.start()?
    {
        return Ok(exit_code(status));
    }
    let recording = Recording { options, targets: &targets, child: child.as_ref() };
    let written = recording.run(&mut probes, filler, writer, &gave_up, &mut signals);
    let written = written.inspect_err(|error| say(format_args!("{error:#}")));
    // The recording may have ended or failed first; the command goes on to its own end.
    probes.detach();
    let code = child.map_or(Ok(0), |child| wait(&child, &mut signals).map(exit_code))?;
    Ok(match written {
        _ if code != 0 => code,
        Ok(written) => exit_status(options, &written),
        Err(_) => EXIT_FAILURE,
    })
}

/// What a recording is of.
struct Recording<'a> {
    options: &'a Options,
    targets: &'a Targets,
    child: Option<&'a Child>,
}

impl Recording<'_> {
    /// Writes down what comes until something ends it, and completes the files.
    fn run(
        &self,
        probes: &mut Probes<'_>,
        filler: Filler,
        mut writer: Writer,
        gave_up: &AtomicBool,
        signals: &mut Signals,
    ) -> Result<Written> {
        writer.begin()?;
        if !self.options.quiet {
            say(announcement(self.options, self.targets));
        }
        let (realtime, verbose) = (!self.options.no_realtime, self.options.verbose);
        let write = move || {
            priority::raise(Duty::Write, realtime, verbose);
            writer.run()
        };
        let thread = thread::Builder::new().name("writer".into()).spawn(write)?;
        let ended = collect(probes, filler, gave_up, self.options, signals, self.child);
        let written = thread.join().map_err(|_| anyhow!("the writer has failed"))??;
        if !self.options.quiet {
            say(summary(&written.stats, written.totals, &written.files));
        }
        ended.map(|_| written)
    }
}

/// Loads and attaches the kernel side. The command, if there is one, is left waiting for its
/// start.
fn attach_all<'obj>(
    storage: &'obj mut MaybeUninit<OpenObject>,
    options: &Options,
    kernel: Kernel,
    targets: &mut Targets,
    caught: &[i32],
) -> Result<(Probes<'obj>, Option<Child>)> {
    let mut probes = Probes::load(storage, options, kernel)?;
    probes.attach_tracepoints()?;
    // After the tracepoints, so that no child falls between.
    let pids = match options.no_children {
        true => options.pids.clone(),
        false => processes::with_descendants(&options.pids),
    };
    for pid in pids {
        probes.add_pid(pid)?;
    }
    let mut child = None;
    if !options.command.is_empty() {
        let keep_stdout = options.write.contains(&Destination::Stdout);
        let held = Child::hold(&options.command, caught, keep_stdout)?;
        probes.add_pid(held.pid)?;
        child = Some(held);
    }
    attach_files(&mut probes, options, targets)?;
    Ok((probes, child))
}

/// Probes the files. One that nobody named and that cannot be probed is left out, unless it is
/// the last.
fn attach_files(probes: &mut Probes<'_>, options: &Options, targets: &mut Targets) -> Result<()> {
    let switcher = find_switcher(options, targets);
    if let Some(Switcher { path, function }) = &switcher {
        say(format_args!(
            "{} switches stacks ({function}): no return probes are used, which would kill it",
            path.display()
        ));
    }
    let means = Means { sites: probes.kernel.placement, returns: switcher.is_none() };
    let mut attached: Vec<Target> = Vec::new();
    let mut proven: Vec<Means> = Vec::new();
    let mut refused = Vec::new();
    for target in targets.files.drain(..) {
        // What held for one file holds for another of the same build.
        let same = attached.iter().position(|other| other.symbols == target.symbols);
        let known = same.map(|index| proven[index]);
        let lib = u16::try_from(attached.len())?;
        match attach_file(probes, options, &target, lib, known.unwrap_or(means), known.is_some()) {
            Ok(means) => {
                attached.push(target);
                proven.push(means);
            }
            Err(error) if options.libs.is_empty() => refused.push(error),
            Err(error) => return Err(error),
        }
    }
    if attached.is_empty()
        && let Some(error) = refused.pop()
    {
        return Err(error);
    }
    for error in refused {
        say(format_args!("{error:#}; recording without this file"));
    }
    targets.files = attached;
    Ok(())
}

/// Probes one file, within its functions if that proves right or is `tried` already, and says by
/// what means.
fn attach_file(
    probes: &mut Probes<'_>,
    options: &Options,
    target: &Target,
    lib: u16,
    mut means: Means,
    tried: bool,
) -> Result<Means> {
    let path = target.path.display();
    let mut attached = probes.attach(target, lib, means)?;
    if means.sites && !tried {
        match self_test::run(probes, target)? {
            Outcome::Passed if options.verbose => say(format_args!("self-test passed on {path}")),
            Outcome::Passed => {}
            Outcome::NotRun(reason) if options.verbose => {
                say(format_args!("no self-test on {path}: {reason}"));
            }
            Outcome::NotRun(_) => {}
            Outcome::Failed(reason) => {
                say(format_args!(
                    "{path} is recorded without probes within functions, since they failed the \
                     self-test: {reason}"
                ));
                probes.take_back(attached);
                means.sites = false;
                attached = probes.attach(target, lib, means)?;
            }
        }
    }
    if !attached.left_out.is_empty() {
        let names = attached.left_out.join(", ");
        say(format_args!("not recorded without return probes, in {path}: {names}"));
    }
    if options.verbose {
        say(format_args!("{} functions probed in {path}", attached.functions));
        for (name, why) in &attached.return_probes {
            say(format_args!("{name} there has a return probe: {why}"));
        }
    }
    Ok(means)
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

fn capture_info(options: &Options) -> CaptureInfo {
    let kernel = |file| {
        let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(file));
        text.map(|text| text.trim_end().to_owned()).unwrap_or_default()
    };
    CaptureInfo {
        start_ns: unix_time_ns(),
        tool: concat!("sslrec ", env!("CARGO_PKG_VERSION")).into(),
        os: format!("{} {} {}", kernel("ostype"), kernel("osrelease"), std::env::consts::ARCH),
        snaplen: options.snaplen,
    }
}

fn writer(
    probes: &Probes<'_>,
    targets: &Targets,
    sinks: Sinks,
    queue: Emptier,
    gave_up: &Arc<AtomicBool>,
) -> Result<Writer> {
    let libs = targets.files.iter().map(|target| target.path.clone()).collect();
    Ok(Writer {
        queue,
        tracker: Tracker::new(Clock::new(), KernelMaps::of(&probes.skel.maps)?, libs),
        sinks,
        counters: MapHandle::try_from(&probes.skel.maps.counters)?,
        gave_up: Arc::clone(gave_up),
    })
}

/// Live text, unless the capture goes elsewhere.
fn text(options: &Options, info: &CaptureInfo) -> Option<Text<BufWriter<Stdout>>> {
    let out = || BufWriter::with_capacity(1 << 16, io::stdout());
    options.write.is_empty().then(|| Text::new(out(), options, info.start_ns))
}

fn announcement(options: &Options, targets: &Targets) -> String {
    let names: Vec<_> = targets
        .files
        .iter()
        .filter_map(|target| Some(target.path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let files: Vec<_> = options.write.iter().map(ToString::to_string).collect();
    let to = if files.is_empty() { String::new() } else { format!(" to {}", files.join(" and ")) };
    let end = if options.command.is_empty() { "; Ctrl-C ends" } else { "" };
    format!("recording{to} from {}{end}", names.join(", "))
}

fn print(_: PrintLevel, text: String) {
    messages::print(text);
}

fn ignore(_: PrintLevel, _: String) {}
