//! Blanks secrets in the records of a capture, while it is recorded or afterwards.
//!
//! [`Redactor`] takes records and returns them with the values named by [`Rules`] overwritten.
//! Lengths never change: not in a header, a body, or a field block of HTTP/2; so every offset, time
//! and size in the capture stays true. A secret is overwritten by `*`, in JSON numbers by `1` and
//! `0`, and in Huffman strings of HTTP/2 by symbols with the same total number of bits.
//!
//! | rule | blanked |
//! |---|---|
//! | `header:NAME` | values of a header or trailer field |
//! | `cookie`, `cookie:NAME` | values of Cookie and Set-Cookie, or of a single cookie |
//! | `query:NAME` | values in queries and fragments of URLs: targets, header fields, bodies |
//! | `json:NAME` | values of a field in any body, whatever its type |
//! | `form:NAME` | values in a form; forms of several parts as a whole |
//! | `bearer`, `basic` | credentials after that word, anywhere |
//! | `regex:RE` | the match of RE or of its first group, in a head line, target or body |
//! | `default` | the fields, names and shapes of [`secrets`]; user information in URLs; `bearer` |
//!
//! Names are found in every usual spelling. Bytes are searched in three ways: heads by line,
//! contents as text, and all other bytes as text and for lines that look like header fields. Bytes
//! that cannot be searched are blanked: bodies with a content coding, declared or not, if a rule
//! applies to bodies; the rest of a body after a gap; all bytes of a direction that was joined in
//! mid-stream, or lost its framing, up to the next message. A record is held back while it ends
//! with the possible beginning of a secret, and with it later records of its connection. Held bytes
//! have a bound, beyond which they are blanked.
//!
//! The crate must not change bytes that it does not blank, and must not return unsettled bytes.

#![forbid(unsafe_code)]

mod body;
mod counts;
mod decode;
mod direction;
mod fields;
mod finder;
mod head;
mod header_name;
mod http1;
mod http2;
mod literals;
mod patterns;
#[cfg(test)]
mod regressions;
mod rules;
mod search;
pub mod secrets;
#[cfg(test)]
mod tests;
mod websocket;
mod window;

use std::collections::{HashMap, VecDeque};

pub use self::counts::{Count, Counts, Place, Rule};
use self::direction::Direction;
use self::http1::Shared;
pub use self::rules::{Error, Rules};
use self::window::Engine;
use sslrec_formats::record::{self, Close, Connection, Data, Gap, Handshake, Record};

/// The most bytes held of all connections together, unless a lower limit is set.
const MAX_HELD: usize = 64 << 20;

