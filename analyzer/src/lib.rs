//! Reads captures of `sslrec`, and packet captures of plaintext, and gives what was exchanged.
//!
//! ```
//! # fn main() -> Result<(), sslanalyze::Error> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/analyzer/h2-nginx.pcapng");
//! for exchange in sslanalyze::Capture::open(path)?.exchanges() {
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
//! [`Capture`] opens a file, [`exchange`] is the model of what it gives, [`filter`] understands what
//! `sslanalyze FILE FILTER` does, and [`coding`] undoes content codings. There are more programs in
//! the folder `examples`. Everything else is for the program `sslanalyze` and its tests, and may
//! change with every version.
//!
//! # How it works
//!
//! Data flows one way:
//!
//! ```text
//! input -> records -> capture -> stream -> http1 -> exchange -> timeline -> order -> filter -> output
//!   \-> tcp ->/                       \-> http2 ->/
//! ```
//!
//! `input` makes records of any capture file, with `tcp` where it holds packets of the wire.
//! `capture` hands them to the connections that they belong to, which find out what protocol
//! they carry; what rides on HTTP is read while contents come, into the model of [`messages`]. What
//! the parsers finish is put in order and given to an `output`. Parsers do no
//! input or output, and outputs only read the [`exchange`] model. Before `records` and behind
//! `timeline` the work can be cut and given to a thread each, see `threads`.

#![forbid(unsafe_code)]

mod apart;
#[doc(hidden)]
pub mod capture;
#[doc(hidden)]
pub mod cli;
pub mod coding;
#[doc(hidden)]
pub mod commands;
pub mod descriptors;
pub mod exchange;
mod files;
pub mod filter;
mod handshakes;
mod http1;
mod http2;
#[doc(hidden)]
pub mod input;
mod listing;
mod losses;
pub mod messages;
#[doc(hidden)]
pub mod order;
#[doc(hidden)]
pub mod output;
mod over_http;
mod progress;
#[doc(hidden)]
pub mod protobuf;
mod pull;
#[doc(hidden)]
pub mod run;
mod stream;
#[doc(hidden)]
pub mod tcp;
mod template;
mod terminal;
#[doc(hidden)]
pub mod text;
mod threads;
mod timeline;

pub use capture::Summary;
pub use pull::{Capture, Exchanges, Items};
pub use sslrec_formats::io::Error;
