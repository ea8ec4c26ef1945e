//! Records the plaintext of TLS connections from inside running programs.
//!
//! The modules, from the command line to the files. `cli` has the options, [`plan`] sorts them, and
//! [`session`] runs one recording. `select` finds the chosen processes; `targets` finds the files
//! to probe by way of `proc` (processes, their mappings, the dynamic loader), and `symbols` the
//! functions in them: `functions` is the table of TLS libraries, `placement` proves where in the
//! code a function is probed, and `arch` is the machine. `kernel` is the view of the kernel side
//! (`bpf/`); `attach` loads it, attaches the probes and tests them, as far as `trust` allows.
//! `discovery` finds files that appear during the recording. `collect` empties the ring into
//! batches; `tracker` turns the events into records; `write` passes those to the files and to the
//! live text. `coverage` reports the recorded data of each process, `doctor` the possible
//! recordings, and `process` is the recorder's own process. [`messages`] prints to stderr for all
//! of them.

#[cfg(not(target_os = "linux"))]
compile_error!("sslrec records on Linux only; sslanalyze reads its files anywhere");

mod arch;
mod attach;
pub mod cli;
mod clock;
mod collect;
mod coverage;
mod discovery;
mod doctor;
mod elf_file;
mod exit;
mod functions;
mod kernel;
mod placement;
pub mod plan;
mod proc;
pub mod process;
mod select;
pub mod session;
pub mod stderr;
mod symbols;
mod targets;
mod tracker;
mod trust;
mod write;
