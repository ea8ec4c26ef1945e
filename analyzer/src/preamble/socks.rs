//! Handshakes of SOCKS 4 and 4a, and of SOCKS 5 (RFC 1928) with user names (RFC 1929). A tunnel
//! counts once the proxy has granted it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Found, Incomplete, Reader, Verdict};
use crate::exchange::route::Tunnel;

/// The command that opens a tunnel, in both versions.
const CONNECT: u8 = 1;

/// Why the bytes are no handshake that opened a tunnel, or not yet.
enum Stop {
    Incomplete,
    Other,
}

impl From<Incomplete> for Stop {
    fn from(_: Incomplete) -> Self {
        Stop::Incomplete
    }
}

type Read<T> = Result<T, Stop>;

fn expect(is_so: bool) -> Read<()> {
    if is_so { Ok(()) } else { Err(Stop::Other) }
}

fn verdict(
    protocol: &'static str,
    read: Read<Vec<u8>>,
    client: &Reader<'_>,
    server: &Reader<'_>,
) -> Verdict {
    match read {
        Ok(target) => Verdict::Preamble {
            found: Found::Tunnel(Tunnel { protocol, target }),
            client: client.at,
            server: server.at,
        },
        Err(Stop::Incomplete) => Verdict::Unsure,
        Err(Stop::Other) => Verdict::Nothing,
    }
}

pub(super) fn judge_4(client: &[u8], server: &[u8]) -> Verdict {
    let (mut client, mut server) = (Reader::new(client), Reader::new(server));
    let read = read_4(&mut client, &mut server);
    verdict("socks4", read, &client, &server)
}

pub(super) fn judge_5(client: &[u8], server: &[u8]) -> Verdict {
    let (mut client, mut server) = (Reader::new(client), Reader::new(server));
    let read = read_5(&mut client, &mut server);
    verdict("socks5", read, &client, &server)
}

/// The longest user name or host of SOCKS 4, whose texts have no length.
const MAX_TEXT: usize = 512;

fn read_4(client: &mut Reader<'_>, server: &mut Reader<'_>) -> Read<Vec<u8>> {
    client.octet()?;
    expect(client.octet()? == CONNECT)?;
    let port = client.number()?;
    let address = client.array::<4>()?;
    text_4(client)?;
    // SOCKS 4a: an address 0.0.0.x stands for a name after the user.
    let target = match address {
        [0, 0, 0, 1..=255] => [text_4(client)?, format!(":{port}").as_bytes()].concat(),
        address => format!("{}:{port}", Ipv4Addr::from(address)).into_bytes(),
    };
    let [version, reply] = server.array()?;
    expect(version == 0 && reply == 90)?;
    server.take(6)?;
    Ok(target)
}

fn text_4<'b>(client: &mut Reader<'b>) -> Read<&'b [u8]> {
    let rest = client.bytes.len() - client.at;
    match client.until(0) {
        Ok(text) if text.len() <= MAX_TEXT => Ok(text),
        Err(Incomplete) if rest <= MAX_TEXT => Err(Stop::Incomplete),
        _ => Err(Stop::Other),
    }
}

fn read_5(client: &mut Reader<'_>, server: &mut Reader<'_>) -> Read<Vec<u8>> {
    /// The methods of authentication: none, and a user name with a password.
    const NONE: u8 = 0;
    const USER: u8 = 2;
    client.octet()?;
    let methods = client.octet()?;
    expect(methods > 0)?;
    let methods = client.take(usize::from(methods))?;
    let [version, method] = server.array()?;
    expect(version == 5 && methods.contains(&method) && matches!(method, NONE | USER))?;
    if method == USER {
        expect(client.octet()? == 1)?;
        for _ in ["user", "password"] {
            let len = client.octet()?;
            client.take(usize::from(len))?;
        }
        let [version, status] = server.array()?;
        expect(version == 1 && status == 0)?;
    }
    let [version, command, _] = client.array()?;
    expect(version == 5 && command == CONNECT)?;
    let host = address(client)?;
    let port = client.number()?;
    let [version, reply, _] = server.array()?;
    expect(version == 5 && reply == 0)?;
    address(server)?;
    server.number()?;
    Ok([&host[..], format!(":{port}").as_bytes()].concat())
}

fn address(reader: &mut Reader<'_>) -> Read<Vec<u8>> {
    match reader.octet()? {
        1 => Ok(Ipv4Addr::from(reader.array::<4>()?).to_string().into_bytes()),
        3 => {
            let len = reader.octet()?;
            Ok(reader.take(usize::from(len))?.to_vec())
        }
        4 => Ok(format!("[{}]", Ipv6Addr::from(reader.array::<16>()?)).into_bytes()),
        _ => Err(Stop::Other),
    }
}
