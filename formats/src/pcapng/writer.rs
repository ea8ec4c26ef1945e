//! Processes records and keeps the state: the live connections, the ends to show, and their
//! processes. `connection` writes the packets.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Write};
use std::net::IpAddr;

use super::comment::write;
use super::connection::{ConnectionWriter, HeldHandshake};
use super::flow::{Addresses, Flow};
use super::output::Output;
use super::{HELD_HANDSHAKES, PcapngOptions};
use crate::io::{Error, RecordWriter};
use crate::pairing::Pairing;
use crate::record::{
    CaptureInfo, Close, Connection, Coverage, Exit, Gap, GapCause, Handshake, PerDirection,
    Process, Record, Stats,
};

/// The most name resolution blocks. Later names are in the comments only, so that a peer with ever
/// new names cannot fill the memory.
const NAMES_LIMIT: usize = 65_536;

/// Writes the records of a capture as a pcapng.
///
/// If both ends of a connection were recorded, only one end is written; see [`Pairing`]. The
/// handshake of a connection waits for its first data, gap or close, as the end to show is
/// undecided before.
///
/// Memory: 256 KiB of blocks, the state of each live connection and of each process that has not
/// ended, and each pair of address and server name up to 65,536 of them.
pub struct PcapngWriter<W: Write> {
    output: Output<W>,
    info: CaptureInfo,
    options: PcapngOptions,
    pairing: Pairing,
    addresses: Addresses,
    processes: HashMap<u32, ProcessEntry>,
    /// In boxes, so that the table grows without new memory for all connections.
    connections: HashMap<u64, Box<Entry>>,
    names: HashSet<(IpAddr, String)>,
    /// The current comment, kept for its memory.
    comment: String,
    latest_ts_ns: u64,
    closing_stats: bool,
    ended: bool,
}

/// A process and its interface.
struct ProcessEntry {
    process: Process,
    interface: Option<u32>,
    /// Incremented with each change, so that connections detect it.
    generation: u64,
}

/// A live connection.
struct Entry {
    connection: Connection,
    flow: Option<Flow>,
    /// The packets that open it are in this file.
    opened: bool,
    /// The first stream offsets in this file.
    resumed: PerDirection<u64>,
    /// Handshakes that came before the connection was opened in the file.
    held: VecDeque<HeldHandshake>,
    /// Number of handshakes beyond the limit of `held`.
    unheld: u64,
    /// The beginning of the comments of each direction.
    prefix: PerDirection<String>,
    /// The process generation of `prefix`; `None` if the prefix must be composed again.
    prefix_generation: Option<u64>,
    interface: u32,
    /// The next comment contains all properties of the connection.
    details_due: bool,
    preface_settled: bool,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a pcapng.
    ///
    /// # Errors
    /// A text in `info` does not fit into a block.
    pub fn new(out: W, info: CaptureInfo, options: PcapngOptions) -> Result<Self, Error> {
        Ok(Self {
            output: Output::new(out, &info, &write::capture(&info))?,
            options,
            pairing: Pairing::new(),
            addresses: Addresses::default(),
            processes: HashMap::new(),
            connections: HashMap::new(),
            names: HashSet::new(),
            comment: String::new(),
            latest_ts_ns: info.start_ns,
            info,
            closing_stats: false,
            ended: false,
        })
    }

    /// Completes the file and continues in another file, to which `switch` redirects the output.
    /// Live connections are opened again there, on the same addresses and ports; their earlier
    /// bytes are marked as in an [earlier file](GapCause::EarlierFile).
    ///
    /// # Errors
    /// Either file could not be written.
    pub fn next_file(
        &mut self,
        switch: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), Error> {
        self.finish()?;
        switch(self.output.out())?;
        self.output.begin(&self.info, &write::capture(&self.info))?;
        self.processes.values_mut().for_each(ProcessEntry::forget_interface);
        self.connections.values_mut().for_each(|entry| entry.leave_behind());
        self.names.clear();
        self.closing_stats = false;
        self.ended = false;
        Ok(())
    }

