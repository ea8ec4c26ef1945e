//! Choice of the end to show when both ends of a connection were recorded.
//!
//! Over loopback, or between two containers of one host, a capture contains the same bytes twice:
//! as the client saw them and as the server did. Such a pair is shown once, from the client's end:
//! this end is the *primary*, the other its *shadow*. The pcapng writer leaves shadows out, and the
//! analyzer must leave the same ends out when it reads a raw log; so the rule is implemented here,
//! once, and depends only on the records and their order.
//!
//! The rule: when both addresses of a connection become known and it has no peer yet, it is paired
//! with the oldest live connection without a peer whose addresses are the mirror image and whose
//! role is not the same known role; ends that have started come after all others. The order by age
//! matters: TLS inside TLS puts two connections on a pair of addresses, and the k-th at one end
//! belongs to the k-th at the other.
//!
//! A client whose beginning was recorded is never paired with an end that had started before the
//! client was described. That end is stale: its program never released it, and the port is in use
//! again. No server carries data before its client's handshake has ended, 0.5-RTT data (RFC 8446
//! section 2) apart. The reverse does not hold, since in TLS 1.3 a client may carry data before the
//! server's handshake has ended.
//!
//! | started when the pair is found | primary |
//! |---|---|
//! | neither end, or the client's only | the client's end |
//! | the server's end only | the server's end: a file may already hold its bytes |
//! | both | no pair; each is shown |
//!
//! An end has *started* with its first `Data` or `Gap`. If both roles are unknown, the end that was
//! described first takes the place of the client; if one role is known, the other follows from it.
//!
//! When the addresses or the role of an end change while neither end has started, the pair is
//! dissolved and both are matched again.
//!
//! A limit: the primary is chosen before there are bytes to decide by. If its calls are then made
//! where nothing is recorded (for example by a process that received the socket), it never shows
//! any bytes, and the bytes of its shadow are not shown. The raw log has them.

use std::collections::VecDeque;
use std::net::SocketAddr;

use foldhash::HashMap;

use crate::record::{Connection, Record, Role};

/// Local and remote address of one end.
type Addresses = (SocketAddr, SocketAddr);

/// Finds the two ends of a connection among the records of a capture.
///
/// Memory is bounded by the number of live connections.
#[derive(Debug, Default)]
pub struct Pairing {
    live: HashMap<u64, End>,
    /// Live connections with known addresses and no peer, oldest first.
    unpaired: HashMap<Addresses, VecDeque<u64>>,
    /// Order of first description, for ends whose roles are both unknown.
    described: u64,
    /// The shadow whose `Close` was the last record observed.
    closed_shadow: Option<u64>,
}

/// The state of a live connection.
#[derive(Debug)]
struct End {
    role: Role,
    addresses: Option<Addresses>,
    /// Number of ends that were described before this end.
    order: u64,
    /// The recording began after the connection did.
    joined: bool,
    /// Number of ends that had been described when this end started.
    started: Option<u64>,
    peer: Option<u64>,
    shadow: bool,
}

impl End {
    fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Returns whether this is a client from its beginning on, and the other end had started
    /// before.
    fn is_too_young_for(&self, other: &End) -> bool {
        let is_fresh_client = self.role == Role::Client && !self.joined;
        is_fresh_client && other.started.is_some_and(|described| described <= self.order)
    }
}

impl Pairing {
    /// Returns a pairing without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a record. Call this for every record of a capture, in order, and query the record's
    /// connection afterwards.
    pub fn observe(&mut self, record: &Record<'_>) {
        self.closed_shadow = None;
        match record {
            Record::Connection(connection) => self.describe(connection),
            Record::Data(data) => self.start(data.conn),
            Record::Gap(gap) => self.start(gap.conn),
            Record::Close(close) => self.remove(close.conn),
            Record::Process(_)
            | Record::Handshake(_)
            | Record::Exit(_)
            | Record::Coverage(_)
            | Record::Stats(_) => {}
        }
    }

    /// Returns whether this connection is the other end of a shown connection, and should not be
    /// shown itself.
    ///
    /// The result for a connection can change until its own or its peer's first `Data` or `Gap` was
    /// observed. From its own first on it never changes. After a connection's `Close` it is valid
    /// until the next record is observed.
    pub fn is_shadow(&self, conn: u64) -> bool {
        self.closed_shadow == Some(conn) || self.live.get(&conn).is_some_and(|end| end.shadow)
    }

    /// Returns the other end of this live connection, which may have closed already.
    pub fn peer(&self, conn: u64) -> Option<u64> {
        self.live.get(&conn)?.peer
    }

    fn start(&mut self, conn: u64) {
        if let Some(end) = self.live.get_mut(&conn) {
            end.started.get_or_insert(self.described);
        }
    }

