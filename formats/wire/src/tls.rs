//! The parts of TLS that are in the clear: record headers, and the hellos of client and server.

/// Maximum length of a record's contents, with room for encryption (RFC 5246 section 6.2.3).
const MAX_RECORD: u16 = (1 << 14) + 2048;

/// Header of a record.
const HEADER: usize = 5;

/// Longest name of a host, and most protocols that are kept of a list.
const MAX_NAME: usize = 255;
const MAX_PROTOCOLS: usize = 16;

/// Returns whether the bytes begin with a record of SSL 3 to TLS 1.3 (RFC 8446 section 5.1). Of
/// handshakes the type is checked too, since more bytes than these look like a record by chance.
pub fn is_record(bytes: &[u8]) -> bool {
    const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=23;
    const HANDSHAKE: u8 = 22;
    let Some([kind, 3, 0..=4, high, low]) = bytes.first_chunk() else { return false };
    let len = u16::from_be_bytes([*high, *low]);
    let plausible = CONTENT_TYPES.contains(kind) && (1..=MAX_RECORD).contains(&len);
    plausible && (*kind != HANDSHAKE || bytes.get(HEADER).is_none_or(|kind| *kind <= 24))
}

/// Returns whether a record may be, or begin, a ClientHello.
pub fn is_client_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, _, _, _, 1, ..] | [22, 3, _, _, _])
}

/// Returns the length of the record that the bytes begin with, header included.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(3..HEADER)?;
    Some(HEADER + number(length)?)
}

/// The proposal of a client (RFC 8446 section 4.1.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server (RFC 6066 section 3). A name that is no name of a host is left out.
    pub server_name: Option<String>,
    /// Application protocols (RFC 7301), the client's favourite first.
    pub alpn: Vec<String>,
    /// The highest version, such as `0x0304`.
    pub version: Option<u16>,
    /// The record ends before the extensions do.
    pub truncated: bool,
}

impl ClientHello {
    /// Reads as much as there is of the ClientHello at the beginning of a stream.
    pub fn read(bytes: &[u8]) -> Self {
        let declared = record_len(bytes).unwrap_or(HEADER);
        let record = bytes.get(..declared).unwrap_or(bytes);
        let mut hello = Self::default();
        let whole = hello.read_record(record).is_some();
        hello.truncated = !whole && bytes.len() < declared.max(HEADER + 1);
        hello
    }

    /// `None` if the record ends early.
    fn read_record(&mut self, record: &[u8]) -> Option<()> {
        // After the headers of record and handshake.
        let body = record.get(HEADER + 4..)?;
        self.version = number(body).map(|version| version as u16);
        // Version, random, session, cipher suites, compression methods.
        let mut rest = body.get(2 + 32..)?;
        rest = rest.get(1 + usize::from(*rest.first()?)..)?;
        rest = rest.get(2 + number(rest)?..)?;
        rest = rest.get(1 + usize::from(*rest.first()?)..)?;
        extensions(rest, |kind, value| match kind {
            0 => self.server_name = host_name(value),
            16 => self.alpn = protocols(value),
            43 => self.version = highest_version(value).or(self.version),
            _ => {}
        })
    }
}

/// Returns the version in the ServerHello at the beginning of a stream.
pub fn server_version(bytes: &[u8]) -> Option<u16> {
    let [22, 3, _, _, _, 2, ..] = bytes else { return None };
    let body = bytes.get(HEADER + 4..)?;
    let mut version = number(body)? as u16;
    let rest = body.get(2 + 32..)?;
    let rest = rest.get(1 + usize::from(*rest.first()?) + 2 + 1..)?;
    // Only TLS 1.3 has the extension, and an earlier server may have none at all.
    let _ = extensions(rest, |kind, value| {
        if let (43, Some(chosen)) = (kind, number(value)) {
            version = chosen as u16;
        }
    });
    Some(version)
}

/// Returns the name of a version of the protocol.
pub fn version_name(version: u16) -> Option<&'static str> {
    Some(match version {
        0x0300 => "SSLv3",
        0x0301 => "TLSv1",
        0x0302 => "TLSv1.1",
        0x0303 => "TLSv1.2",
        0x0304 => "TLSv1.3",
        _ => return None,
    })
}

/// Passes each extension on. `None` if the bytes end before the last one does, or there are none.
fn extensions<'a>(bytes: &'a [u8], mut each: impl FnMut(usize, &'a [u8])) -> Option<()> {
    let mut left = number(bytes)?;
    let mut rest = bytes.get(2..)?;
    while left >= 4 {
        let (kind, len) = (number(rest)?, number(rest.get(2..)?)?);
        each(kind, rest.get(4..)?.get(..len)?);
        rest = rest.get(4 + len..)?;
        left = left.checked_sub(4 + len)?;
    }
    Some(())
}

