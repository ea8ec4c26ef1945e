//! The table of probed functions: one row says all that the kernel side must know of a function.
//!
//! A row becomes the `struct site` of the function's probes (see `bpf/event.h`), so a function is
//! added to the table of its library here and nowhere else. The index of a row, counted over the
//! tables of all libraries, travels in each event and names the function in the files.

mod gnutls;
mod go;
mod mbedtls;
mod named_file;
mod nss;
mod openssl;
mod s2n;
mod site;
mod wolfssl;

use std::fmt;

use sslrec_formats::record::{Direction, Role};

pub(crate) use named_file::NamedFile;
pub(crate) use site::site;

/// A library, or several that share an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    /// OpenSSL and its descendants: LibreSSL, BoringSSL, AWS-LC.
    OpenSsl,
    GnuTls,
    /// NSS, with NSPR, whose functions read and write.
    Nss,
    WolfSsl,
    MbedTls,
    S2n,
    /// Go's own `crypto/tls`. Only amd64: see [`crate::symbols::go`].
    Go,
}

/// The tables, in the order of the indexes.
const TABLES: [(Family, &[Function]); 7] = [
    (Family::OpenSsl, openssl::FUNCTIONS),
    (Family::GnuTls, gnutls::FUNCTIONS),
    (Family::Nss, nss::FUNCTIONS),
    (Family::WolfSsl, wolfssl::FUNCTIONS),
    (Family::MbedTls, mbedtls::FUNCTIONS),
    (Family::S2n, s2n::FUNCTIONS),
    (Family::Go, go::FUNCTIONS),
];

impl Family {
    pub(crate) const ALL: [Self; 7] =
        [Self::OpenSsl, Self::GnuTls, Self::Nss, Self::WolfSsl, Self::MbedTls, Self::S2n, Self::Go];

    /// How the beginning of the names of its shared libraries reads.
    pub(crate) fn library_names(self) -> &'static [&'static str] {
        match self {
            Self::OpenSsl => &["libssl.so"],
            Self::GnuTls => &["libgnutls.so"],
            Self::Nss => &["libssl3.so", "libnspr4.so"],
            Self::WolfSsl => &["libwolfssl.so"],
            Self::MbedTls => &["libmbedtls.so"],
            Self::S2n => &["libs2n.so"],
            // In the program itself.
            Self::Go => &[],
        }
    }

    /// Whether the probes of one library can be tried before they are used; see `self_test`.
    pub(crate) fn has_self_test(self) -> bool {
        self == Self::OpenSsl
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSsl => "OpenSSL",
            Self::GnuTls => "GnuTLS",
            Self::Nss => "NSS",
            Self::WolfSsl => "wolfSSL",
            Self::MbedTls => "mbedTLS",
            Self::S2n => "s2n",
            Self::Go => "Go",
        })
    }
}

/// The kind of a function. `obj` identifies the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `(obj, buf, n, ...)`: bytes went one way, as many as `Count` says.
    Data(Direction, Count),
    /// `(obj)`: hands on bytes that were counted when the program wrote them.
    Flush,
    /// `(obj, ...)`: as many bytes went out as the result says. What no function of the table
    /// carried meanwhile, nobody saw.
    Sendfile,
    /// `(obj)`: this result is success.
    Handshake(u8),
    /// Constructor: makes an object.
    Create(Output),
    /// `(obj, ...)`: getter of a TLS parameter.
    Get(Param, Output),
    /// `(obj)`: makes the object a client's or a server's.
    Role,
    /// `(obj, fd)`.
    SetFd(Fd),
    /// `(obj, cmd, larg, parg)`: one `cmd` sets the server name.
    Ctrl,
    /// `(obj, ...)`: sets the server name, which is this argument.
    ServerName(Text),
    /// `(obj)`: says goodbye to the peer.
    Shutdown,
    /// `(obj)`: drops a reference; the last one frees the object.
    Free,
    /// `(obj)`: makes the object ready for another connection.
    Clear,
    /// `(obj)`: adds a reference.
    UpRef,
}

/// Where the number of bytes is found on return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// The result.
    Result,
    /// Behind this argument, counted from 1: a `size_t *`. The result only tells success.
    Behind(u8),
}

/// The type of an argument that is a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fd {
    Int,
    /// A pointer, which is a descriptor that was cast, or the program's own data.
    Pointer,
}

/// An argument that is a text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    argument: u8,
    /// The argument that says its length; without one it ends with a NUL.
    length: Option<u8>,
}

impl Text {
    const fn to_nul(argument: u8) -> Self {
        Self { argument, length: None }
    }

    const fn with_length(argument: u8, length: u8) -> Self {
        Self { argument, length: Some(length) }
    }
}

/// A TLS parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    ServerName,
    Alpn,
    Version,
    Cipher,
    /// Both, by their numbers in the protocol.
    VersionAndCipher,
    /// An object whose name is queried next.
    CipherObject,
}

