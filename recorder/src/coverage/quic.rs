//! QUIC at sockets: connections are counted and named by their Initial packets, whose keys follow
//! from the packets themselves (RFC 9001 section 5.2). Nothing else of QUIC can be read here.
//!
//! Memory: [`CONNECTIONS_MAX`] connections, and [`HELLO_MAX`] bytes of each of [`WAITING_MAX`]
//! incomplete ClientHellos.

use std::collections::{BTreeMap, HashMap};

use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use sslrec_wire::tls::ClientHello;

/// Connections that are followed; further ones are not counted.
const CONNECTIONS_MAX: usize = 1 << 14;
/// Bytes and pieces kept of an incomplete ClientHello.
const HELLO_MAX: usize = 8192;
const PIECES_MAX: usize = 64;
/// Connections with an incomplete ClientHello.
const WAITING_MAX: usize = 1024;

/// Longest connection ID (RFC 9000 section 17.2).
const ID_MAX: usize = 20;

/// A version of QUIC.
struct Version {
    number: u32,
    salt: [u8; 20],
    labels: [&'static str; 3],
    initial: u8,
    retry: u8,
}

/// RFC 9001 section 5.2 and RFC 9000 section 17.2; RFC 9369 section 3.
const VERSIONS: [Version; 2] = [
    Version {
        number: 1,
        salt: [
            0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
            0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
        ],
        labels: ["quic key", "quic iv", "quic hp"],
        initial: 0,
        retry: 3,
    },
    Version {
        number: 0x6b33_43cf,
        salt: [
            0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
            0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9,
        ],
        labels: ["quicv2 key", "quicv2 iv", "quicv2 hp"],
        initial: 1,
        retry: 0,
    },
];

/// A packet with a long header.
struct Packet<'a> {
    version: &'static Version,
    is_retry: bool,
    destination: &'a [u8],
    source: &'a [u8],
    /// From the first byte of the packet to the packet number.
    head: &'a [u8],
    /// Packet number and payload.
    rest: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses the first packet of a datagram, and returns the bytes after it.
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut rest = Cursor(bytes);
        let first = *rest.take(1)?.first()?;
        let number = u32::from_be_bytes(*rest.take(4)?.first_chunk()?);
        let version = VERSIONS.iter().find(|version| version.number == number)?;
        let kind = first >> 4 & 3;
        let is_retry = kind == version.retry;
        if first & 0xc0 != 0xc0 || !(is_retry || kind == version.initial) {
            return None;
        }
        let destination = rest.id()?;
        let source = rest.id()?;
        if is_retry {
            let (head, rest) = (bytes, &bytes[..0]);
            return Some((Self { version, is_retry, destination, source, head, rest }, rest));
        }
        let token = rest.number()?;
        rest.take(token)?;
        let len = rest.number()?;
        let head = &bytes[..bytes.len() - rest.0.len()];
        let payload = rest.take(len)?;
        Some((Self { version, is_retry, destination, source, head, rest: payload }, rest.0))
    }
}

/// Bytes that are not parsed yet.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn id(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.take(1)?.first()?);
        if len <= ID_MAX { self.take(len) } else { None }
    }

    /// Takes an integer of variable length (RFC 9000 section 16).
    fn number(&mut self) -> Option<usize> {
        let first = *self.0.first()?;
        let bytes = self.take(1 << (first >> 6))?;
        let value = bytes[1..]
            .iter()
            .fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).ok()
    }
}

/// The keys of the client's Initial packets.
struct Keys {
    packet: LessSafeKey,
    iv: [u8; 12],
    header: HeaderProtectionKey,
}

impl Keys {
    /// Derives them from the first destination connection ID of the client.
    fn of(version: &Version, id: &[u8]) -> Option<Self> {
        let secret = Salt::new(HKDF_SHA256, &version.salt).extract(id);
        let client: [u8; 32] = expand(&secret, "client in")?;
        let client = Prk::new_less_safe(HKDF_SHA256, &client);
        let [key, iv, header] = version.labels;
        let key: [u8; 16] = expand(&client, key)?;
        let packet = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
        let header: [u8; 16] = expand(&client, header)?;
        let header = HeaderProtectionKey::new(&AES_128, &header).ok()?;
        Some(Self { packet, iv: expand(&client, iv)?, header })
    }

