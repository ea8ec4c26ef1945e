//! Processes, as `/proc` and the files of the dynamic loader describe them. No other module reads
//! `/proc`, and no read is without a bound.

pub(crate) mod cgroups;
mod file;
pub(crate) mod loader;
pub(crate) mod maps;
pub(crate) mod own;
pub(crate) mod processes;
pub(crate) mod tcp;
