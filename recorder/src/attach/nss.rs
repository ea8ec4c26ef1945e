//! Passes to the kernel side which descriptors of NSPR are TLS in processes that exist before the
//! recording. In processes that load NSS later, `SSL_ImportFD` provides this (`bpf/nspr.h`).
//!
//! The methods of a TLS descriptor are data of libssl3, so their address is in the mappings of that
//! file in the process, or in the zeroed pages that follow it. Only this address range is of
//! interest, so nothing of the process is read but its list of mappings.

use std::ops::Range;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

use crate::functions::Family;
use crate::kernel::event::bytes_of;
use crate::kernel::skel::types;
use crate::proc::maps::addresses_of;
use crate::proc::processes;

/// Stores where the library is mapped in these processes. Processes may exit meanwhile: an
/// unreadable process is not an error here.
///
/// # Errors
/// There are too many processes.
pub(crate) fn learn(tls_layers: &impl MapCore, pids: &[u32]) -> Result<()> {
    let [library, ..] = Family::Nss.library().sonames() else { return Ok(()) };
    for &pid in pids {
        let Ok(Some(Range { start, end })) = addresses_of(pid, library) else { continue };
        let layer = types::tls_layer { methods_start: start, methods_end: end };
        tls_layers
            .update(&pid.to_ne_bytes(), bytes_of(&layer), MapFlags::ANY)
            .context("too many processes use NSS")?;
        // A process that has already ended does not report its end again.
        if !processes::is_alive(pid) {
            let _ = tls_layers.delete(&pid.to_ne_bytes());
        }
    }
    Ok(())
}
