//! The model of a capture: produced by the recorder, stored in both file formats, and read by the
//! analyzer.
//!
//! A capture is a sequence of [`Record`]s. Anything unknown is `None` or an `Unknown` variant;
//! nothing here is guessed. Missing bytes are never silent: they are a [`Gap`] at their place in
//! the stream, or, if even the place was lost, a counter in [`Stats`].
//!
//! This module holds types only. Encoding lives in `rawlog` and `pcapng`.

use std::net::SocketAddr;
use std::ops::{Index, IndexMut};

/// An entry of a capture, in the order of recording.
///
/// A [`Process`] precedes the first [`Connection`] that names it, and a `Connection` precedes the
/// first record that refers to its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// A process, or a change of it (its name after an exec). The last record is current.
    Process(Process),
    /// A connection, or new information about it (address, server name). The last record is
    /// current.
    Connection(Connection),
    /// Plaintext of a call, complete or a chunk of it.
    Data(Data<'a>),
    /// Bytes that the program sent or received and that are not in the capture.
    Gap(Gap),
    /// A TLS handshake that ended.
    Handshake(Handshake<'a>),
    /// The end of a connection.
    Close(Close),
    /// The end of a process.
    Exit(Exit),
    /// The captured and the missed TLS of a process. Near the end of a capture.
    Coverage(Coverage),
    /// The recorder's counters; the record with `last` set closes a capture.
    Stats(Stats),
}

impl Record<'_> {
    /// Returns the number of the connection of this record, if it has a connection.
    pub fn conn(&self) -> Option<u64> {
        match self {
            Record::Connection(c) => Some(c.conn),
            Record::Data(d) => Some(d.conn),
            Record::Gap(g) => Some(g.conn),
            Record::Handshake(h) => Some(h.conn),
            Record::Close(c) => Some(c.conn),
            Record::Process(_) | Record::Exit(_) | Record::Coverage(_) | Record::Stats(_) => None,
        }
    }

    /// Returns the time of this record, nanoseconds since the Unix epoch. A connection has the time
    /// of its first event, and so may be older than the record before it.
    pub fn ts_ns(&self) -> u64 {
        match self {
            Record::Process(p) => p.ts_ns,
            Record::Connection(c) => c.ts_ns,
            Record::Data(d) => d.ts_ns,
            Record::Gap(g) => g.ts_ns,
            Record::Handshake(h) => h.ts_ns,
            Record::Close(c) => c.ts_ns,
            Record::Exit(e) => e.ts_ns,
            Record::Coverage(c) => c.ts_ns,
            Record::Stats(s) => s.ts_ns,
        }
    }
}

/// Properties of an entire capture, at the head of each file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureInfo {
    /// Start of the recording, nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Program and version that made the capture, such as `sslrec 0.1.0`.
    pub tool: String,
    /// Operating system and kernel, such as `Linux 6.12.1 x86_64`.
    pub os: String,
    /// Bytes kept of each call; 0 is no limit.
    pub snaplen: u64,
    /// The rules for blanking secrets ([`crate::redact`]); empty for a capture without redaction.
    pub redacted: Vec<String>,
}

/// A recorded process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Time of this description, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Process id (the kernel's tgid) in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// The kernel's short name of the process, at most 15 bytes.
    pub comm: String,
    /// Path of the executable, if it could be read.
    pub exe: Option<String>,
}

/// The recorded program's side of the TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// The program connected.
    Client,
    /// The program accepted the connection.
    Server,
    /// Unknown: the handshake was before the recording, and no listening socket decides.
    #[default]
    Unknown,
}

/// The origin of the addresses of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AddrKind {
    /// Observed: a socket operation inside the TLS call, or the descriptor that the program passed
    /// to the TLS library.
    Exact,
    /// Inferred from socket operations around the TLS calls.
    Inferred,
    /// Unknown; `local` and `remote` are `None`.
    #[default]
    Unknown,
}

/// One end of a TLS connection, as seen by one process.
///
/// If both ends of a connection are recorded, there are two such records with mirrored addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connection {
    /// Number within the capture, from 1, in order of appearance.
    pub conn: u64,
    /// Time of the first event, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// The process of the connection.
    pub pid: u32,
    /// Client or server.
    pub role: Role,
    /// The origin of `local` and `remote`.
    pub addr: AddrKind,
    /// The recorded process's own address and port.
    pub local: Option<SocketAddr>,
    /// The peer's address and port.
    pub remote: Option<SocketAddr>,
    /// Path of the TLS library or executable that was probed.
    pub lib: Option<String>,
    /// Server name in the client's request.
    pub sni: Option<String>,
    /// Application protocol negotiated in the handshake, such as `h2`.
    pub alpn: Option<String>,
    /// The recording began after the connection did: offset 0 is not its first byte.
    pub joined: bool,
    /// Version of the protocol, such as `TLSv1.3`, if the program queried it.
    pub version: Option<String>,
    /// The library's name of the cipher suite, if the program queried it.
    pub cipher: Option<String>,
}

