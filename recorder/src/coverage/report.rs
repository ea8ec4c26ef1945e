//! The report at the end: a record for each process that used TLS, and lines for the user.

use std::collections::{BTreeMap, BTreeSet};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use sslrec_formats::record::{self, CoveredLib, Record, Role, Unrecorded};

use super::account::Account;
use super::ports::{TLS_PORTS, ports_of};
use super::reason::Case;
use super::recognise::Recogniser;
use super::usage::Usage;
use super::{Coverage, Inner, Notes, REST, is_still};
use crate::functions::Family;
use crate::kernel::event::view;
use crate::kernel::skel::types;

/// Places of connections in a line.
const PLACES_MAX: usize = 4;

/// The reason why QUIC is not recorded, as in the listing of `sslanalyze`.
const QUIC_REASON: &str = "QUIC is not recorded";

/// Lines on unrecorded processes, unless all are requested.
const LINES_MAX: usize = 5;

/// The sources of the report.
pub(crate) struct Report {
    pub(crate) coverage: Coverage,
    pub(crate) usage: Usage,
    pub(crate) account: Account,
    /// The kernel side's table of sockets.
    pub(crate) seen_sockets: MapHandle,
    /// The kernel side's table of recorded processes that use TCP.
    pub(crate) tcp_users: MapHandle,
    /// Only named processes are recorded, so that each is of interest; else only processes on ports
    /// where TLS is certain.
    pub(crate) named: bool,
    /// TLS is seen at the sockets of recorded processes.
    pub(crate) sees_sockets: bool,
    /// The user named the files to probe.
    pub(crate) files_are_named: bool,
    /// The families whose functions are probed.
    pub(crate) families: Vec<Family>,
}

impl Report {
    /// Takes notes of a record.
    pub(crate) fn observe(&mut self, record: &Record<'_>) {
        self.usage.observe(record);
        self.account.observe(record);
    }

    /// Returns a record for each process with anything to report.
    pub(crate) fn records(&mut self, ts_ns: u64) -> Vec<record::Coverage> {
        self.account.look_at(&self.seen_sockets);
        let accounts = self.account.close();
        let inner = self.coverage.lock();
        let mut ports = self.noted_ports();
        for (&pid, notes) in &inner.processes {
            // Connections from before the recording. The number may belong to another process by
            // now.
            if is_still(pid, notes) {
                ports.entry(pid).or_default().extend(ports_of(pid));
            }
        }
        let mut recogniser = Recogniser::default();
        let pids: BTreeSet<u32> = inner
            .processes
            .keys()
            .copied()
            .chain(self.usage.pids())
            .chain(accounts.keys().copied())
            .filter(|&pid| pid != REST)
            .collect();
        let none = Notes::default();
        let records = pids.into_iter().map(|pid| {
            let notes = inner.processes.get(&pid).unwrap_or(&none);
            let libs = self.libs(&inner, pid, notes);
            let is_recorded = libs.iter().any(|lib| lib.bytes > 0);
            let account = accounts.get(&pid).cloned().unwrap_or_default();
            let case = Case {
                pid,
                notes,
                inner: &inner,
                called: self.usage.of(pid).map(|(lib, _)| lib).collect(),
                files_are_named: self.files_are_named,
                families: &self.families,
            };
            let missed = match ports.get(&pid) {
                _ if account.unrecorded > account.quic => Some(case.reason(&mut recogniser)),
                _ if account.unrecorded > 0 => Some(QUIC_REASON.into()),
                Some(ports) if !is_recorded => self.missed(&case, ports, &mut recogniser),
                _ => None,
            };
            let exe = notes.exe.as_ref().map(|exe| exe.display().to_string());
            // That of the time at which it used TLS; a name may have been changed since the exec.
            let known = !account.comm.is_empty();
            let noted = (if known { account.comm } else { notes.comm.clone() }, exe);
            let (comm, exe) = self.usage.names(pid).cloned().unwrap_or(noted);
            let (seen, unrecorded) = (account.seen, account.unrecorded);
            let connections = account.connections;
            record::Coverage { ts_ns, pid, comm, exe, libs, missed, seen, unrecorded, connections }
        });
        let rest = self.usage.rest().max(inner.rest.len);
        let rest = (rest > 0).then(|| record::Coverage {
            ts_ns,
            pid: REST,
            comm: format!("{rest} more processes"),
            exe: None,
            libs: self.libs(&inner, REST, &none),
            missed: Some("too many to report on each".into()),
            ..record::Coverage::default()
        });
        let records = records.chain(rest);
        records.filter(|record| !record.libs.is_empty() || record.missed.is_some()).collect()
    }

