//! HTTP/2 (RFC 9113) for observers: frame headers, the search for frames in bytes that begin in the
//! middle of something, and HPACK. No connection is kept here.
//!
//! The h2 crate is not used here: it is an endpoint, its frame module is private or unstable ("do
//! not publish a crate that depends on this feature"), and its HPACK decoder closes the connection
//! at an unknown table entry, where an observer must continue across entries and gaps not seen.

pub mod frame;
pub mod hpack;
pub mod search;
