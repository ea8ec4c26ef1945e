//! The table of probed functions: one row says all that the kernel side must know of a function.
//!
//! A row becomes the `struct site` of the function's probes (see `bpf/event.h`), so a function is
//! added here and nowhere else. The index of a row travels in each event and names the function
//! in the files.

use crate::skel::types::{self, direction, site_kind};
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
    /// Behind this argument, counted from 1: a `size_t *`. The result only tells success.
    Behind(u8),
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
    /// Many builds in use do not have it yet, which is not worth a word.
    pub(crate) recent: bool,
    /// It is called as Go's functions are, and probed by the programs for these.
    pub(crate) go: bool,
    /// The type of a TLS record comes before the buffer, and only application data counts.
    pub(crate) typed: bool,
}

impl Function {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            role: Role::Unknown,
            wraps: false,
            recent: false,
            go: false,
            typed: false,
        }
    }

    const fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    const fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }

    const fn recent(self) -> Self {
        Self { recent: true, ..self }
    }

    const fn go(self) -> Self {
        Self { go: true, ..self }
    }

    const fn typed(self) -> Self {
        Self { typed: true, ..self }
    }

    /// Whether the capture would lack bytes without a probe on this function.
    pub(crate) fn carries_data(&self) -> bool {
        matches!(self.kind, Kind::Data(..) | Kind::Sendfile)
    }

    /// Whether a call of the other that this one ends with tells all of this one's.
    pub(crate) fn is_told_by(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Data(dir, _), Kind::Data(other_dir, _)) => dir == other_dir,
            (Kind::Handshake, Kind::Handshake) => true,
            _ => false,
        }
    }

    /// Whether the return matters, or only the entry.
    pub(crate) fn needs_return(&self) -> bool {
        self.carries_data() || self.kind == Kind::Handshake
    }
}

use Count::{Behind, Result};
use Direction::{Received, Sent};

/// OpenSSL's API, which LibreSSL and the 1.x versions share. `SSL_peek` is absent on purpose:
/// what it returns is read once more.
pub(crate) const OPENSSL: &[Function] = &[
    Function::new("SSL_read", Kind::Data(Received, Result)),
    Function::new("SSL_write", Kind::Data(Sent, Result)),
    Function::new("SSL_read_ex", Kind::Data(Received, Behind(4))),
    Function::new("SSL_write_ex", Kind::Data(Sent, Behind(4))),
    Function::new("SSL_write_ex2", Kind::Data(Sent, Behind(5))).recent(),
    Function::new("SSL_read_early_data", Kind::Data(Received, Behind(4)))
        .role(Role::Server)
        .wraps(),
    Function::new("SSL_write_early_data", Kind::Data(Sent, Behind(4))).role(Role::Client).wraps(),
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

/// The methods of Go's `crypto/tls.Conn`. Only amd64: see [`crate::go`].
pub(crate) const GO: &[Function] = &[
    Function::new("crypto/tls.(*Conn).Read", Kind::Data(Received, Result)).go(),
    Function::new("crypto/tls.(*Conn).Write", Kind::Data(Sent, Result)).go(),
    Function::new("crypto/tls.(*Conn).writeRecordLocked", Kind::Data(Sent, Result)).go().typed(),
    Function::new("crypto/tls.(*Conn).clientHandshake", Kind::Handshake).go().role(Role::Client),
    Function::new("crypto/tls.(*Conn).serverHandshake", Kind::Handshake).go().role(Role::Server),
    Function::new("crypto/tls.(*Conn).Close", Kind::Free).go(),
];

/// The row with this index. Those of Go come after OpenSSL's.
pub(crate) fn row(index: u16) -> Option<&'static Function> {
    OPENSSL.iter().chain(GO).nth(index.into())
}

/// The index of the row of one of Go's functions.
pub(crate) fn go_index(name: &str) -> Option<u16> {
    let place = GO.iter().position(|function| function.name == name)?;
    u16::try_from(OPENSSL.len() + place).ok()
}

/// The name of the function with this index, as events carry it.
pub(crate) fn name_of(index: u16) -> &'static str {
    row(index).map_or("?", |function| function.name)
}

/// What the kernel side must know of a function in one probed file.
pub(crate) fn site(index: u16, lib: u16) -> types::site {
    let mut site = types::site { func: index, lib, ..types::site::default() };
    let Some(function) = row(index) else { return site };
    let kind = match function.kind {
        Kind::Data(dir, count) => {
            site.dir = match dir {
                Sent => direction::DIR_SENT,
                Received => direction::DIR_RECEIVED,
            }
            .0 as u8;
            site.count_arg = match count {
                Result => 0,
                Behind(argument) => argument,
            };
            site_kind::SITE_DATA
        }
        Kind::Sendfile => {
            site.result_64 = 1;
            site_kind::SITE_SENDFILE
        }
        Kind::Handshake => site_kind::SITE_HANDSHAKE,
        Kind::Role => site_kind::SITE_ROLE,
        Kind::SetFd => site_kind::SITE_SET_FD,
        Kind::Ctrl => site_kind::SITE_CTRL,
        Kind::Shutdown => site_kind::SITE_SHUTDOWN,
        Kind::Free => site_kind::SITE_FREE,
        Kind::Clear => site_kind::SITE_CLEAR,
        Kind::UpRef => site_kind::SITE_UP_REF,
    };
    site.kind = kind.0 as u8;
    site.role = match function.role {
        Role::Unknown => types::role::ROLE_UNKNOWN,
        Role::Client => types::role::ROLE_CLIENT,
        Role::Server => types::role::ROLE_SERVER,
    }
    .0 as u8;
    site.wraps = function.wraps.into();
    // An int of Go's has 64 bits.
    if function.go {
        site.result_64 = 1;
    }
    site.typed = function.typed.into();
    site
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

    fn site_of(name: &str) -> types::site {
        site(OPENSSL.iter().position(|f| f.name == name).unwrap() as u16, 7)
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
    fn a_site_carries_the_role_that_a_call_tells() {
        let role = |name| types::role(site_of(name).role.into());
        for name in ["SSL_connect", "SSL_set_connect_state", "SSL_write_early_data"] {
            assert_eq!(role(name), types::role::ROLE_CLIENT, "{name}");
        }
        for name in ["SSL_accept", "SSL_set_accept_state", "SSL_read_early_data"] {
            assert_eq!(role(name), types::role::ROLE_SERVER, "{name}");
        }
        assert_eq!(role("SSL_write"), types::role::ROLE_UNKNOWN);
    }

    #[test]
    fn a_site_says_whether_other_probed_functions_are_within() {
        for name in ["SSL_connect", "SSL_accept", "SSL_read_early_data", "SSL_write_early_data"] {
            assert_eq!(site_of(name).wraps, 1, "{name}");
        }
        for name in ["SSL_do_handshake", "SSL_read", "SSL_write_ex"] {
            assert_eq!(site_of(name).wraps, 0, "{name}");
        }
    }

    #[test]
    fn only_what_returns_a_ssize_t_has_a_64_bit_result() {
        let wide = |function: &&Function| site_of(function.name).result_64 == 1;
        let names: Vec<_> = OPENSSL.iter().filter(wide).map(|function| function.name).collect();
        assert_eq!(names, ["SSL_sendfile"]);
    }
}
