//! Records the plaintext of TLS connections from inside running programs.
//!
//! A byte's way, module by module: [`cli`] what the user wants, `cgroups` one part of it; `targets`
//! which files to probe, by way of `loader` and `symbols`; `functions` what each function does, `go`
//! where Go programs have theirs; `placement` where in its code it is to be probed, `sites` and
//! `points` what that comes to, `stacks` who must be spared return probes; `kernel`,
//! `probes`, `objects`, `sockets` and `uprobes` load and attach the kernel side (`bpf/`), `attach`
//! decides how, and `self_test` tries it; `discovery` finds what appears meanwhile, and `coverage`
//! notes what was recorded of whom; `collector` empties the ring into a `batch` for the writer's
//! thread; `event` views them; `tracker` makes them records; `writer` hands those to `output` and
//! `text`; `stats` says how it went, and `doctor` how it would go; `memory` bounds what is kept.
//! `session` runs it all, with `child`, `priority` and `signals`; [`messages`] is how all of them
//! speak.

#[cfg(not(target_os = "linux"))]
compile_error!("sslrec records on Linux only; sslanalyze reads its files anywhere");

mod answers;
mod attach;
mod batch;
mod cgroups;
mod child;
pub mod cli;
mod clock;
mod collector;
mod coverage;
mod debug_data;
mod discovery;
mod doctor;
mod event;
mod functions;
mod go;
mod keeper;
mod kernel;
mod kernel_state;
mod listeners;
mod loader;
mod memory;
pub mod messages;
mod nss;
mod objects;
mod output;
mod placement;
mod points;
mod priority;
pub mod privileges;
mod probes;
mod processes;
mod self_test;
pub mod session;
mod signals;
mod sites;
mod skel;
mod sockets;
mod stacks;
mod stats;
mod symbols;
mod targets;
mod text;
mod tracker;
mod uprobes;
mod writer;
