//! The one model of a capture: what the recorder produces, what both file formats hold, and what
//! the analyzer consumes.
//!
//! A capture is a sequence of [`Record`]s. Anything that is not known is `None` or an `Unknown`
//! variant; nothing here is guessed. Bytes that are missing are never silent: they stand as a
//! [`Gap`] at their place in the stream, or, where even the place was lost, as a counter in
//! [`Stats`].
//!
//! This module holds types only. Encoding lives in `rawlog` and `pcapng`.

use std::net::SocketAddr;
use std::ops::{Index, IndexMut};

/// One entry of a capture, in the order in which it was recorded.
///
/// A [`Process`] precedes the first [`Connection`] that names it, and a `Connection` precedes the
/// first record that refers to its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// A process, or what has changed about it (its name after an exec). The last one counts.
    Process(Process),
    /// A connection, or what has become known about it since (address, server name). The last
    /// one counts.
    Connection(Connection),
    /// Plaintext that a call handed over, whole or a chunk of it.
    Data(Data<'a>),
    /// Bytes that the program sent or received and that are not in the capture.
    Gap(Gap),
    /// A TLS handshake that ended.
    Handshake(Handshake<'a>),
    /// The end of a connection.
    Close(Close),
    /// The end of a process.
    Exit(Exit),
    /// What of a process was captured and what not. Near the end of a capture.
    Coverage(Coverage),
    /// The recorder's counters; the one with `last` set closes a capture.
    Stats(Stats),
}

impl Record<'_> {
    /// The number of the connection that this record belongs to, if it belongs to one.
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

    /// The time of this record, nanoseconds since the Unix epoch. That of a connection is when it
    /// was first seen, and so may be before the record that precedes it.
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

/// What holds for a whole capture. Stands at the head of each file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureInfo {
    /// When recording began, nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Program and version that made the capture, such as `sslrec 0.1.0`.
    pub tool: String,
    /// Operating system and kernel, such as `Linux 6.12.1 x86_64`.
    pub os: String,
    /// Bytes kept of each call; 0 is no limit.
    pub snaplen: u64,
    /// The rules by which secrets were blanked ([`crate::redact`]); empty if none were.
    pub redacted: Vec<String>,
}

/// A recorded process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// When this was seen, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Process id (the kernel's tgid) in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// The kernel's short name for it, at most 15 bytes.
    pub comm: String,
    /// Path of the executable, where it could be read.
    pub exe: Option<String>,
}

/// Which side of the TLS connection the recorded program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// It connected.
    Client,
    /// It accepted.
    Server,
    /// Not known: the handshake was before the recording and no listening socket tells.
    #[default]
    Unknown,
}

/// How the addresses of a connection became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AddrKind {
    /// Seen: a socket operation inside the TLS call, or the descriptor that the program gave to
    /// the TLS library.
    Exact,
    /// Concluded from socket operations around the TLS calls.
    Inferred,
    /// Not known; `local` and `remote` are `None`.
    #[default]
    Unknown,
}

/// One end of a TLS connection, as one process saw it.
///
/// Where both ends of a connection are recorded there are two of these with mirrored addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connection {
    /// Number within the capture, from 1, in order of appearance.
    pub conn: u64,
    /// When the connection was first seen, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// The process that it belongs to.
    pub pid: u32,
    /// Client or server.
    pub role: Role,
    /// How `local` and `remote` became known.
    pub addr: AddrKind,
    /// The recorded process's own address and port.
    pub local: Option<SocketAddr>,
    /// The peer's address and port.
    pub remote: Option<SocketAddr>,
    /// Path of the TLS library or executable that was probed.
    pub lib: Option<String>,
    /// Server name that the client asked for.
    pub sni: Option<String>,
    /// Application protocol that the handshake settled on, such as `h2`.
    pub alpn: Option<String>,
    /// The recording began after the connection did: offset 0 is not its first byte.
    pub joined: bool,
    /// Version of the protocol, such as `TLSv1.3`, where the program asked for it.
    pub version: Option<String>,
    /// Cipher suite as the library names it, where the program asked for it.
    pub cipher: Option<String>,
}

/// Which way bytes went, as the recorded program saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The program wrote them.
    Sent,
    /// The program read them.
    Received,
}

impl Direction {
    /// Both directions, in the order of [`Self::index`].
    pub const BOTH: [Self; 2] = [Direction::Sent, Direction::Received];

    /// The other direction.
    pub fn reverse(self) -> Self {
        match self {
            Direction::Sent => Direction::Received,
            Direction::Received => Direction::Sent,
        }
    }

    /// Position in an array with one element for each direction: sent, then received.
    pub fn index(self) -> usize {
        match self {
            Direction::Sent => 0,
            Direction::Received => 1,
        }
    }
}

