//! Bytes that precede the protocol of a connection: PROXY headers, and the handshakes of SOCKS.

mod proxy;
mod socks;

use crate::exchange::route::{Proxied, Tunnel};

/// The first bytes of a connection, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More bytes are needed.
    Unsure,
    /// The protocol begins with the first byte.
    Nothing,
    /// A preamble, and its number of bytes from each side.
    Preamble { found: Found, client: usize, server: usize },
}

/// What a preamble describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Proxied(Proxied),
    Tunnel(Tunnel),
}

/// Judges the first bytes of the client and of the server.
pub(crate) fn judge(client: &[u8], server: &[u8]) -> Verdict {
    match client.first() {
        None => Verdict::Nothing,
        Some(b'P' | b'\r') => match server.is_empty() {
            true => proxy::judge(client),
            // A server that waits for a PROXY header does not respond before it.
            false => Verdict::Nothing,
        },
        Some(4) => socks::judge_4(client, server),
        Some(5) => socks::judge_5(client, server),
        Some(_) => Verdict::Nothing,
    }
}

/// Reads from the beginning of bytes that may be incomplete.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// More bytes are needed.
#[derive(Debug)]
struct Incomplete;

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&'b [u8], Incomplete> {
        let taken = self.bytes.get(self.at..self.at + len).ok_or(Incomplete)?;
        self.at += len;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Incomplete> {
        let bytes = self.take(LEN)?;
        bytes.try_into().map_err(|_| Incomplete)
    }

    fn octet(&mut self) -> Result<u8, Incomplete> {
        self.array().map(|[octet]| octet)
    }

    fn number(&mut self) -> Result<u16, Incomplete> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes bytes up to a byte, which is taken too.
    fn until(&mut self, end: u8) -> Result<&'b [u8], Incomplete> {
        let len = memchr::memchr(end, &self.bytes[self.at..]).ok_or(Incomplete)?;
        let taken = self.take(len)?;
        self.at += 1;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