    /// Returns the libraries of a process: those that it had mapped, and those that it called.
    fn libs(&self, inner: &Inner, pid: u32, notes: &Notes) -> Vec<CoveredLib> {
        let used: BTreeMap<_, _> = self.usage.of(pid).collect();
        let libs = inner.libs.iter().zip(0_u16..).filter_map(|(lib, number)| {
            let path = lib.path.display().to_string();
            let used = used.get(path.as_str()).copied();
            if used.is_none() && !notes.libs.contains(&number) {
                return None;
            }
            let used = used.cloned().unwrap_or_default();
            Some(CoveredLib {
                path,
                found: lib.found.to_string(),
                functions: u32::try_from(lib.functions).unwrap_or(u32::MAX),
                called: used.called,
                bytes: used.bytes,
            })
        });
        libs.collect()
    }

    /// Returns why nothing was recorded of a process that uses TCP at these ports, if it probably
    /// used TLS. Where sockets are seen, TLS is known without its port.
    fn missed(
        &self,
        case: &Case<'_>,
        ports: &BTreeSet<u16>,
        of: &mut Recogniser,
    ) -> Option<String> {
        if self.sees_sockets {
            return None;
        }
        // A server that passes its connections on to other processes has none itself.
        let is_alone = |port: &&u16| !self.usage.serves(**port);
        let port = ports.iter().filter(is_alone).find(|port| TLS_PORTS.contains(port));
        let probably = port.is_some() || (self.named && case.has_unknown_tls(of));
        if !probably || ports.iter().filter(is_alone).count() == 0 {
            return None;
        }
        let reason = case.reason(of);
        Some(port.map_or(reason.clone(), |port| format!("port {port}: {reason}")))
    }

    fn noted_ports(&self) -> BTreeMap<u32, BTreeSet<u16>> {
        let users = self.tcp_users.keys().filter_map(|key| {
            let user = self.tcp_users.lookup(&key, MapFlags::ANY).ok()??;
            let user = view::<types::tcp_user>(&user)?;
            let pid = u32::from_ne_bytes(key.try_into().ok()?);
            Some((pid, user.ports.into_iter().filter(|&port| port != 0).collect()))
        });
        users.collect()
    }
}

/// Returns the report for the user: the unrecorded processes, and with `all` also the recorded
/// ones.
pub(crate) fn lines(records: &[record::Coverage], all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if all {
        lines.extend(records.iter().flat_map(covered));
    }
    // The same for all processes of a program.
    let mut missed: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    let unrecorded = records.iter().filter(|record| record.unrecorded > 0);
    let unrecorded: Vec<_> = unrecorded.flat_map(unrecorded_of).collect();
    let shown = if all { unrecorded.len() } else { LINES_MAX };
    if unrecorded.len() > shown {
        let more = unrecorded.len() - shown;
        lines.extend_from_slice(&unrecorded[..shown]);
        lines.push(format!("and TLS of {more} more processes; use -v to list them"));
    } else {
        lines.extend(unrecorded);
    }
    for record in records {
        if let Some(reason) = &record.missed
            && record.pid != REST
            && record.unrecorded == 0
        {
            missed.entry((&record.comm, reason)).or_default().push(record.pid);
        }
    }
    let shown = if all { missed.len() } else { LINES_MAX };
    for ((comm, reason), pids) in missed.iter().take(shown) {
        let more = match pids.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        lines.push(format!("nothing recorded of {comm}[{}]{more}, {reason}", pids[0]));
    }
    if missed.len() > shown {
        lines.push(format!("and {} other processes; use -v to list them", missed.len() - shown));
    }
    if all && let Some(rest) = records.iter().find(|record| record.pid == REST) {
        lines.push(format!("{}: {}", rest.comm, rest.missed.as_deref().unwrap_or_default()));
    }
    lines
}

/// Returns the lines on the connections of a process that were not recorded: TLS, and QUIC.
fn unrecorded_of(record: &record::Coverage) -> Vec<String> {
    let (comm, pid) = (&record.comm, record.pid);
    let (quic, tls): (Vec<_>, Vec<_>) = record.connections.iter().partition(|of| of.quic);
    let count = record.unrecorded - quic.len() as u64;
    let mut lines = Vec::new();
    if count > 0 {
        let reason = record.missed.as_deref().unwrap_or_default();
        let (connections, to) = (connections(count), places(&tls, count));
        lines.push(format!("{comm}[{pid}]: {count} TLS {connections} {to} not recorded: {reason}"));
    }
    if !quic.is_empty() {
        let count = quic.len() as u64;
        let (connections, to) = (connections(count), places(&quic, count));
        lines
            .push(format!("{comm}[{pid}]: spoke QUIC {to} on {count} {connections}; not recorded"));
    }
    lines
}

fn connections(count: u64) -> &'static str {
    if count == 1 { "connection" } else { "connections" }
}

/// Returns the places of these connections, which are the first of `count`.
fn places(listed: &[&Unrecorded], count: u64) -> String {
    let places: BTreeSet<String> = listed.iter().map(|of| place(of)).collect();
    let mut named: Vec<String> = places.iter().take(PLACES_MAX).cloned().collect();
    if places.len() > named.len() || count > listed.len() as u64 {
        named.push("others".into());
    }
    named.join(", ")
}