/// Direction of bytes, as seen by the recorded program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The program wrote the bytes.
    Sent,
    /// The program read the bytes.
    Received,
}

impl Direction {
    /// Both directions, in the order of [`Self::index`].
    pub const BOTH: [Self; 2] = [Direction::Sent, Direction::Received];

    /// Returns the other direction.
    pub fn reverse(self) -> Self {
        match self {
            Direction::Sent => Direction::Received,
            Direction::Received => Direction::Sent,
        }
    }

    /// Returns the position in an array with an element for each direction: sent, then received.
    pub fn index(self) -> usize {
        match self {
            Direction::Sent => 0,
            Direction::Received => 1,
        }
    }
}

/// A value for each direction, indexed by [`Direction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PerDirection<T> {
    /// Value of [`Direction::Sent`].
    pub sent: T,
    /// Value of [`Direction::Received`].
    pub received: T,
}

impl<T> PerDirection<T> {
    /// Calls `value` for each direction.
    pub fn from_fn(mut value: impl FnMut(Direction) -> T) -> Self {
        Self { sent: value(Direction::Sent), received: value(Direction::Received) }
    }

    /// Returns the value of this direction and the value of the other.
    pub fn split_mut(&mut self, dir: Direction) -> (&mut T, &mut T) {
        match dir {
            Direction::Sent => (&mut self.sent, &mut self.received),
            Direction::Received => (&mut self.received, &mut self.sent),
        }
    }

    /// Returns both values with their directions.
    pub fn iter(&self) -> impl Iterator<Item = (Direction, &T)> {
        Direction::BOTH.into_iter().zip([&self.sent, &self.received])
    }

    /// Returns both values with their directions, mutably.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Direction, &mut T)> {
        Direction::BOTH.into_iter().zip([&mut self.sent, &mut self.received])
    }
}

impl<T> Index<Direction> for PerDirection<T> {
    type Output = T;

    fn index(&self, dir: Direction) -> &T {
        match dir {
            Direction::Sent => &self.sent,
            Direction::Received => &self.received,
        }
    }
}

impl<T> IndexMut<Direction> for PerDirection<T> {
    fn index_mut(&mut self, dir: Direction) -> &mut T {
        match dir {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }
}

/// Plaintext at its place in the stream.
///
/// A call larger than a chunk (16 KiB) is recorded as several records, which differ only in
/// `offset`, `call_offset` and `payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data<'a> {
    /// Connection number.
    pub conn: u64,
    /// Time of the call's return, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Thread that made the call.
    pub tid: u32,
    /// Sent or received.
    pub dir: Direction,
    /// Place of the first byte of `payload` in this direction's stream, from 0.
    pub offset: u64,
    /// The called function, such as `SSL_write`.
    pub func: &'a str,
    /// Duration of the call, nanoseconds; 0 if it is unknown.
    pub lat_ns: u64,
    /// Bytes of the entire call.
    pub call_len: u64,
    /// Place of `payload` within the call.
    pub call_offset: u64,
    /// The bytes. Never empty.
    pub payload: &'a [u8],
}

/// The reason why bytes are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The kernel's ring buffer was full.
    RingFull,
    /// The program's memory could not be read.
    ReadFault,
    /// The kernel sent a file (`SSL_sendfile`); the bytes never were in the program's memory.
    Sendfile,
    /// Truncated to the capture's snaplen.
    Snaplen,
    /// Beyond the limit of bytes copied from a single call.
    LongCall,
    /// The recorder had reached its limit of memory.
    Memory,
    /// Not missing: the bytes are in an earlier file of the same recording, and the connection
    /// continues in this file. Such a gap occurs only in such a file, as the first record of its
    /// direction.
    EarlierFile,
    /// Missing from the file that was read; the reason is not recorded.
    Unknown,
}

/// Missing bytes with known place and number.
///
/// Before data or a gap of a connection, all bytes of the other direction up to its time are
/// recorded or in gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Connection number.
    pub conn: u64,
    /// Time of discovery, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Sent or received.
    pub dir: Direction,
    /// Place of the first missing byte.
    pub offset: u64,
    /// Number of bytes missing. Never 0.
    pub len: u64,
    /// The reason.
    pub cause: GapCause,
}

/// A TLS handshake that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// Connection number.
    pub conn: u64,
    /// Time of its end, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Thread of the last call.
    pub tid: u32,
    /// Function of the last call, such as `SSL_do_handshake`.
    pub func: &'a str,
    /// Time from the first handshake call to the end of the last call, nanoseconds.
    pub lat_ns: u64,
    /// The handshake succeeded. If not, `ts_ns` is the end of the last call; the failure was final
    /// only when the program released the connection.
    pub ok: bool,
    /// Return value of the last call, in the library's own numbers.
    pub result: Option<i32>,
}

