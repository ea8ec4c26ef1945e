//! Which TCP ports a running process has to do with: those that it is connected to, and those on
//! which it was connected to.

use std::collections::{BTreeSet, HashMap};
use std::fs;

/// Ports on which TLS is spoken from the first byte on: https (443, 8443), mail (465, 993, 995),
/// ldaps, DNS over TLS, syslog, AMQP, MQTT, IRC, ftps.
pub(crate) const TLS_PORTS: [u16; 13] =
    [443, 8443, 465, 636, 853, 989, 990, 993, 995, 5671, 6514, 6697, 8883];

/// States of the kernel's `net/tcp_states.h`, as `/proc/net/tcp` writes them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// The ports of a process; none where they cannot be read.
pub(crate) fn ports_of(pid: u32) -> BTreeSet<u16> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: BTreeSet<u64> = links
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect();
    if sockets.is_empty() {
        return BTreeSet::new();
    }
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let all: HashMap<u64, Socket> = text.lines().skip(1).filter_map(socket).collect();
        let own: Vec<Socket> = sockets.iter().filter_map(|inode| all.get(inode).copied()).collect();
        ports.extend(own.iter().map(|socket| match socket {
            Socket::Listening { local } => *local,
            // The server's side is the one that is known, or the lower one.
            Socket::Connected { local, remote } if TLS_PORTS.contains(local) => *local,
            Socket::Connected { remote, .. } => *remote,
        }));
    }
    ports
}

/// What of a line of `/proc/net/tcp` matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Listening { local: u16 },
    Connected { local: u16, remote: u16 },
}

/// `sl local remote state queues timer retransmits uid timeout inode ...`, numbers in hexadecimal
/// but for the inode.
fn socket(line: &str) -> Option<(u64, Socket)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |field: usize| {
        let (_, hex) = fields.get(field)?.rsplit_once(':')?;
        u16::from_str_radix(hex, 16).ok()
    };
    let inode = fields.get(9)?.parse().ok()?;
    let socket = match *fields.get(3)? {
        LISTEN => Socket::Listening { local: port(1)? },
        ESTABLISHED => Socket::Connected { local: port(1)?, remote: port(2)? },
        _ => return None,
    };
    Some((inode, socket))
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
        assert!(ports_of(u32::MAX).is_empty());
    }

    #[test]
    fn only_sockets_in_use_count() {
        let line = "0: 0100007F:01BB 0100007F:D431 01 00000000:00000000 00:00000000 0 0 0 4711 1";
        let connected = Socket::Connected { local: 443, remote: 0xd431 };
        assert_eq!(socket(line), Some((4711, connected)));
        let listening = line.replace(" 01 ", " 0A ");
        assert_eq!(socket(&listening), Some((4711, Socket::Listening { local: 443 })));
        assert_eq!(socket(&line.replace(" 01 ", " 06 ")), None, "waiting for its end");
        assert_eq!(socket("sl local_address"), None);
    }
}
