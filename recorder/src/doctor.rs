//! `sslrec doctor`: reports the processes that could be recorded on this machine, and the
//! obstacles. It loads the kernel side to see whether that is allowed, and probes no program.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::path::PathBuf;

use anyhow::Result;
use sslrec_cli::text::Printable;

use crate::attach::probes::Probes;
use crate::coverage::ports::{TLS_PORTS, listening_ports_of, ports_of};
use crate::coverage::reason::Program;
use crate::coverage::recognise::Recogniser;
use crate::discovery::Mappings;
use crate::functions::Family;
use crate::kernel::features::Kernel;
use crate::plan::Plan;
use crate::proc::cgroups::mount_point;
use crate::proc::maps::{FileKey, Mapping, mapped_files};
use crate::proc::{own, processes};
use crate::stderr::describe;
use crate::targets::{Found, Targets};

/// The capabilities that the recorder needs without root, by the bits of `linux/capability.h`.
/// CAP_SYS_ADMIN includes the first two.
const CAPABILITIES: [(u32, &str); 3] =
    [(38, "CAP_PERFMON"), (39, "CAP_BPF"), (19, "CAP_SYS_PTRACE")];
const CAP_SYS_ADMIN: u32 = 21;

/// Listening ports of a process that are listed.
const LISTENING_MAX: usize = 4;

/// Prints the report, and returns 0 if recording is possible at all, else 1.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn run(plan: &Plan) -> Result<u8> {
    let mut text = String::new();
    let able = machine(plan, &mut text);
    programs(plan, &mut text);
    match io::stdout().write_all(text.as_bytes()) {
        // The reader closed the pipe early.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(u8::from(!able))
}

/// The text of the report.
struct Report<'t>(&'t mut String);

impl Report<'_> {
    fn line(&mut self, what: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{what:<14}{}", Printable(value));
    }

    /// Writes the line of a feature that the kernel has or lacks.
    fn either(&mut self, what: &str, has: bool, yes: &str, no: &str) {
        self.line(what, if has { yes } else { no });
    }
}

/// Reports the kernel, and the actions it permits to this user.
fn machine(plan: &Plan, text: &mut String) -> bool {
    let mut report = Report(text);
    let release = own::kernel_setting("osrelease");
    report.line("kernel", &format!("Linux {release} {}", std::env::consts::ARCH));
    report.line("privileges", &privileges());
    let kernel = match Kernel::probe(&plan.probe.without) {
        Ok(kernel) => kernel,
        Err(error) => {
            report.line("recording", &format!("impossible: {}", describe(&error)));
            return false;
        }
    };
    let mut storage = MaybeUninit::uninit();
    let loaded = Probes::load(&mut storage, plan, &[], kernel);
    match &loaded {
        Ok(_) => report.line("recording", "possible: the kernel accepts the BPF programs"),
        Err(error) => report.line("recording", &format!("impossible: {}", describe(error))),
    }
    report.either(
        "probes",
        kernel.multi,
        "one link per file (kernel 6.6)",
        "a link each, slow to remove",
    );
    report.either(
        "",
        kernel.cookie,
        "identified by cookie (kernel 5.15)",
        "identified by their code",
    );
    let within = "within functions where that is proven, on x86-64";
    report.either("", kernel.placement, within, "at first instructions and returns");
    let is_able = loaded.is_ok();
    loaded.into_iter().for_each(|probes| optional_programs(probes, &mut report));
    let new_files = match Mappings::watch() {
        Ok(_) => "found as they are mapped (perf_event_open)".to_owned(),
        Err(error) => format!("not found: {}", describe(&error)),
    };
    report.line("new libraries", &new_files);
    let hold = "a command's processes wait for their probes (kernel 6.7)";
    report.either("", kernel.task_vma, hold, "a command's processes do not wait for their probes");
    let cgroups = mount_point().map(|path| Printable(&path).to_string());
    report.line("cgroups", cgroups.as_deref().unwrap_or("not mounted (version 2): no --cgroup"));
    is_able
}

/// Reports the BPF programs that a recording can do without.
fn optional_programs(mut probes: Probes<'_>, report: &mut Report<'_>) {
    if let Err(error) = probes.load_go() {
        report.line("", &format!("except for Go programs: {}", describe(&error)));
    }
    // Attached for this check only, to the kernel's functions and to no program.
    match probes.attach_sockets(|_, _| {}) {
        Ok(sockets) => report.line("addresses", &format!("by {sockets}")),
        Err(error) => {
            report.line("addresses", &format!("from descriptors only: {}", describe(&error)));
        }
    }
}

