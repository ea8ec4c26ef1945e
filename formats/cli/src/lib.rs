//! What the command-line programs `sslrec` and `sslanalyze` share.
//!
//! [`text`] makes any text safe for a terminal, [`hexdump`] shows bytes, and [`size`] parses and
//! prints numbers of bytes. The feature `streams` adds [`color`], [`stderr`] and
//! [`output_file`], which look at the streams, the environment and the files of the process.
//!
//! The crate knows no command line and no capture.

#![forbid(unsafe_code)]

#[cfg(feature = "streams")]
pub mod color;
pub mod hexdump;
#[cfg(all(unix, feature = "streams"))]
pub mod output_file;
pub mod size;
#[cfg(feature = "streams")]
pub mod stderr;
pub mod text;
