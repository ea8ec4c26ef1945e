//! TLS handshakes.

use std::sync::Arc;

use sslrec_formats::record;

use super::{ConnectionInfo, Note, SharedConnection};

/// A TLS handshake that ended, as one end of it saw it.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The connection, as far as it was known when the handshake was listed. What was settled on
    /// stands there: version, cipher and protocol.
    pub connection: Arc<ConnectionInfo>,
    pub(crate) shared: SharedConnection,
    /// When its first call began, nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// When its last call ended.
    pub last_ns: u64,
    /// It succeeded.
    pub ok: bool,
    /// What the last call returned, in the library's own numbers.
    pub result: Option<i32>,
    /// The function that returned it.
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

    /// From its beginning to its end, nanoseconds; `None` where that is not known.
    pub fn latency_ns(&self) -> Option<u64> {
        self.last_ns.checked_sub(self.first_ns).filter(|&ns| ns > 0)
    }

    /// A note about the failure; `None` if the handshake succeeded.
    pub fn failure(&self) -> Option<Note> {
        let (func, result) = (self.func.clone(), self.result);
        (!self.ok).then_some(Note::HandshakeFailed { func, result })
    }
}
