//! The PROXY protocol, versions 1 and 2 (HAProxy, `doc/proxy-protocol.txt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Found, Incomplete, Reader, Verdict};
use crate::exchange::route::Proxied;

/// The beginning of a header of version 1.
const WORD: &[u8] = b"PROXY ";

/// The longest header of version 1, line break included (section 2.1).
const MAX_LINE: usize = 107;

/// The beginning of a header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 2 that is awaited; certificates in its extensions are some KiB.
const MAX_HEADER: usize = 8 << 10;

pub(super) fn judge(client: &[u8]) -> Verdict {
    let begins = |start: &[u8]| client.iter().zip(start).all(|(octet, known)| octet == known);
    let found = match () {
        () if begins(WORD) => version_1(client),
        () if begins(SIGNATURE) => version_2(client),
        () => Ok(None),
    };
    match found {
        Ok(Some((proxied, len))) => {
            Verdict::Preamble { found: Found::Proxied(proxied), client: len, server: 0 }
        }
        Ok(None) => Verdict::Nothing,
        Err(Incomplete) => Verdict::Unsure,
    }
}

fn version_1(client: &[u8]) -> Result<Option<(Proxied, usize)>, Incomplete> {
    let begins = &client[..client.len().min(MAX_LINE)];
    let mut reader = Reader::new(begins);
    let Ok(line) = reader.until(b'\n') else {
        return if client.len() < MAX_LINE { Err(Incomplete) } else { Ok(None) };
    };
    Ok(line_1(line).map(|proxied| (proxied, reader.at)))
}

fn line_1(line: &[u8]) -> Option<Proxied> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\r')?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Proxied { version: 1, client: None, server: None });
    }
    let mut address = || words.next()?.parse::<IpAddr>().ok();
    let (client, server) = (address()?, address()?);
    let mut port = || words.next()?.parse::<u16>().ok();
    let (client_port, server_port) = (port()?, port()?);
    let is_family = match family {
        "TCP4" => client.is_ipv4() && server.is_ipv4(),
        "TCP6" => client.is_ipv6() && server.is_ipv6(),
        _ => false,
    };
    (is_family && words.next().is_none()).then_some(Proxied {
        version: 1,
        client: Some(SocketAddr::new(client, client_port)),
        server: Some(SocketAddr::new(server, server_port)),
    })
}

fn version_2(client: &[u8]) -> Result<Option<(Proxied, usize)>, Incomplete> {
    let mut reader = Reader::new(client);
    reader.take(SIGNATURE.len())?;
    let (command, family) = (reader.octet()?, reader.octet()?);
    let len = usize::from(reader.number()?);
    if command >> 4 != 2 || command & 15 > 1 || reader.at + len > MAX_HEADER {
        return Ok(None);
    }
    let mut addresses = Reader::new(reader.take(len)?);
    // With the command LOCAL the addresses do not count.
    let (client, server) = match (command & 15, family >> 4) {
        (1, 1) => {
            pair(&mut addresses, |reader| Ok(IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?))))
        }
        (1, 2) => {
            pair(&mut addresses, |reader| Ok(IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?))))
        }
        _ => (None, None),
    };
    Ok(Some((Proxied { version: 2, client, server }, reader.at)))
}

/// Reads two addresses and two ports. A header that is too short for them has none.
fn pair(
    reader: &mut Reader<'_>,
    mut address: impl FnMut(&mut Reader<'_>) -> Result<IpAddr, Incomplete>,
) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let mut all = || {
        let (client, server) = (address(reader)?, address(reader)?);
        let (client_port, server_port) = (reader.number()?, reader.number()?);
        Ok::<_, Incomplete>((
            SocketAddr::new(client, client_port),
            SocketAddr::new(server, server_port),
        ))
    };
    all().map_or((None, None), |(client, server)| (Some(client), Some(server)))
}
