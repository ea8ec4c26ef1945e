//! Turns events into records: numbers the connections, stores the known facts about each, and finds
//! the holes.
//!
//! The kernel side counts stream offsets whether or not an event finds room. A hole is therefore
//! the range between the end of one event and the offset of the next, or before the final length.
//! Data and gaps have the offsets of both directions, so that a hole is reported before the next
//! event of either direction: a lost response before the request that followed it. The ring keeps
//! the order, so an offset is ahead only if events were lost; see `finish_data` of `bpf/call.h`.
//! Every event belongs to a connection by process, object address and time of birth.
//!
//! A connection without memory for it (see [`Ceiling`]) is turned away when it begins. The kernel
//! side continues to count its bytes, so that all of them are reported as a single gap in each
//! direction when it ends; until then only its key takes memory.

use std::collections::HashMap;

use sslrec_formats::record::{
    CloseCause, Connection, Data, Direction, Gap, GapCause, Handshake, PerDirection, Process,
    Record,
};

use self::terms::{Known, Learn, gap_cause};
pub(crate) use self::terms::{address, direction, per_direction};

use self::tls_params::TlsParams;
use crate::clock::Clock;
use crate::coverage::Coverage;
use crate::functions::name_of;
use crate::kernel::event::{Event, text};
use crate::kernel::maps::{KernelState, Key};
use crate::kernel::skel::types;
use crate::proc::processes;
use crate::process::memory::Ceiling;

mod ends;
mod terms;
#[cfg(test)]
mod tests;
mod tls_params;

#[derive(Debug)]
struct Conn {
    record: Connection,
    /// Stream offset of the next byte of each direction.
    next: PerDirection<u64>,
}

/// The identity of a process.
#[derive(Debug)]
struct Image {
    uid: u32,
    comm: String,
}

/// Turns events into records.
#[derive(Debug)]
pub(crate) struct Tracker<K> {
    clock: Clock,
    kernel: K,
    coverage: Coverage,
    ceiling: Ceiling,
    /// Boxed, so that the table grows without reallocating the connections.
    conns: HashMap<Key, Box<Conn>>,
    /// The number of connections without any data so far.
    unstarted: usize,
    /// Connections that found no memory: their time of birth, by process and object. They are open,
    /// or their close was lost; then the next such connection of the object replaces the entry.
    turned_away: HashMap<(u32, u64), u64>,
    /// Processes that were reported and have not ended. `None` if the process has executed another
    /// image since.
    processes: HashMap<u32, Option<Image>>,
    /// Parameters set or queried before the connection was first reported, with the connection's
    /// time of birth, by process and object. An object that is never used for a connection is never
    /// reported; a later object at the same address replaces its entry.
    params: HashMap<(u32, u64), (u64, TlsParams)>,
    next_number: u64,
    totals: Totals,
}

/// Totals for the summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) connections: u64,
    pub(crate) processes: u64,
    /// Bytes in gaps of any cause but the next.
    pub(crate) lost_bytes: u64,
    /// Bytes in gaps because of the user's snaplen.
    pub(crate) cut_bytes: u64,
    /// Connections that were turned away for lack of memory, and data that was left out of others.
    pub(crate) no_memory: u64,
    /// Events that the kernel side cannot have sent.
    pub(crate) bad_events: u64,
}

/// Receives the records.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(&Record<'_>);

