//! A connection in packets: its addresses and ports, and its sequence numbers.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::PcapngOptions;
use super::segment::{ACK, FIN, Headers, LOCAL_MAC, REMOTE_MAC, SYN, Segment};
use crate::record::{Connection, Direction, PerDirection, Role};

/// Ports on which Wireshark detects HTTP/2, in the order of preference.
const HTTP_PORTS: [u16; 4] = [80, 8080, 8088, 3128];

/// Address in place of an unknown address: TEST-NET-1 (RFC 5737), which is never in real use.
const UNKNOWN_LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const UNKNOWN_REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// First port in place of an unknown client port (RFC 6335 section 6).
const FIRST_DYNAMIC_PORT: u16 = 49152;

/// Port in place of an unknown server port.
const UNKNOWN_SERVER_PORT: u16 = 443;

/// Wireshark's key of a connection: both ends' addresses and ports, the lower first. It has no
/// direction, and no scope of an IPv6 address, which no packet carries.
type Conversation = [(IpAddr, u16); 2];

/// The addresses in use by live connections of the file.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    live: HashSet<Conversation>,
    synthetic: u16,
}

/// One direction of a flow.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) headers: Headers,
    /// Sequence number of the byte at stream offset 0.
    first_seq: u32,
    /// The next stream offset.
    pub(super) next: u64,
    /// Bytes written since the last acknowledgement by the other direction.
    pub(super) unacked: u64,
    /// Sequence number after the last packet, and its acknowledgement number.
    last: Option<(u32, u32)>,
}

/// A connection in packets.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) halves: PerDirection<Half>,
    /// Direction of the client's data.
    pub(super) from_client: Direction,
    /// Written addresses of client and server.
    pub(super) written: (SocketAddr, SocketAddr),
    /// The addresses are not the real ones.
    pub(super) is_synthetic: bool,
    /// The client's last bytes in the packets since the last SYN.
    pub(super) last_request: LastRequest,
}

/// The client's last bytes, as far as they matter to a reader that takes a response for that to the
/// last request that it saw, as Wireshark does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastRequest {
    /// There are none.
    None,
    /// They are in the file.
    Seen,
    /// They are lost, but others before them are in the file.
    Lost,
}

impl Addresses {
    /// Chooses the addresses of a connection. Returns `None` if every port of the server's address
    /// is in use with this client.
    pub(super) fn open(
        &mut self,
        connection: &Connection,
        options: &PcapngOptions,
    ) -> Option<Flow> {
        let known = connection.local.zip(connection.remote);
        let (local, remote) = known.unwrap_or_else(|| self.next_synthetic(connection.role));
        let local_is_client = match connection.role {
            Role::Client => true,
            Role::Server => false,
            Role::Unknown => remote.port() <= local.port(),
        };
        let (client, server) = if local_is_client { (local, remote) } else { (remote, local) };
        let written = server_ports(server.port(), options)
            .map(|port| (client, SocketAddr::new(server.ip(), port)))
            .find(|pair| self.live.insert(conversation(*pair)))?;
        let from_client = if local_is_client { Direction::Sent } else { Direction::Received };
        Some(Flow::new(connection.conn, written, from_client, known.is_none()))
    }

    /// Closes the connection; its addresses may be used again.
    pub(super) fn close(&mut self, flow: &Flow) {
        self.live.remove(&conversation(flow.written));
    }

    fn next_synthetic(&mut self, role: Role) -> (SocketAddr, SocketAddr) {
        let dynamic_ports = u16::MAX - FIRST_DYNAMIC_PORT + 1;
        let client_port = FIRST_DYNAMIC_PORT + self.synthetic % dynamic_ports;
        self.synthetic = self.synthetic.wrapping_add(1);
        let (local_port, remote_port) = match role {
            Role::Server => (UNKNOWN_SERVER_PORT, client_port),
            Role::Client | Role::Unknown => (client_port, UNKNOWN_SERVER_PORT),
        };
        let local = SocketAddr::new(UNKNOWN_LOCAL, local_port);
        (local, SocketAddr::new(UNKNOWN_REMOTE, remote_port))
    }
}

fn conversation((a, b): (SocketAddr, SocketAddr)) -> Conversation {
    let (a, b) = ((a.ip(), a.port()), (b.ip(), b.port()));
    if a <= b { [a, b] } else { [b, a] }
}

/// Returns the ports to try for a server, best first.
fn server_ports(real: u16, options: &PcapngOptions) -> impl Iterator<Item = u16> {
    let mapped = options.map_ports.iter().find(|(from, _)| *from == real).map(|(_, to)| *to);
    let kept = options.keep_port.then_some(real);
    mapped.into_iter().chain(kept).chain(HTTP_PORTS).chain(8081..=u16::MAX).chain(1..8081)
}

impl Flow {
    fn new(
        conn: u64,
        written: (SocketAddr, SocketAddr),
        from_client: Direction,
        is_synthetic: bool,
    ) -> Self {
        let (client, server) = written;
        let (local, remote) = match from_client {
            Direction::Sent => (client, server),
            Direction::Received => (server, client),
        };
        let (local, remote) = ((local, LOCAL_MAC), (remote, REMOTE_MAC));
        // Different for each connection: Wireshark takes a SYN on known addresses for a
        // retransmission if it has the sequence number of the earlier SYN.
        let seed = (conn as u32).wrapping_mul(0x9E37_79B1);
        let half =
            |headers, first_seq| Half { headers, first_seq, next: 0, unacked: 0, last: None };
        Self {
            halves: PerDirection {
                sent: half(Headers::new(local, remote), seed.wrapping_add(1)),
                received: half(Headers::new(remote, local), (!seed).wrapping_add(1)),
            },
            from_client,
            written,
            is_synthetic,
            last_request: LastRequest::None,
        }
    }

    /// Sets the offsets of the first byte of both streams in this file.
    pub(super) fn begin_at(&mut self, offsets: PerDirection<u64>) {
        for (dir, half) in self.halves.iter_mut() {
            half.next = offsets[dir];
        }
    }

    /// Returns the offsets of the next byte of both streams.
    pub(super) fn reached(&self) -> PerDirection<u64> {
        PerDirection::from_fn(|dir| self.halves[dir].next)
    }

    /// Returns the sequence number that this direction has reached.
    pub(super) fn next_seq(&self, dir: Direction) -> u32 {
        let half = &self.halves[dir];
        half.seq(half.next)
    }
}

impl Half {
    /// Returns the sequence number of a place in the stream.
    pub(super) fn seq(&self, offset: u64) -> u32 {
        self.first_seq.wrapping_add(offset as u32)
    }

    /// Registers the next packet. An empty packet without any change would be shown as a duplicate
    /// acknowledgement, a sign of loss; with a different window it is a window update, which is
    /// harmless.
    pub(super) fn tell_apart(&mut self, segment: &Segment<'_>) {
        let is_empty = segment.flags == ACK && segment.payload.is_empty();
        if is_empty && self.last == Some((segment.seq, segment.ack)) {
            self.headers.nudge_window();
        }
        let len = segment.payload.len() as u32 + u32::from(segment.flags & (SYN | FIN) != 0);
        self.last = Some((segment.seq.wrapping_add(len), segment.ack));
    }

    /// Reserves sequence numbers for bytes that are not part of the stream.
    pub(super) fn insert(&mut self, len: u32) {
        self.first_seq = self.first_seq.wrapping_add(len);
    }
}
