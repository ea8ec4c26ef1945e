//! Writes comments: of a capture, a process, a connection, the counters.

use super::super::VERSION;
use super::pairs::{push, push_text};
use crate::record::{CaptureInfo, Connection, Coverage, Direction, Process, Stats};

/// Returns the section header's comment, which also marks the file as a file of sslrec.
pub(crate) fn capture(info: &CaptureInfo) -> String {
    let mut out = String::new();
    push(&mut out, "sslrec", VERSION);
    push(&mut out, "start_ns", info.start_ns);
    push(&mut out, "snaplen", info.snaplen);
    push_text(&mut out, "tool", &info.tool);
    push_text(&mut out, "os", &info.os);
    info.redacted.iter().for_each(|rule| push_text(&mut out, "redacted", rule));
    out
}

/// Returns an interface's comment.
pub(crate) fn process(process: &Process) -> String {
    let mut out = String::new();
    push(&mut out, "pid", process.pid);
    push_text(&mut out, "comm", &process.comm);
    push(&mut out, "uid", process.uid);
    push(&mut out, "ts_ns", process.ts_ns);
    if let Some(exe) = &process.exe {
        push_text(&mut out, "exe", exe);
    }
    out
}

/// Returns an interface's description: executable and library.
pub(crate) fn executable(process: &Process, lib: Option<&str>) -> String {
    let exe = process.exe.as_deref().unwrap_or(&process.comm);
    match lib {
        Some(lib) if lib != exe => format!("{exe}, {lib}"),
        _ => exe.to_owned(),
    }
}

/// Returns the beginning of all comments of a connection's packets in one direction.
pub(crate) fn connection(connection: &Connection, process: &Process, dir: Direction) -> String {
    let mut out = String::new();
    push(&mut out, "pid", connection.pid);
    push_text(&mut out, "comm", &process.comm);
    push(&mut out, "uid", process.uid);
    if let Some(lib) = &connection.lib {
        push_text(&mut out, "lib", file_name(lib));
    }
    push(&mut out, "conn", connection.conn);
    push(&mut out, "role", connection.role);
    push(&mut out, "addr", connection.addr);
    if connection.local.is_some() || connection.remote.is_some() {
        let text = |address: Option<std::net::SocketAddr>| {
            address.map_or_else(|| "?".to_owned(), |known| known.to_string())
        };
        let (local, remote) = (text(connection.local), text(connection.remote));
        let real = match dir {
            Direction::Sent => format!("{local}->{remote}"),
            Direction::Received => format!("{remote}->{local}"),
        };
        push_text(&mut out, "real", &real);
    }
    if let Some(sni) = &connection.sni {
        push_text(&mut out, "sni", sni);
    }
    if let Some(alpn) = &connection.alpn {
        push_text(&mut out, "alpn", alpn);
    }
    if connection.joined {
        push(&mut out, "joined", 1);
    }
    push(&mut out, "dir", dir);
    out
}

/// Appends the pairs that are written once, not with each packet.
pub(crate) fn push_details(out: &mut String, connection: &Connection) {
    push(out, "since_ns", connection.ts_ns);
    if let Some(lib) = &connection.lib {
        push_text(out, "lib_path", lib);
    }
    if let Some(version) = &connection.version {
        push_text(out, "version", version);
    }
    if let Some(cipher) = &connection.cipher {
        push_text(out, "cipher", cipher);
    }
}

/// Returns the comment of a statistics block.
pub(crate) fn stats(stats: &Stats) -> String {
    let mut out = String::new();
    push(&mut out, "last", u8::from(stats.last));
    push(&mut out, "calls", stats.calls);
    push(&mut out, "bytes", stats.bytes);
    push(&mut out, "dropped_events", stats.dropped_events);
    push(&mut out, "lost_bytes", stats.lost_bytes);
    for (name, count) in &stats.failures {
        push(&mut out, &format!("failure.{name}"), count);
    }
    out
}

/// Returns the comment of the account of a process: its totals, and the connections that were not
/// recorded.
pub(crate) fn account(coverage: &Coverage) -> String {
    let mut out = String::new();
    push(&mut out, "account", 1);
    push(&mut out, "pid", coverage.pid);
    push_text(&mut out, "comm", &coverage.comm);
    if let Some(exe) = &coverage.exe {
        push_text(&mut out, "exe", exe);
    }
    push(&mut out, "seen", coverage.seen);
    push(&mut out, "unrecorded", coverage.unrecorded);
    if let Some(reason) = &coverage.missed {
        push_text(&mut out, "reason", reason);
    }
    for connection in &coverage.connections {
        push(&mut out, "missed", connection.role);
        push(&mut out, "local", connection.local);
        push(&mut out, "remote", connection.remote);
        if connection.quic {
            push(&mut out, "quic", 1);
        }
        if let Some(sni) = &connection.sni {
            push_text(&mut out, "sni", sni);
        }
        if let Some(version) = &connection.version {
            push_text(&mut out, "version", version);
        }
        connection.alpn.iter().for_each(|name| push_text(&mut out, "offered", name));
        if let Some(bytes) = connection.bytes {
            push(&mut out, "sent_bytes", bytes.sent);
            push(&mut out, "received_bytes", bytes.received);
        }
    }
    out
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