/// The way a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// The program sent a close notification (`SSL_shutdown`) and released the connection.
    Shutdown,
    /// The program released or reset the connection (`SSL_free`, `SSL_clear`) without a
    /// notification.
    Freed,
    /// The process ended.
    Exit,
    /// The connection was still open when the recording ended.
    StillOpen,
}

/// The end of a connection. No record about the connection follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Connection number.
    pub conn: u64,
    /// Time of the end, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// The way it ended.
    pub cause: CloseCause,
    /// Length of the sent stream, missing bytes included.
    pub sent_bytes: u64,
    /// Length of the received stream, missing bytes included.
    pub received_bytes: u64,
}

/// The end of a process. All its connections are closed by then, and unless another `Process` with
/// this number follows, no later record refers to it. Only the raw log has this record.
/// this number follows, no record refers to it any more. Only the raw log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Time of the end, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Process id.
    pub pid: u32,
}

/// The captured TLS of a process, and the reason for missing TLS. Only the raw log has this record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Time of this summary, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Process id.
    pub pid: u32,
    /// The kernel's short name of the process.
    pub comm: String,
    /// Path of the executable, if it is known.
    pub exe: Option<String>,
    /// The probed TLS libraries in the process's memory map.
    pub libs: Vec<CoveredLib>,
    /// The reason for missing TLS of this process, if TLS is presumably missing.
    pub missed: Option<String>,
    /// Number of TLS and QUIC connections of this process that were seen at its sockets, recorded
    /// or not.
    pub seen: u64,
    /// Number of these that were not recorded.
    pub unrecorded: u64,
    /// The connections that were not recorded, or the first of them.
    pub connections: Vec<Unrecorded>,
}

/// A TLS connection that was seen at its socket and is not in the capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// The process's own address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Client or server, by the ClientHello; unknown if it was before the recording.
    pub role: Role,
    /// Server name in the ClientHello.
    pub sni: Option<String>,
    /// Application protocols that the client proposed, its favourite first.
    pub alpn: Vec<String>,
    /// Version that the server chose or, if that is unknown, the highest that the client proposed.
    pub version: Option<String>,
    /// Bytes at the socket, since it was first seen; `None` if the number is unknown.
    pub bytes: Option<PerDirection<u64>>,
    /// QUIC over UDP, not TLS over TCP. An address that is unknown has port 0.
    pub quic: bool,
}

/// A probed library in a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoveredLib {
    /// Path.
    pub path: String,
    /// The way the recorder found the library, in words.
    pub found: String,
    /// Number of probed functions.
    pub functions: u32,
    /// Names of the functions that transferred bytes.
    pub called: Vec<String>,
    /// Bytes that these functions transferred, missing bytes included.
    pub bytes: u64,
}

/// The recorder's counters since the capture began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Time of reading, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// These counters close the capture: recording ended in an orderly way.
    pub last: bool,
    /// TLS calls that transferred bytes.
    pub calls: u64,
    /// Bytes of these calls, missing bytes included.
    pub bytes: u64,
    /// Events that the kernel could not pass to the recorder.
    pub dropped_events: u64,
    /// Bytes missing from the capture, whatever the cause.
    pub lost_bytes: u64,
    /// All failures by name, if their count is not 0.
    pub failures: Vec<(String, u64)>,
}

/// Defines the names of an enum in files, JSON and comments, in both directions, from a single
/// list.
macro_rules! names {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Returns the name used in files, comments and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }

            /// Reverses [`Self::as_str`].
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some($type::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

names!(Role { Client => "client", Server => "server", Unknown => "unknown" });
names!(AddrKind { Exact => "exact", Inferred => "inferred", Unknown => "unknown" });
names!(Direction { Sent => "sent", Received => "received" });
names!(GapCause {
    RingFull => "ring_full",
    ReadFault => "read_fault",
    Sendfile => "sendfile",
    Snaplen => "snaplen",
    LongCall => "long_call",
    Memory => "memory",
    EarlierFile => "earlier_file",
    Unknown => "unknown",
});
names!(CloseCause { Shutdown => "shutdown", Freed => "freed", Exit => "exit", StillOpen => "still_open" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_keep_their_own_value() {
        let mut values = PerDirection::from_fn(|dir| [dir]);
        for (at, dir) in Direction::BOTH.into_iter().enumerate() {
            assert_eq!((dir.index(), values[dir]), (at, [dir]));
            assert_ne!(dir.reverse(), dir);
            assert_eq!(dir.reverse().reverse(), dir);
            let (own, other) = values.split_mut(dir);
            assert_eq!((*own, *other), ([dir], [dir.reverse()]));
        }
        values[Direction::Received] = [Direction::Sent];
        values.iter_mut().for_each(|(dir, value)| assert_eq!(*value, [Direction::Sent], "{dir}"));
        assert_eq!(values.iter().map(|(dir, _)| dir).collect::<Vec<_>>(), Direction::BOTH);
    }
}
