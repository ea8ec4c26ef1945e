//! A row of the table as the kernel side reads it.

use super::function::{Count, Fd, Function, Kind, Output, Param, Side};
use crate::kernel::skel::types::{self, direction, site_flag, site_kind, site_output, tls_param};
use sslrec_formats::record::{Direction, Role};

/// Adds to a site the properties of its function that the kernel side needs.
pub(super) fn of(row: &Function, mut site: types::site) -> types::site {
    site.kind = kind(row, &mut site).0 as u8;
    site.role = role(row.side).0 as u8;
    site.result_64 = row.wide.into();
    for (is_set, flag) in [
        (row.nspr, site_flag::SITE_NSPR),
        (row.vector, site_flag::SITE_VECTOR),
        (row.peeks, site_flag::SITE_PEEKS),
        (row.nspr_layer, site_flag::SITE_NSPR_LAYER),
        (row.typed, site_flag::SITE_TYPED),
        (row.packet, site_flag::SITE_PACKET),
        (row.kind == Kind::SetFd(Fd::Pointer), site_flag::SITE_FD_POINTER),
        (row.wraps, site_flag::SITE_WRAPS),
    ] {
        site.flags |= if is_set { flag.0 as u8 } else { 0 };
    }
    site
}

/// Returns the kind, and sets the fields that belong to it.
fn kind(row: &Function, site: &mut types::site) -> site_kind {
    match row.kind {
        Kind::Data(dir, count) => {
            site.dir = match dir {
                Direction::Sent => direction::DIR_SENT,
                Direction::Received => direction::DIR_RECEIVED,
            }
            .0 as u8;
            site.count_arg = match count {
                Count::Result => 0,
                Count::Behind(argument) => argument,
            };
            site_kind::SITE_DATA
        }
        Kind::Flush => site_kind::SITE_FLUSH,
        Kind::Sendfile => site_kind::SITE_SENDFILE,
        Kind::Handshake(success) => {
            site.success = success;
            site_kind::SITE_HANDSHAKE
        }
        Kind::Create(output) => {
            site.output = place_of(output).0 as u8;
            site_kind::SITE_CREATE
        }
        Kind::Get(param, output) => {
            site.param = tls_param_of(param).0 as u8;
            site.output = place_of(output).0 as u8;
            site_kind::SITE_GET
        }
        Kind::Role => site_kind::SITE_ROLE,
        Kind::SetFd(_) => site_kind::SITE_SET_FD,
        Kind::Ctrl => {
            site.text_arg = 4;
            site_kind::SITE_CTRL
        }
        Kind::ServerName(text) => {
            site.text_arg = text.argument;
            site.text_len_arg = text.length.unwrap_or(0);
            site_kind::SITE_SERVER_NAME
        }
        Kind::Shutdown => site_kind::SITE_SHUTDOWN,
        Kind::Free => site_kind::SITE_FREE,
        Kind::Clear => site_kind::SITE_CLEAR,
        Kind::UpRef => site_kind::SITE_UP_REF,
    }
}

fn role(side: Side) -> types::role {
    match side {
        Side::Is(Role::Unknown) => types::role::ROLE_UNKNOWN,
        Side::Is(Role::Client) => types::role::ROLE_CLIENT,
        Side::Is(Role::Server) => types::role::ROLE_SERVER,
        Side::GnutlsFlags => types::role::ROLE_BY_GNUTLS_FLAGS,
        Side::AsServer => types::role::ROLE_BY_AS_SERVER,
        Side::S2nMode => types::role::ROLE_BY_S2N_MODE,
    }
}

fn tls_param_of(param: Param) -> tls_param {
    match param {
        Param::ServerName => tls_param::PARAM_SERVER_NAME,
        Param::Alpn => tls_param::PARAM_ALPN,
        Param::Version => tls_param::PARAM_VERSION,
        Param::Cipher => tls_param::PARAM_CIPHER,
        Param::VersionAndCipher => tls_param::PARAM_VERSION_AND_CIPHER,
        Param::CipherObject => tls_param::PARAM_CIPHER_OBJECT,
    }
}

