//! Probes files, those known at the start and those that turn up later: by what means each can be
//! probed, whether that proves right, and what the user is told of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::cli::Options;
use crate::messages::say;
use crate::points::Means;
use crate::probes::Probes;
use crate::self_test::{self, Outcome, Source};
use crate::stacks::Switcher;
use crate::targets::Target;

/// The probed files, by the number that events name them by. Shared with whoever reads events:
/// a file is in here before its first probe is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Libs(Arc<Mutex<Vec<PathBuf>>>);

impl Libs {
    /// The file with this number.
    pub(crate) fn path(&self, lib: u16) -> Option<PathBuf> {
        self.lock().get(usize::from(lib)).cloned()
    }

    /// Takes in a file, and gives its number.
    fn add(&self, path: PathBuf) -> Result<u16> {
        let mut paths = self.lock();
        let number = u16::try_from(paths.len())?;
        paths.push(path);
        Ok(number)
    }

    /// A list is whole whatever happened to the thread that held it.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> From<[&str; N]> for Libs {
    fn from(paths: [&str; N]) -> Self {
        Self(Arc::new(Mutex::new(paths.map(PathBuf::from).into())))
    }
}

/// What has been probed, and how.
#[derive(Debug)]
pub(crate) struct Attacher<'a> {
    options: &'a Options,
    files: Vec<Probed>,
    libs: Libs,
}

/// A probed file.
#[derive(Debug)]
struct Probed {
    target: Target,
    /// By what means it is probed, which proved right.
    means: Means,
}

impl<'a> Attacher<'a> {
    pub(crate) fn new(options: &'a Options) -> Self {
        Self { options, files: Vec::new(), libs: Libs::default() }
    }

    pub(crate) fn libs(&self) -> Libs {
        self.libs.clone()
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
        let lib = self.libs.add(target.path.clone())?;
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
