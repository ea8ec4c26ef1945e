//! The facts about a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sslrec_formats::record::{Connection, Direction, Role};

use super::route::Route;

/// The facts about a connection, shared by all its items. Some facts, such as addresses and the
/// server name, become known late.
///
/// There are two copies, because items are listed later than they are assembled, perhaps in another
/// thread: a line of the listing must not depend on that delay.
#[derive(Debug, Clone, Default)]
pub struct SharedConnection {
    views: Arc<Views>,
    /// The proxies and tunnels of the bytes, if there are any.
    route: Option<Arc<Route>>,
}

#[derive(Debug, Default)]
struct Views {
    assembled: CacheLine<Mutex<Arc<ConnectionInfo>>>,
    listed: CacheLine<Listed>,
}

/// The facts as of the item being listed.
#[derive(Debug, Default)]
struct Listed {
    info: Mutex<Arc<ConnectionInfo>>,
    /// Number of updates.
    version: AtomicU64,
}

/// A value in a cache line of its own. Otherwise writes from two threads to the same line of the
/// processors' caches would slow both down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct CacheLine<T>(T);

impl SharedConnection {
    /// Shares the facts about a connection.
    pub fn new(info: ConnectionInfo) -> Self {
        let info = Arc::new(info);
        let listed = Listed { info: Mutex::new(Arc::clone(&info)), version: AtomicU64::new(0) };
        let assembled = CacheLine(Mutex::new(info));
        Self { views: Arc::new(Views { assembled, listed: CacheLine(listed) }), route: None }
    }

    /// Returns the proxies and tunnels that lie between the ends, if there are any.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_deref()
    }

    /// Returns the connection inside a tunnel, or behind a proxy.
    pub(crate) fn through(&self, change: impl FnOnce(&mut Route)) -> Self {
        let mut route = self.route().cloned().unwrap_or_default();
        change(&mut route);
        Self { views: Arc::clone(&self.views), route: Some(Arc::new(route)) }
    }

    /// Returns the facts as of the record being assembled.
    pub(crate) fn info(&self) -> Arc<ConnectionInfo> {
        Arc::clone(&lock(&self.views.assembled.0))
    }

    /// Updates the facts for assembling.
    pub(crate) fn learn(&self, info: Arc<ConnectionInfo>) {
        *lock(&self.views.assembled.0) = info;
    }

    /// Updates the facts for listing.
    pub(crate) fn list(&self, info: Arc<ConnectionInfo>) {
        *lock(&self.views.listed.0.info) = info;
        self.views.listed.0.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the facts as of the item being listed.
    pub fn listed(&self) -> Arc<ConnectionInfo> {
        Arc::clone(&lock(&self.views.listed.0.info))
    }

    /// Returns a number that changes with [`Self::listed`]. Call it in the listing thread.
    pub fn listed_version(&self) -> u64 {
        self.views.listed.0.version.load(Ordering::Relaxed)
    }

    /// Replaces `info` by the facts as of the item being listed.
    pub(crate) fn refresh(&self, info: &mut Arc<ConnectionInfo>) {
        let listed = lock(&self.views.listed.0.info);
        if !Arc::ptr_eq(&listed, info) {
            *info = Arc::clone(&listed);
        }
    }
}

/// Locks a copy. A poisoned lock is harmless: the value is replaced as a whole and thus always
/// valid.
fn lock(view: &Mutex<Arc<ConnectionInfo>>) -> MutexGuard<'_, Arc<ConnectionInfo>> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection and its recorded process.
#[derive(Debug, Clone, Default)]
pub struct ConnectionInfo {
    /// The record itself. Its `pid` is 0 if the process is unknown.
    pub record: Connection,
    /// Short name of the process at the start of the connection.
    pub comm: Option<Arc<str>>,
    /// The capture is of TLS, so that URLs are `https`.
    pub tls: bool,
}

impl ConnectionInfo {
    /// Returns the process, if known.
    pub fn pid(&self) -> Option<u32> {
        Some(self.record.pid).filter(|&pid| pid != 0)
    }

    /// Returns the file name of the probed library.
    pub fn lib(&self) -> Option<&str> {
        let path = self.record.lib.as_deref()?;
        path.rsplit('/').next()
    }

    /// Returns the TLS version and cipher as text; `None` if neither is known.
    pub fn version_and_cipher(&self) -> Option<String> {
        let both = [self.record.version.as_deref(), self.record.cipher.as_deref()];
        let known: Vec<_> = both.into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.join(", "))
    }

    /// Returns the direction of the client's bytes, if the role is known.
    pub fn client_direction(&self) -> Option<Direction> {
        match self.record.role {
            Role::Client => Some(Direction::Sent),
            Role::Server => Some(Direction::Received),
            Role::Unknown => None,
        }
    }

    /// Returns the role of the recorded program, from the recording or else from the direction of
    /// the client's bytes.
    pub fn role(&self, client: Option<Direction>) -> Option<Role> {
        match (self.record.role, client) {
            (Role::Unknown, Some(Direction::Sent)) => Some(Role::Client),
            (Role::Unknown, Some(Direction::Received)) => Some(Role::Server),
            (Role::Unknown, None) => None,
            (role, _) => Some(role),
        }
    }

    /// Returns the addresses of client and server, given the direction of the client's bytes.
    pub fn ends(&self, client: Direction) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match client {
            Direction::Sent => (self.record.local, self.record.remote),
            Direction::Received => (self.record.remote, self.record.local),
        }
    }
}