/// Returns the other end of a connection of a client, or the port of a server.
fn place(connection: &Unrecorded) -> String {
    match (connection.role, &connection.sni) {
        (Role::Server, _) => format!("at port {}", connection.local.port()),
        (_, Some(name)) => format!("to {name}:{}", connection.remote.port()),
        (_, None) => format!("to {}", connection.remote),
    }
}

/// Returns a line for each probed library of a process.
fn covered(record: &record::Coverage) -> Vec<String> {
    let line = |lib: &CoveredLib| {
        let called = match lib.called.as_slice() {
            [] => "no function was called".to_owned(),
            called => format!("{} called, {} bytes", called.join(" and "), lib.bytes),
        };
        format!(
            "{}[{}]: {} ({}), {} functions probed, {called}",
            record.comm, record.pid, lib.path, lib.found, lib.functions
        )
    };
    record.libs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(pid: u32, comm: &str, reason: &str) -> record::Coverage {
        let missed = Some(reason.to_owned());
        record::Coverage { pid, comm: comm.into(), missed, ..record::Coverage::default() }
    }

    #[test]
    fn processes_alike_share_a_line() {
        let records = [missed(1, "java", "port 443: x"), missed(2, "java", "port 443: x")];
        assert_eq!(lines(&records, false), ["nothing recorded of java[1] and 1 more, port 443: x"]);
    }

    fn unrecorded(role: Role, local: &str, remote: &str, sni: Option<&str>) -> Unrecorded {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let (sni, alpn, version) = (sni.map(str::to_owned), Vec::new(), None);
        Unrecorded { local, remote, role, sni, alpn, version, bytes: None, quic: false }
    }

    #[test]
    fn unrecorded_connections_are_named_by_their_other_end() {
        let (near, far) = ("10.0.0.5:4000", "10.0.0.6:443");
        let mut record = missed(7, "uv", "rustls");
        record.connections = vec![unrecorded(Role::Client, near, far, Some("pypi.org"))];
        (record.seen, record.unrecorded) = (3, 1);
        let expected = "uv[7]: 1 TLS connection to pypi.org:443 not recorded: rustls";
        assert_eq!(lines(&[record.clone()], false), [expected]);
        record.connections = (1..=5)
            .map(|n| unrecorded(Role::Client, near, &format!("10.0.0.{n}:443"), None))
            .chain([unrecorded(Role::Server, "10.0.0.5:8443", far, None)])
            .collect();
        record.unrecorded = 9;
        let line = &lines(&[record], false)[0];
        let expected = "uv[7]: 9 TLS connections at port 8443, to 10.0.0.1:443, to 10.0.0.2:443, \
                        to 10.0.0.3:443, others not recorded: rustls";
        assert_eq!(line, expected);
    }

    #[test]
    fn quic_has_a_line_of_its_own() {
        let (near, far) = ("10.0.0.5:4000", "10.0.0.6:8445");
        let mut record = missed(7, "chromium", "QUIC is not recorded");
        let quic = Unrecorded { quic: true, ..unrecorded(Role::Client, near, far, Some("a.org")) };
        record.connections = vec![quic.clone(), quic];
        record.unrecorded = 2;
        let expected = "chromium[7]: spoke QUIC to a.org:8445 on 2 connections; not recorded";
        assert_eq!(lines(&[record.clone()], false), [expected]);
        record.connections.push(unrecorded(Role::Client, near, far, None));
        (record.unrecorded, record.missed) = (3, Some("rustls".into()));
        let tls = "chromium[7]: 1 TLS connection to 10.0.0.6:8445 not recorded: rustls";
        assert_eq!(lines(&[record], false), [tls, expected]);
    }

    #[test]
    fn the_full_list_is_printed_on_demand() {
        let records: Vec<_> = (1..10).map(|pid| missed(pid, &format!("p{pid}"), "why")).collect();
        let short = lines(&records, false);
        assert_eq!(short.len(), LINES_MAX + 1);
        assert_eq!(short.last().unwrap(), "and 4 other processes; use -v to list them");
        assert_eq!(lines(&records, true).len(), 9);
    }

    #[test]
    fn recorded_processes_are_listed_on_demand() {
        let lib = CoveredLib {
            path: "/lib/libssl.so.3".into(),
            found: "the command needs it".into(),
            functions: 20,
            called: vec!["SSL_write".into(), "SSL_read".into()],
            bytes: 7,
        };
        let unused = CoveredLib { called: Vec::new(), ..lib.clone() };
        let (pid, comm) = (4, "curl".to_owned());
        let record =
            record::Coverage { pid, comm, libs: vec![lib, unused], ..record::Coverage::default() };
        assert!(lines(std::slice::from_ref(&record), false).is_empty());
        assert_eq!(
            lines(&[record], true),
            [
                "curl[4]: /lib/libssl.so.3 (the command needs it), 20 functions probed, \
                 SSL_write and SSL_read called, 7 bytes",
                "curl[4]: /lib/libssl.so.3 (the command needs it), 20 functions probed, \
                 no function was called",
            ]
        );
    }
}
