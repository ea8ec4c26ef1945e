//! The account of TLS at sockets: connections that were not recorded are named, whatever else was
//! recorded, and no others.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sslrec_formats::io::RecordReader;
use sslrec_formats::rawlog::RawLogReader;
use sslrec_formats::record::{Coverage, Record, Role, Unrecorded};

use crate::peers::{End, tls_cases, tls_cases_stripped, truth};
use crate::support::{Live, Recorded, sslanalyze};

/// The exit status if TLS was seen and not recorded.
const MISSED: i32 = 5;

/// The accounts of the raw log, one for each process with TLS at its sockets.
fn accounts(recorded: &Recorded) -> Vec<Coverage> {
    let mut reader = RawLogReader::new(File::open(&recorded.raw).unwrap()).unwrap();
    let mut accounts = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        match record {
            Record::Coverage(coverage) if coverage.seen > 0 => accounts.push(coverage),
            _ => {}
        }
    }
    accounts
}

/// Whether the account describes this end as the program itself did.
fn describes(connection: &Unrecorded, end: &End) -> bool {
    let (role, local, remote) = match end.role.as_str() {
        "server" => (Role::Server, &end.server, &end.client),
        _ => (Role::Client, &end.client, &end.server),
    };
    let is_at = |address: &Option<String>, known: &std::net::SocketAddr| {
        address.as_deref() == Some(&known.to_string())
    };
    let is_there = is_at(local, &connection.local) && is_at(remote, &connection.remote);
    // More than the plaintext: records have heads, and a handshake comes before them.
    let bytes = connection.bytes.unwrap();
    let plaintext = end.from_client.0 + end.from_server.0;
    connection.role == role && is_there && bytes.sent + bytes.received > plaintext
}

/// The listing has a line for each, and counts them.
fn listed_as_missed(live: &Live, file: &Path, ends: &[End]) {
    let mut sslanalyze = Command::new(sslanalyze());
    let output = live.run(sslanalyze.arg("--json").arg(file));
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (missed, others): (Vec<_>, Vec<_>) = lines.partition(|line| line["type"] == "missed");
    assert_eq!(missed.len(), ends.len(), "{}", output.stdout);
    for end in ends {
        let found = missed.iter().find(|line| line["role"] == end.role.as_str()).unwrap();
        assert_eq!(found["client"].as_str(), end.client.as_deref(), "{found}");
        assert_eq!(found["server"].as_str(), end.server.as_deref(), "{found}");
        assert!(found["client_bytes"].as_u64().unwrap() > end.from_client.0, "{found}");
        assert!(found["server_bytes"].as_u64().unwrap() > end.from_server.0, "{found}");
    }
    assert_eq!(others.last().unwrap()["missed"], ends.len());
    let text = live.succeed(sslanalyze_text(), &[file]);
    assert!(text.contains("2 TLS connections not recorded"), "{text}");
}

fn sslanalyze_text() -> &'static str {
    sslanalyze().to_str().unwrap()
}

#[test]
fn connections_of_a_library_that_is_not_found_are_named() {
    let Some(live) = Live::start() else { return };
    let command = [tls_cases_stripped(), "exchange".into()];
    let recorded = live.record(&["--fail-on-missed"], &command);
    let stderr = &recorded.output.stderr;
    assert_eq!(recorded.code(), MISSED, "{stderr}");
    let accounts = accounts(&recorded);
    let [account] = &accounts[..] else { panic!("{accounts:?}") };
    assert_eq!((account.seen, account.unrecorded), (2, 2));
    let ends = truth(&recorded.output.stdout).unwrap();
    assert_eq!(ends.len(), 2);
    for end in &ends {
        let described = account.connections.iter().filter(|of| describes(of, end)).count();
        assert_eq!(described, 1, "{end:?}: {account:?}");
    }
    assert!(account.connections.iter().all(|of| of.version.as_deref() == Some("TLSv1.3")));
    for file in [&recorded.raw, &recorded.pcapng] {
        listed_as_missed(&live, file, &ends);
        live.others_read(file);
    }
    let server = ends[0].server.clone().unwrap();
    let port = server.rsplit_once(':').unwrap().1;
    let line = format!(
        "{}[{}]: 2 TLS connections at port {port}, to {server} not recorded: ",
        account.comm, account.pid
    );
    assert!(stderr.contains(&line), "{line}: {stderr}");
}

#[test]
fn a_program_that_is_recorded_hides_no_other() {
    let Some(live) = Live::start() else { return };
    let both = format!("{} exchange && {} exchange", tls_cases(), tls_cases_stripped());
    let recorded = live.record(&["--fail-on-missed"], &["sh", "-c", &both]);
    assert_eq!(recorded.code(), MISSED, "{}", recorded.output.stderr);
    let mut accounts = accounts(&recorded);
    accounts.sort_by_key(|account| account.unrecorded);
    let counts: Vec<_> = accounts.iter().map(|of| (of.seen, of.unrecorded)).collect();
    assert_eq!(counts, [(2, 0), (2, 2)], "{accounts:?}");
    let calm = live.record(&["--fail-on-missed"], &[tls_cases(), "exchange".into()]);
    assert_eq!(calm.code(), 0, "{}", calm.output.stderr);
}

/// The server's name is in the ClientHello, whoever wrote it. OpenSSL's own server bypasses the
/// functions that are probed.
#[test]
fn the_name_of_the_server_is_that_of_the_client_hello() {
    let Some(live) = Live::start() else { return };
    crate::server::certificate(&live, live.dir());
    let folder = live.dir().display();
    let script = format!(
        "openssl s_server -accept 127.0.0.1:0 -naccept 1 -www -cert {folder}/cert.pem \
         -key {folder}/key.pem > {folder}/out & \
         while ! grep -q ACCEPT {folder}/out; do sleep 0.1; done; \
         port=$(sed -n 's/ACCEPT .*://p' {folder}/out); \
         curl -sk --resolve name.example:$port:127.0.0.1 https://name.example:$port/ >&2; wait"
    );
    let recorded = live.record(&[], &["sh", "-c", &script]).succeeded();
    let accounts = accounts(&recorded);
    let server = accounts.iter().find(|account| account.comm == "openssl");
    let server = server.unwrap_or_else(|| panic!("{accounts:?}"));
    assert_eq!((server.seen, server.unrecorded), (1, 1), "{server:?}");
    assert_eq!(server.connections[0].sni.as_deref(), Some("name.example"));
    assert_eq!(server.connections[0].role, Role::Server);
    assert!(server.connections[0].alpn.iter().any(|name| name == "http/1.1"));
    let client = accounts.iter().find(|account| account.comm == "curl").unwrap();
    assert_eq!((client.seen, client.unrecorded), (1, 0), "{client:?}");
}

#[test]
fn processes_that_were_not_chosen_are_not_seen() {
    let Some(live) = Live::start() else { return };
    let stranger = live.spawn(Command::new(tls_cases_stripped()).args(["pace", "2", "300", "100"]));
    let recorded = live.record(&["--fail-on-missed"], &["sleep", "2"]);
    assert_eq!(recorded.code(), 0, "{}", recorded.output.stderr);
    assert_eq!(accounts(&recorded), []);
    stranger.end();
}

#[test]
fn where_sockets_are_not_seen_the_option_is_refused() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&["--fail-on-missed", "--without", "sock-length"], &["true"]);
    assert_eq!(recorded.code(), 1);
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("--fail-on-missed") && stderr.contains("Linux 6.3"), "{stderr}");
}
