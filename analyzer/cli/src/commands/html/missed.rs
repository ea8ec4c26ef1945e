//! The connections that were seen and not recorded, as lines of the page's summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use sslrec_analyzer::pipeline::{Missed, Summary};
use sslrec_formats::record::Role;

/// Lines, and servers of a line.
const LINES_MAX: usize = 20;
const PLACES_MAX: usize = 4;

/// Returns a line for each process and reason.
pub(super) fn lines(summary: &Summary) -> Vec<String> {
    let mut groups: BTreeMap<(u32, &str, &str), Vec<&Missed>> = BTreeMap::new();
    for missed in &summary.missed_connections {
        groups.entry((missed.pid, &missed.comm, &missed.reason)).or_default().push(missed);
    }
    let more = groups.len().saturating_sub(LINES_MAX);
    let mut lines: Vec<String> =
        groups.iter().take(LINES_MAX).map(|(of, all)| line(*of, all)).collect();
    if more > 0 {
        lines.push(format!("and {more} more processes with connections that were not recorded"));
    }
    lines
}

fn line((pid, comm, reason): (u32, &str, &str), all: &[&Missed]) -> String {
    let places: BTreeSet<String> = all.iter().map(|missed| place(missed)).collect();
    let connections = if all.len() == 1 { "connection" } else { "connections" };
    let mut line = format!("{comm}[{pid}]: {} {connections} not recorded", all.len());
    for (index, place) in places.iter().take(PLACES_MAX).enumerate() {
        // Writing to a string does not fail.
        let _ = write!(line, "{} {place}", if index == 0 { "" } else { "," });
    }
    if places.len() > PLACES_MAX {
        line.push_str(", ...");
    }
    let _ = write!(line, ": {reason}");
    line
}

/// Returns the other end of a client, or the port of a server.
fn place(Missed { connection, .. }: &Missed) -> String {
    match (connection.role, &connection.sni) {
        (Role::Server, _) => format!("at port {}", connection.local.port()),
        (_, Some(name)) => format!("to {name}:{}", connection.remote.port()),
        (_, None) => format!("to {}", connection.remote),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslrec_formats::record::Unrecorded;

    fn missed(pid: u32, role: Role, sni: Option<&str>, reason: &str) -> Missed {
        let connection = Unrecorded {
            local: "10.0.0.5:8443".parse().unwrap(),
            remote: "10.0.0.6:443".parse().unwrap(),
            role,
            sni: sni.map(str::to_owned),
            alpn: Vec::new(),
            version: None,
            bytes: None,
            quic: false,
        };
        Missed { pid, comm: "uv".into(), reason: reason.into(), connection }
    }

    #[test]
    fn a_line_has_all_connections_of_a_process_with_a_reason() {
        let missed_connections = vec![
            missed(7, Role::Client, Some("a.org"), "rustls"),
            missed(7, Role::Client, Some("a.org"), "rustls"),
            missed(7, Role::Server, None, "rustls"),
            missed(8, Role::Client, None, "QUIC"),
        ];
        let summary = Summary { missed_connections, ..Summary::default() };
        assert_eq!(
            lines(&summary),
            [
                "uv[7]: 3 connections not recorded at port 8443, to a.org:443: rustls",
                "uv[8]: 1 connection not recorded to 10.0.0.6:443: QUIC",
            ]
        );
    }

    #[test]
    fn their_number_has_a_bound() {
        let of = |pid| missed(pid, Role::Client, None, "rustls");
        let summary =
            Summary { missed_connections: (0..50).map(of).collect(), ..Summary::default() };
        assert_eq!(lines(&summary).len(), LINES_MAX + 1);
    }
}
