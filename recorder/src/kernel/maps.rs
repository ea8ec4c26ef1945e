//! The kernel side's tables, which still contain the state that an event could not report; reads
//! and cleans them.
//!
//! A trait is in between, so that the tracker can be tested on hand-made tables.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::kernel::event::{FromKernel, bytes_of, view};
use crate::kernel::skel::{SslrecMaps, types};

/// Identifies a connection, even after its object's address is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) pid: u32,
    pub(crate) ssl: u64,
    pub(crate) born_ns: u64,
}

impl Key {
    pub(crate) fn of(head: &types::event) -> Self {
        Self { pid: head.pid, ssl: head.ssl, born_ns: head.born_ns }
    }

    /// Returns its process and its object's address, where a later connection may follow it.
    pub(crate) fn place(self) -> (u32, u64) {
        (self.pid, self.ssl)
    }
}

/// The kernel side's tables.
pub(crate) trait KernelState {
    /// Returns a connection that is still open there.
    fn conn(&self, key: Key) -> Option<types::conn>;

    /// Visits all connections that are open there, or those of one process. There may be very many.
    fn each_conn(&self, pid: Option<u32>, visit: &mut dyn FnMut(Key, &types::conn));

    /// Returns the connections, of all processes or of one, whose close found no room in the ring
    /// and was not yet removed.
    fn late_closes(&self, pid: Option<u32>) -> Vec<Key>;

    /// Removes and returns a close that found no room in the ring.
    fn take_late_close(&self, key: Key) -> Option<types::event_close>;

    /// Deletes the entries of a process that are older than this.
    fn forget(&self, pid: u32, before_ns: u64);
}

/// The maps themselves.
#[derive(Debug)]
pub(crate) struct KernelMaps {
    pub(crate) conns: MapHandle,
    pub(crate) calls: MapHandle,
    pub(crate) more_calls: MapHandle,
    pub(crate) go_calls: MapHandle,
    pub(crate) current_calls: MapHandle,
    pub(crate) late_closes: MapHandle,
}

impl KernelState for KernelMaps {
    fn conn(&self, key: Key) -> Option<types::conn> {
        let conn_key = types::conn_key { ssl: key.ssl, pid: key.pid, ..Default::default() };
        let conn: Option<types::conn> = lookup(&self.conns, bytes_of(&conn_key));
        conn.filter(|conn| conn.born_ns == key.born_ns)
    }

    fn each_conn(&self, pid: Option<u32>, visit: &mut dyn FnMut(Key, &types::conn)) {
        let of_pid = |key: &types::conn_key| pid.is_none_or(|pid| key.pid == pid);
        for (key, conn) in entries::<types::conn_key, types::conn>(&self.conns, of_pid) {
            visit(Key { pid: key.pid, ssl: key.ssl, born_ns: conn.born_ns }, &conn);
        }
    }

    fn late_closes(&self, pid: Option<u32>) -> Vec<Key> {
        let keys = self.late_closes.keys().filter_map(|bytes| view::<types::close_key>(&bytes));
        keys.filter(|key| pid.is_none_or(|pid| key.pid == pid))
            .map(|key| Key { pid: key.pid, ssl: key.ssl, born_ns: key.born_ns })
            .collect()
    }

    fn take_late_close(&self, key: Key) -> Option<types::event_close> {
        let Key { pid, ssl, born_ns } = key;
        let close_key = types::close_key { ssl, born_ns, pid, ..Default::default() };
        let close = lookup(&self.late_closes, bytes_of(&close_key))?;
        // Deleting an entry just found fails only if it is gone: another caller then has it.
        self.late_closes.delete(bytes_of(&close_key)).ok().map(|()| close)
    }

    fn forget(&self, pid: u32, before_ns: u64) {
        let of_pid = |key: &types::conn_key| key.pid == pid;
        let conns = entries::<types::conn_key, types::conn>(&self.conns, of_pid);
        let old = conns.filter(|(_, conn)| conn.born_ns < before_ns);
        // All keys are collected before the first deletion, which would restart the search.
        for key in old.map(|(key, _)| key).collect::<Vec<_>>() {
            delete(&self.conns, bytes_of(&key));
        }
        for calls in [&self.calls, &self.more_calls, &self.go_calls] {
            self.forget_calls(calls, pid, before_ns);
        }
    }
}

impl KernelMaps {
    /// Returns the maps of the loaded programs.
    ///
    /// # Errors
    /// There are too many open files.
    pub(crate) fn of(maps: &SslrecMaps<'_>) -> libbpf_rs::Result<Self> {
        Ok(Self {
            conns: MapHandle::try_from(&maps.conns)?,
            calls: MapHandle::try_from(&maps.calls)?,
            more_calls: MapHandle::try_from(&maps.more_calls)?,
            go_calls: MapHandle::try_from(&maps.go_calls)?,
            current_calls: MapHandle::try_from(&maps.current_calls)?,
            late_closes: MapHandle::try_from(&maps.late_closes)?,
        })
    }

    fn forget_calls(&self, calls: &MapHandle, pid: u32, before_ns: u64) {
        let of_pid = |key: &types::call_key| key.pid == pid;
        let of_pid: Vec<_> = entries::<types::call_key, types::call>(calls, of_pid).collect();
        for (key, call) in of_pid {
            if call.start_ns < before_ns {
                delete(calls, bytes_of(&key));
                // If a later image of the process already runs on this thread, its call loses the
                // mark, and the next call sets it again.
                delete(&self.current_calls, &call.thread.to_ne_bytes());
            }
        }
    }
}

fn lookup<T: FromKernel>(map: &MapHandle, key: &[u8]) -> Option<T> {
    view(&map.lookup(key, MapFlags::ANY).ok()??)
}

/// Returns the entries whose key is wanted. Entries that vanish meanwhile are left out.
fn entries<K: FromKernel, V: FromKernel>(
    map: &MapHandle,
    wanted: impl Fn(&K) -> bool,
) -> impl Iterator<Item = (K, V)> {
    map.keys()
        .filter_map(|bytes| Some((view::<K>(&bytes)?, bytes)))
        .filter(move |(key, _)| wanted(key))
        .filter_map(|(key, bytes)| Some((key, lookup(map, &bytes)?)))
}

/// Deletes an entry. A missing entry is not an error.
fn delete(map: &MapHandle, key: &[u8]) {
    let _ = map.delete(key);
}
