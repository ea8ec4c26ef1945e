//! Passive framing of the protocols that sslrec observes: HTTP/1, HTTP/2 with HPACK, WebSocket,
//! and the clear parts of TLS.
//!
//! Bytes in, places and values out. Nothing here does I/O or keeps a connection; the analyzer and
//! the redactor are two consumers of the same rules, so that both find a head, a body and a frame
//! at the same place.

#![forbid(unsafe_code)]

pub mod http1;
pub mod http2;
mod texts;
pub mod tls;
pub mod websocket;