fn privileges() -> String {
    let effective = own::status("CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok());
    let has = |bit: u32| effective.is_some_and(|bits| bits >> bit & 1 == 1);
    let granted = |bit| has(bit) || (bit >= 38 && has(CAP_SYS_ADMIN));
    let missing: Vec<_> =
        CAPABILITIES.iter().filter(|(bit, _)| !granted(*bit)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        "enough".into()
    } else {
        format!("missing {}; run as root", missing.join(", "))
    }
}

/// A probed file: its functions in words, and the libraries they belong to.
struct Probed {
    text: String,
    families: Vec<Family>,
}

/// Prints a line for each process that uses TLS, as far as that can be seen.
fn programs(plan: &Plan, text: &mut String) {
    let mut targets = Targets::of_families(&plan.probe.families);
    let own = own_processes();
    let mapped: Vec<_> = processes::all()
        .into_iter()
        .filter(|pid| !own.contains(pid))
        .filter_map(|pid| Some((pid, mapped_files(pid).ok()?)))
        .filter(|(_, files)| !files.is_empty())
        .collect();
    for (pid, files) in &mapped {
        files.iter().for_each(|file| targets.consider_mapping(*pid, file, Found::Running));
    }
    let libraries: HashMap<FileKey, Probed> = targets
        .files
        .iter()
        .filter_map(|target| {
            let key = FileKey::of(&target.file.metadata().ok()?);
            let count = target.symbols.functions.len();
            let text = format!("{}, {count} functions", Printable(&target.path));
            Some((key, Probed { text, families: target.symbols.families().collect() }))
        })
        .collect();
    let mut recogniser = Recogniser::default();
    let _ = writeln!(text, "\nprocesses that use TLS:");
    let mut none = true;
    for (pid, files) in mapped {
        if let Some(line) = program(pid, &files, &libraries, &mut recogniser) {
            none = false;
            let comm = processes::comm(pid).unwrap_or_default();
            let _ = writeln!(text, "{pid:>8} {:<16}{line}", Printable(&comm));
        }
    }
    if none {
        let _ = writeln!(text, "none that can be seen");
    }
    for note in &targets.notes {
        let _ = writeln!(text, "{}", Printable(note));
    }
}

/// Returns the processes of recorders, which load TLS libraries in order to test probes.
fn own_processes() -> Vec<u32> {
    let own = processes::executable(std::process::id());
    let is_own = |pid: &u32| own.is_some() && processes::executable(*pid) == own;
    processes::all().into_iter().filter(is_own).collect()
}

/// Returns the line on a process; `None` if it does not use TLS, as far as that can be seen.
fn program(
    pid: u32,
    files: &[Mapping],
    libraries: &HashMap<FileKey, Probed>,
    recogniser: &mut Recogniser,
) -> Option<String> {
    let (listening, ports) = (listening_ports_of(pid), ports_of(pid));
    let probed: Vec<_> = files.iter().filter_map(|file| libraries.get(&file.key)).collect();
    let with_families = |file: &Mapping| {
        let probed = libraries.get(&file.key);
        (file.path.clone(), probed.map(|of| of.families.clone()).unwrap_or_default())
    };
    let program = Program {
        pid: Some(pid),
        exe: processes::executable(pid).map(PathBuf::from),
        files: files.iter().map(with_families).collect(),
    };
    // A process without TCP has no TLS at present.
    let unprobed = if ports.is_empty() { None } else { program.unprobed(recogniser) };
    let unprobed = unprobed.map(|what| Printable(&what).to_string());
    let libraries = probed.iter().map(|probed| probed.text.as_str()).collect::<Vec<_>>().join("; ");
    let tls_port = ports.iter().find(|port| TLS_PORTS.contains(port));
    let line = match (probed.is_empty(), unprobed, tls_port) {
        (false, None, _) => libraries,
        (false, Some(what), _) => format!("{libraries}; not recorded: {what}"),
        (true, Some(what), _) => format!("cannot be recorded: {what}"),
        (true, None, Some(port)) => {
            format!("cannot be recorded: no known TLS library was found in it (port {port})")
        }
        (true, None, None) => return None,
    };
    let listens: Vec<_> = listening.iter().take(LISTENING_MAX).map(u16::to_string).collect();
    let more = if listening.len() > LISTENING_MAX { ", ..." } else { "" };
    Some(if listens.is_empty() {
        line
    } else {
        format!("{line} (listens on {}{more})", listens.join(", "))
    })
}