    /// Returns the frames of a packet; `None` if it was not sealed with these keys.
    fn open(&self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let mask = self.header.new_mask(packet.rest.get(4..20)?).ok()?;
        let mut head = packet.head.to_vec();
        head[0] ^= mask[0] & 0x0f;
        let number_len = usize::from(head[0] & 3) + 1;
        let (number, payload) = packet.rest.split_at_checked(number_len)?;
        let number: Vec<u8> = number.iter().zip(&mask[1..]).map(|(a, b)| a ^ b).collect();
        head.extend_from_slice(&number);
        let mut nonce = self.iv;
        nonce.iter_mut().rev().zip(number.iter().rev()).for_each(|(byte, n)| *byte ^= n);
        let mut payload = payload.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let len = self.packet.open_in_place(nonce, Aad::from(&head), &mut payload).ok()?.len();
        payload.truncate(len);
        Some(payload)
    }
}

/// HKDF-Expand-Label of TLS 1.3 without a context (RFC 8446 section 7.1).
fn expand<const LEN: usize>(secret: &Prk, label: &str) -> Option<[u8; LEN]> {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let label = format!("tls13 {label}");
    let lens = [&(LEN as u16).to_be_bytes()[..], &[label.len() as u8]].concat();
    let info = [&lens[..], label.as_bytes(), &[0]];
    let mut output = [0; LEN];
    secret.expand(&info, Len(LEN)).ok()?.fill(&mut output).ok()?;
    Some(output)
}

/// Calls `each` with the CRYPTO frames of a packet, in any order.
fn crypto_frames<'a>(frames: &'a [u8], mut each: impl FnMut(usize, &'a [u8])) -> Option<()> {
    let mut rest = Cursor(frames);
    while !rest.0.is_empty() {
        match rest.number()? {
            // PADDING and PING.
            0 | 1 => {}
            kind @ (2 | 3) => {
                let (_, _) = (rest.number()?, rest.number()?);
                let ranges = rest.number()?;
                let counts = if kind == 3 { 3 } else { 0 };
                for _ in 0..ranges.checked_mul(2)?.checked_add(1 + counts)? {
                    rest.number()?;
                }
            }
            6 => {
                let (offset, len) = (rest.number()?, rest.number()?);
                each(offset, rest.take(len)?);
            }
            // No other frame is of interest here.
            _ => return None,
        }
    }
    Some(())
}

/// A ClientHello that arrives in pieces.
#[derive(Debug, Default)]
struct Pieces(BTreeMap<usize, Vec<u8>>);

impl Pieces {
    fn add(&mut self, offset: usize, bytes: &[u8]) {
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= HELLO_MAX);
        if fits && self.0.len() < PIECES_MAX {
            self.0.insert(offset, bytes.to_vec());
        }
    }

    /// Returns the hello, as far as there is one without a hole.
    fn hello(&self) -> ClientHello {
        let mut bytes: Vec<u8> = Vec::new();
        for (&offset, piece) in &self.0 {
            let Some(known) = bytes.len().checked_sub(offset) else { break };
            bytes.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        // As the record of TLS over TCP, of the length that the message has.
        let message = match bytes.get(1..4) {
            Some(&[_, high, low]) => usize::from(u16::from_be_bytes([high, low])) + 4,
            _ => HELLO_MAX,
        };
        let record = [&[22, 3, 1][..], &(message as u16).to_be_bytes(), &bytes].concat();
        ClientHello::read(&record)
    }
}

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// The program is the client.
    pub(super) is_client: bool,
    pub(super) hello: ClientHello,
    /// The client's own connection ID.
    client: Vec<u8>,
    /// The server asked for a new first packet to this connection ID.
    retry: Option<Vec<u8>>,
    /// Destination of the client's first packet, and the version.
    original: Vec<u8>,
    pieces: Pieces,
}