/// One value for each direction, indexed by [`Direction`].
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

    /// The values of this direction and of the other one.
    pub fn split_mut(&mut self, dir: Direction) -> (&mut T, &mut T) {
        match dir {
            Direction::Sent => (&mut self.sent, &mut self.received),
            Direction::Received => (&mut self.received, &mut self.sent),
        }
    }

    /// Both values with their directions.
    pub fn iter(&self) -> impl Iterator<Item = (Direction, &T)> {
        Direction::BOTH.into_iter().zip([&self.sent, &self.received])
    }

    /// Both values with their directions, to be changed.
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
/// A call larger than one chunk (16 KiB) makes several of these, alike but for `offset`,
/// `call_offset` and `payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data<'a> {
    /// Connection number.
    pub conn: u64,
    /// When the call returned, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Thread that made the call.
    pub tid: u32,
    /// Sent or received.
    pub dir: Direction,
    /// Place of the first byte of `payload` in this direction's stream, from 0.
    pub offset: u64,
    /// Function that was called, such as `SSL_write`.
    pub func: &'a str,
    /// How long the call took, nanoseconds; 0 where that is not known.
    pub lat_ns: u64,
    /// Bytes that the whole call handed over.
    pub call_len: u64,
    /// Place of `payload` within the call.
    pub call_offset: u64,
    /// The bytes. Never empty.
    pub payload: &'a [u8],
}

/// Why bytes are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The kernel's ring buffer was full.
    RingFull,
    /// The program's memory could not be read.
    ReadFault,
    /// The kernel sent a file (`SSL_sendfile`); the bytes never were in the program's memory.
    Sendfile,
    /// Cut off by the capture's snaplen.
    Snaplen,
    /// Beyond the most that is copied of a single call.
    LongCall,
    /// The recorder had reached its ceiling of memory.
    Memory,
    /// Not missing: they are in an earlier file of the same recording, and the connection goes on
    /// in this one. Stands before everything else of its direction, and only in such a file.
    EarlierFile,
    /// Missing from the file that was read; the reason is not recorded.
    Unknown,
}

/// A hole of known place and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Connection number.
    pub conn: u64,
    /// When it was noticed, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Sent or received.
    pub dir: Direction,
    /// Place of the first missing byte.
    pub offset: u64,
    /// Number of bytes missing. Never 0.
    pub len: u64,
    /// Why.
    pub cause: GapCause,
}

/// A TLS handshake that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// Connection number.
    pub conn: u64,
    /// When it ended, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Thread on which it ended.
    pub tid: u32,
    /// Function in which it ended, such as `SSL_do_handshake`.
    pub func: &'a str,
    /// From the first handshake call to the end of the last one, nanoseconds.
    pub lat_ns: u64,
    /// It succeeded. If not, `ts_ns` is the end of the last call, and that it failed for good was
    /// known when the program released the connection.
    pub ok: bool,
    /// What the last call returned, in the library's own numbers.
    pub result: Option<i32>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// The program said goodbye (`SSL_shutdown`) and released it.
    Shutdown,
    /// The program released or reset it (`SSL_free`, `SSL_clear`) without a goodbye.
    Freed,
    /// The process ended.
    Exit,
    /// It was still open when the recording ended.
    StillOpen,
}

/// The end of a connection. No record about the connection follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Connection number.
    pub conn: u64,
    /// When, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// How.
    pub cause: CloseCause,
    /// Length of the sent stream, missing bytes included.
    pub sent_bytes: u64,
    /// Length of the received stream, missing bytes included.
    pub received_bytes: u64,
}

/// The end of a process. All its connections are closed by then, and unless another `Process` with
/// this number follows, no record refers to it any more. Only the raw log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// When, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Process id.
    pub pid: u32,
}

/// What of a process was captured, and why not more. Only the raw log has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// When this was put together, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Process id.
    pub pid: u32,
    /// The kernel's short name for it.
    pub comm: String,
    /// Path of the executable, where it is known.
    pub exe: Option<String>,
    /// The TLS libraries that it had mapped and that were probed.
    pub libs: Vec<CoveredLib>,
    /// Why TLS of this process is missing, where it is to be supposed that some is.
    pub missed: Option<String>,
}

/// A probed library in a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoveredLib {
    /// Path.
    pub path: String,
    /// How the recorder came by it, in words.
    pub found: String,
    /// Functions that were probed.
    pub functions: u32,
    /// Functions that handed over bytes, by name.
    pub called: Vec<String>,
    /// Bytes that they handed over, missing ones included.
    pub bytes: u64,
}

/// The recorder's counters since the capture began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// When they were read, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// This closes the capture: recording ended in an orderly way.
    pub last: bool,
    /// TLS calls that handed over bytes.
    pub calls: u64,
    /// Bytes that those calls handed over, missing ones included.
    pub bytes: u64,
    /// Events that the kernel could not hand to the recorder.
    pub dropped_events: u64,
    /// Bytes missing from the capture, whatever the cause.
    pub lost_bytes: u64,
    /// Everything that went wrong, by name; only what is not 0.
    pub failures: Vec<(String, u64)>,
}

/// Gives an enum its name in files, JSON and comments, both ways, so that one list serves all.
macro_rules! names {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// The name used in files, comments and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }

            /// The reverse of [`Self::as_str`].
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