impl<K: KernelState> Tracker<K> {
    pub(crate) fn new(clock: Clock, kernel: K, coverage: Coverage, ceiling: Ceiling) -> Self {
        Self {
            clock,
            kernel,
            coverage,
            ceiling,
            conns: HashMap::new(),
            unstarted: 0,
            turned_away: HashMap::new(),
            processes: HashMap::new(),
            params: HashMap::new(),
            next_number: 1,
            totals: Totals::default(),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Updates the amount of available memory; call this from time to time.
    pub(crate) fn look_at_memory(&mut self) {
        self.ceiling.look();
    }

    /// Processes an event and emits the resulting records.
    pub(crate) fn event(&mut self, bytes: &[u8], emit: Emit<'_>) {
        match Event::parse(bytes) {
            Some(Event::Data(data, payload)) => self.data(&data, payload, emit),
            Some(Event::Gap(gap)) => self.gap(&gap, emit),
            Some(Event::Conn(conn)) => self.conn(&conn, emit),
            Some(Event::TlsParam(param, text)) => self.tls_param(&param, text, emit),
            Some(Event::Handshake(handshake)) => self.handshake(&handshake, emit),
            Some(Event::Close(close)) => self.closed(&close, emit),
            Some(Event::LateClose(close)) => {
                // The end of the process may have come first, and removed it.
                if self.kernel.take_late_close(Key::of(&close.conn.head)).is_some() {
                    self.closed(&close, emit);
                }
            }
            Some(Event::Exec(head)) => self.image_gone(head.pid, head.ts_ns, emit),
            Some(Event::Exit(head)) => self.exit(head.pid, head.ts_ns, emit),
            // These belong to the account of the sockets.
            Some(Event::Piece(..) | Event::Datagram(..) | Event::SocketEnd(_)) => {}
            None => self.totals.bad_events += 1,
        }
    }

    /// Ends all open connections, known to the tracker or not. No event may follow.
    pub(crate) fn finish(&mut self, boot_ns: u64, emit: Emit<'_>) {
        self.close_all(None, boot_ns, CloseCause::StillOpen, emit);
    }

    fn data(&mut self, data: &types::event_data, payload: &[u8], emit: Emit<'_>) {
        if payload.is_empty() {
            return;
        }
        let key = Key::of(&data.head);
        let ts_ns = self.clock.unix_ns(data.head.ts_ns);
        let (dir, len) = (direction(data.head.dir), payload.len() as u64);
        let places = per_direction(data.offset);
        let Some(number) = self.go_on(key, ts_ns, dir, places, len, emit) else { return };
        let offset = places[dir];
        if self.ceiling.is_passed() {
            self.totals.no_memory += 1;
            self.hole(number, ts_ns, dir, offset, len, GapCause::Memory, emit);
            return;
        }
        emit(&Record::Data(Data {
            conn: number,
            ts_ns,
            tid: data.head.tid,
            dir,
            offset,
            func: name_of(data.head.func),
            lat_ns: data.lat_ns,
            call_len: data.call_len,
            call_offset: data.call_offset,
            payload,
        }));
    }

    fn gap(&mut self, gap: &types::event_gap, emit: Emit<'_>) {
        let key = Key::of(&gap.head);
        let ts_ns = self.clock.unix_ns(gap.head.ts_ns);
        let (dir, places) = (direction(gap.head.dir), per_direction(gap.offset));
        let Some(number) = self.go_on(key, ts_ns, dir, places, gap.len, emit) else { return };
        self.hole(number, ts_ns, dir, places[dir], gap.len, gap_cause(gap.cause), emit);
    }

    /// Advances a connection to the end of a range, after reporting any hole before the range and
    /// any hole of the other direction. Returns its number, unless it was turned away.
    fn go_on(
        &mut self,
        key: Key,
        ts_ns: u64,
        dir: Direction,
        places: PerDirection<u64>,
        len: u64,
        emit: Emit<'_>,
    ) -> Option<u64> {
        if !self.has_place(key, emit) {
            return None;
        }
        let conn = self.known(key, ts_ns, emit);
        let begins = !conn.has_started();
        let number = conn.record.conn;
        let other = dir.reverse();
        let holes = [
            (other, conn.advance(other, places[other], 0)),
            (dir, conn.advance(dir, places[dir], len)),
        ];
        self.unstarted -= usize::from(begins);
        for (dir, hole) in holes {
            if let Some((offset, len)) = hole {
                self.hole(number, ts_ns, dir, offset, len, GapCause::RingFull, emit);
            }
        }
        Some(number)
    }

    #[allow(clippy::too_many_arguments)] // the fields of a Gap
    fn hole(
        &mut self,
        conn: u64,
        ts_ns: u64,
        dir: Direction,
        offset: u64,
        len: u64,
        cause: GapCause,
        emit: Emit<'_>,
    ) {
        if cause == GapCause::Snaplen {
            self.totals.cut_bytes += len;
        } else {
            self.totals.lost_bytes += len;
        }
        emit(&Record::Gap(Gap { conn, ts_ns, dir, offset, len, cause }));
    }

    /// Stores all facts that the kernel side has on a connection, and reports them if they are new.
    fn conn(&mut self, event: &types::event_conn, emit: Emit<'_>) {
        let key = Key::of(&event.head);
        if self.has_place(key, emit) {
            self.take_in(key, event, emit);
        }
    }

    fn take_in(&mut self, key: Key, event: &types::event_conn, emit: Emit<'_>) {
        let ts_ns = self.clock.unix_ns(event.head.ts_ns);
        self.see_process(event.head.pid, event.uid, text(&event.comm), ts_ns, emit);
        let known =
            Known { lib: event.lib, joined: event.joined, role: event.role, ends: event.ends };
        self.describe(key, ts_ns, &known, emit);
    }

    fn describe(&mut self, key: Key, ts_ns: u64, known: &Known, emit: Emit<'_>) {
        let lib = self.coverage.path(known.lib).map(|path| path.display().to_string());
        let params = self.take_params(key);
        let is_new = !self.conns.contains_key(&key);
        let record = &mut self.entry(key, ts_ns).record;
        let before = record.clone();
        record.lib = lib;
        record.joined = known.joined != 0;
        params.add_to(record);
        record.learn(&known.ends, known.role);
        if is_new || *record != before {
            emit(&Record::Connection(record.clone()));
        }
    }

    fn tls_param(&mut self, param: &types::event_tls_param, text: &[u8], emit: Emit<'_>) {
        let key = Key::of(&param.head);
        let params = TlsParams::of(param, text);
        let may_begin = self.has_room() && !self.is_turned_away(key);
        match self.conns.get_mut(&key) {
            Some(conn) => {
                let before = conn.record.clone();
                params.add_to(&mut conn.record);
                if conn.record != before {
                    emit(&Record::Connection(conn.record.clone()));
                }
            }
            // Nor will there be room for the connection itself.
            None if !may_begin => {}
            None => {
                let (born_ns, known) = self.params.entry(key.place()).or_default();
                if *born_ns != key.born_ns {
                    (*born_ns, *known) = (key.born_ns, TlsParams::default());
                }
                known.learn(params);
            }
        }
    }

    fn take_params(&mut self, key: Key) -> TlsParams {
        let place = key.place();
        match self.params.get(&place) {
            Some((born_ns, _)) if *born_ns == key.born_ns => {
                self.params.remove(&place).map(|(_, params)| params).unwrap_or_default()
            }
            _ => TlsParams::default(),
        }
    }

    fn handshake(&mut self, event: &types::event_handshake, emit: Emit<'_>) {
        let (key, ts_ns) = (Key::of(&event.head), self.clock.unix_ns(event.head.ts_ns));
        if !self.has_place(key, emit) {
            return;
        }
        let conn = self.known(key, ts_ns, emit).record.conn;
        emit(&Record::Handshake(Handshake {
            conn,
            ts_ns,
            tid: event.head.tid,
            func: name_of(event.head.func),
            lat_ns: event.lat_ns,
            ok: event.ok != 0,
            result: Some(event.result),
        }));
    }

    /// Returns whether a connection is known or may be added. A connection that was turned away
    /// stays so.
    fn has_place(&mut self, key: Key, emit: Emit<'_>) -> bool {
        if self.conns.contains_key(&key) {
            return true;
        }
        if self.is_turned_away(key) {
            return false;
        }
        let has_room = self.has_room();
        if !has_room {
            self.turn_away(key, emit);
        }
        has_room
    }

    fn is_turned_away(&self, key: Key) -> bool {
        self.turned_away.get(&key.place()) == Some(&key.born_ns)
    }

    /// Turns a connection away. An earlier connection in the same place is over: its close waits in
    /// the kernel's table, or was lost.
    fn turn_away(&mut self, key: Key, emit: Emit<'_>) {
        if let Some(&born_ns) = self.turned_away.get(&key.place())
            && let Some(close) = self.kernel.take_late_close(Key { born_ns, ..key })
        {
            self.closed(&close, emit);
        }
        self.turned_away.insert(key.place(), key.born_ns);
        self.totals.no_memory += 1;
    }

    fn has_room(&self) -> bool {
        self.ceiling.has_room(self.conns.len(), self.unstarted)
    }

    /// Returns the connection of an event that does not describe it. If the describing event found
    /// no room, the kernel's table may still contain the connection.
    fn known(&mut self, key: Key, ts_ns: u64, emit: Emit<'_>) -> &mut Conn {
        if !self.conns.contains_key(&key) {
            if !matches!(self.processes.get(&key.pid), Some(Some(_))) {
                self.add_process(processes::describe(key.pid, ts_ns), emit);
            }
            match self.kernel.conn(key) {
                Some(conn) => self.describe(key, ts_ns, &Known::from(&conn), emit),
                None => {
                    let params = self.take_params(key);
                    let record = &mut self.entry(key, ts_ns).record;
                    params.add_to(record);
                    emit(&Record::Connection(record.clone()));
                }
            }
        }
        self.entry(key, ts_ns)
    }

    fn entry(&mut self, key: Key, ts_ns: u64) -> &mut Conn {
        self.conns.entry(key).or_insert_with(|| {
            let conn = self.next_number;
            self.next_number += 1;
            self.totals.connections += 1;
            self.unstarted += 1;
            let record = Connection { conn, ts_ns, pid: key.pid, ..Connection::default() };
            Box::new(Conn { record, next: PerDirection::default() })
        })
    }

    fn see_process(&mut self, pid: u32, uid: u32, comm: String, ts_ns: u64, emit: Emit<'_>) {
        if let Some(Some(image)) = self.processes.get(&pid)
            && (image.uid, &image.comm) == (uid, &comm)
        {
            return;
        }
        let exe = processes::executable(pid);
        self.add_process(Process { ts_ns, pid, uid, comm, exe }, emit);
    }

    fn add_process(&mut self, process: Process, emit: Emit<'_>) {
        let pid = process.pid;
        let image = Image { uid: process.uid, comm: process.comm.clone() };
        emit(&Record::Process(process));
        if self.processes.insert(pid, Some(image)).is_none() {
            self.totals.processes += 1;
        }
    }
}

impl Conn {
    fn has_started(&self) -> bool {
        self.next != PerDirection::default()
    }

    /// Advances to the end of a range at `offset`. Returns offset and length of the hole before the
    /// range, if any.
    fn advance(&mut self, dir: Direction, offset: u64, len: u64) -> Option<(u64, u64)> {
        let next = &mut self.next[dir];
        let hole = (offset > *next).then(|| (*next, offset - *next));
        *next = (*next).max(offset + len);
        hole
    }
}
