//! Reads captures of `sslrec`, and packet captures of plaintext, and lists what was exchanged.
//!
//! Data flows one way:
//!
//! ```text
//! input -> records -> capture -> stream -> http1 -> exchange -> timeline -> filter -> output
//!   \-> tcp ->/                       \-> http2 ->/
//! ```
//!
//! [`input`] makes records of any capture file, with [`tcp`] where it holds packets of the wire.
//! [`capture`] hands them to the connections that they belong to, which find out what protocol
//! they carry; what rides on HTTP is read while contents come, into the model of [`messages`]. What the
//! parsers finish is put in order and given to an [`output`]. Parsers do no
//! input or output, and outputs only read the [`exchange`] model.

#![forbid(unsafe_code)]

pub mod capture;
pub mod cli;
pub mod coding;
pub mod commands;
pub mod descriptors;
pub mod exchange;
mod files;
pub mod filter;
mod http1;
mod http2;
pub mod input;
mod losses;
pub mod messages;
pub mod output;
mod over_http;
mod progress;
pub mod protobuf;
pub mod run;
mod stream;
pub mod tcp;
mod template;
mod terminal;
pub mod text;
mod timeline;
