//! Simulated connections whose messages are known: every target and every response names its
//! request.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

/// Pseudo-random numbers that are the same in each run (xorshift64).
#[derive(Debug)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        let mut seeded = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = seeded.below(2));
        seeded
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Returns true with a probability, in millionths.
    pub(crate) fn chance(&mut self, millionths: u64) -> bool {
        self.below(1_000_000) < millionths
    }
}

/// How a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// A request, once the response to the request before has come.
    Serial,
    /// Up to so many requests at once, once all responses have come.
    Bursts(u64),
    /// A request whenever fewer than so many wait.
    Window(u64),
}

/// A packet of a capture.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) ts_ns: u64,
    pub(crate) talk: usize,
    pub(crate) from_client: bool,
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) payload: Vec<u8>,
    /// First exchange and last exchange with bytes in it.
    pub(crate) exchanges: Option<(usize, usize)>,
}

pub(crate) fn addresses(talk: usize) -> (SocketAddr, SocketAddr) {
    let port = 20_000 + (talk % 40_000) as u16;
    let client = [10, 0, (talk / 40_000) as u8, 1];
    ((client, port).into(), ([10, 9, 9, 9], 80).into())
}

/// A side of a connection.
#[derive(Debug, Default)]
struct End {
    isn: u32,
    /// Number of bytes sent and received.
    sent: u64,
    received: u64,
    /// End of each message to come from the peer, with its exchange.
    expected: VecDeque<(u64, usize)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A segment arrives at the client, or at the server.
    Arrives { at_client: bool, end: u64 },
    /// The server answers this exchange.
    Answers(usize),
}

struct Talk<'a> {
    number: usize,
    random: &'a mut Seeded,
    client: Client,
    total: usize,
    asked: usize,
    answered: usize,
    ends: [End; 2],
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    serial: u64,
    /// When each side is free to send, and the server to work.
    free_ns: [u64; 2],
    works_ns: u64,
    packets: Vec<Packet>,
    /// Way from the client to the capture, and to the server.
    way_ns: (u64, u64),
    heads: Vec<bool>,
    bursts: Vec<usize>,
}

const MSS: usize = 1400;

/// A simulated connection.
#[derive(Debug)]
pub(crate) struct Talked {
    /// In the order of the capture.
    pub(crate) packets: Vec<Packet>,
    pub(crate) client: Client,
    /// The burst of each request.
    pub(crate) bursts: Vec<usize>,
}

/// Returns a connection with so many exchanges.
pub(crate) fn talk(number: usize, client: Client, total: usize, random: &mut Seeded) -> Talked {
    let way = random.between(20_000, 3_000_000);
    let place = [0, way, random.below(way)][random.below(3) as usize];
    let isn = |random: &mut Seeded| random.below(1 << 32) as u32;
    let ends = [0, 1].map(|_| End { isn: isn(random), ..End::default() });
    let start = random.below(50_000_000);
    let mut talk = Talk {
        number,
        random,
        client,
        total,
        asked: 0,
        answered: 0,
        ends,
        events: BinaryHeap::new(),
        serial: 0,
        free_ns: [start; 2],
        works_ns: start,
        packets: Vec::new(),
        way_ns: (place, way),
        heads: Vec::new(),
        bursts: Vec::new(),
    };
    talk.run(start);
    let (mut packets, bursts) = (talk.packets, talk.bursts);
    packets.sort_by_key(|packet| packet.ts_ns);
    Talked { packets, client, bursts }
}

