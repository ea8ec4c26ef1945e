//! The methods of Go's `crypto/tls.Conn`, which are called as no function of C is.

use super::Count::Result;
use super::{Function, Kind};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Role;

/// An int of Go's has 64 bits. That a handshake succeeded is 1 here, as the kernel side
/// (`bpf/go.h`) makes it out of an error.
pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("crypto/tls.(*Conn).Read", Kind::Data(Received, Result)).wide(),
    Function::new("crypto/tls.(*Conn).Write", Kind::Data(Sent, Result)).wide(),
    Function::new("crypto/tls.(*Conn).writeRecordLocked", Kind::Data(Sent, Result)).wide().typed(),
    Function::new("crypto/tls.(*Conn).clientHandshake", Kind::Handshake(1)).role(Role::Client),
    Function::new("crypto/tls.(*Conn).serverHandshake", Kind::Handshake(1)).role(Role::Server),
    Function::new("crypto/tls.(*Conn).Close", Kind::Free),
];
