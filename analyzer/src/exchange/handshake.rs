//! TLS handshakes.

use std::sync::Arc;

use sslrec_formats::record;

use super::{ConnectionInfo, Note, SharedConnection};

/// A finished TLS handshake, as recorded at one end.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The connection, as of the listing of the handshake. It has the negotiated version, cipher
    /// and protocol.
    pub connection: Arc<ConnectionInfo>,
    pub(crate) shared: SharedConnection,
    /// When its first call began, nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// When its last call ended.
    pub last_ns: u64,
    /// The handshake succeeded.
    pub ok: bool,
    /// Result of the last call, in the library's own numbers.
    pub result: Option<i32>,
    /// Function of the last call.
    pub func: Box<str>,
}

impl Handshake {
    pub(crate) fn new(connection: &SharedConnection, record: &record::Handshake<'_>) -> Self {
        Self {
            connection: connection.info(),
            shared: connection.clone(),
            first_ns: record.ts_ns.saturating_sub(record.lat_ns),
            last_ns: record.ts_ns,
            ok: record.ok,
            result: record.result,
            func: record.func.into(),
        }
    }

    /// Returns the duration in nanoseconds; `None` if unknown.
    pub fn latency_ns(&self) -> Option<u64> {
        self.last_ns.checked_sub(self.first_ns).filter(|&ns| ns > 0)
    }

    /// Returns a note about the failure; `None` if the handshake succeeded.
    pub fn failure(&self) -> Option<Note> {
        (!self.ok).then(|| match self.result {
            Some(result) => Note::HandshakeReturned(self.func.clone(), result),
            None => Note::HandshakeFailed,
        })
    }
}
