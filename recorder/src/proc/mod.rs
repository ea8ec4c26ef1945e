//! Other processes, as `/proc` and the files of the dynamic loader describe them.

pub(crate) mod cgroups;
pub(crate) mod listeners;
pub(crate) mod loader;
pub(crate) mod processes;
pub(crate) mod tcp;