/// The connections of all sockets.
#[derive(Debug, Default)]
pub(super) struct Connections<Socket: Copy + Eq + std::hash::Hash> {
    all: Vec<(Socket, Connection)>,
    /// Numbers of the connections of a socket.
    of_socket: HashMap<Socket, Vec<usize>>,
    /// Number of connections with pieces of a ClientHello.
    waiting: usize,
}

impl<Socket: Copy + Eq + std::hash::Hash> Connections<Socket> {
    /// Returns the number of the connection to which a datagram belongs, from 0; `None` if that is
    /// unknown, or if it is no beginning of a connection.
    ///
    /// The bytes may be several datagrams, which one system call sends.
    pub(super) fn datagram(&mut self, socket: Socket, sent: bool, bytes: &[u8]) -> Option<usize> {
        let (mut number, mut rest) = (None, bytes);
        while let Some((packet, after)) = Packet::parse(rest) {
            let of_packet = self.packet(socket, sent, &packet);
            (number, rest) = (number.or(of_packet), after);
        }
        number
    }

    fn packet(&mut self, socket: Socket, sent: bool, packet: &Packet<'_>) -> Option<usize> {
        let known = self.of_socket.get(&socket).map_or(&[][..], Vec::as_slice);
        let is = |test: &dyn Fn(&Connection) -> bool| {
            known.iter().rev().copied().find(|&number| test(&self.all[number].1))
        };
        let of_server = is(&|c| c.is_client != sent && c.client == packet.destination);
        if packet.is_retry {
            let number = of_server?;
            self.all[number].1.retry = Some(packet.source.to_vec());
            return of_server;
        }
        let first = is(&|c| c.is_client == sent && c.original == packet.destination);
        if let Some(number) = first {
            self.update(number, |connection| connection.read(packet));
            return first;
        }
        let frames = Keys::of(packet.version, packet.destination)?.open(packet);
        let Some(frames) = frames else {
            // A later packet, which is sealed for the destination of the first.
            let of_client = is(&|c| c.is_client == sent && c.client == packet.source);
            if let Some(number) = of_client {
                self.update(number, |connection| connection.read(packet));
            }
            return of_client.or(of_server);
        };
        let again = is(&|c| c.is_client == sent && c.retry.as_deref() == Some(packet.destination));
        let number = again.or_else(|| self.begin(socket, sent, packet))?;
        self.all[number].1.original = packet.destination.to_vec();
        self.update(number, |connection| connection.take(&frames));
        Some(number)
    }

    /// Changes a connection. Its pieces are dropped if those of too many connections wait.
    fn update(&mut self, number: usize, change: impl FnOnce(&mut Connection)) {
        let connection = &mut self.all[number].1;
        let waited = !connection.pieces.0.is_empty();
        change(connection);
        if !waited && self.waiting >= WAITING_MAX {
            connection.pieces = Pieces::default();
        }
        let waits = !connection.pieces.0.is_empty();
        self.waiting = self.waiting + usize::from(waits) - usize::from(waited);
    }

    fn begin(&mut self, socket: Socket, is_client: bool, packet: &Packet<'_>) -> Option<usize> {
        let number = self.all.len();
        if number >= CONNECTIONS_MAX {
            return None;
        }
        let client = packet.source.to_vec();
        self.all.push((socket, Connection { is_client, client, ..Connection::default() }));
        self.of_socket.entry(socket).or_default().push(number);
        Some(number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.all.iter().map(|(_, connection)| connection)
    }
}

impl Connection {
    fn read(&mut self, packet: &Packet<'_>) {
        let is_complete = self.pieces.0.is_empty();
        if !is_complete && let Some(keys) = Keys::of(packet.version, &self.original) {
            keys.open(packet).iter().for_each(|frames| self.take(frames));
        }
    }

