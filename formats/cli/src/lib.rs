//! What the command-line programs `sslrec` and `sslanalyze` share.
//!
//! [`text`] makes any text safe for a terminal, [`hexdump`] shows bytes, and [`size`] parses and
//! prints numbers of bytes. The feature `streams` adds [`color`] and [`stderr`], which look at the
//! streams and the environment of the process.
//!
//! The crate knows no command line and no capture.

#![forbid(unsafe_code)]

#[cfg(feature = "streams")]
pub mod color;
pub mod hexdump;
pub mod size;
#[cfg(feature = "streams")]
pub mod stderr;
pub mod text;