/// The place of the output of a constructor or getter; see `enum site_output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Number,
    Text,
    First,
    Datum,
    Pointer,
    Buffer,
    Channel,
}

/// What a call says about the side of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Is(Role),
    /// The second argument has the flags of `gnutls_init`.
    GnutlsFlags,
    /// The second argument says whether it is a server.
    AsServer,
    /// The first argument is the mode of `s2n_connection_new`.
    S2nMode,
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is a column of the table
pub(crate) struct Function {
    /// Symbol.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) side: Side,
    /// It may call other functions of this table on the same object; theirs do not count.
    wraps: bool,
    /// The number of bytes is a `size_t` and the result a `ssize_t`, not both an `int`.
    pub(crate) wide: bool,
    /// The buffer is an array of buffers, and the number is theirs.
    vector: bool,
    /// The fourth argument may say that the bytes stay to be read once more.
    pub(crate) peeks: bool,
    /// The object is a descriptor of NSPR, which may be no TLS.
    nspr: bool,
    /// Gives a descriptor of NSPR that is TLS.
    nspr_layer: bool,
    /// The type of a TLS record comes before the buffer, and only application data counts.
    typed: bool,
    /// What the second argument points to is set to a packet of GnuTLS, which has the bytes.
    packet: bool,
    /// Many builds in use do not have it, which is not worth a word.
    pub(crate) optional: bool,
}

/// How rows are written.
impl Function {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            side: Side::Is(Role::Unknown),
            wraps: false,
            wide: false,
            vector: false,
            peeks: false,
            nspr: false,
            nspr_layer: false,
            typed: false,
            packet: false,
            optional: false,
        }
    }

    const fn role(self, role: Role) -> Self {
        self.side(Side::Is(role))
    }

    const fn side(self, side: Side) -> Self {
        Self { side, ..self }
    }

    const fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }

    const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    const fn vector(self) -> Self {
        Self { vector: true, ..self }
    }

    const fn peeks(self) -> Self {
        Self { peeks: true, ..self }
    }

    const fn nspr(self) -> Self {
        Self { nspr: true, ..self }
    }

    const fn nspr_layer(self) -> Self {
        Self { nspr_layer: true, ..self }
    }

    const fn typed(self) -> Self {
        Self { typed: true, ..self }
    }

    const fn packet(self) -> Self {
        Self { packet: true, ..self }
    }

    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

impl Function {
    /// Whether the capture would lack bytes without a probe on this function.
    pub(crate) fn carries_data(&self) -> bool {
        matches!(self.kind, Kind::Data(..) | Kind::Sendfile)
    }

    /// Whether a call of the other that this one ends with tells all of this one's.
    pub(crate) fn is_told_by(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Data(dir, _), Kind::Data(other_dir, _)) => dir == other_dir,
            (Kind::Handshake(_), Kind::Handshake(_)) => true,
            _ => false,
        }
    }

    /// Whether the return matters, or only the entry.
    pub(crate) fn needs_return(&self) -> bool {
        self.carries_data()
            || matches!(
                self.kind,
                Kind::Flush | Kind::Handshake(_) | Kind::Create(_) | Kind::Get(..)
            )
    }
}

/// The rows of all tables with their libraries, in the order of their indexes.
pub(crate) fn all() -> impl Iterator<Item = (Family, &'static Function)> {
    TABLES.iter().flat_map(|&(family, rows)| rows.iter().map(move |row| (family, row)))
}

/// The row with this index, as events carry it.
pub(crate) fn function(index: u16) -> Option<(Family, &'static Function)> {
    let mut index = usize::from(index);
    for (family, rows) in TABLES {
        match rows.get(index) {
            Some(row) => return Some((family, row)),
            None => index -= rows.len(),
        }
    }
    None
}

/// The name of the function with this index.
pub(crate) fn name_of(index: u16) -> &'static str {
    function(index).map_or("?", |(_, function)| function.name)
}

/// The index of the function with this name.
pub(crate) fn index_of(name: &str) -> Option<u16> {
    let place = all().position(|(_, function)| function.name == name)?;
    u16::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = all().map(|(_, function)| function.name).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name}");
        }
    }

    #[test]
    fn indexes_go_over_all_tables() {
        for (index, (family, row)) in all().enumerate() {
            let (same_family, same_row) = function(index as u16).unwrap();
            assert_eq!(same_family, family);
            assert_eq!(same_row.name, row.name);
            assert_eq!(name_of(index as u16), row.name);
        }
        assert!(function(all().count() as u16).is_none());
        assert_eq!(name_of(u16::MAX), "?");
    }

    #[test]
    fn every_library_reads_and_writes() {
        for (family, rows) in TABLES {
            for wanted in Direction::BOTH {
                let is_it =
                    |row: &Function| matches!(row.kind, Kind::Data(dir, _) if dir == wanted);
                assert!(rows.iter().any(is_it), "{family} {wanted}");
            }
        }
    }
}
