//! mbedTLS 2.x and 3.x. The object is part of the program's own memory.

use super::function::Count::Result;
use super::function::{Function, Kind, Output, Param, Text};
use super::library::{Family, Library, SSL3_OF_PROTOCOL};
use sslrec_formats::record::Direction::{Received, Sent};

pub(super) const LIBRARY: Library = Library {
    family: Family::MbedTls,
    name: "mbedTLS",
    kinds: &["mbedtls"],
    option: "no-mbedtls",
    members: "mbedTLS",
    sonames: &["libmbedtls.so"],
    functions: FUNCTIONS,
    ssl3: SSL3_OF_PROTOCOL,
    has_self_test: false,
    is_split: false,
};

const FUNCTIONS: &[Function] = &[
    Function::new("mbedtls_ssl_read", Kind::Data(Received, Result)),
    Function::new("mbedtls_ssl_write", Kind::Data(Sent, Result)),
    Function::new("mbedtls_ssl_handshake", Kind::Handshake(0)),
    Function::new("mbedtls_ssl_set_hostname", Kind::ServerName(Text::to_nul(2))),
    Function::new("mbedtls_ssl_close_notify", Kind::Shutdown),
    Function::new("mbedtls_ssl_session_reset", Kind::Clear),
    Function::new("mbedtls_ssl_free", Kind::Free),
    Function::new("mbedtls_ssl_get_alpn_protocol", Kind::Get(Param::Alpn, Output::Text)).optional(),
    Function::new("mbedtls_ssl_get_version", Kind::Get(Param::Version, Output::Text)),
    Function::new("mbedtls_ssl_get_ciphersuite", Kind::Get(Param::Cipher, Output::Text)),
];
