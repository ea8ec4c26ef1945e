//! The names of the files of a series.
//!
//! `capture.pcapng` becomes `capture-00001.pcapng`, `capture-00002.pcapng` and so on. In a name
//! with conversions of strftime(3), such as `capture-%H%M%S.pcapng`, the local time at which the
//! file begins is inserted; a number is added only if this yields an earlier name. So no file of
//! the recording overwrites another.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Zoned;

/// The names of the files of a series, one after another.
#[derive(Debug)]
pub(super) struct Names {
    /// The name that the user entered.
    pattern: PathBuf,
    /// The number of names returned.
    count: u64,
    /// Names with the time in them. The time passes, so few are ever alike: only the last names are
    /// stored.
    recent: VecDeque<PathBuf>,
}

/// More files than are begun within one unit of any conversion but those of days and longer. Older
/// names are distinguished by the number.
const RECENT: usize = 4096;

impl Names {
    /// # Errors
    /// The conversions in the name are not those of strftime.
    pub(super) fn new(pattern: &Path) -> Result<Self> {
        let names = Self { pattern: pattern.into(), count: 0, recent: VecDeque::new() };
        names.fill_in(&Zoned::now())?;
        Ok(names)
    }

    /// Returns the next name.
    pub(super) fn next(&mut self, now: &Zoned) -> Result<PathBuf> {
        self.count += 1;
        let Some(filled) = self.fill_in(now)? else { return Ok(self.numbered(&self.pattern)) };
        let known: HashSet<&PathBuf> = self.recent.iter().collect();
        let name = if known.contains(&filled) { self.numbered(&filled) } else { filled };
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(name.clone());
        Ok(name)
    }

    /// Returns the name with the time in it; `None` if it has no conversions.
    fn fill_in(&self, now: &Zoned) -> Result<Option<PathBuf>> {
        let Some(text) = self.pattern.to_str().filter(|text| text.contains('%')) else {
            return Ok(None);
        };
        let filled = jiff::fmt::strtime::format(text, now)
            .with_context(|| format!("{text} has conversions unknown to strftime(3)"))?;
        Ok(Some(filled.into()))
    }

    /// Inserts the number before the extension.
    fn numbered(&self, path: &Path) -> PathBuf {
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{:05}", self.count));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    fn given(pattern: &str, times: &[&str]) -> Vec<String> {
        let mut names = Names::new(Path::new(pattern)).unwrap();
        let name = |time: &&str| names.next(&at(time)).unwrap().display().to_string();
        times.iter().map(name).collect()
    }

    const NOON: &str = "2026-11-23T12:00:00+01:00[+01:00]";
    const LATER: &str = "2026-11-23T12:00:01+01:00[+01:00]";

    #[test]
    fn files_are_numbered_before_the_extension() {
        assert_eq!(
            given("a/b.c.pcapng", &[NOON, NOON]),
            ["a/b.c-00001.pcapng", "a/b.c-00002.pcapng"]
        );
    }

    #[test]
    fn conversions_are_filled_in_with_the_time() {
        assert_eq!(
            given("x-%Y%m%d-%H%M%S.zst", &[NOON, LATER]),
            ["x-20261123-120000.zst", "x-20261123-120001.zst"]
        );
    }

    #[test]
    fn a_time_that_comes_again_gets_a_number() {
        assert_eq!(
            given("%H.zst", &[NOON, LATER, NOON]),
            ["12.zst", "12-00002.zst", "12-00003.zst"]
        );
    }

    #[test]
    fn conversions_that_do_not_exist_are_refused() {
        let error = Names::new(Path::new("a-%!.zst")).unwrap_err();
        assert!(format!("{error:#}").contains("a-%!.zst"), "{error:#}");
    }
}
