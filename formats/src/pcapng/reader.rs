//! Returns the records of a pcapng of sslrec, from the comments of its packets.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;

use foldhash::HashMap;
use memchr::memmem::Finder;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::blocks::opt_common::CommonOption;

use super::comment::pairs::{BadKey, Pairs, required, text, value};
use super::comment::read::{self, PacketPairs};
use super::input::Blocks;
use super::segment;
use crate::io::{Error, RecordReader};
use crate::record::{
    CaptureInfo, Close, CloseCause, Connection, Data, Direction, Gap, GapCause, Handshake,
    PerDirection, Process, Record,
};

/// Place of the packet in an enhanced packet block.
const PACKET_AT: usize = 28;

/// Approximate bytes of descriptions that are remembered, of connections and of processes each.
/// Beyond it all of the kind are forgotten: a record describes each again before its next record.
const MAX_DESCRIPTIONS: usize = 32 << 20;

/// Returns the records of a pcapng that [`PcapngWriter`](super::PcapngWriter) wrote, even if
/// another program has removed packets from it: missing bytes then become gaps of unknown cause.
///
/// Records are returned as they were written, with the differences that `FORMAT.md` lists. Packets
/// of other programs are skipped.
///
/// Memory: one block, some 60 bytes for each live connection, and up to [`MAX_DESCRIPTIONS`] each
/// for the descriptions of connections and of processes.
pub struct PcapngReader<R: Read> {
    blocks: Blocks<R>,
    info: CaptureInfo,
    known: Known,
    pending: VecDeque<Pending>,
    /// Function of the current record, kept for its memory.
    func: String,
    ended: bool,
}

/// The state from earlier blocks.
struct Known {
    processes: HashMap<u32, Process>,
    connections: HashMap<u64, Flow>,
    /// Approximate bytes of the descriptions of processes.
    processes_bytes: usize,
    /// Approximate bytes of the descriptions of connections.
    described_bytes: usize,
    /// Finds the number of the connection in a comment.
    conn: Finder<'static>,
    /// Finds the end of the connection's pairs in a comment, where the packet's begin.
    dir: Finder<'static>,
}

/// A live connection.
#[derive(Default)]
struct Flow {
    /// `None` if it was forgotten.
    description: Option<Box<Description>>,
    /// The next stream offset in each direction.
    next: PerDirection<u64>,
    /// The packet that opens the connection was seen.
    opened: bool,
}

/// The last description of a connection.
#[derive(Default)]
struct Description {
    connection: Connection,
    /// The beginning of the last comment of each direction, for a fast test for changes.
    prefix: PerDirection<String>,
}

impl Description {
    fn bytes(&self) -> usize {
        // The texts of the connection are parts of a comment.
        size_of::<Self>() + 2 * (self.prefix.sent.len() + self.prefix.received.len())
    }
}