impl Talk<'_> {
    fn run(&mut self, start: u64) {
        let way = self.way_ns.1;
        self.packet(0, start, &[], (true, false), None);
        self.packet(1, start + way, &[], (true, false), None);
        self.packet(0, start + 2 * way, &[], (false, false), None);
        self.free_ns = [start + 2 * way + 1; 2];
        self.ask(start + 2 * way + 1);
        let mut last = 0;
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            last = now;
            match event {
                Event::Arrives { at_client, end } => {
                    self.arrives(usize::from(!at_client), end, now)
                }
                Event::Answers(exchange) => self.answer(exchange, now),
            }
        }
        assert_eq!(self.answered, self.total);
        self.packet(0, last + 1000, &[], (false, true), None);
        self.ends[1].received += 1;
        self.packet(1, last + 1000 + way, &[], (false, true), None);
        self.ends[0].received += 1;
        self.ends[0].sent += 1;
        self.packet(0, last + 1000 + 2 * way, &[], (false, false), None);
    }

    /// The capture sees a packet that a side sends at a time.
    fn packet(
        &mut self,
        side: usize,
        sent_ns: u64,
        payload: &[u8],
        (syn, fin): (bool, bool),
        exchanges: Option<(usize, usize)>,
    ) {
        let (to_capture, way) = self.way_ns;
        let ts_ns = sent_ns + if side == 0 { to_capture } else { way - to_capture };
        let (own, peer) = (&self.ends[side], &self.ends[1 - side]);
        let first = u64::from(!syn);
        let seq = own.isn.wrapping_add((own.sent + first) as u32);
        let ack = peer.isn.wrapping_add((own.received + 1) as u32);
        self.packets.push(Packet {
            ts_ns,
            talk: self.number,
            from_client: side == 0,
            seq,
            ack: (!syn || side == 1).then_some(ack),
            syn,
            fin,
            payload: payload.to_vec(),
            exchanges,
        });
    }

    /// Sends messages, each with its exchange, in segments. Small messages may share a segment.
    fn send(&mut self, side: usize, now: u64, messages: &[(usize, Vec<u8>)]) {
        let mut at = self.free_ns[side].max(now);
        let share = self.random.below(2) == 0;
        let mut segment: (Vec<u8>, Option<(usize, usize)>) = (Vec::new(), None);
        let mut segments = Vec::new();
        for (exchange, bytes) in messages {
            let end = self.ends[1 - side].expected.back().map_or(self.ends[side].sent, |e| e.0);
            self.ends[1 - side].expected.push_back((end + bytes.len() as u64, *exchange));
            if !share && !segment.0.is_empty() {
                segments.push(std::mem::take(&mut segment));
            }
            for part in bytes.chunks(MSS / 2) {
                if segment.0.len() + part.len() > MSS {
                    segments.push(std::mem::take(&mut segment));
                }
                segment.0.extend(part);
                let first = segment.1.map_or(*exchange, |(first, _)| first);
                segment.1 = Some((first, *exchange));
            }
        }
        segments.push(segment);
        for (bytes, exchanges) in segments {
            at += self.random.between(500, 3000);
            self.packet(side, at, &bytes, (false, false), exchanges);
            self.ends[side].sent += bytes.len() as u64;
            let end = self.ends[side].sent;
            self.schedule(at + self.way_ns.1, Event::Arrives { at_client: side == 1, end });
        }
        self.free_ns[side] = at;
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial, event)));
    }

    /// Bytes up to `end` arrive at a side.
    fn arrives(&mut self, side: usize, end: u64, now: u64) {
        self.ends[side].received = end;
        let mut has_message = false;
        while let Some(&(message_end, exchange)) = self.ends[side].expected.front()
            && message_end <= end
        {
            self.ends[side].expected.pop_front();
            has_message = true;
            if side == 1 {
                let busy = self.random.between(1000, 400_000);
                let at = self.works_ns.max(now) + busy;
                // The server answers in order.
                self.works_ns = at;
                self.schedule(at, Event::Answers(exchange));
            } else {
                self.answered += 1;
            }
        }
        if self.random.below(if has_message { 4 } else { 2 }) == 0 {
            self.packet(side, now + 200, &[], (false, false), None);
        }
        if side == 0 && has_message {
            let now = now + self.random.below(20_000);
            self.ask(now);
        }
    }

    fn ask(&mut self, now: u64) {
        let waiting = self.asked - self.answered;
        let count = match self.client {
            Client::Serial if waiting == 0 => 1,
            Client::Bursts(most) if waiting == 0 => self.random.between(1, most) as usize,
            Client::Window(most) => (most as usize).saturating_sub(waiting),
            Client::Serial | Client::Bursts(_) => 0,
        };
        let count = count.min(self.total - self.asked);
        if count == 0 {
            return;
        }
        let messages: Vec<_> = (self.asked..self.asked + count)
            .map(|exchange| (exchange, self.request(exchange)))
            .collect();
        let burst = self.bursts.last().map_or(0, |last| last + 1);
        self.bursts.resize(self.bursts.len() + count, burst);
        self.asked += count;
        self.send(0, now, &messages);
    }

    fn answer(&mut self, exchange: usize, now: u64) {
        let response = self.response(exchange);
        self.send(1, now, &[(exchange, response)]);
    }

    fn request(&mut self, exchange: usize) -> Vec<u8> {
        let target = format!("/t{}/e{exchange}", self.number);
        let cookie = "c".repeat(self.random.below(60) as usize);
        let kind = self.random.below(8);
        self.heads.push(kind == 0);
        let request = match kind {
            0 => format!("HEAD {target} HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n"),
            1 => {
                let len = self.random.below(3000) as usize;
                let body = "b".repeat(len);
                format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{body}")
            }
            2 => format!(
                "PUT {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\n\r\n"
            ),
            _ => format!("GET {target} HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n"),
        };
        // Some request lines are malformed.
        let version = match self.random.below(200) {
            0 => "",
            1 => " HTTP/1.",
            2 => " HTTP/2.0",
            3 => " Http/1.1",
            4 => return format!(" {request}").into_bytes(),
            _ => return request.into_bytes(),
        };
        request.replacen(" HTTP/1.1", version, 1).into_bytes()
    }

    fn response(&mut self, exchange: usize) -> Vec<u8> {
        let name = format!("X-Name: /t{}/e{exchange}\r\n", self.number);
        let body = match self.random.below(6) {
            0 => self.random.below(6000),
            1 => 0,
            _ => self.random.below(300),
        };
        let body = "x".repeat(body as usize);
        let len = body.len();
        if self.heads[exchange] {
            return format!("HTTP/1.1 200 OK\r\n{name}Content-Length: {len}\r\n\r\n").into_bytes();
        }
        match self.random.below(8) {
            0 => format!("HTTP/1.1 304 Not Modified\r\n{name}\r\n"),
            1 => format!(
                "HTTP/1.1 200 OK\r\n{name}Transfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n\
                 {}",
                if len == 0 { "" } else { "0\r\n\r\n" }
            ),
            _ => format!("HTTP/1.1 200 OK\r\n{name}Content-Length: {len}\r\n\r\n{body}"),
        }
        .into_bytes()
    }
}
