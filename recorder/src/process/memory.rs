//! The recorder's memory and its limit.
//!
//! Memory grows with the connections that are open at once, and a flood of them must not end in the
//! kernel's killing the recorder. So every allocation is counted, and past a ceiling
//! (`--max-memory`) new connections are turned away: their bytes are reported in the files as
//! missing, like those that found the ring full.
//!
//! The ceiling is for the ring and for the recorder's anonymous memory (`RssAnon` of
//! `/proc/PID/status`). The program itself is shared and backed by its file; the kernel side's
//! tables have a fixed size, and belong to the kernel.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};

use crate::proc::own;

/// Allocated bytes, including malloc(3)'s overhead for each allocation.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The ceiling, unless the user sets another or the ring is larger than usual.
const DEFAULT: u64 = 256 << 20;
/// The part of the ceiling beside the usual ring.
const BESIDE_RING: u64 = DEFAULT - (16 << 20);

/// Memory that Rust does not allocate: stacks, libbpf, zstd.
const UNCOUNTED: usize = 8 << 20;

/// Reserved for the open connections and for the end of the recording (buffers of two files, and
/// the report), and not available to new connections.
const KEPT_BACK: usize = 16 << 20;

/// Room for connections without which a recording is not worth beginning: some 2000 of them.
const LEAST_ROOM: usize = 4 << 20;

/// Bytes that a connection allocates with its first data, with names of some length.
const BEGINNING: usize = 2 << 10;

/// Bytes that a connection adds to hash tables that will have to grow: those of the tracker, of
/// both writers and of [`sslrec_formats::pairing`], which grow to twice their size at once.
const IN_TABLES: usize = 640;

