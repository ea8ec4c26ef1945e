//! HTTP/1 (RFC 9112) for observers: start lines, fields, the framing of bodies, and the place of
//! each message among the bytes of one direction.

pub mod framing;
pub mod message;
pub mod start;

pub use framing::{Declared, Framing};
pub use message::{Framer, Piece, find_end_of_head};
pub use start::Kind;
