//! Probes files, those known at the start and those that turn up later: by what means each can be
//! probed, whether that proves right, and what the user is told of it.

pub(crate) mod breakpoints;
pub(crate) mod nss;
pub(crate) mod probes;
pub(crate) mod self_test;
mod sockets;
mod uprobes;

use std::collections::HashMap;

use anyhow::Result;

use self::breakpoints::Means;
use self::probes::Probes;
use self::self_test::{Outcome, Source};
use crate::cli::Options;
use crate::coverage::Coverage;
use crate::messages::say;
use crate::proc::maps::FileKey;
use crate::targets::Target;
use crate::targets::stack_switchers::Switcher;

/// What has been probed, and how.
#[derive(Debug)]
pub(crate) struct Attacher<'a> {
    options: &'a Options,
    files: Vec<Probed>,
    coverage: Coverage,
    /// Numbers of the probed files.
    numbers: HashMap<FileKey, u16>,
}

/// A probed file.
#[derive(Debug)]
struct Probed {
    target: Target,
    /// By what means it is probed, which proved right.
    means: Means,
}

impl<'a> Attacher<'a> {
    pub(crate) fn new(options: &'a Options, coverage: Coverage) -> Self {
        Self { options, files: Vec::new(), coverage, numbers: HashMap::new() }
    }

    /// The number of a file, if it is probed.
    pub(crate) fn number(&self, key: FileKey) -> Option<u16> {
        self.numbers.get(&key).copied()
    }

    /// What the probed files are called.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |file: &Probed| Some(file.target.path.file_name()?.to_string_lossy().into());
        self.files.iter().filter_map(name).collect()
    }

    /// Probes the files known at the start. One that nobody named and that cannot be probed is
    /// left out, unless it is the last.
    ///
    /// # Errors
    /// A file that the user named cannot be probed, or none can.
    pub(crate) fn attach_all(
        &mut self,
        probes: &mut Probes<'_>,
        files: Vec<Target>,
        switcher: Option<&Switcher>,
    ) -> Result<()> {
        let mut refused = Vec::new();
        for target in files {
            match self.attach(probes, target, switcher, &Source::Ring) {
                Ok(()) => {}
                Err(error) if self.options.libs.is_empty() => refused.push(error),
                Err(error) => return Err(error),
            }
        }
        if self.files.is_empty()
            && let Some(error) = refused.pop()
        {
            return Err(error);
        }
        for error in refused {
            say(format_args!("{error:#}; recording without this file"));
        }
        Ok(())
    }

    /// Probes one file. `switcher` is a program that runs into these probes and that return
    /// probes would kill.
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
        let means = Means { sites: probes.kernel.placement, returns: switcher.is_none() };
        // What held for one file holds for another of the same build.
        let same = self.files.iter().find(|file| file.target.symbols == target.symbols);
        let tried = same.map(|file| Means { returns: means.returns, ..file.means });
        let lib = self.coverage.add_lib(target.path.clone(), target.found)?;
        if let Ok(meta) = target.file.metadata() {
            self.numbers.insert(FileKey::of(&meta), lib);
        }
        let means = match tried {
            Some(means) => self.attach_by(probes, &target, lib, means, None)?,
            None => self.attach_by(probes, &target, lib, means, Some(source))?,
        };
        self.files.push(Probed { target, means });
        Ok(())
    }

    /// Probes a file, within its functions if that proves right, and gives the means that it came
    /// to. Without a `source` of events it is proven already.
    fn attach_by(
        &self,
        probes: &mut Probes<'_>,
        target: &Target,
        lib: u16,
        mut means: Means,
        source: Option<&Source<'_>>,
    ) -> Result<Means> {
        let verbose = self.options.verbose;
        let path = target.path.display();
        let mut attached = probes.attach(target, lib, means)?;
        // Go's functions are not called here; their code has told all there is to know.
        if means.sites
            && target.symbols.have_self_test()
            && let Some(source) = source
        {
            match self_test::run(probes, target, source)? {
                Outcome::Passed if verbose => say(format_args!("self-test passed on {path}")),
                Outcome::Passed => {}
                Outcome::NotRun(reason) if verbose => {
                    say(format_args!("no self-test on {path}: {reason}"));
                }
                Outcome::NotRun(_) => {}
                Outcome::Failed(reason) => {
                    say(format_args!(
                        "{path} is recorded without probes within functions, since they failed \
                         the self-test: {reason}"
                    ));
                    probes.take_back(attached);
                    means.sites = false;
                    attached = probes.attach(target, lib, means)?;
                }
            }
        }
        self.coverage.is_probed(lib, attached.functions);
        if !attached.left_out.is_empty() {
            let names = attached.left_out.join(", ");
            say(format_args!("not recorded without return probes, in {path}: {names}"));
        }
        if verbose {
            say(format_args!("{} functions probed in {path}", attached.functions));
            for (name, why) in &attached.return_probes {
                say(format_args!("{name} there has a return probe: {why}"));
            }
        }
        Ok(means)
    }
}
