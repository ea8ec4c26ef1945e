//! Tells the kernel side which descriptors of NSPR are TLS in processes that were there before the
//! recording. In those that load NSS later, `SSL_ImportFD` tells (`bpf/nspr.h`).
//!
//! The methods of a TLS descriptor are data of libssl3, so their address lies in what the process
//! has mapped of that file, or in the zeroed pages that follow it. Only whether it does is of
//! interest, so nothing of the process is read but its list of mappings.

use std::ops::Range;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

use crate::functions::Family;
use crate::kernel::event::bytes_of;
use crate::kernel::skel::types;
use crate::proc::maps::addresses_of;
use crate::proc::processes;

/// Notes where the library is in these processes. They come and go: one that cannot be read is no
/// error here.
///
/// # Errors
/// There are too many.
pub(crate) fn learn(tls_layers: &impl MapCore, pids: &[u32]) -> Result<()> {
    let [library, ..] = Family::Nss.library().sonames() else { return Ok(()) };
    for &pid in pids {
        let Ok(Some(Range { start, end })) = addresses_of(pid, library) else { continue };
        let layer = types::tls_layer { methods_start: start, methods_end: end };
        tls_layers
            .update(&pid.to_ne_bytes(), bytes_of(&layer), MapFlags::ANY)
            .context("too many processes use NSS")?;
        // One that ended meanwhile does not end again.
        if !processes::is_alive(pid) {
            let _ = tls_layers.delete(&pid.to_ne_bytes());
        }
    }
    Ok(())
}
