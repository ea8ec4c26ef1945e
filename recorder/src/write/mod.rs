//! The writer's thread: writes records to the files and to the live text.

pub(crate) mod output;
pub(crate) mod stats;
pub(crate) mod text;
pub(crate) mod writer;
