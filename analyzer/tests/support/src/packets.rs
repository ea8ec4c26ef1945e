//! Packets of an HTTP exchange, and files of packets in every variant.

use etherparse::PacketBuilder;
use sslrec_analyzer::exchange::{Exchange, Item};
use sslrec_analyzer::input::{Input, Outcome};
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_formats::io::Error;

/// Time of the first packet, in seconds since the epoch.
pub const START_S: u64 = 1_700_000_000;

/// A packet with its time in nanoseconds.
pub type Packet = (u64, Vec<u8>);

/// The IPv4 packets of `GET /a`, answered by a body of so many bytes; a millisecond apart.
pub fn exchange(body_len: usize) -> Vec<Packet> {
    let client = [10, 0, 0, 1];
    let server = [10, 0, 0, 2];
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {body_len}\r\n\r\n");
    let response = [head.into_bytes(), vec![b'x'; body_len]].concat();
    let mut packets = Vec::new();
    let mut push = |from_client: bool, seq: u32, ack: u32, flags: &str, payload: &[u8]| {
        let (src, dst) = if from_client { (client, server) } else { (server, client) };
        let (from, to) = if from_client { (40_000, 80) } else { (80, 40_000) };
        let mut builder = PacketBuilder::ipv4(src, dst, 64).tcp(from, to, seq, 65_000);
        if flags.contains('S') {
            builder = builder.syn();
        }
        if flags.contains('F') {
            builder = builder.fin();
        }
        if flags.contains('A') {
            builder = builder.ack(ack);
        }
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        let ts_ns = START_S * 1_000_000_000 + packets.len() as u64 * 1_000_000;
        packets.push((ts_ns, packet));
    };
    push(true, 1000, 0, "S", b"");
    push(false, 5000, 1001, "SA", b"");
    push(true, 1001, 5001, "A", b"");
    push(true, 1001, 5001, "A", request);
    let asked = 1001 + request.len() as u32;
    let mut seq = 5001;
    for part in response.chunks(1400) {
        push(false, seq, asked, "A", part);
        seq += part.len() as u32;
    }
    push(true, asked, seq, "FA", b"");
    push(false, seq, asked + 1, "FA", b"");
    push(true, asked + 1, seq + 1, "A", b"");
    packets
}

/// The packets in Ethernet frames, padded to the minimum.
pub fn ethernet(packets: &[Packet]) -> Vec<Packet> {
    let header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let frame = |packet: &Vec<u8>| {
        let mut frame = [&header[..], packet].concat();
        frame.resize(frame.len().max(60), 0);
        frame
    };
    packets.iter().map(|(ts_ns, packet)| (*ts_ns, frame(packet))).collect()
}

/// A variant of pcap.
#[derive(Debug, Clone, Copy)]
pub struct Pcap {
    pub magic: u32,
    pub big: bool,
    /// Nanoseconds of a unit of time.
    pub unit_ns: u64,
    /// Length of a packet's header.
    pub header: usize,
    pub link: u32,
}

impl Pcap {
    pub fn usual(link: u32) -> Self {
        Self { magic: 0xa1b2_c3d4, big: false, unit_ns: 1000, header: 16, link }
    }

    pub fn file(self, packets: &[Packet]) -> Vec<u8> {
        let number = |value: u32| {
            if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let version = if self.big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        let mut file = number(self.magic).to_vec();
        file.extend(version);
        file.extend([0, 0, 262_144, self.link].map(number).concat());
        for (ts_ns, packet) in packets {
            let (seconds, rest_ns) = (ts_ns / 1_000_000_000, ts_ns % 1_000_000_000);
            let len = packet.len() as u32;
            let head = [seconds as u32, (rest_ns / self.unit_ns) as u32, len, len];
            file.extend(head.map(number).concat());
            file.extend(vec![0; self.header - 16]);
            file.extend(packet);
        }
        file
    }
}

/// A pcapng, block by block.
#[derive(Debug, Clone)]
pub struct Pcapng {
    pub file: Vec<u8>,
    big: bool,
}

impl Pcapng {
    /// Begins with a section header of these options.
    pub fn new(big: bool, options: &[(u16, &[u8])]) -> Self {
        let mut pcapng = Self { file: Vec::new(), big };
        pcapng.section(options);
        pcapng
    }

    pub fn section(&mut self, options: &[(u16, &[u8])]) {
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend([self.u16(1), self.u16(0)].concat());
        body.extend([0xff; 8]);
        body.extend(self.options(options));
        self.block(0x0a0d_0d0a, &body);
    }

    pub fn interface(&mut self, link: u16, options: &[(u16, &[u8])]) {
        let mut body = [self.u16(link), self.u16(0)].concat();
        body.extend(self.u32(0));
        body.extend(self.options(options));
        self.block(1, &body);
    }

    /// An enhanced packet block, with the time in units of the interface.
    pub fn packet(&mut self, interface: u32, units: u64, bytes: &[u8], options: &[(u16, &[u8])]) {
        let len = bytes.len() as u32;
        let numbers = [interface, (units >> 32) as u32, units as u32, len, len];
        let mut body = numbers.map(|number| self.u32(number)).concat();
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        self.block(6, &body);
    }

    pub fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let len = 12 + padded as u32;
        self.file.extend([self.u32(kind), self.u32(len)].concat());
        self.file.extend(body);
        self.file.resize(self.file.len() + padded - body.len(), 0);
        self.file.extend(self.u32(len));
    }

    pub fn u16(&self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub fn u32(&self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub fn u64(&self, value: u64) -> [u8; 8] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn options(&self, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in options {
            bytes.extend(self.u16(*code));
            bytes.extend(self.u16(value.len() as u16));
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            bytes.extend([0; 4]);
        }
        bytes
    }
}

/// What a capture has.
#[derive(Debug)]
pub struct Listed {
    pub exchanges: Vec<Exchange>,
    /// Other items.
    pub others: usize,
    pub outcome: Outcome,
}

/// Lists a file of packets.
pub fn list(file: &[u8]) -> Result<Listed, Error> {
    let (mut exchanges, mut others) = (Vec::new(), 0);
    let options = Options { plaintext: true, ..Options::default() };
    let mut assembler = Assembler::new(options, |item: Item| match item {
        Item::Exchange(exchange) => exchanges.push(*exchange),
        _ => others += 1,
    });
    let outcome = Input::open(file)?.read(&mut assembler)?;
    assert!(assembler.finish(outcome.start_ns, outcome.damage.is_none()).is_ok());
    Ok(Listed { exchanges, others, outcome })
}

/// Lists a file that must have the exchange of [`exchange`] and no damage, and returns the notes on
/// the capture.
pub fn notes_of_one(file: &[u8], body_len: u64) -> Vec<String> {
    let listed = list(file).unwrap();
    assert!(listed.outcome.damage.is_none(), "{listed:?}");
    assert_eq!((listed.exchanges.len(), listed.others), (1, 0), "{listed:?}");
    let exchange = &listed.exchanges[0];
    let (request, response) =
        (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
    assert_eq!(request.path().unwrap(), "/a");
    assert_eq!(response.message.body.bytes, body_len);
    assert!(exchange.notes.is_empty(), "{:?}", exchange.notes);
    listed.outcome.notes.iter().map(ToString::to_string).collect()
}