/// The next record to return.
enum Pending {
    Owned(Record<'static>),
    /// The function is in the reader, the payload in the block.
    Data(Data<'static>, Range<usize>),
    Handshake(Handshake<'static>),
}

impl<R: Read> PcapngReader<R> {
    /// Begins to read a pcapng of sslrec.
    ///
    /// # Errors
    /// [`Error::Foreign`] if another program wrote the file, [`Error::Damaged`] if not even its
    /// first block is complete.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut blocks = Blocks::new(input);
        let info = blocks.section()?;
        Ok(Self {
            blocks,
            info,
            known: Known::new(),
            pending: VecDeque::new(),
            func: String::new(),
            ended: false,
        })
    }

    /// Reads blocks until there is a record to return. Returns `false` at the end of the file.
    fn advance(&mut self) -> Result<bool, Error> {
        while self.pending.is_empty() {
            let Self { known, pending, func, .. } = self;
            let found = match self.blocks.next()? {
                None => return Ok(false),
                Some(Block::SectionHeader(_)) => {
                    return Err(self.blocks.damaged("another capture begins here".into()));
                }
                Some(Block::InterfaceDescription(block)) => {
                    let comments = block.options.iter().filter_map(|option| match option {
                        InterfaceDescriptionOption::Common(common) => comment(common),
                        _ => None,
                    });
                    known.interface(Pairs(&join(comments)), pending)
                }
                Some(Block::InterfaceStatistics(block)) => {
                    let comments = block.options.iter().filter_map(|option| match option {
                        InterfaceStatisticsOption::Common(common) => comment(common),
                        _ => None,
                    });
                    statistics(&join(comments), block.timestamp.as_nanos() as u64, pending)
                }
                Some(Block::EnhancedPacket(block)) => known.packet(&block, pending, func),
                Some(_) => Ok(()),
            };
            found.map_err(|key| self.blocks.damaged(read::bad_key(key)))?;
        }
        Ok(true)
    }
}

impl<R: Read> RecordReader for PcapngReader<R> {
    fn info(&self) -> &CaptureInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        if self.ended {
            return Ok(None);
        }
        match self.advance() {
            Ok(true) => {}
            Ok(false) => {
                self.ended = true;
                return Ok(None);
            }
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        }
        Ok(self.pending.pop_front().map(|pending| match pending {
            Pending::Owned(record) => record,
            Pending::Data(data, range) => Record::Data(Data {
                func: &self.func,
                payload: &self.blocks.bytes()[range],
                ..data
            }),
            Pending::Handshake(handshake) => {
                Record::Handshake(Handshake { func: &self.func, ..handshake })
            }
        }))
    }
}

impl Known {
    fn new() -> Self {
        let (conn, dir) = (Finder::new(b" conn="), Finder::new(b" dir="));
        let (processes, connections) = (HashMap::default(), HashMap::default());
        Self { processes, connections, processes_bytes: 0, described_bytes: 0, conn, dir }
    }

    fn interface(
        &mut self,
        pairs: Pairs<'_>,
        pending: &mut VecDeque<Pending>,
    ) -> Result<(), BadKey> {
        if pairs.raw("pid").is_some() {
            let process = read::process(pairs)?;
            if self.processes.get(&process.pid) != Some(&process) {
                self.remember(&process);
                pending.push_back(Pending::Owned(Record::Process(process)));
            }
        }
        Ok(())
    }

    fn packet(
        &mut self,
        block: &EnhancedPacketBlock<'_>,
        pending: &mut VecDeque<Pending>,
        func: &mut String,
    ) -> Result<(), BadKey> {
        let mut comments = block.options.iter().filter_map(|option| match option {
            EnhancedPacketOption::Common(common) => comment(common),
            _ => None,
        });
        let Some(first) = comments.next() else { return Ok(()) };
        let joined;
        let text = match comments.next() {
            None => first,
            Some(second) => {
                joined = join([first, second].into_iter().chain(comments));
                &joined
            }
        };
        // The pairs before `dir` are about the connection, and seldom change.
        let Some(at) = self.dir.find(text.as_bytes()) else { return Ok(()) };
        let (about_connection, about_packet) = (&text[..at], &text[at + 1..]);
        // Usually the pairs about the process come first, and need no look-up.
        let conn = match about_connection.starts_with("conn=") {
            true => 0,
            false => self.conn.find(about_connection.as_bytes()).map_or(0, |at| at + 1),
        };
        let Some(conn) = Pairs(&about_connection[conn..]).raw("conn") else { return Ok(()) };
        let conn = required(Some(conn), "conn")?;
        let about = PacketPairs::read(about_packet);
        let ts_ns = block.timestamp.as_nanos() as u64;
        let dir = read::direction(&about)?;
        let is_known =
            self.connections.get(&conn).and_then(|flow| flow.description.as_deref()).is_some_and(
                |known| about.since_ns.is_none() && known.prefix[dir] == about_connection,
            );
        if !is_known {
            self.describe(conn, about_connection, &about, dir, ts_ns, pending)?;
        }
        let Some(flow) = self.connections.get_mut(&conn) else { return Ok(()) };
        let mut packet = Packet { about: &about, conn, dir, ts_ns, flow, pending };
        match about.ev {
            None => packet.data(&block.data, func),
            Some("gap") => packet.gap(),
            Some("handshake") => packet.handshake(func),
            Some("close") => {
                packet.close()?;
                let flow = self.connections.remove(&conn);
                let bytes = flow.and_then(|flow| flow.description).map_or(0, |d| d.bytes());
                self.described_bytes = self.described_bytes.saturating_sub(bytes);
                Ok(())
            }
            // The description was read already.
            Some("open") => packet.open(),
            // Added by a later version.
            Some(_) => Ok(()),
        }
    }

