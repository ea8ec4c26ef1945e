//! Whether a process's network listens on a port: for a connection whose handshake was before
//! the recording, that tells the server's side.

use std::fs;

/// The state of a listening socket in `/proc/net/tcp`: `TCP_LISTEN`.
const LISTEN: &str = "0A";

/// True if any socket in the network namespace of the process listens on this TCP port. False
/// also where that cannot be read: the answer then is "not known".
pub(crate) fn is_listening(pid: u32, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        fs::read_to_string(format!("/proc/{pid}/net/{table}"))
            .is_ok_and(|text| text.lines().skip(1).any(|line| listens(line, port)))
    })
}

/// A line is `sl local:port remote:port state ...`, in hexadecimal.
fn listens(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1).and_then(|address| address.rsplit_once(':'));
    fields.nth(1) == Some(LISTEN)
        && local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_counts() {
        let listening = "0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 0 0 1";
        assert!(listens(listening, 8080));
        assert!(!listens(listening, 8081));
        assert!(!listens(&listening.replace(" 0A ", " 01 "), 8080));
    }

    #[test]
    fn an_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
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
        panic!("port {port} is still said to be listened on");
    }
}
