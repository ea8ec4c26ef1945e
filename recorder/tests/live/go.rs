//! Go programs, as their builders ship them: stripped, linked for a fixed address and for any, by
//! the oldest and the newest installed Go. The truth is the output of `testdata/peers/go`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::go_peer::Build;
use crate::listing::{Listing, sha256_of};
use crate::openssl_api::command_matches_the_truth;
use crate::support::{Live, Recorded, Started, read_lossy, within};

/// Many connections at once on four threads, buffers on small stacks that grow and shrink in
/// mid-call, garbage collection all the time.
fn both_ends_of_many_connections_are_right(build: Build, connections: &str) {
    let Some(peer) = build.peer() else { return };
    let command = [peer, "exchange".into(), connections.into(), "20".into()];
    command_matches_the_truth(&["--ring-size", "256M"], &command);
}

#[test]
fn both_ends_of_60_connections_are_right() {
    both_ends_of_many_connections_are_right(Build::Debian, "60");
}

#[test]
fn both_ends_of_60_connections_of_the_newest_go_are_right() {
    both_ends_of_many_connections_are_right(Build::NewestAnyAddress, "60");
}

/// Found by its symbols too, which must not lead to return probes: they kill a Go program.
#[test]
fn a_program_with_symbols_is_right() {
    both_ends_of_many_connections_are_right(Build::DebianWithSymbols, "10");
}

#[test]
fn a_program_that_is_linked_with_c_is_right() {
    both_ends_of_many_connections_are_right(Build::DebianWithC, "10");
}

#[test]
fn each_connection_has_its_server_name() {
    let Some(live) = Live::start() else { return };
    for build in [Build::Debian, Build::Newest] {
        let Some(peer) = build.peer() else { return };
        let recorded = live.record(&[], &[&peer, "exchange", "5", "1"]).succeeded();
        let truth = said(&recorded.output.stdout);
        let listing = live.list(&recorded.raw, &["--both-ends"]);
        let mut names: Vec<_> = listing
            .streams
            .iter()
            .map(|s| format!("{} {}", text(&s["role"]), text(&s["sni"])))
            .collect();
        let mut expected: Vec<_> = truth.iter().map(|line| text(&line["end"])).collect();
        names.sort();
        expected.sort();
        assert_eq!(names, expected);
        assert_eq!(expected.len(), 10);
    }
}

/// The layout of its own types that each version of Go prints, which are the rows of the table.
#[test]
fn fields_of_a_conn_are_where_the_recorder_reads_them() {
    for (build, version, places) in [
        (Build::Debian, "go1.19", [192, 328, 64, 90]),
        (Build::Newest, "go1.27", [232, 376, 72, 100]),
    ] {
        let Some(peer) = build.peer() else { return };
        let output = Command::new(peer).arg("layout").output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(text(&said["go"]).starts_with(version), "{said}");
        assert_eq!((&said["conn"], &said["isClient"]), (&0.into(), &16.into()), "{said}");
        let fields = ["serverName", "clientProtocol", "vers", "cipherSuite"];
        assert_eq!(fields.map(|field| said[field].as_u64().unwrap()), places, "{said}");
    }
}

