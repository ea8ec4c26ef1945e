//! Recognises TLS in the segments of a packet capture, so that an encrypted capture is named.
//!
//! The server name is in the ClientHello, which may take several segments.
//!
//! Memory: [`MAX_CONNECTIONS`], [`MAX_NAMES`], [`MAX_HELLOS`] of [`MAX_HELLO`] bytes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use foldhash::{HashMap, HashSet};
use sslrec_wire::tls::{ClientHello, is_client_hello, is_record};

use crate::exchange::Note;
use crate::http1::first::{Verdict, judge};
use crate::sink::Segment;

/// Maximum number of connections that are counted.
const MAX_CONNECTIONS: usize = 1 << 16;

/// Maximum number of server names that are collected, and that a note has.
const MAX_NAMES: usize = 1024;
const MAX_NAMES_SHOWN: usize = 8;

/// Maximum number of incomplete ClientHellos, and their maximum length: a record.
const MAX_HELLOS: usize = 64;
const MAX_HELLO: usize = 5 + (1 << 14);

/// Number of connections that are kept to compare them with those of TLS.
const MAX_OTHERS: usize = 1024;

/// Both ends of a connection, in order.
type Ends = (SocketAddr, SocketAddr);

/// TLS in a capture.
#[derive(Debug, Default)]
pub(super) struct Encrypted {
    connections: HashSet<Ends>,
    names: BTreeSet<String>,
    /// Beginnings of ClientHellos, by sender and receiver.
    hellos: HashMap<Ends, Hello>,
    /// Connections with payload that did not look like TLS so far.
    others: HashSet<Ends>,
    /// The capture has plaintext.
    plaintext: bool,
}

/// The beginning of a ClientHello.
#[derive(Debug)]
struct Hello {
    bytes: Vec<u8>,
    /// Sequence number of the next byte.
    seq: u32,
}

impl Encrypted {
    /// Processes a segment.
    pub(super) fn segment(&mut self, segment: &Segment<'_>) {
        let payload = segment.payload;
        if payload.is_empty() {
            return;
        }
        if !self.hellos.is_empty() && self.more_of_hello(segment) {
            return;
        }
        if !is_record(payload) {
            self.other(segment);
            return;
        }
        if self.connections.len() < MAX_CONNECTIONS {
            self.connections.insert(ends(segment));
        }
        if is_client_hello(payload) && self.names.len() < MAX_NAMES {
            self.hello(segment, payload.to_vec());
        }
    }

    /// Processes the next bytes of a ClientHello. Returns whether the segment has some.
    fn more_of_hello(&mut self, segment: &Segment<'_>) -> bool {
        let key = (segment.src, segment.dst);
        if self.hellos.get(&key).is_none_or(|hello| hello.seq != segment.seq) {
            return false;
        }
        let Some(mut hello) = self.hellos.remove(&key) else { return false };
        hello.bytes.extend_from_slice(segment.payload);
        self.hello(segment, hello.bytes);
        true
    }

    fn hello(&mut self, segment: &Segment<'_>, bytes: Vec<u8>) {
        match server_name(&bytes) {
            Name::Found(name) => {
                self.names.insert(name);
            }
            Name::Absent => {}
            Name::Incomplete if bytes.len() < MAX_HELLO && self.hellos.len() < MAX_HELLOS => {
                let seq = segment.seq.wrapping_add(segment.payload.len() as u32);
                self.hellos.insert((segment.src, segment.dst), Hello { bytes, seq });
            }
            Name::Incomplete => {}
        }
    }

    /// Processes a segment that does not begin with a record: it may continue one.
    fn other(&mut self, segment: &Segment<'_>) {
        if self.plaintext || self.connections.contains(&ends(segment)) {
            return;
        }
        self.plaintext = matches!(judge(segment.payload), Verdict::Http1(_) | Verdict::Http2)
            || self.others.len() == MAX_OTHERS;
        self.others.insert(ends(segment));
    }

    /// Returns a note on the TLS of the capture. `keys`: the file has the keys of connections.
    pub(super) fn note(&self, keys: bool) -> Option<Note> {
        let connections = Some(self.connections.len() as u64).filter(|count| *count > 0)?;
        let plaintext = self.plaintext || !self.others.is_subset(&self.connections);
        let names = self.names();
        Some(match (plaintext, keys) {
            (false, false) => Note::Encrypted(connections, names),
            (false, true) => Note::EncryptedWithKeys(connections, names),
            (true, false) => Note::PartlyEncrypted(connections, names),
            (true, true) => Note::PartlyEncryptedWithKeys(connections, names),
        })
    }

    /// Returns the first server names, for a note.
    fn names(&self) -> Vec<String> {
        let mut shown: Vec<_> = self.names.iter().take(MAX_NAMES_SHOWN).cloned().collect();
        let further = self.names.len() - shown.len();
        shown.extend((further > 0).then(|| format!("{further} more")));
        shown
    }
}

fn ends(segment: &Segment<'_>) -> Ends {
    (segment.src.min(segment.dst), segment.src.max(segment.dst))
}

/// The result of a search for a server name.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Found(String),
    Absent,
    Incomplete,
}

