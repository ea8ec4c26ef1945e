//! The account of TLS at sockets: each TLS connection of a recorded process is recorded, or it is
//! named at the end. The kernel side sees TLS by its records, whatever library makes them.
//!
//! A connection of the capture and a socket are the same if they have the same addresses. A
//! recorded connection whose addresses are unknown may be any socket of its process, so as many
//! sockets count as recorded.
//!
//! QUIC is not recorded at all, so that each of its connections is named.
//!
//! Memory: [`SOCKETS_MAX`] sockets that are open or were not recorded, [`HELLOS_MAX`] beginnings of
//! streams of [`HELLO_MAX`] bytes, [`WAITING_MAX`] connections that are open and have no such
//! socket, and a few bytes for each of [`PROCESSES_MAX`] processes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use sslrec_formats::record::{Direction, PerDirection, Record, Role, Unrecorded};
use sslrec_wire::tls::{ClientHello, is_client_hello, server_version, version_name};

use super::quic;
use crate::kernel::event::{Event, text, view};
use crate::kernel::skel::types;
use crate::tracker::{address, direction, per_direction};

/// Sockets that are open or were not recorded; further sockets are only counted, as unrecorded.
const SOCKETS_MAX: usize = 1 << 16;
/// Sockets whose hellos are incomplete.
const HELLOS_MAX: usize = 4096;
/// Bytes kept of an incomplete hello.
const HELLO_MAX: usize = 8192;
/// Recorded connections whose socket was not seen to carry TLS yet, or that have no address.
const WAITING_MAX: usize = 1 << 16;
/// Processes whose connections are counted.
const PROCESSES_MAX: usize = 1 << 16;
/// Connections of a process that are listed.
const LISTED_MAX: usize = 1024;

/// The address of a socket and the time at which it was first seen.
type Key = (u64, u64);

/// The addresses of both ends.
type Ends = (SocketAddr, SocketAddr);

/// A socket that carries TLS.
#[derive(Debug, Clone)]
struct Socket {
    pid: u32,
    comm: String,
    ends: Ends,
    role: Role,
    hello: ClientHello,
    /// Version that the server chose.
    version: Option<u16>,
    bytes: Option<PerDirection<u64>>,
    /// A connection of the capture has its addresses.
    recorded: bool,
}

/// The TLS at the sockets of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfProcess {
    pub(crate) comm: String,
    pub(crate) seen: u64,
    pub(crate) unrecorded: u64,
    /// Number of these that are QUIC.
    pub(crate) quic: u64,
    /// The first unrecorded connections.
    pub(crate) connections: Vec<Unrecorded>,
}

/// All sockets that carried TLS, and the recorded connections.
#[derive(Debug, Default)]
pub(crate) struct Account {
    sockets: HashMap<Key, Socket>,
    /// The latest socket with these addresses.
    by_ends: HashMap<Ends, Key>,
    /// Beginnings of streams whose hello is incomplete.
    hellos: HashMap<(Key, bool), Vec<u8>>,
    /// Recorded connections whose socket was not seen to carry TLS yet.
    awaited: HashSet<Ends>,
    /// Recorded connections of unknown address, with their process.
    unplaced: HashMap<u64, u32>,
    counts: BTreeMap<u32, Counts>,
    quic: quic::Connections<Key>,
    /// Of each QUIC connection, by its number.
    datagrams: Vec<Socket>,
}

/// Connections of a process that are not kept individually.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Sockets of recorded connections that have ended.
    recorded: u64,
    /// Recorded connections that ended without an address.
    unplaced: u64,
    /// Sockets beyond the limit.
    beyond: u64,
}

