//! The writer's thread: records go to the files and to the live text.

pub(crate) mod output;
pub(crate) mod stats;
pub(crate) mod text;
pub(crate) mod writer;