/// Returns the name of a list of names. Names that are no names of hosts are left out.
fn host_name(list: &[u8]) -> Option<String> {
    let [_, _, 0, high, low, name @ ..] = list else { return None };
    let name = name.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let name = std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|b| valid(&b)))?;
    (1..=MAX_NAME).contains(&name.len()).then(|| name.to_owned())
}

/// Returns the protocols of a list whose names are printable; GREASE (RFC 8701) is not.
fn protocols(list: &[u8]) -> Vec<String> {
    let mut rest = list.get(2..).unwrap_or_default();
    let mut all = Vec::new();
    while let Some((&len, tail)) = rest.split_first()
        && let Some((name, tail)) = tail.split_at_checked(len.into())
        && all.len() < MAX_PROTOCOLS
    {
        if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) {
            all.push(String::from_utf8_lossy(name).into_owned());
        }
        rest = tail;
    }
    all
}

fn highest_version(list: &[u8]) -> Option<u16> {
    let versions = list.get(1..)?.chunks_exact(2).filter_map(number);
    versions.map(|version| version as u16).filter(|&version| version_name(version).is_some()).max()
}

fn number(bytes: &[u8]) -> Option<usize> {
    Some(u16::from_be_bytes(*bytes.first_chunk()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_len16(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_len16(value)].concat()
    }

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let handshake = [&[kind, 0][..], &with_len16(body)].concat();
        [&[22, 3, 1][..], &with_len16(&handshake)].concat()
    }

    fn client_hello(name: &str, padding: usize) -> Vec<u8> {
        let name = with_len16(&[&[0][..], &with_len16(name.as_bytes())].concat());
        let all = [
            extension(21, &vec![0; padding]),
            extension(43, &[6, 0x7a, 0x7a, 3, 4, 3, 3]),
            extension(16, &with_len16(b"\x02\x0a\x0a\x02h2\x08http/1.1")),
            extension(0, &name),
        ];
        let suites = [4, 1, 2, 3, 4, 0, 2, 0x13, 1, 1, 0];
        record(1, &[&[3, 3][..], &[7; 32], &suites, &with_len16(&all.concat())].concat())
    }

    #[test]
    fn a_client_hello_is_read() {
        for padding in [0, 500, 16_000] {
            let hello = ClientHello::read(&client_hello("www.example.org", padding));
            assert_eq!(hello.server_name.as_deref(), Some("www.example.org"));
            assert_eq!(hello.alpn, ["h2", "http/1.1"]);
            assert_eq!((hello.version, hello.truncated), (Some(0x0304), false));
        }
    }

    #[test]
    fn a_client_hello_that_is_cut_or_changed_anywhere_is_no_failure() {
        let whole = client_hello("example.org", 20);
        for end in 0..whole.len() {
            let hello = ClientHello::read(&whole[..end]);
            assert!(hello.truncated && hello.server_name.is_none(), "{end}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                ClientHello::read(&changed);
            }
        }
        for name in ["", "a b", "\u{1b}[31m", "x\0y", &"a".repeat(256)] {
            assert_eq!(ClientHello::read(&client_hello(name, 0)).server_name, None, "{name:?}");
        }
    }

    #[test]
    fn the_server_chooses_the_version() {
        let hello = |extensions: &[u8]| {
            record(2, &[&[3, 3][..], &[7; 32], &[0, 0x13, 1, 0], extensions].concat())
        };
        let chosen = with_len16(&extension(43, &[3, 4]));
        assert_eq!(server_version(&hello(&chosen)), Some(0x0304));
        assert_eq!(server_version(&hello(&[])), Some(0x0303));
        let whole = hello(&chosen);
        (0..whole.len()).for_each(|end| assert_ne!(server_version(&whole[..end]), Some(0x0304)));
        assert_eq!(server_version(&client_hello("a", 0)), None);
    }

    #[test]
    fn bytes_that_look_like_a_record_by_chance_are_none() {
        let records: [&[u8]; 7] = [
            &[22, 3, 1, 0, 0, 1],
            &[22, 3, 1, 0xff, 0xff, 1],
            &[24, 3, 1, 0, 9, 1],
            &[22, 2, 1, 0, 9, 1],
            &[22, 3, 5, 0, 9, 1],
            &[22, 3, 1, 0, 9, 99],
            &[22, 3, 1],
        ];
        assert!(records.iter().all(|record| !is_record(record)));
    }
}