impl Account {
    /// Processes an event of a socket. Returns false if the event is another.
    pub(crate) fn takes(&mut self, bytes: &[u8]) -> bool {
        let kind = view::<types::event>(bytes).map(|head| types::event_kind(head.kind.into()));
        match kind {
            Some(
                types::event_kind::EVENT_PIECE
                | types::event_kind::EVENT_SOCKET_END
                | types::event_kind::EVENT_DATAGRAM,
            ) => {}
            _ => return false,
        }
        match Event::parse(bytes) {
            Some(Event::Piece(piece, payload)) => self.piece(&piece, payload),
            Some(Event::Datagram(piece, payload)) => self.datagram(&piece, payload),
            Some(Event::SocketEnd(end)) => self.ended(&end),
            _ => return false,
        }
        true
    }

    /// Takes a note of a recorded connection.
    pub(crate) fn observe(&mut self, record: &Record<'_>) {
        match record {
            Record::Connection(connection) => match connection.local.zip(connection.remote) {
                Some(ends) => {
                    self.unplaced.remove(&connection.conn);
                    self.is_recorded(ends);
                }
                None if self.unplaced.len() < WAITING_MAX => {
                    self.unplaced.insert(connection.conn, connection.pid);
                }
                None => {}
            },
            Record::Close(close) => {
                if let Some(pid) = self.unplaced.remove(&close.conn) {
                    self.count(pid, |counts| &mut counts.unplaced);
                }
            }
            _ => {}
        }
    }

    fn is_recorded(&mut self, ends: Ends) {
        let key = self.by_ends.get(&ends);
        match key.and_then(|key| self.sockets.get_mut(key)) {
            Some(socket) => socket.recorded = true,
            None if self.awaited.len() < WAITING_MAX => {
                self.awaited.insert(ends);
            }
            None => {}
        }
    }

    fn count(&mut self, pid: u32, which: impl FnOnce(&mut Counts) -> &mut u64) {
        if self.counts.len() < PROCESSES_MAX || self.counts.contains_key(&pid) {
            *which(self.counts.entry(pid).or_default()) += 1;
        }
    }

    fn piece(&mut self, piece: &types::event_piece, payload: &[u8]) {
        let key = (piece.head.ssl, piece.head.born_ns);
        let Some(ends) = ends(&piece.ends) else { return };
        if !self.sockets.contains_key(&key) {
            if self.sockets.len() >= SOCKETS_MAX {
                self.count(piece.head.pid, |counts| &mut counts.beyond);
                return;
            }
            self.add(key, Socket::new(piece.head.pid, text(&piece.comm), ends));
        }
        self.hello(key, direction(piece.head.dir), payload);
    }

    fn datagram(&mut self, piece: &types::event_piece, payload: &[u8]) {
        let (key, dir) = ((piece.head.ssl, piece.head.born_ns), direction(piece.head.dir));
        let Some(ends) = ends(&piece.ends) else { return };
        let Some(number) = self.quic.datagram(key, dir == Direction::Sent, payload) else { return };
        if number == self.datagrams.len() {
            self.datagrams.push(Socket::new(piece.head.pid, text(&piece.comm), ends));
        }
        if let Some(socket) = self.datagrams.get_mut(number)
            && socket.ends.1.port() == 0
        {
            socket.ends.1 = ends.1;
        }
    }

    fn add(&mut self, key: Key, mut socket: Socket) {
        socket.recorded = self.awaited.remove(&socket.ends);
        self.by_ends.insert(socket.ends, key);
        self.sockets.insert(key, socket);
    }

    /// Adds bytes to the beginning of a stream, and reads the hello once it is complete.
    fn hello(&mut self, key: Key, dir: Direction, payload: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        let place = (key, dir == Direction::Sent);
        let mut bytes = self.hellos.remove(&place).unwrap_or_default();
        bytes.extend_from_slice(payload);
        let waits = socket.read(dir, &bytes);
        if waits && bytes.len() <= HELLO_MAX && self.hellos.len() < HELLOS_MAX {
            self.hellos.insert(place, bytes);
        }
    }

