//! What is known of a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sslrec_formats::record::{Connection, Direction, Role};

/// The facts known about a connection, shared by all its items: some of them, such as addresses and
/// the server name, become known late.
///
/// They are kept twice, since items are listed later than they are assembled, perhaps in another
/// thread: a line of the listing must not depend on how much later.
#[derive(Debug, Clone, Default)]
pub struct SharedConnection(Arc<Views>);

#[derive(Debug, Default)]
struct Views {
    assembled: CacheLine<Mutex<Arc<ConnectionInfo>>>,
    listed: CacheLine<Listed>,
}

/// What is known where items are listed.
#[derive(Debug, Default)]
struct Listed {
    info: Mutex<Arc<ConnectionInfo>>,
    /// How many times more became known.
    version: AtomicU64,
}

/// Memory of its own: two threads would wait for one another if each wrote into the same line of
/// the processors' caches.
#[derive(Debug, Default)]
#[repr(align(64))]
struct CacheLine<T>(T);

impl SharedConnection {
    /// Shares the facts about a connection.
    pub fn new(info: ConnectionInfo) -> Self {
        let info = Arc::new(info);
        let listed = Listed { info: Mutex::new(Arc::clone(&info)), version: AtomicU64::new(0) };
        let assembled = CacheLine(Mutex::new(info));
        Self(Arc::new(Views { assembled, listed: CacheLine(listed) }))
    }

    /// What is known where records are assembled.
    pub(crate) fn info(&self) -> Arc<ConnectionInfo> {
        Arc::clone(&lock(&self.0.assembled.0))
    }

    /// More is known there.
    pub(crate) fn learn(&self, info: Arc<ConnectionInfo>) {
        *lock(&self.0.assembled.0) = info;
    }

    /// More is known where items are listed.
    pub(crate) fn list(&self, info: Arc<ConnectionInfo>) {
        *lock(&self.0.listed.0.info) = info;
        self.0.listed.0.version.fetch_add(1, Ordering::Relaxed);
    }

    /// The facts known where items are listed.
    pub fn listed(&self) -> Arc<ConnectionInfo> {
        Arc::clone(&lock(&self.0.listed.0.info))
    }

    /// A number that changes when [`Self::listed`] does. For the thread that lists.
    pub fn listed_version(&self) -> u64 {
        self.0.listed.0.version.load(Ordering::Relaxed)
    }

    /// Brings `info` up to what is known where items are listed.
    pub(crate) fn refresh(&self, info: &mut Arc<ConnectionInfo>) {
        let listed = lock(&self.0.listed.0.info);
        if !Arc::ptr_eq(&listed, info) {
            *info = Arc::clone(&listed);
        }
    }
}

/// There is always something in it, whatever became of who held it.
fn lock(view: &Mutex<Arc<ConnectionInfo>>) -> MutexGuard<'_, Arc<ConnectionInfo>> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection and the process that it was recorded in.
#[derive(Debug, Clone, Default)]
pub struct ConnectionInfo {
    /// The record itself. Its `pid` is 0 where the process is not known.
    pub record: Connection,
    /// Short name of the process when the connection was made.
    pub comm: Option<Arc<str>>,
    /// The capture is of TLS, so that URLs are `https`.
    pub tls: bool,
}

impl ConnectionInfo {
    /// The process, where known.
    pub fn pid(&self) -> Option<u32> {
        Some(self.record.pid).filter(|&pid| pid != 0)
    }

    /// File name of the library that was probed.
    pub fn lib(&self) -> Option<&str> {
        let path = self.record.lib.as_deref()?;
        path.rsplit('/').next()
    }

    /// What TLS settled on, for people; `None` if neither is known.
    pub fn version_and_cipher(&self) -> Option<String> {
        let both = [self.record.version.as_deref(), self.record.cipher.as_deref()];
        let known: Vec<_> = both.into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.join(", "))
    }

    /// The direction in which the client's bytes went, where the role tells.
    pub fn client_direction(&self) -> Option<Direction> {
        match self.record.role {
            Role::Client => Some(Direction::Sent),
            Role::Server => Some(Direction::Received),
            Role::Unknown => None,
        }
    }

    /// The recorded program's side: what the recording says, else what the direction of the
    /// client's bytes tells.
    pub fn role(&self, client: Option<Direction>) -> Option<Role> {
        match (self.record.role, client) {
            (Role::Unknown, Some(Direction::Sent)) => Some(Role::Client),
            (Role::Unknown, Some(Direction::Received)) => Some(Role::Server),
            (Role::Unknown, None) => None,
            (role, _) => Some(role),
        }
    }

    /// Client's and server's address, given the direction in which the client's bytes went.
    pub fn ends(&self, client: Direction) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match client {
            Direction::Sent => (self.record.local, self.record.remote),
            Direction::Received => (self.record.remote, self.record.local),
        }
    }
}
