//! Reads captures of `sslrec`, and packet captures of plaintext, as HTTP exchanges.
//!
//! ```
//! # fn main() -> Result<(), sslrec_analyzer::Error> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/analyzer/h2-nginx.pcapng");
//! for exchange in sslrec_analyzer::Capture::open(path)?.exchanges() {
//!     let exchange = exchange?;
//!     if let (Some(request), Some(response)) = (&exchange.request, &exchange.response) {
//!         let tls = exchange.connection.tls;
//!         println!("{:?} {:?}: {:?}", request.method, request.url(tls), response.status);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Capture`] opens a file, [`exchange`] is the model of its contents, [`filter`] parses the
//! filters of `sslanalyze FILE FILTER`, and [`coding`] undoes content codings. The folder
//! `examples` has more programs. [`pipeline`], [`input`] and [`tcp`] are the parts of
//! [`Capture`], for programs that read several files or have records of their own.
//!
//! # How it works
//!
//! Data flows one way:
//!
//! ```text
//! input -> records -> assembler -> connection -> http1 -> exchange -> timeline -> order -> filter
//!   \-> tcp ->/                             \-> http2 ->/
//! ```
//!
//! `input` makes records of any capture file, with `tcp` if the file holds packets of the wire. The
//! assembler passes the records to their connections, which detect the protocol that they carry.
//! Protocols on top of HTTP are read while contents arrive, into the model of
//! [`exchange::carried`]. Items that the parsers finish are put in order and passed to the caller.
//! Parsers do no input or output. The work before `records` and the work after `timeline` can
//! each run in a thread of its own, see [`input::read_ahead`] and
//! [`pipeline::Assembler::with_lister_thread`].

#![forbid(unsafe_code)]

pub mod budget;
pub mod coding;
mod connection;
pub mod descriptors;
pub mod exchange;
pub mod filter;
mod handshakes;
mod http1;
mod http2;
pub mod input;
pub mod item_fields;
pub mod over_http;
pub mod pipeline;
mod preamble;
pub mod protobuf;
mod sink;
pub mod tcp;
pub mod text;
mod timeline;

pub use pipeline::{Capture, Exchanges, Items, Summary};
pub use sslrec_formats::io::Error;