/// The lines of JSON that a program printed.
pub(crate) fn said(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A server that runs, and where.
struct Server {
    started: Started,
    address: String,
}

impl Server {
    fn start(live: &Live, peer: &str) -> Self {
        let started = live.spawn(Command::new(peer).arg("serve"));
        let address = within(Duration::from_secs(30), || {
            read_lossy(&started.stdout).split_once('\n').map(|(line, _)| line.to_owned())
        });
        Self { started, address: address.unwrap() }
    }

    fn said(&self) -> Vec<Value> {
        said(&read_lossy(&self.started.stdout))
    }

    /// The command of clients: so many connections at once, so many requests on each.
    fn clients(&self, peer: &str, proto: &str, connections: u32, requests: u32) -> Vec<String> {
        let numbers = [connections.to_string(), requests.to_string()];
        let words = [peer.into(), "fetch".into(), self.address.clone(), proto.into()];
        words.into_iter().chain(numbers).collect()
    }
}

/// Addresses and bodies of each request, by its path.
type Requests = BTreeMap<String, [String; 4]>;

fn truth(said: &[Value]) -> Requests {
    let fields = ["client", "server", "request_sha256", "response_sha256"];
    let request = |line: &Value| (text(&line["path"]), fields.map(|field| text(&line[field])));
    said.iter().map(request).collect()
}

fn listed(listing: &Listing) -> Requests {
    let request = |e: &Value| {
        let bodies = [&e["request"], &e["response"]].map(|half| sha256_of(half, "body"));
        let [request, response] = bodies;
        let path = text(&e["request"]["path"]);
        (path, [text(&e["client"]), text(&e["server"]), request, response])
    };
    listing.exchanges.iter().map(request).collect()
}

/// Compares the recording with the ends' output. The recording may contain a single process.
fn assert_requests(live: &Live, recorded: &Recorded, said: &[Value], role: &str, proto: &str) {
    let options: &[&str] =
        if role == "both" { &["--bodies", "--both-ends"] } else { &["--bodies"] };
    let listing = live.list(&recorded.raw, options);
    assert_eq!(listing.summary["lost_bytes"], 0, "{}", listing.summary);
    assert_eq!(listing.summary["dropped_events"], 0, "{}", listing.summary);
    assert!(listed(&listing) == truth(said), "requests differ: {:#?}", listing.summary);
    let processes = if role == "both" { 2 } else { 1 };
    assert_eq!(listing.summary["processes"], processes);
    for exchange in &listing.exchanges {
        assert_eq!(exchange["addr"], "exact");
        assert_eq!(exchange["proto"], proto);
        assert_eq!(exchange["complete"], true, "{}", exchange["notes"]);
        assert_eq!(exchange["sni"], "localhost");
        if role != "both" {
            assert_eq!(exchange["role"], role);
        }
    }
    assert_eq!(listing.streams.len(), 0, "every connection is HTTP");
}

/// A server by `-p`, asked by clients that are not recorded.
fn a_running_server(build: Build, proto: &str) {
    let Some(live) = Live::start() else { return };
    let Some(peer) = build.peer() else { return };
    let server = Server::start(&live, &peer);
    let running = live.attach(&["--ring-size", "256M", "-p", &server.started.pid().to_string()]);
    let clients = server.clients(&peer, proto, 60, 20);
    let clients = live.run(Command::new(&clients[0]).args(&clients[1..]));
    assert!(clients.status.success(), "{}", clients.stderr);
    let recorded = running.stop(2).succeeded();
    let said = server.said();
    assert_eq!(said.len(), 1200);
    let listed = if proto == "h2" { "h2" } else { "http/1.1" };
    assert_requests(&live, &recorded, &said, "server", listed);
}

#[test]
fn a_running_server_is_recorded() {
    a_running_server(Build::Debian, "http/1.1");
}

#[test]
fn a_running_server_of_http2_is_recorded() {
    a_running_server(Build::NewestAnyAddress, "h2");
}

/// A client in child mode, of a server that is not recorded.
fn a_client(build: Build, proto: &str) {
    let Some(live) = Live::start() else { return };
    let Some(peer) = build.peer() else { return };
    let server = Server::start(&live, &peer);
    let clients = server.clients(&peer, proto, 60, 20);
    let recorded = live.record(&["--ring-size", "256M"], &clients).succeeded();
    let said = said(&recorded.output.stdout);
    assert_eq!(said.len(), 1200);
    assert_requests(&live, &recorded, &said, "client", proto);
}

#[test]
fn a_client_is_recorded() {
    a_client(Build::Newest, "http/1.1");
}

#[test]
fn a_client_of_http2_is_recorded() {
    a_client(Build::Debian, "h2");
}

/// Whoever runs a copy that nobody else has: both ends, two processes.
#[test]
fn all_processes_of_a_program_are_recorded() {
    let Some(live) = Live::start() else { return };
    let Some(peer) = Build::Newest.peer() else { return };
    let private = live.path("private").into_os_string().into_string().unwrap();
    fs::copy(&peer, &private).unwrap();
    let running = live.attach(&["--ring-size", "256M", "--lib", &format!("go:{private}")]);
    let server = Server::start(&live, &private);
    let clients = server.clients(&private, "h2", 5, 20);
    let clients = live.run(Command::new(&clients[0]).args(&clients[1..]));
    assert!(clients.status.success(), "{}", clients.stderr);
    let recorded = running.stop(2).succeeded();
    assert_requests(&live, &recorded, &server.said(), "both", "h2");
}
