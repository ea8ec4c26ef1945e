//! OpenSSL's API, which its 1.x versions, LibreSSL, BoringSSL and AWS-LC share except for the
//! optional functions.

use super::function::Count::{Behind, Result};
use super::function::{Fd, Function, Kind, Output, Param, Text};
use super::library::{Family, Library, SSL3_OF_PROTOCOL};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Role;

pub(super) const LIBRARY: Library = Library {
    family: Family::OpenSsl,
    name: "OpenSSL",
    kinds: &["openssl", "boringssl"],
    option: "no-openssl",
    members: "OpenSSL and its descendants",
    sonames: &["libssl.so"],
    functions: FUNCTIONS,
    ssl3: SSL3_OF_PROTOCOL,
    has_self_test: true,
    is_split: false,
};

/// `SSL_peek` is absent on purpose: its bytes are read again.
const FUNCTIONS: &[Function] = &[
    Function::new("SSL_read", Kind::Data(Received, Result)),
    Function::new("SSL_write", Kind::Data(Sent, Result)),
    // OpenSSL 1.1.1.
    Function::new("SSL_read_ex", Kind::Data(Received, Behind(4))).optional(),
    Function::new("SSL_write_ex", Kind::Data(Sent, Behind(4))).optional(),
    // OpenSSL 3.3.
    Function::new("SSL_write_ex2", Kind::Data(Sent, Behind(5))).optional(),
    // OpenSSL 1.1.1.
    Function::new("SSL_read_early_data", Kind::Data(Received, Behind(4)))
        .role(Role::Server)
        .wraps()
        .optional(),
    Function::new("SSL_write_early_data", Kind::Data(Sent, Behind(4)))
        .role(Role::Client)
        .wraps()
        .optional(),
    // OpenSSL 3.0.
    Function::new("SSL_sendfile", Kind::Sendfile).wide().optional(),
    Function::new("SSL_do_handshake", Kind::Handshake(1)),
    Function::new("SSL_connect", Kind::Handshake(1)).role(Role::Client).wraps(),
    Function::new("SSL_accept", Kind::Handshake(1)).role(Role::Server).wraps(),
    Function::new("SSL_set_connect_state", Kind::Role).role(Role::Client),
    Function::new("SSL_set_accept_state", Kind::Role).role(Role::Server),
    Function::new("SSL_set_fd", Kind::SetFd(Fd::Int)),
    Function::new("SSL_set_rfd", Kind::SetFd(Fd::Int)),
    Function::new("SSL_set_wfd", Kind::SetFd(Fd::Int)),
    // Not in BoringSSL and AWS-LC.
    Function::new("SSL_ctrl", Kind::Ctrl).optional(),
    Function::new("SSL_shutdown", Kind::Shutdown),
    Function::new("SSL_free", Kind::Free),
    Function::new("SSL_clear", Kind::Clear),
    Function::new("SSL_up_ref", Kind::UpRef).optional(),
    // In these libraries it is a function in place of a command of SSL_ctrl.
    Function::new("SSL_set_tlsext_host_name", Kind::ServerName(Text::to_nul(2))).optional(),
    Function::new("SSL_get_servername", Kind::Get(Param::ServerName, Output::Text)),
    Function::new("SSL_get0_alpn_selected", Kind::Get(Param::Alpn, Output::Pointer)).optional(),
    Function::new("SSL_get_version", Kind::Get(Param::Version, Output::Text)),
    Function::new("SSL_get_current_cipher", Kind::Get(Param::CipherObject, Output::Number)),
    Function::new("SSL_CIPHER_get_name", Kind::Get(Param::Cipher, Output::Text)),
];
