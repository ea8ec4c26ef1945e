//! Ends of connections: by a close, or with the process or the recording.
//!
//! The final counts are read from the kernel side's tables, so that no byte is missing from the
//! sum, nor a connection whose events were all lost.

use sslrec_formats::record::{
    Close, CloseCause, Direction, Exit, GapCause, Handshake, PerDirection, Record,
};

use super::terms::{handshake_failed, per_direction};
use super::{Emit, Tracker};

use crate::functions::name_of;
use crate::kernel::maps::{KernelState, Key};
use crate::kernel::skel::types;

impl<K: KernelState> Tracker<K> {
    pub(super) fn closed(&mut self, close: &types::event_close, emit: Emit<'_>) {
        let cause = if close.shutdown != 0 { CloseCause::Shutdown } else { CloseCause::Freed };
        // A close describes the whole connection, in case no earlier event arrived.
        let head = &close.conn.head;
        self.take_in(Key::of(head), &close.conn, emit);
        self.close(Key::of(head), head.ts_ns, per_direction(close.offset), cause, emit);
    }

    /// Closes the connections of a process image. An exec or the end of a process destroys all its
    /// TLS objects. Their final counts are still in the kernel's tables; later entries belong to
    /// the new image.
    pub(super) fn image_gone(&mut self, pid: u32, boot_ns: u64, emit: Emit<'_>) {
        self.close_all(Some(pid), boot_ns, CloseCause::Exit, emit);
        self.turned_away.retain(|&(of, _), born_ns| of != pid || *born_ns >= boot_ns);
        self.params.retain(|&(of, _), (born_ns, _)| of != pid || *born_ns >= boot_ns);
        if let Some(image) = self.processes.get_mut(&pid) {
            *image = None;
        }
        self.kernel.forget(pid, boot_ns);
    }

    /// Reports the end of a process. If this comes late, another process may have its number; then
    /// nothing is reported, since the current entries belong to the other process.
    pub(super) fn exit(&mut self, pid: u32, boot_ns: u64, emit: Emit<'_>) {
        self.image_gone(pid, boot_ns, emit);
        if !self.conns.keys().any(|key| key.pid == pid) && self.processes.remove(&pid).is_some() {
            emit(&Record::Exit(Exit { ts_ns: self.clock.unix_ns(boot_ns), pid }));
        }
    }

    /// Closes the connections of a process, or all, that are older than this. Connections that were
    /// never reported, because the ring was full for their whole life, are in the kernel's tables
    /// only.
    pub(super) fn close_all(
        &mut self,
        pid: Option<u32>,
        boot_ns: u64,
        cause: CloseCause,
        emit: Emit<'_>,
    ) {
        for key in self.due(pid, boot_ns) {
            if let Some(conn) = self.kernel.conn(key) {
                if cause == CloseCause::Exit && handshake_failed(&conn) {
                    self.failed_handshake(key, &conn, emit);
                }
                let cause = if conn.shutdown != 0 { CloseCause::Shutdown } else { cause };
                self.close(key, boot_ns, per_direction(conn.offset), cause, emit);
            } else if let Some(close) = self.kernel.take_late_close(key) {
                self.closed(&close, emit);
            } else {
                let next = self.conns.get(&key).map(|conn| conn.next).unwrap_or_default();
                self.close(key, boot_ns, next, cause, emit);
            }
        }
    }

    /// Reports a handshake whose object was not released before the process ended.
    fn failed_handshake(&mut self, key: Key, conn: &types::conn, emit: Emit<'_>) {
        let ts_ns = self.clock.unix_ns(conn.handshake_end_ns);
        let number = self.known(key, ts_ns, emit).record.conn;
        emit(&Record::Handshake(Handshake {
            conn: number,
            ts_ns,
            tid: key.pid,
            func: name_of(conn.handshake_func),
            lat_ns: conn.handshake_end_ns.saturating_sub(conn.handshake_ns),
            ok: false,
            result: Some(conn.handshake_result),
        }));
    }

    /// Returns the connections to close: first those with a number, in its order, then those in the
    /// kernel's tables only. These are open connections that carried bytes or failed in the
    /// handshake, and connections whose close has not been passed on.
    fn due(&self, pid: Option<u32>, boot_ns: u64) -> Vec<Key> {
        let is_due = |key: &Key| key.born_ns < boot_ns && pid.is_none_or(|pid| key.pid == pid);
        let is_unknown = |key: &Key| is_due(key) && !self.conns.contains_key(key);
        let numbered = self.conns.iter().filter(|(key, _)| is_due(key));
        let mut numbered: Vec<_> = numbered.map(|(key, conn)| (conn.record.conn, *key)).collect();
        numbered.sort_unstable();
        let mut unknown = self.kernel.late_closes(pid);
        unknown.retain(is_unknown);
        self.kernel.each_conn(pid, &mut |key, conn| {
            let tells = conn.offset != [0; 2] || handshake_failed(conn);
            if tells && is_unknown(&key) {
                unknown.push(key);
            }
        });
        // The kernel begins a walk again if its current entry was deleted meanwhile, and returns
        // some entries twice.
        unknown.sort_unstable_by_key(|key| (key.born_ns, key.pid, key.ssl));
        unknown.dedup();
        numbered.into_iter().map(|(_, key)| key).chain(unknown).collect()
    }

    fn close(
        &mut self,
        key: Key,
        boot_ns: u64,
        lengths: PerDirection<u64>,
        cause: CloseCause,
        emit: Emit<'_>,
    ) {
        let ts_ns = self.clock.unix_ns(boot_ns);
        self.known(key, ts_ns, emit);
        let Some(mut conn) = self.conns.remove(&key) else { return };
        self.unstarted -= usize::from(!conn.has_started());
        let missing = if self.is_turned_away(key) {
            self.turned_away.remove(&key.place());
            GapCause::Memory
        } else {
            GapCause::RingFull
        };
        let number = conn.record.conn;
        for dir in Direction::BOTH {
            if let Some((offset, len)) = conn.advance(dir, lengths[dir], 0) {
                self.hole(number, ts_ns, dir, offset, len, missing, emit);
            }
        }
        emit(&Record::Close(Close {
            conn: number,
            ts_ns,
            cause,
            sent_bytes: conn.next.sent,
            received_bytes: conn.next.received,
        }));
    }
}