    /// Returns the number of bytes passed to the output so far, in complete blocks. After a failed
    /// write, the output is valid up to here.
    pub fn bytes_written(&self) -> u64 {
        self.output.bytes_written()
    }

    /// Bytes of the file so far, those included that the output does not have yet.
    #[allow(clippy::len_without_is_empty)] // It has its head from the beginning.
    pub fn len(&self) -> u64 {
        self.output.len()
    }

    /// Returns the output.
    pub fn get_mut(&mut self) -> &mut W {
        self.output.out()
    }

    /// Returns the output. Data that was not flushed is lost.
    pub fn into_inner(self) -> W {
        self.output.into_inner()
    }

    fn process(&mut self, process: &Process) -> Result<(), Error> {
        match self.processes.get_mut(&process.pid) {
            Some(entry) if is_same(&entry.process, process) => {}
            Some(entry) => {
                entry.process = process.clone();
                if let Some(interface) = entry.interface {
                    self.output.end_interface(interface, process.ts_ns)?;
                }
                entry.forget_interface();
            }
            None => {
                self.processes.insert(process.pid, ProcessEntry::new(process.clone()));
            }
        }
        Ok(())
    }

    fn exit(&mut self, exit: &Exit) -> Result<(), Error> {
        let Some(mut entry) = self.processes.remove(&exit.pid) else { return Ok(()) };
        // The interface is in the file even if it has no packets.
        let interface = entry.interface(None, &mut self.output)?;
        self.output.end_interface(interface, exit.ts_ns)
    }

    fn connection(&mut self, connection: &Connection) {
        let entry = self
            .connections
            .entry(connection.conn)
            .or_insert_with(|| Box::new(Entry::new(connection.clone())));
        if entry.connection != *connection {
            entry.connection = connection.clone();
            entry.prefix_generation = None;
            entry.details_due = true;
        }
    }

