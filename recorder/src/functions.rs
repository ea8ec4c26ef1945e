//! The table of probed functions: one row says all that the kernel side must know of a function.
//!
//! A row becomes the attach cookie of the function's probes (see `bpf/event.h`), so a function is
//! added here and nowhere else. The index of a row travels in each event and names the function
//! in the files.

use crate::skel::types::{self, direction, site_kind, site_layout};
use sslrec_formats::record::{Direction, Role};

/// What a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `(ssl, buf, n)`: bytes went one way, as many as `count` says.
    Data(Direction, Count),
    /// `(ssl, ...)`: the kernel sent as many bytes as the result says; nobody saw them.
    Sendfile,
    /// `(ssl)`: 1 is success.
    Handshake,
    /// `(ssl)`: makes the object a client's or a server's.
    Role,
    /// `(ssl, fd)`.
    SetFd,
    /// `(ssl, cmd, larg, parg)`: one `cmd` sets the server name.
    Ctrl,
    /// `(ssl)`: says goodbye to the peer.
    Shutdown,
    /// `(ssl)`: drops a reference; the last one frees the object.
    Free,
    /// `(ssl)`: makes the object ready for another connection.
    Clear,
    /// `(ssl)`: adds a reference.
    UpRef,
}

/// Where the number of bytes is found on return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// The result, an `int`.
    Result,
    /// Behind the fourth argument, a `size_t *`; the result only tells success.
    Pointer,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Function {
    /// Symbol.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What the call says about the side of the connection.
    pub(crate) role: Role,
    /// It may call other functions of this table on the same object; theirs do not count.
    pub(crate) wraps: bool,
}

impl Function {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, role: Role::Unknown, wraps: false }
    }

    const fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    const fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// Whether the capture would lack bytes without a probe on this function.
    pub(crate) fn carries_data(&self) -> bool {
        matches!(self.kind, Kind::Data(..) | Kind::Sendfile)
    }

    /// Whether the return matters, or only the entry.
    pub(crate) fn needs_return(&self) -> bool {
        self.carries_data() || self.kind == Kind::Handshake
    }
}

use Count::{Pointer, Result};
use Direction::{Received, Sent};

/// OpenSSL's API, which LibreSSL and the 1.x versions share. `SSL_peek` is absent on purpose:
/// what it returns is read once more.
pub(crate) const OPENSSL: &[Function] = &[
    Function::new("SSL_read", Kind::Data(Received, Result)),
    Function::new("SSL_write", Kind::Data(Sent, Result)),
    Function::new("SSL_read_ex", Kind::Data(Received, Pointer)),
    Function::new("SSL_write_ex", Kind::Data(Sent, Pointer)),
    Function::new("SSL_read_early_data", Kind::Data(Received, Pointer)).role(Role::Server).wraps(),
    Function::new("SSL_write_early_data", Kind::Data(Sent, Pointer)).role(Role::Client).wraps(),
    Function::new("SSL_sendfile", Kind::Sendfile),
    Function::new("SSL_do_handshake", Kind::Handshake),
    Function::new("SSL_connect", Kind::Handshake).role(Role::Client).wraps(),
    Function::new("SSL_accept", Kind::Handshake).role(Role::Server).wraps(),
    Function::new("SSL_set_connect_state", Kind::Role).role(Role::Client),
    Function::new("SSL_set_accept_state", Kind::Role).role(Role::Server),
    Function::new("SSL_set_fd", Kind::SetFd),
    Function::new("SSL_set_rfd", Kind::SetFd),
    Function::new("SSL_set_wfd", Kind::SetFd),
    Function::new("SSL_ctrl", Kind::Ctrl),
    Function::new("SSL_shutdown", Kind::Shutdown),
    Function::new("SSL_free", Kind::Free),
    Function::new("SSL_clear", Kind::Clear),
    Function::new("SSL_up_ref", Kind::UpRef),
];

/// The name of the function with this index, as events carry it.
pub(crate) fn name_of(index: u16) -> &'static str {
    OPENSSL.get(usize::from(index)).map_or("?", |function| function.name)
}