    /// Takes the frames of the client, until its hello is complete.
    fn take(&mut self, frames: &[u8]) {
        let _ = crypto_frames(frames, |offset, bytes| self.pieces.add(offset, bytes));
        self.hello = self.pieces.hello();
        if !self.hello.truncated {
            self.pieces = Pieces::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    fn varint(value: usize) -> Vec<u8> {
        (value as u16 | 0x4000).to_be_bytes().to_vec()
    }

    /// Seals an Initial packet of a client, as RFC 9001 section 5 has it.
    fn initial(version: usize, id: &[u8], source: &[u8], number: u8, frames: &[u8]) -> Vec<u8> {
        let version = &VERSIONS[version];
        let keys = Keys::of(version, id).unwrap();
        seal(version, &keys, id, source, number, frames)
    }

    fn seal(
        version: &Version,
        keys: &Keys,
        id: &[u8],
        source: &[u8],
        number: u8,
        frames: &[u8],
    ) -> Vec<u8> {
        let mut head = vec![0xc0 | version.initial << 4];
        head.extend_from_slice(&version.number.to_be_bytes());
        for id in [id, source] {
            head.push(id.len() as u8);
            head.extend_from_slice(id);
        }
        head.push(0);
        head.extend(varint(1 + frames.len() + 16));
        head.push(number);
        let mut nonce = keys.iv;
        nonce[11] ^= number;
        let mut payload = frames.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        keys.packet.seal_in_place_append_tag(nonce, Aad::from(&head), &mut payload).unwrap();
        let mask = keys.header.new_mask(&payload[3..19]).unwrap();
        head[0] ^= mask[0] & 0x0f;
        *head.last_mut().unwrap() ^= mask[1];
        [head, payload].concat()
    }

    fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
        [vec![6], varint(offset), varint(bytes.len()), bytes.to_vec()].concat()
    }

    /// A ClientHello with a server name.
    fn client_hello(name: &str) -> Vec<u8> {
        let len16 = |len: usize| (len as u16).to_be_bytes();
        let list = [&[0][..], &len16(name.len()), name.as_bytes()].concat();
        let list = [&len16(list.len())[..], &list].concat();
        let extension = [&[0, 0][..], &len16(list.len()), &list].concat();
        let suites = [0, 0, 2, 0x13, 1, 1, 0];
        let extensions = [&len16(extension.len())[..], &extension].concat();
        let body = [&[3, 3][..], &[7; 32], &suites, &extensions].concat();
        [&[1, 0][..], &len16(body.len()), &body].concat()
    }

    fn names(connections: &Connections<u32>) -> Vec<(bool, Option<&str>)> {
        connections.iter().map(|c| (c.is_client, c.hello.server_name.as_deref())).collect()
    }

    /// RFC 9001 appendix A.1.
    #[test]
    fn keys_are_those_of_the_specification() {
        let secret = Salt::new(HKDF_SHA256, &VERSIONS[0].salt).extract(&hex("8394c8f03e515708"));
        let client: [u8; 32] = expand(&secret, "client in").unwrap();
        let client = Prk::new_less_safe(HKDF_SHA256, &client);
        let key: [u8; 16] = expand(&client, "quic key").unwrap();
        let iv: [u8; 12] = expand(&client, "quic iv").unwrap();
        let header: [u8; 16] = expand(&client, "quic hp").unwrap();
        assert_eq!(key.to_vec(), hex("1f369613dd76d5467730efcbe3b1a22d"));
        assert_eq!(iv.to_vec(), hex("fa044b2f42a3fd3b46fb255c"));
        assert_eq!(header.to_vec(), hex("9f50449e04a0e810283a1e9933adedd2"));
    }

    #[test]
    fn the_server_name_is_read_from_the_first_packets() {
        let hello = client_hello("example.org");
        for version in 0..VERSIONS.len() {
            for sent in [true, false] {
                let mut connections = Connections::default();
                // In pieces, out of order, with other frames between them, in two packets.
                let ack = [2, 0x40, 1, 0, 0, 0];
                let frames = [crypto(40, &hello[40..]), vec![1, 0, 0], crypto(0, &hello[..9])];
                let first = initial(version, b"original", b"me", 0, &frames.concat());
                let frames = [ack.to_vec(), crypto(9, &hello[9..40]), vec![0; 40]].concat();
                let second = initial(version, b"original", b"me", 1, &frames);
                assert_eq!(connections.datagram(7, sent, &first), Some(0));
                assert_eq!(names(&connections), [(sent, None)]);
                assert_eq!(connections.datagram(7, sent, &second), Some(0));
                assert_eq!(names(&connections), [(sent, Some("example.org"))]);
                // In one call.
                let mut connections = Connections::default();
                assert_eq!(connections.datagram(7, sent, &[first, second].concat()), Some(0));
                assert_eq!(names(&connections), [(sent, Some("example.org"))]);
            }
        }
    }

    #[test]
    fn packets_are_told_apart_by_their_connections() {
        let mut connections = Connections::default();
        let frames = crypto(0, &client_hello("a"));
        let keys = Keys::of(&VERSIONS[0], b"original").unwrap();
        let of = |destination: &[u8], source: &[u8]| {
            seal(&VERSIONS[0], &keys, destination, source, 2, &frames)
        };
        assert_eq!(connections.datagram(7, true, &of(b"original", b"me")), Some(0));
        // The server's answer, and what the client sends to the server's connection ID then.
        assert_eq!(connections.datagram(7, false, &of(b"me", b"server")), Some(0));
        assert_eq!(connections.datagram(7, true, &of(b"server", b"me")), Some(0));
        // Another connection of the same socket, and one of another socket.
        let other = initial(0, b"another1", b"me2", 0, &frames);
        assert_eq!(connections.datagram(7, true, &other), Some(1));
        assert_eq!(connections.datagram(8, true, &of(b"original", b"me")), Some(2));
        // Of a connection that began before.
        assert_eq!(connections.datagram(9, true, &of(b"server", b"me")), None);
        assert_eq!(connections.iter().count(), 3);
    }

    #[test]
    fn a_connection_that_the_server_has_begin_anew_is_one() {
        let mut connections = Connections::default();
        let frames = crypto(0, &client_hello("a"));
        let first = initial(0, b"original", b"me", 0, &frames);
        assert_eq!(connections.datagram(7, true, &first), Some(0));
        let retry = [&[0xf0, 0, 0, 0, 1, 2][..], b"me", &[6], b"server", b"token", &[0; 16]];
        assert_eq!(connections.datagram(7, false, &retry.concat()), Some(0));
        let again = initial(0, b"server", b"me", 1, &frames);
        assert_eq!(connections.datagram(7, true, &again), Some(0));
        assert_eq!(connections.iter().count(), 1);
    }

    #[test]
    fn a_packet_that_is_cut_or_changed_anywhere_begins_no_connection() {
        let packet = initial(0, b"original", b"me", 0, &crypto(0, &client_hello("example.org")));
        for end in 0..packet.len() {
            assert_eq!(Connections::default().datagram(7, true, &packet[..end]), None);
        }
        for at in 0..packet.len() {
            let mut changed = packet.clone();
            changed[at] ^= 0x55;
            assert_eq!(Connections::default().datagram(7, true, &changed), None, "{at}");
        }
    }

    #[test]
    fn incomplete_hellos_have_a_bound() {
        let mut connections = Connections::default();
        let frames = crypto(0, &client_hello("a")[..20]);
        for n in 0..WAITING_MAX as u32 + 9 {
            let first = initial(0, &[&b"first"[..], &n.to_be_bytes()].concat(), b"", 0, &frames);
            assert_eq!(connections.datagram(n, false, &first), Some(n as usize));
        }
        assert_eq!(connections.waiting, WAITING_MAX);
        let with_pieces = connections.iter().filter(|c| !c.pieces.0.is_empty()).count();
        assert_eq!(with_pieces, WAITING_MAX);
    }

    #[test]
    fn frames_of_any_contents_are_no_failure() {
        let huge = [6, 0xc0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(crypto_frames(&huge, |_, _| {}).is_none());
        let acks = [2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        assert!(crypto_frames(&acks, |_, _| {}).is_none());
        let mut pieces = Pieces::default();
        pieces.add(usize::MAX, b"x");
        (0..1000).for_each(|at| pieces.add(2 * at, b"x"));
        assert_eq!(pieces.0.len(), PIECES_MAX);
        assert_eq!(pieces.hello().server_name, None);
    }
}
