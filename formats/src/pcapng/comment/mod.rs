//! Comments: what a packet itself cannot hold, as text.
//!
//! `pairs` is their grammar, `write` writes them, and `read` reads them back.

pub(super) mod pairs;
pub(super) mod read;
pub(super) mod write;
