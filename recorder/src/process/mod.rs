//! The recorder as a process: its child, signals, privileges, priority and memory.

pub(crate) mod child;
pub(crate) mod descriptors;
pub(crate) mod memory;
pub(crate) mod priority;
pub mod privileges;
pub(crate) mod signaller;
pub(crate) mod signals;
