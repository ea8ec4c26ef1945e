//! A probed function: its kind, and the properties of its arguments and result that the kernel side
//! needs.

use sslrec_formats::record::{Direction, Role};

/// The kind of a function. `obj` identifies the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `(obj, buf, n, ...)`: transfers bytes in one direction, in the number given by `Count`.
    Data(Direction, Count),
    /// `(obj)`: passes on bytes that were counted when the program wrote them.
    Flush,
    /// `(obj, ...)`: sends bytes, in the number of the result. Bytes that no function of the table
    /// carried meanwhile are a gap.
    Sendfile,
    /// `(obj)`: this result is success.
    Handshake(u8),
    /// Constructor: creates an object.
    Create(Output),
    /// `(obj, ...)`: getter of a TLS parameter.
    Get(Param, Output),
    /// `(obj)`: makes the object a client's or a server's.
    Role,
    /// `(obj, fd)`.
    SetFd(Fd),
    /// `(obj, cmd, larg, parg)`: a certain `cmd` sets the server name.
    Ctrl,
    /// `(obj, ...)`: sets the server name, which is this argument.
    ServerName(Text),
    /// `(obj)`: sends close_notify to the peer.
    Shutdown,
    /// `(obj)`: drops a reference; the last one frees the object.
    Free,
    /// `(obj)`: makes the object ready for another connection.
    Clear,
    /// `(obj)`: adds a reference.
    UpRef,
}

/// The place of the number of bytes on return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// The result.
    Result,
    /// Pointed to by this argument, counted from 1: a `size_t *`. The result only reports success.
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
    pub(super) argument: u8,
    /// The argument that contains its length; without it the text ends with a NUL.
    pub(super) length: Option<u8>,
}

impl Text {
    pub(super) const fn to_nul(argument: u8) -> Self {
        Self { argument, length: None }
    }

    pub(super) const fn with_length(argument: u8, length: u8) -> Self {
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

/// The way in which a call determines the side of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Is(Role),
    /// The second argument has the flags of `gnutls_init`.
    GnutlsFlags,
    /// The second argument is true for a server.
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
    /// May call other functions of this table on the same object; their bytes are not counted.
    pub(super) wraps: bool,
    /// The number of bytes is a `size_t` and the result a `ssize_t`, not both an `int`.
    pub(crate) wide: bool,
    /// The buffer is an array of buffers, and the number is that of the buffers.
    pub(super) vector: bool,
    /// The fourth argument may have a flag for leaving the bytes in place to be read again.
    pub(crate) peeks: bool,
    /// The object is a descriptor of NSPR, which may not be TLS.
    pub(super) nspr: bool,
    /// Returns a descriptor of NSPR that is TLS.
    pub(super) nspr_layer: bool,
    /// The type of a TLS record comes before the buffer, and only application data counts.
    pub(super) typed: bool,
    /// The second argument receives a packet of GnuTLS, which contains the bytes.
    pub(super) packet: bool,
    /// Missing from many builds in use, which is not reported.
    pub(crate) optional: bool,
}

/// The builders of rows.
impl Function {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
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

    pub(super) const fn role(self, role: Role) -> Self {
        self.side(Side::Is(role))
    }

    pub(super) const fn side(self, side: Side) -> Self {
        Self { side, ..self }
    }

    pub(super) const fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }

    pub(super) const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    pub(super) const fn vector(self) -> Self {
        Self { vector: true, ..self }
    }

    pub(super) const fn peeks(self) -> Self {
        Self { peeks: true, ..self }
    }

    pub(super) const fn nspr(self) -> Self {
        Self { nspr: true, ..self }
    }

    pub(super) const fn nspr_layer(self) -> Self {
        Self { nspr_layer: true, ..self }
    }

    pub(super) const fn typed(self) -> Self {
        Self { typed: true, ..self }
    }

    pub(super) const fn packet(self) -> Self {
        Self { packet: true, ..self }
    }

    pub(super) const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

impl Function {
    /// Returns whether the capture would lack bytes without a probe on this function.
    pub(crate) fn carries_data(&self) -> bool {
        matches!(self.kind, Kind::Data(..) | Kind::Sendfile)
    }

    /// Returns whether a call of the other function, at the end of this one, reports everything
    /// about this call.
    pub(crate) fn is_told_by(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Data(dir, _), Kind::Data(other_dir, _)) => dir == other_dir,
            (Kind::Handshake(_), Kind::Handshake(_)) => true,
            _ => false,
        }
    }

    /// Returns whether the return matters, or only the entry.
    pub(crate) fn needs_return(&self) -> bool {
        self.carries_data()
            || matches!(
                self.kind,
                Kind::Flush | Kind::Handshake(_) | Kind::Create(_) | Kind::Get(..)
            )
    }
}