    /// Reads the process and connection of a comment.
    fn describe(
        &mut self,
        conn: u64,
        about_connection: &str,
        about_packet: &PacketPairs<'_>,
        dir: Direction,
        ts_ns: u64,
        pending: &mut VecDeque<Pending>,
    ) -> Result<(), BadKey> {
        if self.described_bytes > MAX_DESCRIPTIONS {
            self.connections.values_mut().for_each(|flow| flow.description = None);
            self.described_bytes = 0;
        }
        let pairs = Pairs(about_connection);
        let process = read::process_of_packet(pairs, ts_ns)?;
        let is_known = self
            .processes
            .get(&process.pid)
            .is_some_and(|known| known.comm == process.comm && known.uid == process.uid);
        if !is_known {
            self.remember(&process);
            pending.push_back(Pending::Owned(Record::Process(process)));
        }
        let flow = self.connections.entry(conn).or_default();
        let before = flow.description.as_deref().map(|known| &known.connection);
        let connection = read::connection(pairs, about_packet, dir, ts_ns, before)?;
        if before != Some(&connection) {
            pending.push_back(Pending::Owned(Record::Connection(connection.clone())));
        }
        let bytes = flow.description.as_deref().map_or(0, Description::bytes);
        let description = flow.description.get_or_insert_default();
        description.connection = connection;
        about_connection.clone_into(&mut description.prefix[dir]);
        self.described_bytes = self.described_bytes.saturating_sub(bytes) + description.bytes();
        Ok(())
    }

    /// Remembers the description of a process.
    fn remember(&mut self, process: &Process) {
        if self.processes_bytes > MAX_DESCRIPTIONS {
            self.processes = HashMap::default();
            self.processes_bytes = 0;
        }
        let texts = process.comm.len() + process.exe.as_ref().map_or(0, String::len);
        self.processes_bytes += size_of::<(u32, Process)>() + texts;
        self.processes.insert(process.pid, process.clone());
    }
}

/// A packet of sslrec during its reading.
struct Packet<'a> {
    about: &'a PacketPairs<'a>,
    conn: u64,
    dir: Direction,
    ts_ns: u64,
    flow: &'a mut Flow,
    pending: &'a mut VecDeque<Pending>,
}

