//! HTTP/1 (RFC 9112) for observers: start lines, fields, the framing of bodies, and the place of
//! each message among the bytes of one direction.

pub mod first;
pub mod framing;
pub mod lines;
pub mod malformed;
pub mod message;
pub mod start;

pub use framing::{Contradiction, Declared, Framing};
pub use lines::find_end_of_head;
pub use malformed::{Flaw, Malformed};
pub use message::{Framer, Piece};
pub use start::Kind;
