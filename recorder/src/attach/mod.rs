//! Probes files, both those known at the start and those that appear later: chooses the methods,
//! tests the probes, and reports the result to the user.

pub(crate) mod breakpoints;
pub(crate) mod nss;
pub(crate) mod probes;
pub(crate) mod self_test;
mod sockets;
pub(crate) mod trials;
mod uprobes;

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;

use self::breakpoints::{Means, SiteUse};
use self::probes::{Probes, lock};
use self::self_test::{Budget, Outcome, Source};
use self::uprobes::Attached;
use crate::coverage::Coverage;
use crate::kernel::features::Kernel;
use crate::plan::Plan;
use crate::proc::maps::FileKey;
use crate::stderr::{describe, message};
use crate::targets::Target;
use crate::targets::stack_switchers::{Switcher, Switchers};
use crate::trust::Trusted;

/// The probed files and their probes.
#[derive(Debug)]
pub(crate) struct Attacher {
    /// Whether the user named the files.
    are_named: bool,
    verbose: bool,
    files: Vec<Probed>,
    coverage: Coverage,
    /// Numbers of the probed files.
    numbers: HashMap<FileKey, u16>,
    /// Users whose code may be run.
    trusted: Trusted,
    /// The remaining time for self-tests.
    budget: Budget,
    /// The stack switchers met so far; `None` if processes are not stopped before they hit probes,
    /// so that a switcher anywhere means no return probes at all.
    pub(crate) switchers: Option<Switchers>,
}

/// A probed file.
#[derive(Debug)]
struct Probed {
    target: Target,
    /// The degree to which its placed sites are trusted.
    sites: SiteUse,
    /// Its number in events.
    lib: u16,
    /// Some of its functions have return probes.
    has_returns: bool,
}

impl Attacher {
    pub(crate) fn new(plan: &Plan, coverage: Coverage) -> Self {
        Self {
            are_named: !plan.probe.files.is_empty(),
            verbose: plan.talk.verbose,
            files: Vec::new(),
            coverage,
            numbers: HashMap::new(),
            trusted: Trusted::here(),
            budget: Budget::default(),
            switchers: None,
        }
    }

    /// Returns the number of a file, if it is probed.
    pub(crate) fn number(&self, key: FileKey) -> Option<u16> {
        self.numbers.get(&key).copied()
    }

