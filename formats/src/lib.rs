//! The capture model of sslrec and the two files that hold it.
//!
//! [`record`] is the model. [`rawlog`] writes and reads the raw log, which holds everything the
//! recorder saw; [`pcapng`] writes and reads the view of it that opens in Wireshark. Both files
//! are specified to the byte in `FORMAT.md` beside this crate.

#![forbid(unsafe_code)]

mod destination;
pub mod io;
pub mod pairing;
pub mod pcapng;
pub mod rawlog;
pub mod record;

pub use destination::Destination;
