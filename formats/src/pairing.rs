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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Close, CloseCause, Data, Direction, Gap, GapCause};

    const CLIENT: &str = "127.0.0.1:50000";
    const SERVER: &str = "127.0.0.1:443";

    /// Watches records and keeps the tests short.
    #[derive(Default)]
    struct Watch(Pairing);

    impl Watch {
        fn end(&mut self, conn: u64, role: Role, local: &str, remote: &str) -> &mut Self {
            let parse = |text: &str| text.parse().ok();
            self.0.observe(&Record::Connection(Connection {
                conn,
                role,
                local: parse(local),
                remote: parse(remote),
                ..Connection::default()
            }));
            self
        }

        fn client(&mut self, conn: u64) -> &mut Self {
            self.end(conn, Role::Client, CLIENT, SERVER)
        }

        fn server(&mut self, conn: u64) -> &mut Self {
            self.end(conn, Role::Server, SERVER, CLIENT)
        }

        fn data(&mut self, conn: u64) -> &mut Self {
            self.0.observe(&Record::Data(Data {
                conn,
                ts_ns: 0,
                tid: 0,
                dir: Direction::Sent,
                offset: 0,
                func: "",
                lat_ns: 0,
                call_len: 1,
                call_offset: 0,
                payload: b"x",
            }));
            self
        }

        fn gap(&mut self, conn: u64) -> &mut Self {
            let (dir, cause) = (Direction::Sent, GapCause::RingFull);
            self.0.observe(&Record::Gap(Gap { conn, ts_ns: 0, dir, offset: 0, len: 1, cause }));
            self
        }

        fn close(&mut self, conn: u64) -> &mut Self {
            let cause = CloseCause::Freed;
            let close = Close { conn, ts_ns: 0, cause, sent_bytes: 0, received_bytes: 0 };
            self.0.observe(&Record::Close(close));
            self
        }

        #[track_caller]
        fn paired(&self, primary: u64, shadow: u64) {
            assert_eq!(self.0.peer(primary), Some(shadow));
            assert_eq!(self.0.peer(shadow), Some(primary));
            assert!(!self.0.is_shadow(primary), "{primary} is a shadow");
            assert!(self.0.is_shadow(shadow), "{shadow} is no shadow");
        }

        #[track_caller]
        fn alone(&self, conn: u64) {
            assert_eq!(self.0.peer(conn), None);
            assert!(!self.0.is_shadow(conn));
        }
    }

    #[test]
    fn the_client_is_primary_whichever_end_comes_first() {
        Watch::default().client(1).server(2).paired(1, 2);
        Watch::default().server(1).client(2).paired(2, 1);
    }

    #[test]
    fn a_known_role_tells_the_unknown_one() {
        let mut watch = Watch::default();
        watch.end(1, Role::Unknown, SERVER, CLIENT).client(2).paired(2, 1);
        let mut watch = Watch::default();
        watch.server(1).end(2, Role::Unknown, CLIENT, SERVER).paired(2, 1);
        let mut watch = Watch::default();
        watch.end(1, Role::Unknown, CLIENT, SERVER).server(2).paired(1, 2);
    }

    #[test]
    fn of_two_unknown_roles_the_earlier_is_primary() {
        let mut watch = Watch::default();
        watch.end(1, Role::Unknown, SERVER, CLIENT).end(2, Role::Unknown, CLIENT, SERVER);
        watch.paired(1, 2);
        // Earlier is who was described first, not whose addresses were known first.
        let mut watch = Watch::default();
        watch.end(1, Role::Unknown, "", "").end(2, Role::Unknown, CLIENT, SERVER);
        watch.end(1, Role::Unknown, SERVER, CLIENT).paired(1, 2);
    }

    #[test]
    fn two_of_one_role_are_not_a_pair() {
        let mut watch = Watch::default();
        watch.end(1, Role::Client, CLIENT, SERVER).end(2, Role::Client, SERVER, CLIENT);
        watch.alone(1);
        watch.alone(2);
    }

    #[test]
    fn other_addresses_are_not_a_pair() {
        let mut watch = Watch::default();
        watch.client(1).end(2, Role::Server, SERVER, "127.0.0.1:50001");
        watch.end(3, Role::Server, CLIENT, SERVER).end(4, Role::Server, SERVER, "");
        (1..=4).for_each(|conn| watch.alone(conn));
    }

    #[test]
    fn an_end_that_has_started_stays_primary() {
        Watch::default().server(1).data(1).client(2).paired(1, 2);
        Watch::default().server(1).gap(1).client(2).data(2).data(1).paired(1, 2);
        Watch::default().client(1).data(1).server(2).data(2).paired(1, 2);
    }

    #[test]
    fn two_ends_that_have_started_are_not_paired() {
        let mut watch = Watch::default();
        watch.end(1, Role::Client, "", "").data(1).server(2).data(2).client(1);
        watch.alone(1);
        watch.alone(2);
        // They do not stand in the way of others either.
        watch.server(3).paired(1, 3);
    }

    #[test]
    fn an_address_that_comes_late_is_in_time_before_the_first_data() {
        let mut watch = Watch::default();
        watch.end(1, Role::Server, "", "").client(2).data(2).alone(2);
        watch.server(1).paired(2, 1);
    }

    #[test]
    fn tls_in_tls_pairs_in_order() {
        let mut watch = Watch::default();
        watch.client(1).client(2).server(3).server(4);
        watch.paired(1, 3);
        watch.paired(2, 4);
    }

    #[test]
    fn a_closed_connection_is_not_a_candidate() {
        let mut watch = Watch::default();
        watch.client(1).close(1).server(2).alone(2);
        assert!(watch.0.live.len() == 1 && watch.0.unpaired.len() == 1);
    }

    #[test]
    fn a_shadow_outlives_its_primary_and_is_not_paired_again() {
        let mut watch = Watch::default();
        watch.client(1).server(2).data(1).close(1).client(3);
        assert!(watch.0.is_shadow(2));
        watch.alone(3);
        watch.server(4).paired(3, 4);
    }

    #[test]
    fn a_shadow_is_still_one_at_its_close_and_then_forgotten() {
        let mut watch = Watch::default();
        watch.client(1).server(2).close(2);
        assert!(watch.0.is_shadow(2));
        assert!(!watch.0.is_shadow(1));
        watch.close(1);
        assert!(!watch.0.is_shadow(2) && !watch.0.is_shadow(1));
        assert!(watch.0.live.is_empty() && watch.0.unpaired.is_empty());
    }

    #[test]
    fn memory_is_bounded_by_live_connections() {
        let mut watch = Watch::default();
        for n in 0..1000 {
            watch.client(2 * n).server(2 * n + 1).close(2 * n).close(2 * n + 1);
            watch.client(5000 + n).close(5000 + n);
        }
        assert!(watch.0.live.is_empty() && watch.0.unpaired.is_empty());
    }

    #[test]
    fn addresses_that_change_before_a_pair_is_found_count_as_they_are_last() {
        let mut watch = Watch::default();
        watch.end(1, Role::Client, CLIENT, "127.0.0.1:444").client(1).server(2).paired(1, 2);
        let mut watch = Watch::default();
        watch.client(1).end(1, Role::Client, CLIENT, "127.0.0.1:444").server(2).alone(2);
    }

    #[test]
    fn a_connection_to_itself_is_not_its_own_peer() {
        let mut watch = Watch::default();
        watch.end(1, Role::Unknown, CLIENT, CLIENT).alone(1);
    }
}