    fn ended(&mut self, end: &types::event_socket_end) {
        let key = (end.head.ssl, end.head.born_ns);
        for sent in [true, false] {
            self.hellos.remove(&(key, sent));
        }
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        socket.bytes = Some(per_direction(end.bytes));
        let (pid, ends, recorded) = (socket.pid, socket.ends, socket.recorded);
        if recorded {
            self.sockets.remove(&key);
            if self.by_ends.get(&ends) == Some(&key) {
                self.by_ends.remove(&ends);
            }
            self.count(pid, |counts| &mut counts.recorded);
        }
    }

    /// Adds the data that the kernel side still has: the bytes of open sockets, and sockets whose
    /// events were lost.
    pub(crate) fn look_at(&mut self, seen_sockets: &MapHandle) {
        for key in seen_sockets.keys() {
            let Ok(Some(value)) = seen_sockets.lookup(&key, MapFlags::ANY) else { continue };
            let seen = view::<types::seen_socket>(&value).filter(|seen| seen.is_tls != 0);
            let (Some(seen), Ok(sk)) = (seen, key.as_slice().try_into()) else { continue };
            self.still_open(u64::from_ne_bytes(sk), &seen);
        }
    }

    fn still_open(&mut self, sk: u64, seen: &types::seen_socket) {
        let key = (sk, seen.born_ns);
        if !self.sockets.contains_key(&key)
            && self.sockets.len() < SOCKETS_MAX
            && let Some(ends) = ends(&seen.ends)
        {
            self.add(key, Socket::new(seen.pid, String::new(), ends));
        }
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.bytes = Some(per_direction(seen.bytes));
        }
    }

    /// Returns the result, by process.
    pub(crate) fn close(&self) -> BTreeMap<u32, OfProcess> {
        let mut unplaced: HashMap<u32, u64> = HashMap::new();
        let mut all: BTreeMap<u32, OfProcess> = BTreeMap::new();
        for (&pid, counts) in &self.counts {
            let of_process = all.entry(pid).or_default();
            of_process.seen = counts.recorded + counts.beyond;
            of_process.unrecorded = counts.beyond;
            unplaced.insert(pid, counts.unplaced);
        }
        self.unplaced.values().for_each(|pid| *unplaced.entry(*pid).or_default() += 1);
        let mut sockets: Vec<_> = self.sockets.iter().collect();
        sockets.sort_unstable_by_key(|((sk, born_ns), _)| (*born_ns, *sk));
        for (_, socket) in sockets {
            let of_process = all.entry(socket.pid).or_default();
            of_process.seen += 1;
            if of_process.comm.is_empty() {
                of_process.comm.clone_from(&socket.comm);
            }
            if socket.recorded {
                continue;
            }
            match unplaced.get_mut(&socket.pid).filter(|count| **count > 0) {
                Some(count) => *count -= 1,
                None => of_process.add(socket.unrecorded()),
            }
        }
        for (socket, connection) in self.datagrams.iter().zip(self.quic.iter()) {
            let of_process = all.entry(socket.pid).or_default();
            of_process.seen += 1;
            of_process.quic += 1;
            if of_process.comm.is_empty() {
                of_process.comm.clone_from(&socket.comm);
            }
            let role = if connection.is_client { Role::Client } else { Role::Server };
            let hello = connection.hello.clone();
            of_process.add(Unrecorded {
                quic: true,
                ..Socket { role, hello, ..socket.clone() }.unrecorded()
            });
        }
        all
    }
}

impl OfProcess {
    fn add(&mut self, connection: Unrecorded) {
        self.unrecorded += 1;
        if self.connections.len() < LISTED_MAX {
            self.connections.push(connection);
        }
    }
}

impl Socket {
    fn new(pid: u32, comm: String, ends: Ends) -> Self {
        let (role, hello) = (Role::Unknown, ClientHello::default());
        Self { pid, comm, ends, role, hello, version: None, bytes: None, recorded: false }
    }

