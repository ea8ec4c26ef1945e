//! Attaches the breakpoints of a file: a single link for many if the kernel supports that, else a
//! link each.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::skel::Skel;
use libbpf_rs::{
    ErrorKind, Link, MapCore, MapFlags, Object, ProgramAttachType, ProgramMut, UprobeMultiOpts,
    UprobeOpts,
};

use crate::attach::breakpoints::{Means, Point, Program, SiteUse, points, trial};
use crate::attach::probes::Probes;
use crate::attach::trials::{TRIAL_CALLS, TrialOf};
use crate::functions::Family;
use crate::kernel::event::bytes_of;
use crate::kernel::objects;
use crate::kernel::skel::types;
use crate::stderr::{describe, message};
use crate::symbols::Defined;
use crate::symbols::go::Layout;
use crate::targets::Target;

/// `bpf/go.bpf.c`, compiled.
const GO_IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/go.bpf.o"));

/// Attach for all processes; the kernel side filters.
const ANY_PID: i32 = -1;

/// The result of probing a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    /// The number of probed functions.
    pub(crate) functions: usize,
    /// The probed functions with a return probe, and the reason.
    pub(crate) return_probes: Vec<(&'static str, String)>,
    /// Functions that need a return probe where return probes must not be used.
    pub(crate) left_out: Vec<&'static str>,
    /// Functions whose placed sites are on trial.
    pub(crate) on_trial: Vec<&'static str>,
    /// The range of their links among all links.
    links: Range<usize>,
    /// The number of earlier trials.
    trials: usize,
    /// The number of the file.
    lib: u16,
}

/// Whether a function's placed sites are on trial.
enum Trying {
    Begun,
    /// The function cannot be tried, too many are, or the kernel refuses its sites: return probes
    /// have to do.
    NotPossible,
    /// The kernel refuses the entry or return probe, for instance because another tracer has one
    /// there: the sites have to do.
    Refused,
}

impl Attached {
    fn add(&mut self, defined: &Defined, points: &[Point]) {
        let name = defined.function().name;
        self.functions += 1;
        if have_return(points) {
            let why = defined.sites.as_ref().err();
            let why = why.map_or("its sites are not used".into(), |why| format!("it {why}"));
            self.return_probes.push((name, why));
        }
    }
}

fn have_return(points: &[Point]) -> bool {
    points.iter().any(|point| point.program == Program::Return)
}

