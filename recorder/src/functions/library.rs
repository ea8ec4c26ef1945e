//! A TLS library, or several that share an API: a row of the table of libraries.

use std::fmt;

use super::function::Function;

/// The identity of a library.
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

/// A row of the table. It contains everything specific to a library, except for the functions of
/// Go, which `symbols/go` finds in its own way.
#[derive(Debug)]
pub(crate) struct Library {
    pub(super) family: Family,
    /// Its name in messages.
    pub(super) name: &'static str,
    /// The names for `--lib KIND:PATH`.
    pub(super) kinds: &'static [&'static str],
    /// The option that leaves it out, without its dashes: `no-` and the first kind.
    pub(super) option: &'static str,
    /// The libraries that this option leaves out, for its help.
    pub(super) members: &'static str,
    /// The beginnings of the names of its shared libraries; none if it is part of the program. The
    /// first is the library whose calls are TLS.
    pub(super) sonames: &'static [&'static str],
    pub(super) functions: &'static [Function],
    /// SSL 3.0 in the numbering of its getter of the version; later versions follow it.
    pub(super) ssl3: u32,
    /// Whether its probes can be tested before use; see `self_test`.
    pub(super) has_self_test: bool,
    /// Whether its functions are in several files, each of which is worth probing alone.
    pub(super) is_split: bool,
}

/// SSL 3.0 in the protocol itself: RFC 8446, 4.1.2.
pub(super) const SSL3_OF_PROTOCOL: u32 = 0x300;

impl Library {
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn option(&self) -> &'static str {
        self.option
    }

    pub(crate) fn members(&self) -> &'static str {
        self.members
    }

    pub(crate) fn sonames(&self) -> &'static [&'static str] {
        self.sonames
    }

    pub(crate) fn has_self_test(&self) -> bool {
        self.has_self_test
    }

    pub(crate) fn is_split(&self) -> bool {
        self.is_split
    }

    /// Returns the name of the version of TLS with this number in the library.
    pub(crate) fn version(&self, number: u32) -> Option<&'static str> {
        const NAMES: [&str; 5] = ["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
        let index = usize::try_from(number.checked_sub(self.ssl3)?).ok()?;
        NAMES.get(index).copied()
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
