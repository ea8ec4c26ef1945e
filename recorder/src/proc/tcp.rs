//! TCP sockets: `/proc/PID/net/tcp` and `tcp6`, the tables of a process's network namespace.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;

use super::file::each_line;
use super::processes;

/// A socket that listens or is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    Listening { local: u16 },
    Connected { local: u16, remote: u16 },
}

/// States of the kernel's `net/tcp_states.h`, as the tables contain them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// Returns the sockets of a process; none if its descriptors or the tables cannot be read.
pub(crate) fn sockets_of(pid: u32) -> Vec<Socket> {
    let Ok(entries) = fs::read_dir(processes::path(pid, "fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inodes: HashSet<u64> = links
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect();
    let mut sockets = Vec::new();
    if !inodes.is_empty() {
        each_socket(pid, |inode, socket| {
            sockets.extend(inodes.contains(&inode).then_some(socket));
            ControlFlow::Continue(())
        });
    }
    sockets
}

/// Returns true if any socket in the network namespace of the process listens on this TCP port.
/// False also if the tables cannot be read.
pub(crate) fn is_listening(pid: u32, port: u16) -> bool {
    let mut listens = false;
    each_socket(pid, |_, socket| match socket {
        Socket::Listening { local } if local == port => {
            listens = true;
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    listens
}

/// Visits the sockets of a process's network namespace with their inodes. An unreadable table has
/// none.
fn each_socket(pid: u32, mut visit: impl FnMut(u64, Socket) -> ControlFlow<()>) {
    let mut flow = ControlFlow::Continue(());
    for table in ["net/tcp", "net/tcp6"] {
        // The process may have ended, or have no IPv6.
        let _ = each_line(processes::path(pid, table), |line| {
            let socket = std::str::from_utf8(line).ok().and_then(parse);
            flow = socket.map_or(flow, |(inode, socket)| visit(inode, socket));
            flow
        });
        if flow.is_break() {
            return;
        }
    }
}

/// Parses a line: `sl local remote state queues timer retransmits uid timeout inode ...`. Numbers
/// are hexadecimal, except for the inode.
fn parse(line: &str) -> Option<(u64, Socket)> {
    let mut fields = line.split_whitespace().skip(1);
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    let (local, remote) = (fields.next()?, fields.next()?);
    let socket = match fields.next()? {
        LISTEN => Socket::Listening { local: port(local)? },
        ESTABLISHED => Socket::Connected { local: port(local)?, remote: port(remote)? },
        _ => return None,
    };
    Some((fields.nth(5)?.parse().ok()?, socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn own_sockets_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let local = stream.local_addr().unwrap().port();
        let sockets = sockets_of(std::process::id());
        assert!(sockets.contains(&Socket::Listening { local: port }), "{sockets:?}");
        assert!(sockets.contains(&Socket::Connected { local, remote: port }), "{sockets:?}");
        assert!(sockets_of(u32::MAX).is_empty());
    }

    #[test]
    fn only_sockets_in_use_count() {
        let line = "0: 0100007F:01BB 0100007F:D431 01 00000000:00000000 00:00000000 0 0 0 4711 1";
        let connected = Socket::Connected { local: 443, remote: 0xd431 };
        assert_eq!(parse(line), Some((4711, connected)));
        let listening = line.replace(" 01 ", " 0A ");
        assert_eq!(parse(&listening), Some((4711, Socket::Listening { local: 443 })));
        assert_eq!(parse(&line.replace(" 01 ", " 06 ")), None, "waiting for its end");
        assert_eq!(parse("sl local_address"), None);
        let heading = "sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt";
        assert_eq!(parse(heading), None);
    }

    #[test]
    fn an_own_listener_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_listening(std::process::id(), port));
        drop(listener);
        // A child that another test is just starting may hold the descriptor for a moment.
        for _ in 0..200 {
            if !is_listening(std::process::id(), port) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("port {port} is still reported as listening");
    }

    #[test]
    fn a_connection_is_not_a_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let local = stream.local_addr().unwrap().port();
        assert!(!is_listening(std::process::id(), local));
    }
}
