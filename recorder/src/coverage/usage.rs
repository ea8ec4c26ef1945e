//! The called functions of each probed library, collected from the records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sslrec_formats::record::Record;

use super::{PROCESSES_MAX, Pids, REST};

/// The calls of a process into a library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Functions that transferred bytes.
    pub(crate) called: Vec<String>,
    /// Bytes that they transferred, missing bytes included.
    pub(crate) bytes: u64,
}

/// Name and executable of a process.
pub(crate) type Names = (String, Option<String>);

/// Collects the calls, record by record: for the first [`PROCESSES_MAX`] processes individually,
/// and for all others together, under the number [`REST`].
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// By process and path of the library.
    used: BTreeMap<(u32, String), usize>,
    all: Vec<Used>,
    /// Index into `all`, by connection.
    conns: HashMap<u64, usize>,
    /// As last seen.
    processes: HashMap<u32, Names>,
    /// Processes that are not among these.
    rest: Pids,
    /// Local ports of recorded connections.
    ports: BTreeSet<u16>,
}

impl Usage {
    pub(crate) fn observe(&mut self, record: &Record<'_>) {
        match record {
            Record::Process(process) => {
                let known = self.processes.contains_key(&process.pid);
                if known || self.processes.len() < PROCESSES_MAX {
                    let names = (process.comm.clone(), process.exe.clone());
                    self.processes.insert(process.pid, names);
                } else {
                    self.rest.insert(process.pid);
                }
            }
            Record::Connection(connection) => {
                let known = self.processes.contains_key(&connection.pid);
                let pid = if known { connection.pid } else { REST };
                let place = (pid, connection.lib.clone().unwrap_or_default());
                let index = *self.used.entry(place).or_insert_with(|| {
                    self.all.push(Used::default());
                    self.all.len() - 1
                });
                self.conns.insert(connection.conn, index);
                self.ports.extend(connection.local.map(|local| local.port()));
            }
            Record::Data(data) => {
                self.add(data.conn, data.payload.len() as u64, Some(data.func));
            }
            Record::Gap(gap) => self.add(gap.conn, gap.len, None),
            Record::Close(close) => {
                self.conns.remove(&close.conn);
            }
            _ => {}
        }
    }

    fn add(&mut self, conn: u64, bytes: u64, function: Option<&str>) {
        let Some(&index) = self.conns.get(&conn) else { return };
        let used = &mut self.all[index];
        used.bytes += bytes;
        if let Some(function) = function
            && !used.called.iter().any(|known| known == function)
        {
            used.called.push(function.to_owned());
        }
    }

    /// Returns the calls of a process, by path of the library.
    pub(crate) fn of(&self, pid: u32) -> impl Iterator<Item = (&str, &Used)> {
        let of_pid = self.used.range((pid, String::new())..);
        let of_pid = of_pid.take_while(move |((of, _), _)| *of == pid);
        of_pid.map(|((_, lib), &index)| (lib.as_str(), &self.all[index]))
    }

    /// Returns whether a recorded connection has this local port.
    pub(crate) fn serves(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// Returns the name and executable of a process with calls.
    pub(crate) fn names(&self, pid: u32) -> Option<&Names> {
        self.processes.get(&pid)
    }

    /// Returns all processes with calls.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.used.keys().map(|(pid, _)| *pid)
    }

    /// Returns the number of processes that are counted together.
    pub(crate) fn rest(&self) -> u64 {
        self.rest.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslrec_formats::record::{Connection, Data, Direction, Gap, GapCause, Process};

    fn process(pid: u32) -> Record<'static> {
        Record::Process(Process { pid, ..Process::default() })
    }

    #[test]
    fn bytes_and_functions_are_counted_by_process_and_library() {
        let mut usage = Usage::default();
        [7, 8].into_iter().for_each(|pid| usage.observe(&process(pid)));
        for (conn, pid, lib) in [(1, 7, "a"), (2, 7, "b"), (3, 8, "a")] {
            let lib = Some(lib.to_owned());
            let connection = Connection { conn, pid, lib, ..Connection::default() };
            usage.observe(&Record::Connection(connection));
        }
        let data = |conn, func| {
            let dir = Direction::Sent;
            let (ts_ns, tid, offset, lat_ns, call_len, call_offset) = (0, 0, 0, 0, 3, 0);
            let payload = &b"abc"[..];
            Record::Data(Data {
                conn,
                ts_ns,
                tid,
                dir,
                offset,
                func,
                lat_ns,
                call_len,
                call_offset,
                payload,
            })
        };
        for (conn, func) in [(1, "SSL_write"), (1, "SSL_write"), (1, "SSL_read"), (3, "SSL_read")] {
            usage.observe(&data(conn, func));
        }
        let cause = GapCause::RingFull;
        let gap = Gap { conn: 2, ts_ns: 0, dir: Direction::Sent, offset: 0, len: 100, cause };
        usage.observe(&Record::Gap(gap));
        usage.observe(&data(9, "of no connection"));
        let of = |pid| usage.of(pid).map(|(lib, used)| (lib, used.clone())).collect::<Vec<_>>();
        let used = |called: &[&str], bytes| Used {
            called: called.iter().map(|&name| name.to_owned()).collect(),
            bytes,
        };
        assert_eq!(of(7), [("a", used(&["SSL_write", "SSL_read"], 9)), ("b", used(&[], 100))]);
        assert_eq!(of(8), [("a", used(&["SSL_read"], 3))]);
        assert_eq!(of(9), []);
    }

    #[test]
    fn processes_beyond_the_bound_are_counted_together() {
        let mut usage = Usage::default();
        for pid in 1..=PROCESSES_MAX as u32 + 10 {
            usage.observe(&process(pid));
            let (conn, lib) = (pid.into(), Some("a".to_owned()));
            usage.observe(&Record::Connection(Connection {
                conn,
                pid,
                lib,
                ..Connection::default()
            }));
            let (cause, dir) = (GapCause::RingFull, Direction::Sent);
            usage.observe(&Record::Gap(Gap { conn, ts_ns: 0, dir, offset: 0, len: 3, cause }));
        }
        let bytes = |pid| usage.of(pid).map(|(_, used)| used.bytes).collect::<Vec<_>>();
        assert_eq!((bytes(1), bytes(REST)), (vec![3], vec![30]));
        assert_eq!(usage.rest(), 10);
        assert_eq!(usage.pids().count(), PROCESSES_MAX + 1);
    }
}