impl Packet<'_> {
    fn open(&mut self) -> Result<(), BadKey> {
        let again = std::mem::replace(&mut self.flow.opened, true);
        let resumed = self.about.sent_off.is_some();
        // Numbers are unique in a capture: a number that opens again before it is closed would mix
        // the bytes of two connections, unless it continues from an earlier file.
        if again && !resumed {
            return Err("ev");
        }
        if resumed && !again {
            self.missing(
                Direction::Sent,
                required(self.about.sent_off, "sent_off")?,
                GapCause::EarlierFile,
            );
            let received = required(self.about.received_off, "received_off")?;
            self.missing(Direction::Received, received, GapCause::EarlierFile);
        }
        Ok(())
    }

    fn data(&mut self, packet: &[u8], func: &mut String) -> Result<(), BadKey> {
        let offset: u64 = required(self.about.off, "off")?;
        let whole = segment::payload_range(packet).unwrap_or_default();
        let end = whole.end.min(packet.len()).max(whole.start);
        let (len, cut) = ((end - whole.start) as u64, (whole.end - end) as u64);
        self.expect(self.dir, offset);
        func.clear();
        func.push_str(&text(self.about.func, "fn")?.ok_or("fn")?);
        let data = Data {
            conn: self.conn,
            ts_ns: self.ts_ns,
            tid: required(self.about.tid, "tid")?,
            dir: self.dir,
            offset,
            func: "",
            lat_ns: required(self.about.lat_ns, "lat_ns")?,
            call_len: value(self.about.call_len, "call_len")?.unwrap_or(len + cut),
            call_offset: value(self.about.call_off, "call_off")?.unwrap_or(0),
            payload: &[],
        };
        if len > 0 {
            let range = PACKET_AT + whole.start..PACKET_AT + end;
            self.pending.push_back(Pending::Data(data, range));
            self.reach(offset.saturating_add(len));
        }
        // A truncated packet.
        self.expect(self.dir, offset.saturating_add(len + cut));
        Ok(())
    }

    fn gap(&mut self) -> Result<(), BadKey> {
        let gap = Gap {
            conn: self.conn,
            ts_ns: self.ts_ns,
            dir: self.dir,
            offset: required(self.about.off, "off")?,
            len: required(self.about.len, "len")?,
            cause: self.about.cause.and_then(GapCause::from_name).ok_or("cause")?,
        };
        self.expect(self.dir, gap.offset);
        self.reach(gap.offset.saturating_add(gap.len));
        self.pending.push_back(Pending::Owned(Record::Gap(gap)));
        Ok(())
    }

    fn handshake(&mut self, func: &mut String) -> Result<(), BadKey> {
        func.clear();
        func.push_str(&text(self.about.func, "fn")?.ok_or("fn")?);
        self.pending.push_back(Pending::Handshake(Handshake {
            conn: self.conn,
            ts_ns: value(self.about.ts_ns, "ts_ns")?.unwrap_or(self.ts_ns),
            tid: required(self.about.tid, "tid")?,
            func: "",
            lat_ns: required(self.about.lat_ns, "lat_ns")?,
            ok: required::<u8>(self.about.ok, "ok")? == 1,
            result: value(self.about.result, "result")?,
        }));
        Ok(())
    }

    fn close(&mut self) -> Result<(), BadKey> {
        let close = Close {
            conn: self.conn,
            ts_ns: self.ts_ns,
            cause: self.about.cause.and_then(CloseCause::from_name).ok_or("cause")?,
            sent_bytes: required(self.about.sent_bytes, "sent_bytes")?,
            received_bytes: required(self.about.received_bytes, "received_bytes")?,
        };
        self.expect(Direction::Sent, close.sent_bytes);
        self.expect(Direction::Received, close.received_bytes);
        self.pending.push_back(Pending::Owned(Record::Close(close)));
        Ok(())
    }

    /// Continues the stream of this direction at `offset`; missing bytes before it are a gap.
    fn expect(&mut self, dir: Direction, offset: u64) {
        self.missing(dir, offset, GapCause::Unknown);
    }

    /// Adds a gap between the place that this direction has reached and `offset`.
    fn missing(&mut self, dir: Direction, offset: u64, cause: GapCause) {
        let next = &mut self.flow.next[dir];
        if offset > *next {
            self.pending.push_back(Pending::Owned(Record::Gap(Gap {
                conn: self.conn,
                ts_ns: self.ts_ns,
                dir,
                offset: *next,
                len: offset - *next,
                cause,
            })));
            *next = offset;
        }
    }

    /// Marks the stream of this packet's direction as read up to `offset`.
    fn reach(&mut self, offset: u64) {
        let next = &mut self.flow.next[self.dir];
        *next = offset.max(*next);
    }
}

/// Reads the comment of a statistics block: counters, or an account.
fn statistics(comment: &str, ts_ns: u64, pending: &mut VecDeque<Pending>) -> Result<(), BadKey> {
    let account = read::account(Pairs(comment), ts_ns)?.map(Record::Coverage);
    let record = match account {
        Some(account) => Some(account),
        None => read::stats(Pairs(comment), ts_ns)?.map(Record::Stats),
    };
    pending.extend(record.map(Pending::Owned));
    Ok(())
}

fn comment<'a>(option: &'a CommonOption<'_>) -> Option<&'a str> {
    match option {
        CommonOption::Comment(text) => Some(text),
        _ => None,
    }
}

/// Joins a comment that was spread over several options.
fn join<'a>(comments: impl Iterator<Item = &'a str>) -> String {
    comments.collect::<Vec<_>>().join(" ")
}
