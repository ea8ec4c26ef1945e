//! Tells the kernel side which descriptors of NSPR are TLS in processes that were there before the
//! recording. In those that load NSS later, `SSL_ImportFD` tells (`bpf/nspr.h`).
//!
//! The methods of a TLS descriptor are data of libssl3, so their address lies in what the process
//! has mapped of that file, or in the zeroed pages that follow it. Only whether it does is of
//! interest, so nothing of the process is read but its list of mappings.

use std::fs;
use std::ops::Range;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

use crate::functions::Family;
use crate::proc::processes;

/// Notes where the library is in these processes. They come and go: one that cannot be read is no
/// error here.
///
/// # Errors
/// There are too many.
pub(crate) fn learn(tls_layers: &impl MapCore, pids: &[u32]) -> Result<()> {
    for &pid in pids {
        let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { continue };
        let Some(Range { start, end }) = library(&maps) else { continue };
        let layer = [start.to_ne_bytes(), end.to_ne_bytes()].concat();
        tls_layers
            .update(&pid.to_ne_bytes(), &layer, MapFlags::ANY)
            .context("too many processes use NSS")?;
        // One that ended meanwhile does not end again.
        if !processes::is_alive(pid) {
            let _ = tls_layers.delete(&pid.to_ne_bytes());
        }
    }
    Ok(())
}

/// The addresses of the library according to `/proc/PID/maps`.
fn library(maps: &str) -> Option<Range<u64>> {
    let [name, ..] = Family::Nss.library_names() else { return None };
    let mut library: Option<Range<u64>> = None;
    for line in maps.lines() {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) =
            (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let path = fields.nth(4).unwrap_or_default().trim_start();
        let is_file = path.rsplit('/').next().is_some_and(|file| file.starts_with(name));
        match &mut library {
            None if is_file => library = Some(start..end),
            Some(known) if is_file || (path.is_empty() && known.end == start) => known.end = end,
            _ => {}
        }
    }
    library
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_ends_with_the_zeroed_pages_behind_it() {
        let maps = "\
            1000-2000 r-xp 00000000 fe:01 7                          /bin/server\n\
            5000-6000 r--p 00000000 fe:01 8                          /lib/libssl3.so\n\
            6000-8000 r-xp 00001000 fe:01 8                          /lib/libssl3.so\n\
            8000-9000 rw-p 00003000 fe:01 8                          /lib/libssl3.so\n\
            9000-a000 rw-p 00000000 00:00 0 \n\
            b000-c000 rw-p 00000000 00:00 0 \n\
            c000-d000 r--p 00000000 fe:01 9                          /lib/libnspr4.so\n";
        assert_eq!(library(maps), Some(0x5000..0xa000));
        assert_eq!(library(&maps.replace("libssl3", "libssl")), None);
        assert_eq!(library(""), None);
    }
}
