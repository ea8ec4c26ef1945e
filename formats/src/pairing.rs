//! Which end of a connection is shown when both of its ends were recorded.
//!
//! Over loopback, or between two containers of one host, a capture holds the same bytes twice: once
//! as the client saw them and once as the server did. Such a pair is shown once, from the client's
//! end: this one is the *primary*, the other its *shadow*. The pcapng writer leaves shadows out,
//! and the analyzer must leave the same ones out when it reads a raw log; so the rule stands here,
//! once, and depends on nothing but the records and their order.
//!
//! The rule: when both addresses of a connection become known and it has no peer yet, it is paired
//! with the oldest live connection without a peer whose addresses are the mirror image and whose
//! role is not the same known role. Oldest first matters: TLS inside TLS puts two connections on
//! one pair of addresses, and the k-th at one end belongs to the k-th at the other.
//!
//! | started when the pair is found | primary |
//! |---|---|
//! | neither end, or the client's only | the client's end |
//! | the server's end only | the server's end: a file may already hold its bytes |
//! | both | no pair; each is shown |
//!
//! An end has *started* with its first `Data` or `Gap`. Where neither role is known, the end that
//! was described first stands in for the client's; where one is known, the other follows from it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::record::{Connection, Record, Role};

/// Local and remote address of one end.
type Addresses = (SocketAddr, SocketAddr);

/// Finds the two ends of one connection among the records of a capture.
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

/// What is known of one live connection.
#[derive(Debug)]
struct End {
    role: Role,
    addresses: Option<Addresses>,
    order: u64,
    started: bool,
    peer: Option<u64>,
    shadow: bool,
}

impl Pairing {
    /// Nothing observed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a record. Call this for every record of a capture, in order, and ask about
    /// the record's connection afterwards.
    pub fn observe(&mut self, record: &Record<'_>) {
        self.closed_shadow = None;
        match record {
            Record::Connection(connection) => self.describe(connection),
            Record::Data(data) => self.start(data.conn),
            Record::Gap(gap) => self.start(gap.conn),
            Record::Close(close) => self.remove(close.conn),
            Record::Process(_) | Record::Handshake(_) | Record::Stats(_) => {}
        }
    }

    /// This connection is the other end of one that is shown, and should not be shown itself.
    ///
    /// The answer for a connection can change from `false` to `true` until its first `Data` or
    /// `Gap` was observed, and never changes after that. After a connection's `Close` it holds
    /// until the next record is observed.
    pub fn is_shadow(&self, conn: u64) -> bool {
        self.closed_shadow == Some(conn) || self.live.get(&conn).is_some_and(|end| end.shadow)
    }

    /// The other end of this live connection, which may have closed already.
    pub fn peer(&self, conn: u64) -> Option<u64> {
        self.live.get(&conn)?.peer
    }

    fn start(&mut self, conn: u64) {
        if let Some(end) = self.live.get_mut(&conn) {
            end.started = true;
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
            started: false,
            peer: None,
            shadow: false,
        });
        self.described += u64::from(end.order == order);
        end.role = connection.role;
        if end.peer.is_some() {
            return;
        }
        let before = std::mem::replace(&mut end.addresses, addresses);
        if before != addresses {
            if let Some(before) = before {
                self.withdraw(conn, before);
            }
            if let Some(known) = addresses {
                self.unpaired.entry(known).or_default().push_back(conn);
            }
        }
        if let Some(known) = addresses {
            self.find_peer(conn, known);
        }
    }

    /// Pairs `conn` with the oldest fitting end, if there is one.
    fn find_peer(&mut self, conn: u64, (local, remote): Addresses) {
        let Some(end) = self.live.get(&conn) else { return };
        let Some(candidates) = self.unpaired.get(&(remote, local)) else { return };
        let fits =
            |other: &u64| *other != conn && self.live.get(other).is_some_and(|u| can_pair(end, u));
        let Some(other) = candidates.iter().copied().find(fits) else { return };
        let Some(other_end) = self.live.get(&other) else { return };
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
        // A peer stays what it was, primary or shadow, and is not paired again: a later connection
        // on the same addresses is another connection.
        if let (None, Some(addresses)) = (end.peer, end.addresses) {
            self.withdraw(conn, addresses);
        }
    }

    /// Takes `conn` out of those that wait for a peer.
    fn withdraw(&mut self, conn: u64, addresses: Addresses) {
        if let Some(waiting) = self.unpaired.get_mut(&addresses) {
            waiting.retain(|c| *c != conn);
            if waiting.is_empty() {
                self.unpaired.remove(&addresses);
            }
        }
    }
}

/// The roles of two ends allow them to be one connection, and not both are in use already.
fn can_pair(a: &End, b: &End) -> bool {
    let differ_in_role = a.role != b.role || a.role == Role::Unknown;
    let one_is_idle = !a.started || !b.started;
    differ_in_role && one_is_idle
}

/// Of the pair (`a`, `b`), `a` is the primary.
fn conn_is_primary(a: &End, b: &End) -> bool {
    let a_is_client = match (a.role, b.role) {
        (Role::Client, _) | (_, Role::Server) => true,
        (Role::Server, _) | (_, Role::Client) => false,
        (Role::Unknown, Role::Unknown) => a.order < b.order,
    };
    match (a.started, b.started) {
        (true, false) => true,
        (false, true) => false,
        _ => a_is_client,
    }
}