    fn describe(&mut self, connection: &Connection) {
        let conn = connection.conn;
        let addresses = connection.local.zip(connection.remote);
        let order = self.described;
        let end = self.live.entry(conn).or_insert_with(|| End {
            role: Role::Unknown,
            addresses: None,
            order,
            joined: false,
            started: None,
            peer: None,
            shadow: false,
        });
        self.described += u64::from(end.order == order);
        end.joined = connection.joined;
        let (role, addresses_before) = (end.role, end.addresses);
        end.role = connection.role;
        let is_changed = (role, addresses_before) != (end.role, addresses);
        if let Some(peer) = end.peer {
            if is_changed && self.is_idle(conn) && self.is_idle(peer) {
                self.dissolve(conn, peer);
                self.readdress(conn, addresses);
                self.find_peer(conn);
                self.find_peer(peer);
            }
            return;
        }
        if addresses_before != addresses {
            self.readdress(conn, addresses);
        }
        self.find_peer(conn);
    }

    /// Returns whether the connection is live, and not started.
    fn is_idle(&self, conn: u64) -> bool {
        self.live.get(&conn).is_some_and(|end| !end.has_started())
    }

    /// Dissolves a pair into two ends that wait for a peer again.
    fn dissolve(&mut self, conn: u64, peer: u64) {
        for one in [conn, peer] {
            let Some(end) = self.live.get_mut(&one) else { continue };
            (end.peer, end.shadow) = (None, false);
            if let Some(addresses) = end.addresses {
                self.await_peer(one, addresses);
            }
        }
    }

    /// Changes the addresses of an end that waits for a peer.
    fn readdress(&mut self, conn: u64, addresses: Option<Addresses>) {
        let Some(end) = self.live.get_mut(&conn) else { return };
        if let Some(before) = std::mem::replace(&mut end.addresses, addresses) {
            self.withdraw(conn, before);
        }
        if let Some(known) = addresses {
            self.await_peer(conn, known);
        }
    }

    /// Adds an end to the waiting ends, in the order of their description.
    fn await_peer(&mut self, conn: u64, addresses: Addresses) {
        let order = |conn: &u64| self.live.get(conn).map(|end| end.order);
        let waiting = self.unpaired.entry(addresses).or_default();
        let place = waiting.partition_point(|other| order(other) < order(&conn));
        waiting.insert(place, conn);
    }

    /// Pairs `conn` with the best fitting end, if it has no peer and there is such an end.
    fn find_peer(&mut self, conn: u64) {
        let Some(end) = self.live.get(&conn).filter(|end| end.peer.is_none()) else { return };
        let Some((local, remote)) = end.addresses else { return };
        let Some(candidates) = self.unpaired.get(&(remote, local)) else { return };
        let best = candidates
            .iter()
            .filter(|other| **other != conn)
            .filter_map(|other| Some((*other, self.live.get(other)?)))
            .filter(|(_, other)| can_pair(end, other))
            .min_by_key(|(_, other)| other.has_started());
        let Some((other, other_end)) = best else { return };
        let shadow = if conn_is_primary(end, other_end) { other } else { conn };
        self.withdraw(conn, (local, remote));
        self.withdraw(other, (remote, local));
        for (this, that) in [(conn, other), (other, conn)] {
            if let Some(end) = self.live.get_mut(&this) {
                end.peer = Some(that);
                end.shadow = this == shadow;
            }
        }
    }

    fn remove(&mut self, conn: u64) {
        let Some(end) = self.live.remove(&conn) else { return };
        self.closed_shadow = end.shadow.then_some(conn);
        // A peer remains primary or shadow, and is not paired again: a later connection on the same
        // addresses is another connection.
        if let (None, Some(addresses)) = (end.peer, end.addresses) {
            self.withdraw(conn, addresses);
        }
    }

    /// Removes `conn` from the waiting ends.
    fn withdraw(&mut self, conn: u64, addresses: Addresses) {
        if let Some(waiting) = self.unpaired.get_mut(&addresses) {
            // Connections mostly end in the order in which they began. A search for each of many on
            // the same addresses would be quadratic.
            if waiting.front() == Some(&conn) {
                waiting.pop_front();
            } else {
                waiting.retain(|c| *c != conn);
            }
            if waiting.is_empty() {
                self.unpaired.remove(&addresses);
            }
        }
    }
}

/// Returns whether two ends can be one connection by their roles and ages, and not both have
/// started.
fn can_pair(a: &End, b: &End) -> bool {
    let differ_in_role = a.role != b.role || a.role == Role::Unknown;
    let one_is_idle = !a.has_started() || !b.has_started();
    let one_is_stale = a.is_too_young_for(b) || b.is_too_young_for(a);
    differ_in_role && one_is_idle && !one_is_stale
}

/// Returns whether `a` is the primary of the pair (`a`, `b`).
fn conn_is_primary(a: &End, b: &End) -> bool {
    let a_is_client = match (a.role, b.role) {
        (Role::Client, _) | (_, Role::Server) => true,
        (Role::Server, _) | (_, Role::Client) => false,
        (Role::Unknown, Role::Unknown) => a.order < b.order,
    };
    match (a.has_started(), b.has_started()) {
        (true, false) => true,
        (false, true) => false,
        _ => a_is_client,
    }
}

#[cfg(test)]
mod tests;