    /// Runs `add` on a connection after updating its description and opening it in the file.
    fn with_open(
        &mut self,
        conn: u64,
        ts_ns: u64,
        add: impl FnOnce(&mut ConnectionWriter<'_, W>),
    ) -> Result<(), Error> {
        let entry = self.connections.entry(conn).or_insert_with(|| {
            Box::new(Entry::new(Connection { conn, ts_ns, ..Connection::default() }))
        });
        let pid = entry.connection.pid;
        let process = self
            .processes
            .entry(pid)
            .or_insert_with(|| ProcessEntry::new(Process { ts_ns, pid, ..Process::default() }));
        if entry.prefix_generation != Some(process.generation) {
            entry.reword(process, &mut self.output)?;
        }
        let is_new = !std::mem::replace(&mut entry.opened, true);
        if entry.flow.is_none() {
            let flow = self.addresses.open(&entry.connection, &self.options);
            let mut flow = flow.ok_or_else(|| {
                io::Error::other("all ports of a server's address are in use by one client")
            })?;
            flow.begin_at(entry.resumed);
            entry.flow = Some(flow);
        }
        if entry.details_due {
            name_server(entry, &mut self.names, &mut self.output)?;
        }
        let Entry {
            flow: Some(flow),
            connection,
            held,
            unheld,
            prefix,
            details_due,
            preface_settled,
            resumed,
            interface,
            ..
        } = &mut **entry
        else {
            return Ok(());
        };
        let mut out = ConnectionWriter {
            output: &mut self.output,
            comment: &mut self.comment,
            options: &self.options,
            interface: *interface,
            connection,
            resumed: *resumed,
            flow,
            prefix,
            details_due,
            preface_settled,
        };
        if is_new {
            out.open(ts_ns, std::mem::take(held), *unheld);
        }
        add(&mut out);
        Ok(())
    }

    /// Sets the offset at which the opening packet of the connection continues it.
    fn resume(&mut self, gap: &Gap) {
        if let Some(entry) = self.connections.get_mut(&gap.conn)
            && entry.flow.is_none()
        {
            entry.resumed[gap.dir] = gap.offset.saturating_add(gap.len);
        }
    }

    fn handshake(&mut self, handshake: &Handshake<'_>) -> Result<(), Error> {
        let held = HeldHandshake {
            ts_ns: handshake.ts_ns,
            tid: handshake.tid,
            func: handshake.func.to_owned(),
            lat_ns: handshake.lat_ns,
            ok: handshake.ok,
            result: handshake.result,
        };
        if let Some(entry) = self.connections.get_mut(&handshake.conn)
            && !entry.opened
        {
            if entry.held.len() == HELD_HANDSHAKES {
                entry.held.pop_front();
                entry.unheld += 1;
            }
            entry.held.push_back(held);
            return Ok(());
        }
        self.with_open(handshake.conn, handshake.ts_ns, |out| {
            out.handshake(handshake.ts_ns, &held);
        })
    }

    fn close(&mut self, close: &Close) -> Result<(), Error> {
        self.with_open(close.conn, close.ts_ns, |out| out.close(close))?;
        self.forget(close.conn);
        Ok(())
    }

    fn forget(&mut self, conn: u64) {
        if let Some(flow) = self.connections.remove(&conn).and_then(|entry| entry.flow) {
            self.addresses.close(&flow);
        }
    }

    /// Writes the account of a process. Programs that show packets skip it.
    fn account(&mut self, coverage: &Coverage) -> Result<(), Error> {
        self.first_interface()?;
        self.output.statistics(0, coverage.ts_ns, None, &write::account(coverage))
    }

    /// Adds the interface of the statistics, if there is none.
    fn first_interface(&mut self) -> Result<(), Error> {
        if !self.output.has_interface() {
            self.output.interface("sslrec", "", "capture=1")?;
        }
        Ok(())
    }

    fn stats(&mut self, stats: &Stats) -> Result<(), Error> {
        if stats.last {
            self.closing_stats = true;
            self.remaining_processes()?;
        }
        self.first_interface()?;
        if stats.last {
            self.output.end_interfaces(stats.ts_ns)?;
        }
        let comment = write::stats(stats);
        self.output.statistics(0, stats.ts_ns, Some(stats.dropped_events), &comment)
    }

    /// Adds an interface for each process without one, so that all processes are in the file.
    fn remaining_processes(&mut self) -> Result<(), Error> {
        let mut waiting: Vec<_> =
            self.processes.values_mut().filter(|entry| entry.interface.is_none()).collect();
        waiting.sort_by_key(|entry| (entry.process.ts_ns, entry.process.pid));
        for entry in waiting {
            entry.interface(None, &mut self.output)?;
            self.output.drain_if_full()?;
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.ended {
            return Err(io::Error::other("the pcapng has ended").into());
        }
        Ok(())
    }

    fn add(&mut self, record: &Record<'_>) -> Result<(), Error> {
        match record {
            Record::Process(process) => self.process(process)?,
            Record::Connection(connection) => self.connection(connection),
            Record::Data(data) => {
                self.with_open(data.conn, data.ts_ns, |out| out.data(data))?;
            }
            Record::Gap(gap) if gap.cause == GapCause::EarlierFile => self.resume(gap),
            Record::Gap(gap) => {
                self.with_open(gap.conn, gap.ts_ns, |out| out.gap(gap))?;
            }
            Record::Handshake(handshake) => self.handshake(handshake)?,
            Record::Close(close) => self.close(close)?,
            Record::Exit(exit) => self.exit(exit)?,
            // Of the rest of the record there is nothing to show in a packet capture.
            Record::Coverage(coverage) if coverage.unrecorded == 0 => {}
            Record::Coverage(coverage) => self.account(coverage)?,
            Record::Stats(stats) => self.stats(stats)?,
        }
        Ok(())
    }
}

impl<W: Write> RecordWriter for PcapngWriter<W> {
    fn write(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.check_open()?;
        self.latest_ts_ns = self.latest_ts_ns.max(record.ts_ns());
        self.pairing.observe(record);
        match record {
            // A handshake of a shadow is held like any other: the pair may yet be dissolved.
            Record::Data(_) | Record::Gap(_) | Record::Close(_)
                if record.conn().is_some_and(|conn| self.pairing.is_shadow(conn)) =>
            {
                if let Record::Close(close) = record {
                    self.forget(close.conn);
                }
            }
            _ => self.add(record)?,
        }
        self.output.drain_if_full()
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.output.flush()
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.check_open()?;
        if !self.closing_stats {
            self.remaining_processes()?;
            self.output.end_interfaces(self.latest_ts_ns)?;
            self.output.statistics(0, self.latest_ts_ns, None, "")?;
        }
        self.ended = true;
        self.output.flush()
    }
}

impl ProcessEntry {
    fn new(process: Process) -> Self {
        Self { process, interface: None, generation: 0 }
    }

    /// Requires a new interface for further records: the process has changed, or the next file has
    /// no interface for it.
    fn forget_interface(&mut self) {
        self.interface = None;
        self.generation += 1;
    }

    fn interface<W: Write>(
        &mut self,
        lib: Option<&str>,
        output: &mut Output<W>,
    ) -> Result<u32, Error> {
        if let Some(interface) = self.interface {
            return Ok(interface);
        }
        let name = format!("{}[{}]", self.process.comm, self.process.pid);
        let description = write::executable(&self.process, lib);
        let number = output.interface(&name, &description, &write::process(&self.process))?;
        self.interface = Some(number);
        Ok(number)
    }
}

impl Entry {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            flow: None,
            opened: false,
            resumed: PerDirection::default(),
            held: VecDeque::new(),
            unheld: 0,
            prefix: PerDirection::default(),
            prefix_generation: None,
            interface: 0,
            details_due: true,
            preface_settled: false,
        }
    }

