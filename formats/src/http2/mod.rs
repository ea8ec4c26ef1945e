//! What the programs have in common that read HTTP/2 as observers (RFC 9113): frame headers, where
//! frames begin in bytes that begin in the middle of something, and HPACK.
//!
//! Nothing here keeps a connection; that is done by those who read one.

pub mod frame;
pub mod hpack;
pub mod search;
