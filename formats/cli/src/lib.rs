//! The shared code of the command-line programs `sslrec` and `sslanalyze`.
//!
//! [`text`] makes any text safe for a terminal, [`hexdump`] formats bytes, and [`size`] parses and
//! prints numbers of bytes. The feature `streams` adds [`color`], [`stderr`] and [`output_file`],
//! which depend on the streams, the environment and the files of the process. The feature `manual`
//! adds [`manual`], which writes man pages and completions.
//!
//! The crate defines no command line and reads no capture.

#![forbid(unsafe_code)]

#[cfg(feature = "streams")]
pub mod color;
pub mod hexdump;
#[cfg(feature = "manual")]
pub mod manual;
#[cfg(all(unix, feature = "streams"))]
pub mod output_file;
pub mod size;
#[cfg(feature = "streams")]
pub mod stderr;
pub mod text;
