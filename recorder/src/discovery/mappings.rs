//! Reports files that processes map as executable, at the time of the mapping.
//!
//! Uses the records of `perf_event_open(2)` that profilers use for this (`PERF_RECORD_MMAP2`,
//! kernel 3.16). They are produced for every loader, in every mount namespace, and for a plain
//! `mmap`, and cost nothing while no process maps code. A tracepoint of system calls would slow
//! down each call of each process on the machine, and a probe on the loader would have to find all
//! the loaders.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use perf_event::data::Record;
use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};

use crate::proc::maps::{FileKey, Mapping};

/// Buffer size for a processor's records: some thousand.
const RING_BYTES: usize = 256 << 10;

/// A reported event.
#[derive(Debug)]
pub(super) enum Mapped {
    /// A process mapped a file, at this time since boot.
    File { pid: u32, ts_ns: u64, mapping: Mapping },
    /// Some records are missing: any process may have mapped any file.
    Anything,
}

/// The records of all processors.
pub(crate) struct Mappings {
    processors: Vec<Sampler>,
}

impl Mappings {
    /// Begins to watch. Processors that are switched on later are not watched.
    ///
    /// # Errors
    /// The kernel does not permit it.
    pub(crate) fn watch() -> Result<Self> {
        let processors = online_processors().context("cannot list the processors")?;
        let watch = |cpu| Self::watch_one(cpu).context("perf_event_open");
        Ok(Self { processors: processors.into_iter().map(watch).collect::<Result<_>>()? })
    }

    fn watch_one(cpu: usize) -> io::Result<Sampler> {
        let mut builder = Builder::new(Software::DUMMY);
        builder.any_pid().one_cpu(cpu).mmap(true).mmap2(true);
        builder.sample(SampleFlag::TIME).sample_id_all(true).clockid(Clock::BOOTTIME);
        builder.wakeup_watermark(1).enabled(true);
        builder.build()?.sampled(RING_BYTES)
    }

    /// Returns the descriptors to wait on.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        // SAFETY: the descriptor is the sampler's, which outlives the borrow.
        self.processors.iter().map(|sampler| unsafe { BorrowedFd::borrow_raw(sampler.as_raw_fd()) })
    }

    /// Takes the pending records.
    pub(super) fn take(&mut self) -> Vec<Mapped> {
        let mut taken = Vec::new();
        for sampler in &mut self.processors {
            while let Some(record) = sampler.next_record() {
                let ts_ns = time_of(&record.to_contiguous());
                match record.parse_record() {
                    Ok(Record::Mmap2(mmap)) => taken.extend(file(&mmap, ts_ns)),
                    Ok(Record::Lost(_)) | Err(_) => taken.push(Mapped::Anything),
                    Ok(_) => {}
                }
            }
        }
        taken
    }
}

/// Returns the time at the end of a record, as requested above.
fn time_of(record: &[u8]) -> u64 {
    record.last_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn file(mmap: &perf_event::data::Mmap2<'_>, ts_ns: u64) -> Option<Mapped> {
    let name = mmap.filename.strip_suffix(b" (deleted)").unwrap_or(&mmap.filename);
    let path = PathBuf::from(OsStr::from_bytes(name));
    // Memory without a file has no such path.
    if !path.starts_with("/") {
        return None;
    }
    let key = FileKey::new(mmap.maj()?, mmap.min()?, mmap.ino()?);
    let range = mmap.addr..mmap.addr + mmap.len;
    Some(Mapped::File { pid: mmap.pid, ts_ns, mapping: Mapping { key, range, path } })
}

/// Parses the kernel's list: numbers and ranges, separated by commas.
fn online_processors() -> Result<Vec<usize>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut all = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_processors() {
        assert!(!online_processors().unwrap().is_empty());
    }

    #[test]
    fn a_mapping_is_reported_with_its_file() {
        // Not every user is permitted to.
        let Ok(mut mappings) = Mappings::watch() else { return };
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("a program");
        std::fs::copy("/bin/true", &program).unwrap();
        let mut child = std::process::Command::new(&program).spawn().unwrap();
        child.wait().unwrap();
        let all = mappings.take();
        let is_it = |mapped: &&Mapped| {
            matches!(mapped, Mapped::File { pid, mapping, .. }
                if *pid == child.id() && mapping.path == program)
        };
        let Some(Mapped::File { mapping, ts_ns, .. }) = all.iter().find(is_it) else {
            panic!("{all:?}")
        };
        assert_eq!(mapping.key, FileKey::of(&std::fs::metadata(&program).unwrap()));
        let now_ns = crate::clock::boot_time_ns();
        assert!((now_ns - 10_000_000_000..now_ns).contains(ts_ns), "{ts_ns} {now_ns}");
    }
}
