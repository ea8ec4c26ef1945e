//! The path of events from the kernel's ring to the writer's thread.

pub(crate) mod batch;
pub(crate) mod collector;