fn place_of(output: Output) -> site_output {
    match output {
        Output::Number => site_output::OUTPUT_NUMBER,
        Output::Text => site_output::OUTPUT_TEXT,
        Output::First => site_output::OUTPUT_FIRST,
        Output::Datum => site_output::OUTPUT_DATUM,
        Output::Pointer => site_output::OUTPUT_POINTER,
        Output::Buffer => site_output::OUTPUT_BUFFER,
        Output::Channel => site_output::OUTPUT_CHANNEL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::{all, index_of, name_of, site};

    fn site_of(name: &str) -> types::site {
        site(index_of(name).unwrap(), 7)
    }

    #[test]
    fn a_site_carries_index_library_and_kind() {
        let site = site_of("SSL_read_ex");
        assert_eq!(name_of(site.func), "SSL_read_ex");
        assert_eq!(site.lib, 7);
        assert_eq!(u32::from(site.kind), site_kind::SITE_DATA.0);
        assert_eq!(u32::from(site.dir), direction::DIR_RECEIVED.0);
        assert_eq!((site.count_arg, site.result_64), (4, 0));
    }

    #[test]
    fn a_site_contains_the_source_of_the_role() {
        let role = |name| types::role(site_of(name).role.into());
        for name in ["SSL_connect", "SSL_set_connect_state", "SSL_write_early_data"] {
            assert_eq!(role(name), types::role::ROLE_CLIENT, "{name}");
        }
        for name in ["SSL_accept", "SSL_set_accept_state", "SSL_read_early_data", "PR_Accept"] {
            assert_eq!(role(name), types::role::ROLE_SERVER, "{name}");
        }
        assert_eq!(role("gnutls_init"), types::role::ROLE_BY_GNUTLS_FLAGS);
        assert_eq!(role("SSL_ResetHandshake"), types::role::ROLE_BY_AS_SERVER);
        assert_eq!(role("SSL_write"), types::role::ROLE_UNKNOWN);
    }

    #[test]
    fn a_function_that_calls_other_probed_functions_is_marked() {
        let wraps = |name| u32::from(site_of(name).flags) & site_flag::SITE_WRAPS.0 != 0;
        for name in ["SSL_connect", "SSL_read_early_data", "gnutls_record_uncork"] {
            assert!(wraps(name), "{name}");
        }
        for name in ["SSL_do_handshake", "SSL_read", "SSL_write_ex", "gnutls_record_send2"] {
            assert!(!wraps(name), "{name}");
        }
    }

    #[test]
    fn a_text_and_a_byte_count_have_arguments_of_their_own() {
        let site = site_of("gnutls_server_name_set");
        assert_eq!((site.text_arg, site.text_len_arg, site.count_arg), (3, 4, 0));
        let site = site_of("SSL_write_ex2");
        assert_eq!((site.text_arg, site.text_len_arg, site.count_arg), (0, 0, 5));
    }

    #[test]
    fn functions_with_a_size_t_have_a_64_bit_result() {
        for name in ["SSL_sendfile", "gnutls_record_send", "s2n_recv"] {
            assert_eq!(site_of(name).result_64, 1, "{name}");
        }
        for name in ["SSL_write", "PR_Write", "wolfSSL_read", "mbedtls_ssl_read"] {
            assert_eq!(site_of(name).result_64, 0, "{name}");
        }
    }

    #[test]
    fn descriptors_of_nspr_are_looked_at_in_all_its_own_functions() {
        for (_, row) in all() {
            let is_nspr = site_of(row.name).flags & site_flag::SITE_NSPR.0 as u8 != 0;
            assert_eq!(is_nspr, row.name.starts_with("PR_"), "{}", row.name);
        }
    }

    #[test]
    fn unusual_buffers_are_marked() {
        let has = |name: &str, flag: site_flag| site_of(name).flags & flag.0 as u8 != 0;
        assert!(
            has("PR_Recv", site_flag::SITE_PEEKS) && has("wolfSSL_recv", site_flag::SITE_PEEKS)
        );
        assert!(
            has("PR_Writev", site_flag::SITE_VECTOR) && has("s2n_sendv", site_flag::SITE_VECTOR)
        );
        assert!(has("gnutls_transport_set_ptr", site_flag::SITE_FD_POINTER));
        assert!(!has("gnutls_transport_set_int2", site_flag::SITE_FD_POINTER));
        assert!(has("gnutls_record_recv_packet", site_flag::SITE_PACKET));
        assert!(!has("gnutls_record_recv", site_flag::SITE_PACKET));
        assert!(!has("PR_Read", site_flag::SITE_PEEKS) && !has("s2n_send", site_flag::SITE_VECTOR));
    }
}
