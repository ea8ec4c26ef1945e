//! The TCP ports that a process uses: the ports that it is connected to, and those that it listens
//! on.

use std::collections::BTreeSet;

use crate::proc::tcp::{Socket, sockets_of};

/// Ports whose protocols begin with TLS: https (443, 8443), mail (465, 993, 995), ldaps, DNS over
/// TLS, syslog, AMQP, MQTT, IRC, ftps.
pub(crate) const TLS_PORTS: [u16; 13] =
    [443, 8443, 465, 636, 853, 989, 990, 993, 995, 5671, 6514, 6697, 8883];

/// Returns the ports of a process; none if they cannot be read.
pub(crate) fn ports_of(pid: u32) -> BTreeSet<u16> {
    sockets_of(pid).into_iter().map(port).collect()
}

/// Returns the ports that a process listens on.
pub(crate) fn listening_ports_of(pid: u32) -> BTreeSet<u16> {
    let listening = |socket| match socket {
        Socket::Listening { local } => Some(local),
        Socket::Connected { .. } => None,
    };
    sockets_of(pid).into_iter().filter_map(listening).collect()
}

/// Returns the server's port: a local port of TLS, or else the remote port.
fn port(socket: Socket) -> u16 {
    match socket {
        Socket::Listening { local } => local,
        Socket::Connected { local, .. } if TLS_PORTS.contains(&local) => local,
        Socket::Connected { remote, .. } => remote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn own_ports_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let ports = ports_of(std::process::id());
        assert!(ports.contains(&port), "{ports:?} {stream:?}");
        assert!(listening_ports_of(std::process::id()).contains(&port));
        assert!(ports_of(u32::MAX).is_empty());
    }

    #[test]
    fn a_local_port_of_tls_is_the_servers() {
        assert_eq!(port(Socket::Connected { local: 443, remote: 54321 }), 443);
        assert_eq!(port(Socket::Connected { local: 54321, remote: 8000 }), 8000);
        assert_eq!(port(Socket::Listening { local: 8000 }), 8000);
    }
}
