//! What the command-line programs `sslrec` and `sslanalyze` share.
//!
//! [`text`] makes any text safe for a terminal, [`hexdump`] shows bytes, and [`size`] parses and
//! prints numbers of bytes. The feature `streams` adds [`color`], [`stderr`] and
//! [`output_file`], which look at the streams, the environment and the files of the process. The
//! feature `manual` adds [`manual`], which writes man pages and completions.
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
