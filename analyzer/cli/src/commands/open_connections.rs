//! Connections of a copy that are open. The writer and the redactor keep the state of each, so
//! their number has a bound: beyond it, connections that are idle for longest are ended.

use std::collections::HashMap;

use sslrec_formats::record::{Close, CloseCause, Connection, PerDirection, Record};

/// Approximate memory of a connection in the writers of both formats, in bytes.
const WRITER_BYTES: usize = 2048;

/// The part of the connections that is ended at once.
const PART: usize = 4;

/// Open connections.
#[derive(Debug, Default)]
pub(super) struct OpenConnections {
    open: HashMap<u64, Open>,
    /// Number of records so far.
    records: u64,
    /// Number of connections that were ended.
    given_up: u64,
}

/// An open connection.
#[derive(Debug, Default)]
struct Open {
    /// Number of its last record.
    last: u64,
    /// Lengths of its streams.
    ends: PerDirection<u64>,
}

impl OpenConnections {
    /// Returns the description to write before a record: if its connection was ended, the record
    /// would belong to a connection without a description.
    pub(super) fn description(&self, record: &Record<'_>) -> Option<Connection> {
        let conn = match record {
            Record::Handshake(handshake) => handshake.conn,
            Record::Data(data) => data.conn,
            Record::Gap(gap) => gap.conn,
            _ => return None,
        };
        let is_unknown = self.given_up > 0 && !self.open.contains_key(&conn);
        let ts_ns = record.ts_ns();
        is_unknown.then(|| Connection { conn, ts_ns, joined: true, ..Connection::default() })
    }

    /// Processes a record that is written.
    pub(super) fn record(&mut self, record: &Record<'_>) {
        let (conn, reached) = match record {
            Record::Connection(connection) => (connection.conn, None),
            Record::Handshake(handshake) => (handshake.conn, None),
            Record::Data(data) => {
                let end = data.offset.saturating_add(data.payload.len() as u64);
                (data.conn, Some((data.dir, end)))
            }
            Record::Gap(gap) => (gap.conn, Some((gap.dir, gap.offset.saturating_add(gap.len)))),
            Record::Close(close) => {
                self.open.remove(&close.conn);
                return;
            }
            Record::Process(_) | Record::Exit(_) | Record::Coverage(_) | Record::Stats(_) => return,
        };
        self.records += 1;
        let open = self.open.entry(conn).or_default();
        open.last = self.records;
        if let Some((dir, end)) = reached {
            open.ends[dir] = open.ends[dir].max(end);
        }
    }

    /// Returns the approximate memory of the connections in a writer, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.open.len() * WRITER_BYTES
    }

    /// Removes the connections that are idle for longest. Returns a record of the end of each.
    pub(super) fn give_up(&mut self, ts_ns: u64) -> Vec<Close> {
        let mut idle: Vec<_> = self.open.iter().map(|(&conn, open)| (open.last, conn)).collect();
        idle.sort_unstable();
        idle.truncate(idle.len().div_ceil(PART));
        self.given_up += idle.len() as u64;
        let close = |(_, conn)| {
            let PerDirection { sent, received } = self.open.remove(&conn)?.ends;
            let cause = CloseCause::StillOpen;
            Some(Close { conn, ts_ns, cause, sent_bytes: sent, received_bytes: received })
        };
        idle.into_iter().filter_map(close).collect()
    }

    /// Returns the number of connections that were ended.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use sslrec_formats::record::{Direction, Gap, GapCause};

    use super::*;

    #[test]
    fn connections_that_are_idle_for_longest_are_ended_with_their_lengths() {
        let mut open = OpenConnections::default();
        let connection = |conn| Record::Connection(Connection { conn, ..Connection::default() });
        (1..=8).for_each(|conn| open.record(&connection(conn)));
        let (dir, cause) = (Direction::Received, GapCause::Unknown);
        let gap = |conn| Record::Gap(Gap { conn, ts_ns: 1, dir, offset: 5, len: 10, cause });
        open.record(&gap(3));
        assert_eq!(open.description(&gap(9)), None);
        // The oldest is used again.
        open.record(&connection(1));
        assert_eq!(open.memory(), 8 * WRITER_BYTES);
        let ended = |closes: Vec<Close>| {
            let parts = |close: Close| (close.conn, close.sent_bytes, close.received_bytes);
            closes.into_iter().map(parts).collect::<Vec<_>>()
        };
        assert_eq!(ended(open.give_up(9)), [(2, 0, 0), (4, 0, 0)]);
        assert!(open.description(&gap(2)).is_some_and(|new| new.conn == 2 && new.joined));
        assert_eq!(open.description(&gap(3)), None);
        let close = open.give_up(9).remove(1);
        assert_eq!((close.conn, close.ts_ns), (6, 9));
        open.record(&Record::Close(Close { conn: 7, ..close }));
        assert_eq!(ended(open.give_up(9)), [(8, 0, 0)]);
        assert_eq!(ended(open.give_up(9)), [(3, 0, 15)]);
        assert_eq!((open.given_up(), open.memory()), (6, WRITER_BYTES));
    }
}
