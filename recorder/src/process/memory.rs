//! How much memory the recorder has, and how much it may have.
//!
//! What it keeps grows with the connections that are open at once, and a flood of them must not end
//! in the kernel's killing it. So every allocation is counted, and past a ceiling
//! (`--max-memory`) new connections are turned away: what they carry becomes loss that the files
//! state, as it is when the ring is full.
//!
//! The ceiling is for the ring and for the recorder's anonymous memory (`RssAnon` of
//! `/proc/PID/status`). The program itself is shared and backed by its file; the kernel side's
//! tables have a fixed size, and are the kernel's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};

use crate::proc::own;

/// Bytes that are allocated, with what malloc(3) adds to each.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The ceiling, unless another one is asked for or the ring is larger than usual.
const DEFAULT: u64 = 256 << 20;
/// What that leaves beside the usual ring.
const BESIDE_RING: u64 = DEFAULT - (16 << 20);

/// What Rust does not allocate: stacks, libbpf, zstd.
const UNCOUNTED: usize = 8 << 20;

/// Kept back from new connections for what those that are open have need of, and the end of the
/// recording: buffers of two files, and the report.
const KEPT_BACK: usize = 16 << 20;

/// Room for connections without which a recording is not worth beginning: some 2000 of them.
const LEAST_ROOM: usize = 4 << 20;

/// What a connection allocates with its first data, with names of some length.
const BEGINNING: usize = 2 << 10;

/// What a connection adds to hash tables that will have to grow: those of the tracker, of both
/// writers and of [`sslrec_formats::pairing`], which grow to twice their size at once.
const IN_TABLES: usize = 640;

/// Counts what [`System`] allocates.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: `System` does everything; what is added touches an atomic number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` wants.
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

/// What malloc(3) of glibc takes for this: eight bytes more, in steps of 16, 32 at least.
const fn chunk(size: usize) -> usize {
    let size = (size.saturating_add(8)).next_multiple_of(16);
    if size < 32 { 32 } else { size }
}

/// What `--max-memory` leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceiling {
    /// Anonymous memory, in bytes.
    anonymous: usize,
    /// Allocated bytes.
    live: usize,
    /// The memory is fuller than what is allocated says: nothing new is taken in.
    fragmented: bool,
}

impl Ceiling {
    /// # Errors
    /// The ring and what is allocated already, before anything was recorded, leave too little.
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
        // An eighth for holes between what is allocated.
        let live = anonymous.saturating_sub(UNCOUNTED) / 8 * 7;
        Self { anonymous, live, fragmented: false }
    }

    /// Whether there is room for one more connection beside so many, of which some have carried
    /// nothing yet.
    pub(crate) fn has_room(&self, connections: usize, unstarted: usize) -> bool {
        let reserved = KEPT_BACK + (unstarted + 1) * BEGINNING + (connections + 1) * IN_TABLES;
        !self.fragmented && LIVE.load(Ordering::Relaxed).saturating_add(reserved) <= self.live
    }

    /// Whether not even those that are open may have more.
    pub(crate) fn is_passed(&self) -> bool {
        LIVE.load(Ordering::Relaxed) > self.live
    }

    /// The most that a redactor may hold.
    pub(crate) fn for_redactor(&self) -> usize {
        self.live / 4
    }

    /// Looks at what the kernel says; to be called now and then. Freed memory that lies between
    /// what is in use goes back to the kernel only on demand.
    pub(crate) fn look(&mut self) {
        let is_full = || anonymous_bytes().is_some_and(|bytes| bytes > self.anonymous);
        self.fragmented = is_full() && {
            // SAFETY: malloc_trim(3) may be called at any time, by any thread.
            unsafe { libc::malloc_trim(0) };
            is_full()
        };
    }
}

/// What is enough by [`Ceiling::new`], in bytes.
fn least(allocated: usize, ring: u64) -> u64 {
    let live = (allocated + KEPT_BACK + LEAST_ROOM) as u64;
    (live / 7 + 1) * 8 + UNCOUNTED as u64 + ring
}

/// The anonymous memory of this process.
fn anonymous_bytes() -> Option<usize> {
    let size = own::status("RssAnon")?;
    size.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
impl Ceiling {
    /// One that nothing comes near.
    pub(crate) fn none() -> Self {
        Self::of(u64::MAX, 0)
    }

    /// One under which nothing new has room.
    pub(crate) fn closed() -> Self {
        Self { fragmented: true, ..Self::none() }
    }

    /// One that was passed.
    pub(crate) fn passed() -> Self {
        Self { anonymous: 0, live: 0, fragmented: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted() {
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
    fn the_least_that_is_named_is_enough() {
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