    /// Returns the display names of the probed files.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |file: &Probed| Some(file.target.path.file_name()?.to_string_lossy().into());
        self.files.iter().filter_map(name).collect()
    }

    /// Probes the files known at the start. A file that the user did not name and that cannot be
    /// probed is left out, unless it is the last.
    ///
    /// # Errors
    /// A file that the user named cannot be probed, or no file can.
    pub(crate) fn attach_all(
        &mut self,
        probes: &mut Probes<'_>,
        files: Vec<Target>,
        switcher: Option<&Switcher>,
    ) -> Result<()> {
        let mut refused = Vec::new();
        for target in files {
            let switcher = switcher.filter(|switcher| switcher.may_hit(&target));
            match self.attach(probes, target, switcher, &Source::Ring) {
                Ok(()) => {}
                Err(error) if !self.are_named => refused.push(error),
                Err(error) => return Err(error),
            }
        }
        if self.files.is_empty()
            && let Some(error) = refused.pop()
        {
            return Err(error);
        }
        for error in refused {
            message(format_args!("{}; recording without this file", describe(&error)));
        }
        Ok(())
    }

    /// Probes one file. `switcher` is a program that hits these probes and that return probes would
    /// kill.
    ///
    /// # Errors
    /// The kernel refuses probes without which bytes would be missing.
    pub(crate) fn attach(
        &mut self,
        probes: &mut Probes<'_>,
        target: Target,
        switcher: Option<&Switcher>,
        source: &Source<'_>,
    ) -> Result<()> {
        let returns = switcher.is_none();
        let families = target.symbols.families().collect();
        let lib = self.coverage.add_lib(target.path.clone(), target.found, families)?;
        if let Ok(meta) = target.file.metadata() {
            self.numbers.insert(FileKey::of(&meta), lib);
        }
        let (sites, attached) = self.site_use(probes, &target, source, lib, returns)?;
        let means = match sites {
            // There is nothing to compare the sites with: the proof decides.
            SiteUse::OnTrial if !returns => Means { sites: SiteUse::Always, returns },
            _ => Means { sites, returns },
        };
        let attached = match attached {
            Some(attached) => attached,
            None => probes.attach(&target, lib, means)?,
        };
        self.report(&attached, &target, lib);
        let has_returns = !attached.return_probes.is_empty() || !attached.on_trial.is_empty();
        self.files.push(Probed { target, sites, lib, has_returns });
        Ok(())
    }

    /// Returns whether some functions of a file have return probes.
    pub(crate) fn has_returns(&self, key: FileKey) -> bool {
        let lib = self.number(key);
        self.files.iter().any(|file| file.has_returns && Some(file.lib) == lib)
    }

    /// Returns the files of which some functions have return probes.
    pub(crate) fn with_returns(&self) -> Vec<FileKey> {
        self.numbers.keys().copied().filter(|&key| self.has_returns(key)).collect()
    }

    /// Removes the return probes of a file, since a program that they would kill has mapped it.
    ///
    /// # Errors
    /// The kernel refuses the probes in their place.
    pub(crate) fn remove_returns(
        &mut self,
        probes: &Mutex<Probes<'_>>,
        key: FileKey,
        switcher: &Path,
    ) -> Result<()> {
        let lib = self.number(key);
        let Some(file) = self.files.iter_mut().find(|file| Some(file.lib) == lib) else {
            return Ok(());
        };
        file.has_returns = false;
        // The kernel takes a while to close them, during which the ring must be emptied.
        let links = lock(probes).take_returning(&file.target, file.lib);
        drop(links);
        let left_out = lock(probes).attach_beginnings(&file.target, file.lib, file.sites)?;
        let (path, switcher) = (file.target.path.display(), switcher.display());
        if left_out.is_empty() {
            if self.verbose {
                message(format_args!("{path} has no return probes any more, for {switcher}"));
            }
        } else {
            let names = left_out.join(", ");
            message(format_args!(
                "not recorded from now on, in {path}: {names}; {switcher} switches stacks, and \
                 return probes would kill it"
            ));
        }
        Ok(())
    }

    /// Returns the degree to which the placed sites of a file are trusted, by a self-test if its
    /// code may be run. After a passed test the file is already probed.
    fn site_use(
        &mut self,
        probes: &mut Probes<'_>,
        target: &Target,
        source: &Source<'_>,
        lib: u16,
        returns: bool,
    ) -> Result<(SiteUse, Option<Attached>)> {
        if let Some(sites) = self.site_use_without_test(probes.kernel, target) {
            return Ok((sites, None));
        }
        let path = target.path.display();
        let means = Means { sites: SiteUse::Always, returns };
        let attached = probes.attach(target, lib, means)?;
        let sites = match self_test::run(probes, target, source, &mut self.budget)? {
            Outcome::Passed => {
                self.details(format_args!("self-test passed on {path}"));
                return Ok((SiteUse::Always, Some(attached)));
            }
            Outcome::NotRun(reason) => {
                self.details(format_args!("no self-test on {path}: {reason}"));
                SiteUse::OnTrial
            }
            Outcome::Failed(reason) => {
                message(format_args!(
                    "{path} is recorded without probes within functions, since they failed the \
                     self-test: {reason}"
                ));
                SiteUse::Never
            }
        };
        probes.take_back(attached);
        Ok((sites, None))
    }

    /// Returns the degree to which the placed sites of a file are trusted, if that is known without
    /// a self-test, or if no test may be run.
    fn site_use_without_test(&self, kernel: Kernel, target: &Target) -> Option<SiteUse> {
        if !kernel.placement {
            return Some(SiteUse::Never);
        }
        // Go functions are not called here; their code was analysed in full.
        if !target.symbols.have_self_test() {
            return Some(SiteUse::Always);
        }
        let has_same_build = |sites| {
            let mut files = self.files.iter();
            files.any(|file| file.target.symbols == target.symbols && file.sites == sites)
        };
        // A failure for one file is a failure for any other of the same build.
        if has_same_build(SiteUse::Never) {
            return Some(SiteUse::Never);
        }
        if let Err(reason) = self.trusted.may_run(&target.file, &target.path) {
            let path = target.path.display();
            self.details(format_args!(
                "{path} is tested during the recording, not before: {reason}"
            ));
            return Some(SiteUse::OnTrial);
        }
        // ... and a pass holds for it too, if only the user could have written both files.
        has_same_build(SiteUse::Always).then_some(SiteUse::Always)
    }

    /// Writes a message for `--verbose`.
    fn details(&self, text: impl Display) {
        if self.verbose {
            message(text);
        }
    }

    /// Notes and reports the result of a file's probes.
    fn report(&self, attached: &Attached, target: &Target, lib: u16) {
        let path = target.path.display();
        self.coverage.is_probed(lib, attached.functions);
        if !attached.left_out.is_empty() {
            let names = attached.left_out.join(", ");
            message(format_args!("not recorded without return probes, in {path}: {names}"));
        }
        if self.verbose {
            message(format_args!("{} functions probed in {path}", attached.functions));
            if !attached.on_trial.is_empty() {
                let names = attached.on_trial.join(", ");
                message(format_args!(
                    "return probes there until their sites pass the trial: {names}"
                ));
            }
            for (name, why) in &attached.return_probes {
                message(format_args!("{name} there has a return probe: {why}"));
            }
        }
    }
}