/// The attach cookie of a function's probes in one probed file, as `bpf/event.h` lays it out.
/// Never 0.
pub(crate) fn site(index: u16, lib: u16) -> u64 {
    let function = &OPENSSL[usize::from(index)];
    let (kind, flags) = match function.kind {
        Kind::Data(dir, count) => {
            let dir = match dir {
                Sent => direction::DIR_SENT,
                Received => direction::DIR_RECEIVED,
            };
            let pointer = u64::from(count == Pointer) << site_layout::SITE_COUNT_PTR_SHIFT.0;
            (site_kind::SITE_DATA, u64::from(dir.0) << site_layout::SITE_DIR_SHIFT.0 | pointer)
        }
        Kind::Sendfile => (site_kind::SITE_SENDFILE, 1 << site_layout::SITE_RESULT_64_SHIFT.0),
        Kind::Handshake => (site_kind::SITE_HANDSHAKE, 0),
        Kind::Role => (site_kind::SITE_ROLE, 0),
        Kind::SetFd => (site_kind::SITE_SET_FD, 0),
        Kind::Ctrl => (site_kind::SITE_CTRL, 0),
        Kind::Shutdown => (site_kind::SITE_SHUTDOWN, 0),
        Kind::Free => (site_kind::SITE_FREE, 0),
        Kind::Clear => (site_kind::SITE_CLEAR, 0),
        Kind::UpRef => (site_kind::SITE_UP_REF, 0),
    };
    let role = match function.role {
        Role::Unknown => types::role::ROLE_UNKNOWN,
        Role::Client => types::role::ROLE_CLIENT,
        Role::Server => types::role::ROLE_SERVER,
    };
    u64::from(index) << site_layout::SITE_FUNC_SHIFT.0
        | u64::from(lib) << site_layout::SITE_LIB_SHIFT.0
        | u64::from(kind.0) << site_layout::SITE_KIND_SHIFT.0
        | u64::from(role.0) << site_layout::SITE_ROLE_SHIFT.0
        | u64::from(function.wraps) << site_layout::SITE_WRAPS_SHIFT.0
        | flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, a) in OPENSSL.iter().enumerate() {
            assert!(OPENSSL[..i].iter().all(|b| b.name != a.name), "{}", a.name);
        }
    }

    #[test]
    fn a_site_carries_index_library_and_kind() {
        let index = OPENSSL.iter().position(|f| f.name == "SSL_read_ex").unwrap() as u16;
        let site = site(index, 7);
        assert_eq!(site & 0xffff, u64::from(index));
        assert_eq!(site >> 16 & 0xffff, 7);
        assert_eq!(site >> 32 & 0xff, u64::from(site_kind::SITE_DATA.0));
        assert_eq!(site >> 42 & 1, u64::from(direction::DIR_RECEIVED.0));
        assert_ne!(site & 1 << 43, 0);
    }

    fn site_of(name: &str) -> u64 {
        site(OPENSSL.iter().position(|f| f.name == name).unwrap() as u16, 0)
    }

    fn role_in(site: u64) -> u64 {
        site >> site_layout::SITE_ROLE_SHIFT.0 & 3
    }

    #[test]
    fn a_site_carries_the_role_that_a_call_tells() {
        for name in ["SSL_connect", "SSL_set_connect_state", "SSL_write_early_data"] {
            assert_eq!(role_in(site_of(name)), u64::from(types::role::ROLE_CLIENT.0), "{name}");
        }
        for name in ["SSL_accept", "SSL_set_accept_state", "SSL_read_early_data"] {
            assert_eq!(role_in(site_of(name)), u64::from(types::role::ROLE_SERVER.0), "{name}");
        }
        assert_eq!(role_in(site_of("SSL_write")), u64::from(types::role::ROLE_UNKNOWN.0));
    }

    #[test]
    fn a_site_says_whether_other_probed_functions_are_within() {
        let wraps = |name| site_of(name) >> site_layout::SITE_WRAPS_SHIFT.0 & 1;
        for name in ["SSL_connect", "SSL_accept", "SSL_read_early_data", "SSL_write_early_data"] {
            assert_eq!(wraps(name), 1, "{name}");
        }
        for name in ["SSL_do_handshake", "SSL_read", "SSL_write_ex"] {
            assert_eq!(wraps(name), 0, "{name}");
        }
    }

    #[test]
    fn only_what_returns_a_ssize_t_has_a_64_bit_result() {
        for function in OPENSSL {
            let wide = site_of(function.name) >> site_layout::SITE_RESULT_64_SHIFT.0 & 1;
            assert_eq!(wide == 1, function.name == "SSL_sendfile", "{}", function.name);
        }
    }

    #[test]
    fn no_site_is_zero() {
        assert!((0..OPENSSL.len()).all(|index| site(index as u16, 0) != 0));
    }
}
