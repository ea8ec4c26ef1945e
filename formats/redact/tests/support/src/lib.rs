//! Connections for the tests and the benchmark of `sslrec-redact`: their calls as records, frames
//! and field blocks of HTTP/2, and random numbers that are the same in every run.
//!
//! The crate does not depend on `sslrec-redact`, so that its unit tests can use it.

pub mod http2;

use std::ops::Range;

use sslrec_formats::record::{
    Close, CloseCause, Connection, Data, Direction, Gap, GapCause, Record,
};

/// The function of all calls.
pub const FUNC: &str = "SSL_call";

/// The payload of each call, in order.
pub type Calls = Vec<(Direction, Vec<u8>)>;

/// Receives records.
pub type Emit<'a> = &'a mut dyn FnMut(&Record<'_>);

/// Passes a record to the redactor.
pub type Redact<'a> = &'a mut dyn FnMut(&Record<'_>, Emit<'_>);

/// Returns a call.
pub fn sent(bytes: impl AsRef<[u8]>) -> (Direction, Vec<u8>) {
    (Direction::Sent, bytes.as_ref().to_vec())
}

/// Returns a call.
pub fn received(bytes: impl AsRef<[u8]>) -> (Direction, Vec<u8>) {
    (Direction::Received, bytes.as_ref().to_vec())
}

/// Returns each direction's bytes.
pub fn joined(calls: &Calls) -> [Vec<u8>; 2] {
    Direction::BOTH.map(|wanted| {
        let of = calls.iter().filter(|(dir, _)| *dir == wanted);
        of.flat_map(|(_, bytes)| bytes.clone()).collect()
    })
}

/// Returns the calls, each split into pieces of this length.
pub fn cut(calls: &Calls, len: usize) -> Calls {
    let pieces = |(dir, bytes): &(Direction, Vec<u8>)| {
        bytes.chunks(len).map(|piece| (*dir, piece.to_vec())).collect::<Vec<_>>()
    };
    calls.iter().flat_map(pieces).collect()
}

/// Returns the record of a connection, of number 1.
pub fn connection(joined: bool) -> Record<'static> {
    Record::Connection(Connection { conn: 1, joined, ..Connection::default() })
}

/// Returns the record of a call.
pub fn data(dir: Direction, offset: u64, payload: &[u8], ts_ns: u64) -> Data<'_> {
    Data {
        conn: 1,
        ts_ns,
        tid: 1,
        dir,
        offset,
        func: FUNC,
        lat_ns: 0,
        call_len: payload.len() as u64,
        call_offset: 0,
        payload,
    }
}

/// Returns the record of missing bytes.
pub fn gap(dir: Direction, offset: u64, len: u64, ts_ns: u64) -> Record<'static> {
    Record::Gap(Gap { conn: 1, ts_ns, dir, offset, len, cause: GapCause::RingFull })
}

/// Returns the record of the end, after this number of bytes of each direction.
pub fn close([sent_bytes, received_bytes]: [u64; 2], ts_ns: u64) -> Record<'static> {
    Record::Close(Close { conn: 1, ts_ns, cause: CloseCause::Freed, sent_bytes, received_bytes })
}

/// Passes a connection to the redactor, a record for each call. Returns each direction's bytes;
/// asserts that records keep their order, place, length and function.
pub fn run(calls: &Calls, joined: bool, redact: Redact<'_>) -> [Vec<u8>; 2] {
    let (mut out, mut times) = ([Vec::new(), Vec::new()], Vec::new());
    let mut take = |record: &Record<'_>| match record {
        Record::Data(data) => {
            let bytes = &mut out[data.dir.index()];
            assert_eq!((data.offset, data.func), (bytes.len() as u64, FUNC));
            bytes.extend_from_slice(data.payload);
            times.push(data.ts_ns);
        }
        Record::Connection(_) | Record::Close(_) => {}
        other => panic!("{other:?}"),
    };
    redact(&connection(joined), &mut take);
    let mut offsets = [0u64; 2];
    for (at, (dir, payload)) in calls.iter().enumerate() {
        let offset = &mut offsets[dir.index()];
        redact(&Record::Data(data(*dir, *offset, payload, at as u64)), &mut take);
        *offset += payload.len() as u64;
    }
    redact(&close(offsets, calls.len() as u64), &mut take);
    assert!(times.iter().copied().eq(0..calls.len() as u64), "{times:?}");
    out
}

/// Returns whether a text contains a secret.
pub fn contains(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// Random numbers (xorshift), the same in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number in the range, which is not empty.
    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + (self.number() >> 24) as usize % range.len()
    }
}
