//! Connections described by hand, and their primary ends.

use super::*;
use crate::record::{Close, CloseCause, Data, Direction, Gap, GapCause};

const CLIENT: &str = "127.0.0.1:50000";
const SERVER: &str = "127.0.0.1:443";

/// Observes records and keeps the tests short.
#[derive(Default)]
struct Watch(Pairing);

impl Watch {
    fn end(&mut self, conn: u64, role: Role, local: &str, remote: &str) -> &mut Self {
        self.any_end(conn, role, local, remote, false)
    }

    fn any_end(
        &mut self,
        conn: u64,
        role: Role,
        local: &str,
        remote: &str,
        joined: bool,
    ) -> &mut Self {
        let parse = |text: &str| text.parse().ok();
        self.0.observe(&Record::Connection(Connection {
            conn,
            role,
            local: parse(local),
            remote: parse(remote),
            joined,
            ..Connection::default()
        }));
        self
    }

    fn client(&mut self, conn: u64) -> &mut Self {
        self.end(conn, Role::Client, CLIENT, SERVER)
    }

    fn joined_client(&mut self, conn: u64) -> &mut Self {
        self.any_end(conn, Role::Client, CLIENT, SERVER, true)
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
fn an_unknown_role_follows_from_a_known_role() {
    let mut watch = Watch::default();
    watch.end(1, Role::Unknown, SERVER, CLIENT).client(2).paired(2, 1);
    let mut watch = Watch::default();
    watch.server(1).end(2, Role::Unknown, CLIENT, SERVER).paired(2, 1);
    let mut watch = Watch::default();
    watch.end(1, Role::Unknown, CLIENT, SERVER).server(2).paired(1, 2);
}

#[test]
fn the_earlier_of_two_unknown_roles_is_primary() {
    let mut watch = Watch::default();
    watch.end(1, Role::Unknown, SERVER, CLIENT).end(2, Role::Unknown, CLIENT, SERVER);
    watch.paired(1, 2);
    // The order is that of the descriptions, not of the known addresses.
    let mut watch = Watch::default();
    watch.end(1, Role::Unknown, "", "").end(2, Role::Unknown, CLIENT, SERVER);
    watch.end(1, Role::Unknown, SERVER, CLIENT).paired(1, 2);
}

#[test]
fn two_ends_with_the_same_role_are_not_a_pair() {
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
    Watch::default().server(1).data(1).joined_client(2).paired(1, 2);
    Watch::default().server(1).gap(1).joined_client(2).data(2).data(1).paired(1, 2);
    Watch::default().client(1).data(1).server(2).data(2).paired(1, 2);
}

#[test]
fn a_new_client_is_not_paired_with_a_stale_end() {
    let mut watch = Watch::default();
    watch.server(1).data(1).client(2);
    watch.alone(1);
    watch.alone(2);
    watch.server(3).paired(2, 3);
    watch.alone(1);
    // The addresses of a client that was described in time may come later.
    let mut watch = Watch::default();
    watch.end(1, Role::Client, "", "").server(2).data(2).client(1).paired(2, 1);
}

#[test]
fn an_end_that_has_not_started_is_preferred() {
    let mut watch = Watch::default();
    watch.client(1).data(1).client(2).server(3).paired(2, 3);
    watch.alone(1);
}

#[test]
fn a_pair_is_dissolved_when_it_turns_out_to_be_wrong() {
    let mut watch = Watch::default();
    watch.client(1).server(2).paired(1, 2);
    watch.end(1, Role::Client, CLIENT, "127.0.0.1:444").alone(1);
    watch.alone(2);
    watch.client(3).paired(3, 2);
    // A role determines the end to show.
    let mut watch = Watch::default();
    watch.end(1, Role::Unknown, SERVER, CLIENT).end(2, Role::Unknown, CLIENT, SERVER);
    watch.paired(1, 2);
    watch.server(1).paired(2, 1);
    watch.end(2, Role::Server, CLIENT, SERVER).alone(1);
    watch.alone(2);
    // Not once a file may contain its bytes.
    let mut watch = Watch::default();
    watch.client(1).server(2).data(1).end(2, Role::Server, SERVER, "127.0.0.1:1").paired(1, 2);
    watch.close(1).close(2);
    assert!(watch.0.live.is_empty() && watch.0.unpaired.is_empty());
}

#[test]
fn ends_of_dissolved_pairs_keep_their_order() {
    let mut watch = Watch::default();
    watch.client(1).client(2).server(3).server(4);
    watch.end(3, Role::Server, SERVER, "127.0.0.1:1").server(5);
    watch.paired(1, 5);
    watch.paired(2, 4);
}

#[test]
fn two_ends_that_have_started_are_not_paired() {
    let mut watch = Watch::default();
    watch.end(1, Role::Client, "", "").data(1).server(2).data(2).client(1);
    watch.alone(1);
    watch.alone(2);
    // They do not prevent other pairs either.
    watch.server(3).paired(1, 3);
}

#[test]
fn a_late_address_is_in_time_before_the_first_data() {
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
fn a_shadow_remains_a_shadow_until_its_close() {
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
fn the_last_addresses_before_pairing_are_used() {
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
