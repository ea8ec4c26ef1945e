//! Converts values of the kernel side into those of the records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sslrec_formats::record::{AddrKind, Connection, Direction, GapCause, PerDirection, Role};

use crate::kernel::skel::types;
use crate::proc::tcp;

/// Same as `handshake_failed` of `bpf/conn.h`.
pub(super) fn handshake_failed(conn: &types::conn) -> bool {
    conn.handshake_end_ns != 0
        && conn.handshake_done == 0
        && conn.handshake_unsure == 0
        && conn.offset == [0; 2]
}

/// The kernel side's facts on a connection, from an event or from its table.
pub(super) struct Known {
    pub(super) lib: u16,
    pub(super) joined: u8,
    pub(super) role: u8,
    pub(super) ends: types::endpoints,
}

impl From<&types::conn> for Known {
    fn from(conn: &types::conn) -> Self {
        Self { lib: conn.lib, joined: conn.joined, role: conn.role, ends: conn.ends }
    }
}

/// Adds new facts to a connection's record.
pub(super) trait Learn {
    fn learn(&mut self, ends: &types::endpoints, role: u8);
}

impl Learn for Connection {
    fn learn(&mut self, ends: &types::endpoints, role: u8) {
        self.role = match types::role(role.into()) {
            types::role::ROLE_CLIENT => Role::Client,
            types::role::ROLE_SERVER => Role::Server,
            _ => self.role,
        };
        if self.local.is_some() {
            return;
        }
        self.local = address(ends.family, &ends.local, ends.local_port);
        self.remote = address(ends.family, &ends.remote, ends.remote_port);
        if self.local.is_none() {
            return;
        }
        self.addr = if ends.inferred == 0 { AddrKind::Exact } else { AddrKind::Inferred };
        if self.role == Role::Unknown && tcp::is_listening(self.pid, ends.local_port) {
            self.role = Role::Server;
        }
    }
}

/// Converts an address. IPv4 in IPv6 is the same connection as plain IPv4, and is shown as IPv4.
pub(crate) fn address(family: u16, bytes: &[u8; 16], port: u16) -> Option<SocketAddr> {
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from([bytes[0], bytes[1], bytes[2], bytes[3]])),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(*bytes)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Returns the values of an array that the kernel side indexes by `enum direction`.
pub(crate) fn per_direction(values: [u64; 2]) -> PerDirection<u64> {
    PerDirection {
        sent: values[types::direction::DIR_SENT.0 as usize],
        received: values[types::direction::DIR_RECEIVED.0 as usize],
    }
}

pub(crate) fn direction(dir: u8) -> Direction {
    if types::direction(dir.into()) == types::direction::DIR_SENT {
        Direction::Sent
    } else {
        Direction::Received
    }
}

pub(super) fn gap_cause(cause: u32) -> GapCause {
    use types::gap_cause as kernel;
    match types::gap_cause(cause) {
        kernel::GAP_RING_FULL => GapCause::RingFull,
        kernel::GAP_READ_FAULT => GapCause::ReadFault,
        kernel::GAP_SENDFILE => GapCause::Sendfile,
        kernel::GAP_SNAPLEN => GapCause::Snaplen,
        kernel::GAP_LONG_CALL => GapCause::LongCall,
        _ => GapCause::Unknown,
    }
}