/// Counts the allocations of [`System`].
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: `System` does everything; the additions access an atomic number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` requires.
        let memory = unsafe { System.alloc(layout) };
        count(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { System.alloc_zeroed(layout) };
        count(memory, layout.size());
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(chunk(layout.size()), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { System.realloc(memory, layout, size) };
        if !memory.is_null() {
            LIVE.fetch_add(chunk(size), Ordering::Relaxed);
            LIVE.fetch_sub(chunk(layout.size()), Ordering::Relaxed);
        }
        memory
    }
}

fn count(memory: *mut u8, size: usize) {
    if !memory.is_null() {
        LIVE.fetch_add(chunk(size), Ordering::Relaxed);
    }
}

/// Returns the memory that glibc's malloc(3) takes for this size: eight bytes more, in steps of 16,
/// 32 at least.
const fn chunk(size: usize) -> usize {
    let size = (size.saturating_add(8)).next_multiple_of(16);
    if size < 32 { 32 } else { size }
}

/// The limits that result from `--max-memory`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceiling {
    /// Anonymous memory, in bytes.
    anonymous: usize,
    /// Allocated bytes.
    live: usize,
    /// Resident memory exceeds the limit although allocations do not: nothing new is accepted.
    fragmented: bool,
}

impl Ceiling {
    /// # Errors
    /// The ring and the memory already allocated, before anything was recorded, leave too little.
    pub(crate) fn new(max_memory: Option<u64>, ring: u64) -> Result<Self> {
        let max_memory = max_memory.unwrap_or(DEFAULT.max(ring + BESIDE_RING));
        let allocated = LIVE.load(Ordering::Relaxed);
        let ceiling = Self::of(max_memory, ring);
        if ceiling.live < allocated + KEPT_BACK + LEAST_ROOM {
            bail!(
                "--max-memory leaves too little beside the ring of {}K; give at least {}M, or a \
                 smaller --ring-size",
                ring >> 10,
                least(allocated, ring).div_ceil(1 << 20),
            );
        }
        Ok(ceiling)
    }

    fn of(max_memory: u64, ring: u64) -> Self {
        let anonymous = usize::try_from(max_memory.saturating_sub(ring)).unwrap_or(usize::MAX);
        // An eighth for holes between allocations.
        let live = anonymous.saturating_sub(UNCOUNTED) / 8 * 7;
        Self { anonymous, live, fragmented: false }
    }

    /// Returns whether there is room for one more connection beside so many, some of which have
    /// carried nothing yet.
    pub(crate) fn has_room(&self, connections: usize, unstarted: usize) -> bool {
        let reserved = KEPT_BACK + (unstarted + 1) * BEGINNING + (connections + 1) * IN_TABLES;
        !self.fragmented && LIVE.load(Ordering::Relaxed).saturating_add(reserved) <= self.live
    }

    /// Returns whether not even open connections may use more.
    pub(crate) fn is_passed(&self) -> bool {
        LIVE.load(Ordering::Relaxed) > self.live
    }

    /// Returns the most that a redactor may hold.
    pub(crate) fn for_redactor(&self) -> usize {
        self.live / 4
    }

    /// Updates the memory figures from the kernel; call this from time to time. Freed memory
    /// between allocations is returned to the kernel only on demand.
    pub(crate) fn look(&mut self) {
        let is_full = || anonymous_bytes().is_some_and(|bytes| bytes > self.anonymous);
        self.fragmented = is_full() && {
            // SAFETY: malloc_trim(3) may be called at any time, by any thread.
            unsafe { libc::malloc_trim(0) };
            is_full()
        };
    }
}

/// Returns the least limit that [`Ceiling::new`] accepts, in bytes.
fn least(allocated: usize, ring: u64) -> u64 {
    let live = (allocated + KEPT_BACK + LEAST_ROOM) as u64;
    (live / 7 + 1) * 8 + UNCOUNTED as u64 + ring
}

/// Returns the anonymous memory of this process.
fn anonymous_bytes() -> Option<usize> {
    let size = own::status("RssAnon")?;
    size.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
impl Ceiling {
    /// Returns a ceiling that is never reached.
    pub(crate) fn none() -> Self {
        Self::of(u64::MAX, 0)
    }

    /// Returns a ceiling without room for anything new.
    pub(crate) fn closed() -> Self {
        Self { fragmented: true, ..Self::none() }
    }

    /// Returns a ceiling that was passed.
    pub(crate) fn passed() -> Self {
        Self { anonymous: 0, live: 0, fragmented: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted() {
        let before = LIVE.load(Ordering::Relaxed);
        let mut memory = vec![1_u8; 64 << 20];
        let with = LIVE.load(Ordering::Relaxed);
        assert!(anonymous_bytes().is_some_and(|bytes| bytes >= 64 << 20));
        memory.truncate(1);
        memory.shrink_to_fit();
        let after = LIVE.load(Ordering::Relaxed);
        // Other tests may run beside this one.
        let near = |a: usize, b: usize| a.abs_diff(b) < 32 << 20;
        assert!(near(with, before + (64 << 20)) && near(after, before), "{before} {with} {after}");
    }

    #[test]
    fn the_reported_minimum_is_enough() {
        for ring in [64 << 10, 16 << 20, 1 << 30] {
            let named = least(30 << 20, ring).div_ceil(1 << 20) << 20;
            assert!(Ceiling::of(named, ring).live >= (30 << 20) + KEPT_BACK + LEAST_ROOM);
            let error = Ceiling::new(Some(ring), ring).unwrap_err().to_string();
            assert!(error.contains("at least"), "{error}");
            assert!(Ceiling::new(None, ring).is_ok());
        }
    }

    #[test]
    fn the_default_holds_as_many_connections_as_the_kernel_side_follows() {
        let ceiling = Ceiling::new(None, 16 << 20).unwrap();
        let reserved = KEPT_BACK + 65_536 * IN_TABLES;
        // A connection takes some 1.3 KiB in both files, and the recorder itself 26 MiB.
        assert!(ceiling.live > reserved + 65_536 * 1331 + (26 << 20), "{}", ceiling.live);
    }
}