    /// Reads the hello at the beginning of a stream. Returns whether more bytes would help.
    fn read(&mut self, dir: Direction, bytes: &[u8]) -> bool {
        let sender = if dir == Direction::Sent { Role::Client } else { Role::Server };
        // Only one end sends a ClientHello. Libraries that read the header of a record separately
        // have one that looks like its beginning.
        if is_client_hello(bytes) && (self.role == Role::Unknown || self.role == sender) {
            let hello = ClientHello::read(bytes);
            let truncated = hello.truncated;
            if bytes.get(5).is_some() {
                (self.role, self.hello) = (sender, hello);
            }
            return truncated;
        }
        self.version = server_version(bytes).or(self.version);
        false
    }

    fn unrecorded(&self) -> Unrecorded {
        let (local, remote) = self.ends;
        Unrecorded {
            local,
            remote,
            role: self.role,
            sni: self.hello.server_name.clone(),
            alpn: self.hello.alpn.clone(),
            version: self.version.or(self.hello.version).and_then(version_name).map(str::to_owned),
            bytes: self.bytes,
            quic: false,
        }
    }
}

fn ends(ends: &types::endpoints) -> Option<Ends> {
    address(ends.family, &ends.local, ends.local_port).zip(address(
        ends.family,
        &ends.remote,
        ends.remote_port,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::event::bytes_of;
    use sslrec_formats::record::{Close, CloseCause, Connection};

    /// The beginning of a ClientHello of TLS 1.2 with a server name.
    fn client_hello(name: &str) -> Vec<u8> {
        let len16 = |len: usize| (len as u16).to_be_bytes();
        let list = [&[0][..], &len16(name.len()), name.as_bytes()].concat();
        let list = [&len16(list.len())[..], &list].concat();
        let extension = [&[0, 0][..], &len16(list.len()), &list].concat();
        let suites = [0, 0, 2, 0xc0, 0x2b, 1, 0];
        let extensions = [&len16(extension.len())[..], &extension].concat();
        let body = [&[3, 3][..], &[7; 32], &suites, &extensions].concat();
        let handshake = [&[1, 0][..], &len16(body.len()), &body].concat();
        [&[22, 3, 1][..], &len16(handshake.len()), &handshake].concat()
    }

    fn endpoints(local_port: u16) -> types::endpoints {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[127, 0, 0, 1]);
        types::endpoints {
            local: address,
            remote: address,
            local_port,
            remote_port: 21443,
            family: libc::AF_INET as u16,
            inferred: 0,
        }
    }

    fn head(kind: types::event_kind, pid: u32, port: u16) -> types::event {
        let (kind, born_ns) = (kind.0 as u8, 1000 + u64::from(port));
        types::event { kind, pid, ssl: port.into(), born_ns, ..types::event::default() }
    }

    fn piece(account: &mut Account, pid: u32, port: u16, dir: u8, payload: &[u8]) {
        let head = types::event {
            dir,
            len: payload.len() as u32,
            ..head(types::event_kind::EVENT_PIECE, pid, port)
        };
        let piece = types::event_piece { head, ends: endpoints(port), ..Default::default() };
        assert!(account.takes(&[bytes_of(&piece), payload].concat()));
    }

    fn end(account: &mut Account, pid: u32, port: u16) {
        let head = head(types::event_kind::EVENT_SOCKET_END, pid, port);
        let end = types::event_socket_end { head, bytes: [700, 9000] };
        assert!(account.takes(bytes_of(&end)));
    }

    fn connection(conn: u64, pid: u32, port: Option<u16>) -> Record<'static> {
        let ends = port.and_then(|port| ends(&endpoints(port)));
        let (local, remote) = ends.unzip();
        Record::Connection(Connection { conn, pid, local, remote, ..Connection::default() })
    }

    fn closed(conn: u64) -> Record<'static> {
        let (ts_ns, cause, sent_bytes, received_bytes) = (0, CloseCause::Freed, 0, 0);
        Record::Close(Close { conn, ts_ns, cause, sent_bytes, received_bytes })
    }

    #[test]
    fn a_connection_of_which_nothing_was_recorded_is_described() {
        let mut account = Account::default();
        let hello = client_hello("example.org");
        // As a library that reads or writes in parts.
        hello.chunks(50).for_each(|part| piece(&mut account, 7, 5000, 0, part));
        // As a library that reads the header of a record first.
        piece(&mut account, 7, 5000, 1, &[22, 3, 3, 0, 4]);
        piece(&mut account, 7, 5000, 1, &[2, 0, 0, 0]);
        end(&mut account, 7, 5000);
        let of = &account.close()[&7];
        assert_eq!((of.seen, of.unrecorded), (1, 1));
        let [connection] = &of.connections[..] else { panic!("{of:?}") };
        assert_eq!(connection.sni.as_deref(), Some("example.org"));
        assert_eq!(connection.role, Role::Client);
        assert_eq!(connection.version.as_deref(), Some("TLSv1.2"));
        assert_eq!(connection.bytes, Some(PerDirection { sent: 700, received: 9000 }));
        assert!(account.hellos.is_empty());
    }

    #[test]
    fn a_recorded_connection_is_not_missed_whichever_event_comes_first() {
        let mut account = Account::default();
        account.observe(&connection(1, 7, Some(5000)));
        piece(&mut account, 7, 5000, 0, &client_hello("a"));
        piece(&mut account, 7, 5001, 0, &client_hello("a"));
        account.observe(&connection(2, 7, Some(5001)));
        account.observe(&connection(2, 7, Some(5001)));
        end(&mut account, 7, 5000);
        let of = &account.close()[&7];
        assert_eq!((of.seen, of.unrecorded), (2, 0));
        assert_eq!(account.sockets.len(), 1, "the other has ended");
        assert!(account.awaited.is_empty());
    }

    #[test]
    fn a_connection_of_unknown_address_may_be_any_socket_of_its_process() {
        for ended in [false, true] {
            let mut account = Account::default();
            account.observe(&connection(1, 7, None));
            [7, 8].into_iter().for_each(|pid| piece(&mut account, pid, pid as u16, 1, &[23, 3, 3]));
            if ended {
                account.observe(&closed(1));
                assert!(account.unplaced.is_empty());
            }
            let all = account.close();
            assert_eq!((all[&7].seen, all[&7].unrecorded), (1, 0));
            assert_eq!((all[&8].seen, all[&8].unrecorded), (1, 1));
            assert_eq!(all[&8].connections[0].role, Role::Unknown);
        }
    }

    #[test]
    fn memory_does_not_grow_with_recorded_connections() {
        let mut account = Account::default();
        for conn in 1..=10_000 {
            let port = conn as u16;
            account.observe(&connection(conn, 7, Some(port)));
            piece(&mut account, 7, port, 0, &client_hello("a")[..20]);
            end(&mut account, 7, port);
            account.observe(&closed(conn));
        }
        assert!(account.sockets.is_empty() && account.by_ends.is_empty());
        assert!(account.hellos.is_empty() && account.awaited.is_empty());
        assert_eq!(account.close()[&7].seen, 10_000);
    }

    #[test]
    fn sockets_whose_events_were_lost_are_still_in_the_kernels_table() {
        let mut account = Account::default();
        let seen = types::seen_socket {
            ends: endpoints(5000),
            pid: 7,
            bytes: [1, 2],
            is_tls: 1,
            ..Default::default()
        };
        account.still_open(1, &seen);
        let of = &account.close()[&7];
        assert_eq!(of.connections[0].bytes, Some(PerDirection { sent: 1, received: 2 }));
    }

    #[test]
    fn other_events_are_left_to_the_tracker() {
        let exit = crate::kernel::event::exit_event(7, 1);
        assert!(!Account::default().takes(&exit));
        assert!(!Account::default().takes(b"nonsense"));
    }
}