impl Probes<'_> {
    /// Attaches to the functions of a file. `lib` is the number of the file in events.
    ///
    /// Probes belong to the file, so children need no separate attaching. Processes that are not
    /// recorded hit the probes too, and are rejected by the first instructions of the kernel side.
    ///
    /// # Errors
    /// The kernel refuses a function without which bytes would be missing.
    pub(crate) fn attach(&mut self, target: &Target, lib: u16, means: Means) -> Result<Attached> {
        let (links, trials) = (self.links.len(), self.trials.len());
        let attached = self.attach_functions(target, lib, means);
        if attached.is_err() {
            self.links.truncate(links);
            self.returning.remove(&lib);
            self.trials.truncate(trials);
        }
        let mut attached = attached?;
        attached.lib = lib;
        attached.links = links..self.links.len();
        attached.trials = trials;
        Ok(attached)
    }

    /// Detaches the probes that were attached last.
    pub(crate) fn take_back(&mut self, attached: Attached) {
        self.links.drain(attached.links);
        self.returning.remove(&attached.lib);
        self.trials.truncate(attached.trials);
    }

    /// Takes the links of everything in a file that needs a return probe, to be closed: such a
    /// probe would kill a program that hits the file from now on. Placed sites that are on trial
    /// there record without further comparison.
    pub(crate) fn take_returning(&mut self, target: &Target, lib: u16) -> Vec<Link> {
        let mut links = self.returning.remove(&lib).unwrap_or_default();
        let (numbers, of_trials) = self.trials.end(&target.path);
        links.extend(of_trials);
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            numbers.into_iter().for_each(|number| bss.trials[number].agreed = TRIAL_CALLS);
        }
        links
    }

    /// Attaches the beginnings of handshakes of a file without return probes. All else that needs a
    /// return is left out.
    pub(crate) fn attach_beginnings(
        &mut self,
        target: &Target,
        lib: u16,
        sites: SiteUse,
    ) -> Result<Vec<&'static str>> {
        let mut left_out = Vec::new();
        let means = Means { sites: SiteUse::Never, returns: false };
        let unplaced = |defined: &&Defined| {
            defined.function().needs_return() && defined.family() != Family::Go
        };
        for defined in target.symbols.functions.iter().filter(unplaced) {
            if sites != SiteUse::Never && defined.sites.is_ok() {
                continue;
            }
            match points(defined, lib, means) {
                Some(points) => {
                    let links = self.link_function(target, &points, defined.function().name)?;
                    self.links.extend(links);
                }
                None => left_out.push(defined.function().name),
            }
        }
        Ok(left_out)
    }

    fn attach_functions(&mut self, target: &Target, lib: u16, means: Means) -> Result<Attached> {
        let functions = &target.symbols.functions;
        let mut attached = Attached::default();
        if let Some(Ok(layout)) = target.symbols.go {
            let why = || format!("{} is a Go program", target.path.display());
            self.load_go().with_context(why)?;
            self.add_go_layout(lib, layout)?;
        }
        let mut all = Vec::new();
        for defined in functions {
            let means = match means.sites {
                SiteUse::OnTrial => match self.put_on_trial(target, defined, lib)? {
                    Trying::Begun => {
                        attached.functions += 1;
                        attached.on_trial.push(defined.function().name);
                        continue;
                    }
                    Trying::NotPossible => Means { sites: SiteUse::Never, ..means },
                    Trying::Refused => Means { sites: SiteUse::Always, ..means },
                },
                _ => means,
            };
            match points(defined, lib, means) {
                Some(points) => all.push((defined, points)),
                None => attached.left_out.push(defined.function().name),
            }
        }
        // Apart, since return probes may have to go.
        let (returning, others): (Vec<_>, Vec<_>) =
            all.iter().partition(|(_, points)| have_return(points));
        let every = |of: &[&(&Defined, Vec<Point>)]| -> Vec<Point> {
            of.iter().flat_map(|(_, points)| points).copied().collect()
        };
        if self.kernel.multi
            && let Ok(links) = self.link(target, &every(&others))?
            && let Ok(more) = self.link(target, &every(&returning))?
        {
            self.links.extend(links);
            self.returning.insert(lib, more);
            all.iter().for_each(|(defined, points)| attached.add(defined, points));
            return Ok(attached);
        }
        // A refused link for many functions does not identify the refused function: attach them one
        // by one.
        let (mut links, mut returning) = (Vec::new(), Vec::new());
        for (defined, points) in &all {
            let function = defined.function();
            match self.link_function(target, points, function.name) {
                Ok(more) => {
                    let of = if have_return(points) { &mut returning } else { &mut links };
                    of.extend(more);
                    attached.add(defined, points);
                }
                Err(error) if function.carries_data() => return Err(error),
                Err(error) => message(format_args!("{}; recording without it", describe(&error))),
            }
        }
        self.links.extend(links);
        self.returning.insert(lib, returning);
        Ok(attached)
    }

    /// Attaches a function's placed sites beside its entry and return probes, to be compared.
    ///
    /// # Errors
    /// The kernel side has no room for more sites.
    fn put_on_trial(&mut self, target: &Target, defined: &Defined, lib: u16) -> Result<Trying> {
        let Some(number) = self.trials.next_number() else { return Ok(Trying::NotPossible) };
        let Some(points) = trial(defined, lib, number) else { return Ok(Trying::NotPossible) };
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.trials[usize::from(number)] = types::trial::default();
        }
        let Ok(placed) = self.link(target, &points.once_passed)? else {
            return Ok(Trying::NotPossible);
        };
        let Ok(unplaced) = self.link(target, &points.until_passed)? else {
            return Ok(Trying::Refused);
        };
        let Ok(always) = self.link(target, &points.always)? else { return Ok(Trying::Refused) };
        self.links.extend(always);
        let (name, path) = (defined.function().name, target.path.clone());
        self.trials.begin(TrialOf { name, path, placed, unplaced, is_quiet: false });
        Ok(Trying::Begun)
    }

    /// Loads the programs for Go functions, unless they are loaded. That takes some 100 ms, as long
    /// as everything else, so the recording of a command defers it until it finds a Go program.
    ///
    /// # Errors
    /// The kernel refuses them, or could not distinguish their sites.
    pub(crate) fn load_go(&mut self) -> Result<()> {
        if !self.kernel.cookie {
            // Two RETs of a function do not differ by their code.
            bail!("this kernel is too old for Go programs (before 5.15)");
        }
        if self.go.is_none() {
            let multi = self.kernel.multi;
            let loaded = objects::load(GO_IMAGE, self.skel.object(), |program| {
                if multi {
                    program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
                }
            });
            self.go = Some(loaded.context("this kernel refuses the BPF programs for Go")?);
        }
        Ok(())
    }

    /// Stores for the kernel side the offsets that it reads in a Go program.
    fn add_go_layout(&self, lib: u16, layout: Layout) -> Result<()> {
        let key = u32::from(lib).to_ne_bytes();
        let layouts = &self.skel.maps.go_layouts;
        layouts
            .update(&key, bytes_of(&layout.for_kernel()), MapFlags::ANY)
            .context("too many Go programs to probe; name fewer files with --lib")
    }

    /// Returns the links of one function.
    fn link_function(
        &mut self,
        target: &Target,
        points: &[Point],
        name: &str,
    ) -> Result<Vec<Link>> {
        let links = self.link(target, points)?;
        links.map_err(|error| attach_refusal(&error, name, &target.path))
    }

    /// Returns links for some breakpoints of a file. The inner error is the kernel's refusal.
    fn link(
        &mut self,
        target: &Target,
        points: &[Point],
    ) -> Result<Result<Vec<Link>, libbpf_rs::Error>> {
        let mut sites = Vec::new();
        for point in points {
            sites.push(self.add_site(target, point)?);
        }
        let sited: Vec<_> = points.iter().zip(sites).collect();
        Ok(if self.kernel.multi {
            self.multi_links(target, &sited)
        } else {
            self.single_links(target, &sited)
        })
    }

    /// Adds a site to the kernel side's table, and returns its number.
    fn add_site(&mut self, target: &Target, point: &Point) -> Result<u32> {
        let number = self.sites + 1;
        let maps = &self.skel.maps;
        let key = number.to_ne_bytes();
        maps.sites
            .update(&key, bytes_of(&point.site), MapFlags::ANY)
            .context("too many functions to probe; name fewer files with --lib")?;
        self.sites = number;
        // A return probe does not need its site.
        if !self.kernel.cookie && point.program != Program::Return {
            self.add_site_by_code(target, point, number)?;
        }
        Ok(number)
    }

    /// Adds a site by its code, which identifies it without cookies; see `struct site_key`.
    fn add_site_by_code(&self, target: &Target, point: &Point, number: u32) -> Result<()> {
        let path = target.path.display();
        let mut code = [0; 8];
        target
            .file
            .read_exact_at(&mut code, point.offset + 8)
            .with_context(|| format!("cannot read {path}"))?;
        let (code, page_offset) = (u64::from_ne_bytes(code), (point.offset & 0xfff) as u32);
        let site_key = types::site_key { code, page_offset, ..types::site_key::default() };
        let key = bytes_of(&site_key);
        let sites = &self.skel.maps.sites_by_code;
        if sites.lookup(key, MapFlags::ANY)?.is_some() {
            bail!(
                "a function at {:#x} in {path} looks like another probed function, and this kernel \
                 is too old to distinguish them (before 5.15); probe fewer files with --lib",
                point.offset
            );
        }
        sites.update(key, &number.to_ne_bytes(), MapFlags::ANY)?;
        Ok(())
    }

    /// Returns a link for each program.
    fn multi_links(
        &self,
        target: &Target,
        sited: &[(&Point, u32)],
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        let mut links = Vec::new();
        for program in Program::ALL {
            let of_program = || sited.iter().filter(|(point, _)| point.program == program);
            let opts = UprobeMultiOpts {
                offsets: of_program().map(|(point, _)| point.offset as usize).collect(),
                cookies: of_program().map(|&(_, site)| site.into()).collect(),
                retprobe: program == Program::Return,
                ..UprobeMultiOpts::default()
            };
            if !opts.offsets.is_empty() {
                let path = target.open_path();
                let program = self.program(program)?;
                links.push(program.attach_uprobe_multi_with_opts(ANY_PID, &path, "", opts)?);
            }
        }
        Ok(links)
    }

    /// Returns a link for each breakpoint. Programs that were loaded for links of many accept no
    /// other.
    fn single_links(
        &self,
        target: &Target,
        sited: &[(&Point, u32)],
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        let attach = |&(point, site): &(&Point, u32)| {
            let opts = UprobeOpts {
                cookie: if self.kernel.cookie { site.into() } else { 0 },
                retprobe: point.program == Program::Return,
                ..UprobeOpts::default()
            };
            let offset = point.offset as usize;
            let program = self.program(point.program)?;
            program.attach_uprobe_with_opts(ANY_PID, target.open_path(), offset, opts)
        };
        sited.iter().map(attach).collect()
    }

    /// Returns a loaded program.
    fn program(&self, program: Program) -> Result<ProgramMut<'_>, libbpf_rs::Error> {
        let objects = [self.skel.object()].into_iter().chain(&self.go);
        let mut loaded = objects.flat_map(Object::progs_mut);
        let found = loaded.find(|loaded| loaded.name() == program.name());
        found.ok_or_else(|| libbpf_rs::Error::from(io::Error::from(io::ErrorKind::NotFound)))
    }
}

fn attach_refusal(error: &libbpf_rs::Error, name: &str, path: &Path) -> anyhow::Error {
    let at = format!("cannot probe {name} in {}", path.display());
    match error.kind() {
        ErrorKind::InvalidInput => anyhow!(
            "{at}: the kernel returned EINVAL; another tracer (bcc, bpftrace, perf) may hold a probe \
             there with another reference counter (`dmesg | grep ref_ctr_offset`): end it, and \
             try again"
        ),
        ErrorKind::PermissionDenied => anyhow!("{at}: not permitted; run as root"),
        _ => anyhow!("{at}: {error:#}"),
    }
}
