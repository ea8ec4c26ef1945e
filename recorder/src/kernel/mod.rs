//! The kernel side as the recorder sees it: its types, its events, its maps, and the features of
//! the running kernel.

pub(crate) mod counters;
pub(crate) mod event;
pub(crate) mod features;
pub(crate) mod maps;
pub(crate) mod objects;
pub(crate) mod skel;
