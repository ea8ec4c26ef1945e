//! GnuTLS 3.x.

use super::function::Count::Result;
use super::function::{Fd, Function, Kind, Output, Param, Side, Text};
use super::library::{Family, Library};
use sslrec_formats::record::Direction::{Received, Sent};
use sslrec_formats::record::Role;

pub(super) const LIBRARY: Library = Library {
    family: Family::GnuTls,
    name: "GnuTLS",
    kinds: &["gnutls"],
    option: "no-gnutls",
    members: "GnuTLS",
    sonames: &["libgnutls.so"],
    functions: FUNCTIONS,
    // gnutls_protocol_t.
    ssl3: 1,
    has_self_test: false,
    is_split: false,
};

/// While a session is corked, `gnutls_record_send` only takes the bytes: they count then, and not
/// when `gnutls_record_uncork` passes them to `gnutls_record_send` itself.
///
/// `gnutls_record_send_early_data` is absent on purpose: it only takes the bytes, and the handshake
/// sends them by `gnutls_record_send`, if it can send them early at all.
const FUNCTIONS: &[Function] = &[
    // Ends with a jump into gnutls_record_send2.
    Function::new("gnutls_record_send", Kind::Data(Sent, Result)).wide().wraps(),
    // 3.6.3.
    Function::new("gnutls_record_send2", Kind::Data(Sent, Result)).wide().optional(),
    Function::new("gnutls_record_send_range", Kind::Data(Sent, Result)).wide().wraps(),
    // 3.7.4; reads the file and sends it by gnutls_record_send, unless the kernel sends it.
    Function::new("gnutls_record_send_file", Kind::Sendfile).wide().optional(),
    // 3.6.5.
    Function::new("gnutls_record_recv_early_data", Kind::Data(Received, Result))
        .role(Role::Server)
        .wide()
        .optional(),
    Function::new("gnutls_record_uncork", Kind::Flush).wraps(),
    Function::new("gnutls_record_recv", Kind::Data(Received, Result)).wide(),
    Function::new("gnutls_record_recv_seq", Kind::Data(Received, Result)).wide(),
    // 3.3.5; returns the received bytes without a copy.
    Function::new("gnutls_record_recv_packet", Kind::Data(Received, Result))
        .wide()
        .packet()
        .optional(),
    Function::new("gnutls_handshake", Kind::Handshake(0)),
    Function::new("gnutls_init", Kind::Create(Output::First)).side(Side::GnutlsFlags),
    Function::new("gnutls_deinit", Kind::Free),
    Function::new("gnutls_bye", Kind::Shutdown),
    Function::new("gnutls_server_name_set", Kind::ServerName(Text::with_length(3, 4))),
    Function::new("gnutls_server_name_get", Kind::Get(Param::ServerName, Output::Buffer)),
    // gnutls_transport_set_int is a macro for the first. The argument of the others is a descriptor
    // unless the program has read and write functions of its own.
    Function::new("gnutls_transport_set_int2", Kind::SetFd(Fd::Int)),
    Function::new("gnutls_transport_set_ptr", Kind::SetFd(Fd::Pointer)),
    Function::new("gnutls_transport_set_ptr2", Kind::SetFd(Fd::Pointer)),
    Function::new("gnutls_alpn_get_selected_protocol", Kind::Get(Param::Alpn, Output::Datum)),
    Function::new("gnutls_protocol_get_version", Kind::Get(Param::Version, Output::Number)),
    // 3.7.4.
    Function::new("gnutls_ciphersuite_get", Kind::Get(Param::Cipher, Output::Text)).optional(),
];