    /// Resets the state of a connection that the next file does not describe yet.
    fn leave_behind(&mut self) {
        if let Some(flow) = &self.flow {
            self.resumed = flow.reached();
        }
        self.opened = false;
        self.details_due = true;
        self.preface_settled = false;
    }

    fn reword<W: Write>(
        &mut self,
        process: &mut ProcessEntry,
        output: &mut Output<W>,
    ) -> Result<(), Error> {
        self.interface = process.interface(self.connection.lib.as_deref(), output)?;
        self.prefix =
            PerDirection::from_fn(|dir| write::connection(&self.connection, &process.process, dir));
        self.prefix_generation = Some(process.generation);
        Ok(())
    }
}

/// Writes the name of the server's address, once for each pair.
fn name_server<W: Write>(
    entry: &Entry,
    names: &mut HashSet<(IpAddr, String)>,
    output: &mut Output<W>,
) -> Result<(), Error> {
    let (Some(sni), Some(flow)) = (&entry.connection.sni, &entry.flow) else { return Ok(()) };
    let is_host_name = !sni.is_empty()
        && sni.len() <= 253
        && sni.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if flow.is_synthetic || !is_host_name || names.len() >= NAMES_LIMIT {
        return Ok(());
    }
    let address = flow.written.1.ip();
    if names.insert((address, sni.clone())) {
        output.name(address, sni)?;
    }
    Ok(())
}

/// Returns whether nothing but the time differs.
fn is_same(a: &Process, b: &Process) -> bool {
    (a.pid, a.uid, &a.comm, &a.exe) == (b.pid, b.uid, &b.comm, &b.exe)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a process with this number and a connection, and the end of both.
    fn life(pid: u32, conn: u64) -> [Record<'static>; 4] {
        let process = Process { pid, comm: "curl".into(), ..Process::default() };
        let connection = Connection { conn, pid, ..Connection::default() };
        let (cause, ts_ns) = (crate::record::CloseCause::Freed, 1);
        [
            Record::Process(process),
            Record::Connection(connection),
            Record::Close(Close { conn, ts_ns, cause, sent_bytes: 0, received_bytes: 0 }),
            Record::Exit(Exit { ts_ns, pid }),
        ]
    }

    #[test]
    fn ended_connections_and_processes_are_forgotten() {
        let options = PcapngOptions::default();
        let mut writer = PcapngWriter::new(io::sink(), CaptureInfo::default(), options).unwrap();
        for conn in 1..=1000 {
            life(7, conn).iter().for_each(|record| writer.write(record).unwrap());
        }
        assert!(writer.processes.is_empty() && writer.connections.is_empty());
        assert_eq!(writer.output.open_interfaces(), 1, "that of the capture");
    }
}
