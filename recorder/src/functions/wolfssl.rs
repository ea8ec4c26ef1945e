//! wolfSSL. Programs written for its OpenSSL layer call these too, since that layer consists of
//! macros.

use super::function::Count::Result;
use super::function::{Fd, Function, Kind, Output, Param, Text};
use super::library::{Family, Library, SSL3_OF_PROTOCOL};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Role;

pub(super) const LIBRARY: Library = Library {
    family: Family::WolfSsl,
    name: "wolfSSL",
    kinds: &["wolfssl"],
    option: "no-wolfssl",
    members: "wolfSSL",
    sonames: &["libwolfssl.so"],
    functions: FUNCTIONS,
    ssl3: SSL3_OF_PROTOCOL,
    has_self_test: false,
    is_split: false,
};

/// Builds lack the functions that were configured away, so many are optional.
const FUNCTIONS: &[Function] = &[
    Function::new("wolfSSL_read", Kind::Data(Received, Result)),
    Function::new("wolfSSL_write", Kind::Data(Sent, Result)),
    Function::new("wolfSSL_recv", Kind::Data(Received, Result)).peeks(),
    Function::new("wolfSSL_send", Kind::Data(Sent, Result)),
    Function::new("wolfSSL_connect", Kind::Handshake(1)).role(Role::Client),
    Function::new("wolfSSL_accept", Kind::Handshake(1)).role(Role::Server),
    Function::new("wolfSSL_negotiate", Kind::Handshake(0)).wraps().optional(),
    Function::new("wolfSSL_SSL_do_handshake", Kind::Handshake(1)).wraps().optional(),
    Function::new("wolfSSL_set_fd", Kind::SetFd(Fd::Int)),
    Function::new("wolfSSL_UseSNI", Kind::ServerName(Text::with_length(3, 4))).optional(),
    Function::new("wolfSSL_set_tlsext_host_name", Kind::ServerName(Text::to_nul(2))).optional(),
    Function::new("wolfSSL_shutdown", Kind::Shutdown),
    Function::new("wolfSSL_free", Kind::Free),
    Function::new("wolfSSL_clear", Kind::Clear).optional(),
    Function::new("wolfSSL_get_version", Kind::Get(Param::Version, Output::Text)),
    Function::new("wolfSSL_get_cipher_name", Kind::Get(Param::Cipher, Output::Text)),
];