/// Receives records.
pub type Emit<'a> = &'a mut dyn FnMut(&Record<'_>);

/// Blanks secrets in records.
#[derive(Debug)]
pub struct Redactor {
    engine: Engine,
    connections: HashMap<u64, Box<State>>,
    /// Memory of held data, in bytes.
    held: usize,
    /// Memory of all connections, held data included, in bytes.
    memory: usize,
    max_held: usize,
}

/// A connection.
#[derive(Debug)]
struct State {
    sent: Direction,
    received: Direction,
    shared: Shared,
    /// Records that wait, in order.
    waiting: VecDeque<Waiting>,
    /// The part of the redactor's `memory` that is for this connection.
    counted: usize,
}

/// A record that waits; the bytes of data are in the window of its direction.
#[derive(Debug)]
enum Waiting {
    Connection(Connection),
    Data { meta: Data<'static>, func: Box<str>, len: usize },
    Handshake { meta: Handshake<'static>, func: Box<str> },
}

/// Approximate memory of a waiting record, its name of a function included.
const WAITING_BYTES: usize = size_of::<Waiting>() + 32;

/// Approximate memory of a connection without bytes.
const ENTRY_BYTES: usize = size_of::<State>() + 2 * size_of::<(u64, Box<State>)>();

impl Redactor {
    /// Returns a redactor with these rules.
    pub fn new(rules: Rules) -> Self {
        let (connections, max_held) = (HashMap::new(), MAX_HELD);
        Self { engine: Engine::new(rules), connections, held: 0, memory: 0, max_held }
    }

    /// Limits the held bytes of all connections together; 64 MiB is the maximum.
    #[must_use]
    pub fn holding_at_most(mut self, bytes: usize) -> Self {
        self.max_held = bytes.min(MAX_HELD);
        self
    }

    /// Returns the approximate memory of all connections, in bytes. [`Record::Close`] frees that of
    /// its connection.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Returns the rules.
    pub fn rules(&self) -> &Rules {
        &self.engine.rules
    }

    /// Returns the counts of blanked values so far.
    pub fn counts(&self) -> &Counts {
        &self.engine.counts
    }

    /// Processes the next record. Emits settled records, always with the records of a connection in
    /// their order.
    pub fn record(&mut self, record: &Record<'_>, emit: Emit<'_>) {
        match record {
            Record::Process(_) | Record::Exit(_) | Record::Coverage(_) | Record::Stats(_) => {
                emit(record);
            }
            Record::Connection(connection) => {
                let state = self.state(connection.conn, connection.joined);
                if state.waiting.is_empty() {
                    emit(record);
                } else {
                    state.waiting.push_back(Waiting::Connection(connection.clone()));
                    self.held += WAITING_BYTES;
                }
                self.count(connection.conn);
            }
            Record::Data(data) => {
                self.data(data, emit);
                self.count(data.conn);
            }
            Record::Gap(gap) => {
                self.gap(gap, emit);
                self.count(gap.conn);
            }
            Record::Handshake(handshake) => {
                let state = self.state(handshake.conn, true);
                if state.waiting.is_empty() {
                    emit(record);
                } else {
                    let func = handshake.func.into();
                    let meta = Handshake { func: "", ..*handshake };
                    state.waiting.push_back(Waiting::Handshake { meta, func });
                    self.held += WAITING_BYTES;
                }
                self.count(handshake.conn);
            }
            Record::Close(close) => self.close(close, emit),
        }
    }

    /// Ends the input: emits all held records. A recording calls this before its last counters.
    pub fn finish(&mut self, emit: Emit<'_>) {
        let mut open: Vec<_> = self.connections.drain().collect();
        open.sort_unstable_by_key(|(conn, _)| *conn);
        for (_, mut state) in open {
            state.finish(&mut self.engine, emit);
        }
        (self.held, self.memory) = (0, 0);
    }

    /// Counts the memory of a connection after a change.
    fn count(&mut self, conn: u64) {
        let Some(state) = self.connections.get_mut(&conn) else { return };
        let memory = state.memory();
        self.memory = self.memory - state.counted + memory;
        state.counted = memory;
    }

    /// Returns the state of a connection. Without a description, its beginning may be missing.
    fn state(&mut self, conn: u64, joined: bool) -> &mut State {
        let engine = &self.engine;
        self.connections.entry(conn).or_insert_with(|| {
            Box::new(State {
                sent: Direction::new(engine, joined),
                received: Direction::new(engine, joined),
                shared: Shared::new(joined),
                waiting: VecDeque::new(),
                counted: 0,
            })
        })
    }

    fn data(&mut self, data: &Data<'_>, emit: Emit<'_>) {
        self.state(data.conn, true);
        let Self { engine, connections, held, .. } = self;
        let Some(state) = connections.get_mut(&data.conn) else { return };
        let before = state.held();
        let expected = state.direction(data.dir).end();
        if expected != data.offset {
            // A gap without a record, or bytes for the second time.
            state.drain(engine, emit);
            state.shared.miss();
            state.direction(data.dir).gap(u64::MAX, engine);
            state.direction(data.dir).move_to(data.offset);
        }
        let (direction, shared) = match data.dir {
            record::Direction::Sent => (&mut state.sent, &mut state.shared),
            record::Direction::Received => (&mut state.received, &mut state.shared),
        };
        direction.data(data.payload, engine, shared);
        let len = data.payload.len();
        if state.waiting.is_empty() && direction.settled() == direction.end() {
            let payload = direction.window.head(len);
            emit(&Record::Data(Data { payload, ..*data }));
            direction.window.forget(len);
        } else {
            let meta = Data { func: "", payload: &[], ..*data };
            state.waiting.push_back(Waiting::Data { meta, func: data.func.into(), len });
            state.release(emit);
        }
        *held = *held - before + state.held();
        if *held > self.max_held {
            let before = state.held();
            // The blanked bytes may be a request, whose response would then be taken for another's.
            state.shared.miss();
            state.sent.give_up(engine);
            state.received.give_up(engine);
            state.release(emit);
            *held = *held - before + state.held();
        }
    }

    fn gap(&mut self, gap: &Gap, emit: Emit<'_>) {
        self.state(gap.conn, true);
        let Self { engine, connections, held, .. } = self;
        let Some(state) = connections.get_mut(&gap.conn) else { return };
        let before = state.held();
        state.shared.miss();
        // Held bytes of the other direction are given up, too. The offsets advance only here.
        state.direction(gap.dir).gap(gap.len, engine);
        state.drain(engine, emit);
        state.direction(gap.dir).move_to(gap.offset.saturating_add(gap.len));
        emit(&Record::Gap(gap.clone()));
        *held = *held - before + state.held();
    }

    fn close(&mut self, close: &Close, emit: Emit<'_>) {
        if let Some(mut state) = self.connections.remove(&close.conn) {
            self.held -= state.held();
            self.memory -= state.counted;
            state.finish(&mut self.engine, emit);
        }
        emit(&Record::Close(close.clone()));
    }
}

impl State {
    fn direction(&mut self, dir: record::Direction) -> &mut Direction {
        match dir {
            record::Direction::Sent => &mut self.sent,
            record::Direction::Received => &mut self.received,
        }
    }

    fn memory(&self) -> usize {
        let waiting = self.waiting.capacity() * WAITING_BYTES;
        ENTRY_BYTES + waiting + self.sent.memory() + self.received.memory()
    }

    fn held(&self) -> usize {
        let windows = self.sent.window.memory() + self.received.window.memory();
        windows + self.waiting.len() * WAITING_BYTES
    }

    /// Emits settled records.
    fn release(&mut self, emit: Emit<'_>) {
        while let Some(waiting) = self.waiting.front() {
            if let Waiting::Data { meta, len, .. } = waiting {
                let (dir, end) = (meta.dir, meta.offset + *len as u64);
                if self.direction(dir).settled() < end {
                    return;
                }
            }
            let Some(waiting) = self.waiting.pop_front() else { return };
            self.hand_on(&waiting, emit);
        }
    }

    /// Emits all records; unsettled bytes are blanked.
    fn drain(&mut self, engine: &mut Engine, emit: Emit<'_>) {
        self.sent.give_up(engine);
        self.received.give_up(engine);
        self.release(emit);
    }

    fn finish(&mut self, engine: &mut Engine, emit: Emit<'_>) {
        self.sent.finish(engine);
        self.received.finish(engine);
        self.release(emit);
    }

    fn hand_on(&mut self, waiting: &Waiting, emit: Emit<'_>) {
        match waiting {
            Waiting::Connection(connection) => emit(&Record::Connection(connection.clone())),
            Waiting::Handshake { meta, func } => {
                emit(&Record::Handshake(Handshake { func, ..meta.clone() }));
            }
            Waiting::Data { meta, func, len } => {
                let window = &mut self.direction(meta.dir).window;
                let payload = window.head(*len);
                emit(&Record::Data(Data { func, payload, ..meta.clone() }));
                window.forget(*len);
            }
        }
    }
}
