//! What lies between the ends of a connection: proxies and tunnels, as they are described in the
//! connection itself.

use std::net::SocketAddr;

/// The proxies and tunnels of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The connection to the proxy that passes this connection on, from its PROXY header.
    pub proxied: Option<Proxied>,
    /// The tunnels around the bytes, from the outside to the inside.
    pub tunnels: Vec<Tunnel>,
}

/// A PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// Version of the header, 1 or 2.
    pub version: u8,
    /// The address of the client; `None` if the header has none.
    pub client: Option<SocketAddr>,
    /// The address that the client connected to.
    pub server: Option<SocketAddr>,
}

/// A tunnel through a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The protocol that opened it: `connect`, `socks4` or `socks5`.
    pub protocol: &'static str,
    /// The other end of the tunnel, as the client named it, such as `example.com:443`.
    pub target: Vec<u8>,
}
