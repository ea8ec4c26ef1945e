//! The methods of Go's `crypto/tls.Conn`, whose calls differ from those of all C functions.

use super::function::Count::Result;
use super::function::{Function, Kind};
use super::library::{Family, Library, SSL3_OF_PROTOCOL};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Role;

pub(super) const LIBRARY: Library = Library {
    family: Family::Go,
    name: "Go",
    kinds: &["go"],
    option: "no-go",
    members: "Go's own TLS",
    sonames: &[],
    functions: FUNCTIONS,
    ssl3: SSL3_OF_PROTOCOL,
    has_self_test: false,
    is_split: false,
};

/// An int of Go has 64 bits. A successful handshake is 1 here; the kernel side (`bpf/go.h`) derives
/// this from the error.
const FUNCTIONS: &[Function] = &[
    Function::new("crypto/tls.(*Conn).Read", Kind::Data(Received, Result)).wide().optional(),
    Function::new("crypto/tls.(*Conn).Write", Kind::Data(Sent, Result)).wide().optional(),
    Function::new("crypto/tls.(*Conn).writeRecordLocked", Kind::Data(Sent, Result))
        .wide()
        .typed()
        .optional(),
    Function::new("crypto/tls.(*Conn).clientHandshake", Kind::Handshake(1))
        .role(Role::Client)
        .optional(),
    Function::new("crypto/tls.(*Conn).serverHandshake", Kind::Handshake(1))
        .role(Role::Server)
        .optional(),
    Function::new("crypto/tls.(*Conn).Close", Kind::Free).optional(),
];