/// Finds the server name in a ClientHello.
fn server_name(bytes: &[u8]) -> Name {
    let hello = ClientHello::read(bytes);
    match hello.server_name {
        Some(name) => Name::Found(name),
        None if hello.truncated => Name::Incomplete,
        None => Name::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with the name behind an extension of so many bytes.
    fn hello(name: &str, padding: usize) -> Vec<u8> {
        let len16 = |len: usize| (len as u16).to_be_bytes();
        let list = [&[0][..], &len16(name.len()), name.as_bytes()].concat();
        let list = [&len16(list.len())[..], &list].concat();
        let mut extensions = [&len16(0x15)[..], &len16(padding), &vec![0; padding]].concat();
        extensions.extend([&len16(0)[..], &len16(list.len()), &list].concat());
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([&[4, 1, 2, 3, 4, 0, 2, 0x13, 1, 1, 0][..], &len16(extensions.len())].concat());
        body.extend(extensions);
        let handshake = [&[1, 0][..], &len16(body.len()), &body].concat();
        [&[22, 3, 1][..], &len16(handshake.len()), &handshake].concat()
    }

    fn segment(port: u16, from_client: bool, seq: u32, payload: &[u8]) -> Segment<'_> {
        let client = SocketAddr::from(([10, 0, 0, 1], port));
        let server = SocketAddr::from(([10, 0, 0, 2], 443));
        let (src, dst) = if from_client { (client, server) } else { (server, client) };
        let (ts_ns, ack, syn, fin, rst, missing) = (0, None, false, false, false, 0);
        Segment { ts_ns, src, dst, seq, ack, syn, fin, rst, payload, missing }
    }

    fn text(encrypted: &Encrypted) -> String {
        encrypted.note(false).map_or(String::new(), |note| note.to_string())
    }

    #[test]
    fn a_name_is_found_in_a_hello_of_any_length_in_any_parts() {
        for padding in [0, 500, 3000, 16_000] {
            let hello = hello("www.example.org", padding);
            assert_eq!(server_name(&hello), Name::Found("www.example.org".into()));
            for size in [6, 100, 1460, 20_000] {
                let mut encrypted = Encrypted::default();
                let mut seq = u32::MAX - 50;
                for part in hello.chunks(size) {
                    encrypted.segment(&segment(4000, true, seq, part));
                    seq = seq.wrapping_add(part.len() as u32);
                }
                let found = text(&encrypted);
                assert!(found.contains("1 connection (server name www.example.org)"), "{found}");
                assert!(found.contains("no plaintext"), "{found}");
            }
        }
    }

    #[test]
    fn a_hello_that_is_cut_or_changed_anywhere_is_no_failure() {
        let whole = hello("example.org", 20);
        for end in 0..whole.len() {
            assert_eq!(server_name(&whole[..end]), Name::Incomplete);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                server_name(&changed);
            }
        }
        for name in ["", "a b", "\u{1b}[31m", "x\0y", &"a".repeat(256)] {
            assert_eq!(server_name(&hello(name, 0)), Name::Absent, "{name:?}");
        }
    }

    #[test]
    fn connections_and_names_are_counted_once() {
        let mut encrypted = Encrypted::default();
        for port in 1..=12 {
            for _ in 0..2 {
                let hello = hello(&format!("{port:02}.example"), 0);
                encrypted.segment(&segment(port, true, 1, &hello));
                encrypted.segment(&segment(port, false, 1, &[22, 3, 3, 0, 50, 2, 0, 0, 46]));
                // Later segments do not begin with a record.
                encrypted.segment(&segment(port, false, 9, b"\x8f\x01 of a record"));
            }
        }
        let found = text(&encrypted);
        assert!(found.contains("12 connections (server names 01.example, 02.example"), "{found}");
        assert!(found.contains("08.example, 4 more)"), "{found}");
    }

    #[test]
    fn plaintext_beside_tls_is_no_encrypted_capture() {
        for (plain, is_plain) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
            (b"SSH-2.0-OpenSSH", true),
            (&[23, 3, 3, 0, 99, 1, 2, 3], false),
        ] {
            let mut encrypted = Encrypted::default();
            encrypted.segment(&segment(5000, true, 1, plain));
            assert_eq!(encrypted.note(false).is_none(), is_plain);
            encrypted.segment(&segment(4000, true, 1, &hello("example.org", 0)));
            assert_eq!(!text(&encrypted).contains("no plaintext"), is_plain, "{plain:?}");
            let keys = encrypted.note(true).unwrap().to_string();
            assert!(keys.contains("Wireshark can decrypt"), "{keys}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut encrypted = Encrypted::default();
        let part = &hello("example.org", 1000)[..500];
        for high in 0..40u8 {
            for port in 0..5000 {
                let mut one = segment(port, true, 1, part);
                one.src.set_ip([10, 1, 0, high].into());
                encrypted.segment(&one);
                one.payload = b"other";
                one.src.set_ip([10, 2, 0, high].into());
                encrypted.segment(&one);
            }
        }
        assert_eq!(encrypted.connections.len(), MAX_CONNECTIONS);
        assert_eq!(encrypted.hellos.len(), MAX_HELLOS);
        assert!(encrypted.others.len() <= MAX_OTHERS + 1);
    }
}
