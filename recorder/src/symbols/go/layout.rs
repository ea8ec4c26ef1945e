//! Offsets of the fields of `crypto/tls.Conn` that a handshake sets, by the version of Go.
//!
//! Each row is the output of `reflect` in a program built by such a Go
//! (`testdata/peers/go/layout.go`): 1.19.8, 1.21.13, 1.22.10, 1.23.9, 1.24.11, 1.25.5, 1.26.6 and
//! 1.27.3. Nothing is read for versions that were not at hand: no name rather than a wrong name.

use super::version::Version;
use crate::kernel::skel::types::go_layout;

/// From this minor version up to that of the next row: server name, ALPN, version, cipher.
const ROWS: [(u32, Option<[u32; 4]>); 7] = [
    (19, Some([192, 328, 64, 90])),
    (20, None),
    (21, Some([224, 360, 72, 98])),
    (23, Some([224, 368, 72, 100])),
    (25, Some([208, 352, 72, 100])),
    (27, Some([232, 376, 72, 100])),
    (28, None),
];

/// Offsets in a `Conn`. All 0 if they are unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    server_name: u32,
    alpn: u32,
    version: u32,
    cipher: u32,
}

impl Layout {
    /// Returns the offsets in programs of a version.
    pub(super) fn of(version: Option<Version>) -> Self {
        let row = version.and_then(|version| {
            let (_, row) = ROWS.iter().rev().find(|(first, _)| *first <= version.minor)?;
            *row
        });
        let [server_name, alpn, version, cipher] = row.unwrap_or_default();
        Self { server_name, alpn, version, cipher }
    }

    /// Returns the kernel side's form.
    pub(crate) fn for_kernel(self) -> go_layout {
        let Self { server_name, alpn, version, cipher } = self;
        go_layout { server_name, alpn, version, cipher }
    }
}
