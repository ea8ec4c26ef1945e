//! A connection as records: its calls and gaps, each at its place in the stream of its direction.

#![allow(dead_code, reason = "each target uses a part of it")]

use sslrec_formats::record::{
    Close, CloseCause, Connection, Data, Direction, Gap, GapCause, Record,
};

/// Passes the records of a connection to a closure.
pub struct Ends<F: FnMut(&Record<'_>)> {
    record: F,
    conn: u64,
    ts_ns: u64,
    offsets: [u64; 2],
}

impl<F: FnMut(&Record<'_>)> Ends<F> {
    /// Begins with the connection itself.
    pub fn new(connection: Connection, mut record: F) -> Self {
        let conn = connection.conn;
        record(&Record::Connection(connection));
        Self { record, conn, ts_ns: 0, offsets: [0; 2] }
    }

    /// Adds a call with these bytes; without bytes there is no call.
    pub fn data(&mut self, dir: Direction, payload: &[u8]) {
        self.pieces(dir, payload, usize::MAX);
    }

    /// Adds the bytes in pieces of this length, at the same time.
    pub fn pieces(&mut self, dir: Direction, payload: &[u8], len: usize) {
        self.ts_ns += 1;
        for piece in payload.chunks(len) {
            let offset = self.next(dir, piece.len() as u64);
            (self.record)(&Record::Data(Data {
                conn: self.conn,
                ts_ns: self.ts_ns,
                tid: 1,
                dir,
                offset,
                func: "",
                lat_ns: 0,
                call_len: payload.len() as u64,
                call_offset: 0,
                payload: piece,
            }));
        }
    }

    /// Adds a gap of `len` bytes.
    pub fn gap(&mut self, dir: Direction, len: u64) {
        self.ts_ns += 1;
        let offset = self.next(dir, len);
        let (conn, ts_ns, cause) = (self.conn, self.ts_ns, GapCause::Unknown);
        (self.record)(&Record::Gap(Gap { conn, ts_ns, dir, offset, len, cause }));
    }

    /// Ends the connection.
    pub fn close(&mut self) {
        let (conn, ts_ns, cause) = (self.conn, self.ts_ns + 1, CloseCause::Shutdown);
        let [sent_bytes, received_bytes] = self.offsets;
        let close = Close { conn, ts_ns, cause, sent_bytes, received_bytes };
        (self.record)(&Record::Close(close));
    }

    fn next(&mut self, dir: Direction, len: u64) -> u64 {
        let offset = &mut self.offsets[dir.index()];
        *offset += len;
        *offset - len
    }
}
