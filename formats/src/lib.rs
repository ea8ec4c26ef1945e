//! The capture model of sslrec and its two file formats.
//!
//! [`record`] is the model. [`rawlog`] writes and reads the raw log, which contains everything the
//! recorder saw; [`pcapng`] writes and reads the form that Wireshark opens. Both formats are
//! specified to the byte in `FORMAT.md` beside this crate.

#![forbid(unsafe_code)]

mod destination;
pub mod io;
pub mod pairing;
pub mod pcapng;
pub mod rawlog;
pub mod record;

pub use destination::Destination;
