//! Comments: information that a packet itself cannot hold, as text.
//!
//! `pairs` is their grammar, `write` writes comments, and `read` reads them.

pub(super) mod pairs;
pub(super) mod read;
pub(super) mod write;
