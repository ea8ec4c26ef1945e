//! s2n-tls.

use super::function::Count::Result;
use super::function::{Fd, Function, Kind, Output, Param, Side, Text};
use super::library::{Family, Library};
use sslrec_formats::record::Direction::{Received, Sent};

pub(super) const LIBRARY: Library = Library {
    family: Family::S2n,
    name: "s2n",
    kinds: &["s2n"],
    option: "no-s2n",
    members: "s2n-tls",
    sonames: &["libs2n.so"],
    functions: FUNCTIONS,
    // The decimal digits of the version, so that TLS 1.3 is 34.
    ssl3: 30,
    has_self_test: false,
    is_split: false,
};

const FUNCTIONS: &[Function] = &[
    Function::new("s2n_recv", Kind::Data(Received, Result)).wide(),
    // Passes its buffer on as a vector of one.
    Function::new("s2n_send", Kind::Data(Sent, Result)).wide().wraps(),
    Function::new("s2n_sendv", Kind::Data(Sent, Result)).wide().vector().wraps(),
    Function::new("s2n_negotiate", Kind::Handshake(0)),
    Function::new("s2n_connection_new", Kind::Create(Output::Number)).side(Side::S2nMode),
    Function::new("s2n_connection_set_fd", Kind::SetFd(Fd::Int)),
    Function::new("s2n_connection_set_read_fd", Kind::SetFd(Fd::Int)),
    Function::new("s2n_connection_set_write_fd", Kind::SetFd(Fd::Int)),
    Function::new("s2n_set_server_name", Kind::ServerName(Text::to_nul(2))),
    Function::new("s2n_get_server_name", Kind::Get(Param::ServerName, Output::Text)),
    Function::new("s2n_shutdown", Kind::Shutdown),
    Function::new("s2n_connection_wipe", Kind::Clear),
    Function::new("s2n_connection_free", Kind::Free),
    Function::new("s2n_get_application_protocol", Kind::Get(Param::Alpn, Output::Text)),
    Function::new(
        "s2n_connection_get_actual_protocol_version",
        Kind::Get(Param::Version, Output::Number),
    ),
    Function::new("s2n_connection_get_cipher", Kind::Get(Param::Cipher, Output::Text)),
];
