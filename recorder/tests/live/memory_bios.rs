//! Programs that feed TLS through memory and do the socket I/O themselves: the address of each
//! connection is inferred from the socket calls around its TLS calls. It may be unknown, but not
//! wrong.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::listing::Listing;
use crate::server::certificate;
use crate::support::{Live, Started, read_lossy, within};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers/memory_bios");
const CONNECTIONS: usize = 60;
const REQUESTS: usize = 20;
const SIGINT: i32 = 2;

/// A language with a client and a server.
struct Runtime {
    program: &'static str,
    extension: &'static str,
}

const NODE: Runtime = Runtime { program: "node", extension: "js" };
const ASYNCIO: Runtime = Runtime { program: "/usr/bin/python3", extension: "py" };

impl Runtime {
    fn server(&self, live: &Live) -> String {
        certificate(live, live.dir());
        let dir = live.dir().display();
        let Self { program, extension } = self;
        format!("{program} {PEERS}/server.{extension} {dir}/cert.pem {dir}/key.pem {dir}/port")
    }

    fn client(&self, live: &Live, requests: usize) -> String {
        let dir = live.dir().display();
        let Self { program, extension } = self;
        format!(
            "{program} {PEERS}/client.{extension} $(cat {dir}/port) {dir}/cert.pem \
             {CONNECTIONS} {requests}"
        )
    }
}

/// Client and server address by path, from the server's output.
fn logged(stdout: &str) -> BTreeMap<String, (String, String)> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        (text("path"), (text("client"), text("server")))
    };
    stdout.lines().map(line).collect()
}

/// How many exchanges have their address. None may have another.
fn right_ones(listing: &Listing, logged: &BTreeMap<String, (String, String)>) -> usize {
    let mut right = 0;
    for exchange in &listing.exchanges {
        let text = |field: &str| exchange[field].as_str().map(str::to_owned);
        // The first request of a recording that began in its midst may lack its head.
        let Some(path) = exchange["request"]["path"].as_str() else { continue };
        match (text("client"), text("server"), exchange["addr"].as_str()) {
            (Some(client), Some(server), Some("inferred")) => {
                assert_eq!((client, server), logged[path], "{path}");
                right += 1;
            }
            (None, None, Some("unknown")) => {}
            other => panic!("{path}: {other:?}"),
        }
    }
    right
}

fn both_ends(runtime: &Runtime) {
    let Some(live) = Live::start() else { return };
    let script = format!(
        "{} & server=$!; while [ ! -s {}/port ]; do sleep 0.05; done; \
         {}; code=$?; kill $server; exit $code",
        runtime.server(&live),
        live.dir().display(),
        runtime.client(&live, REQUESTS)
    );
    let recorded = live.record(&[], &["sh", "-c", &script]).succeeded();
    let logged = logged(&recorded.output.stdout);
    assert_eq!(logged.len(), CONNECTIONS * REQUESTS);
    let listing = live.list(&recorded.raw, &["--both-ends"]);
    assert_eq!(listing.exchanges.len(), 2 * CONNECTIONS * REQUESTS);
    let right = right_ones(&listing, &logged);
    assert!(right * 10 >= listing.exchanges.len() * 9, "{right} of {}", listing.exchanges.len());
    // Each connection once, unless the address of an end was known too late to detect that the
    // other end was recorded; and in the pcapng by the same address.
    let once = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    let all = CONNECTIONS * REQUESTS;
    assert!((all..all + all / 10).contains(&once.exchanges.len()), "{}", once.exchanges.len());
    right_ones(&once, &logged);
}

#[test]
fn node_client_and_server() {
    both_ends(&NODE);
}

#[test]
fn asyncio_client_and_server() {
    both_ends(&ASYNCIO);
}

/// No handshake is seen of these.
fn joined(runtime: &Runtime) {
    let Some(live) = Live::start() else { return };
    let shell = |script: String| live.spawn(Command::new("sh").args(["-c", &script]));
    let server: Started = shell(format!("exec {}", runtime.server(&live)));
    let port = live.path("port");
    within(Duration::from_secs(20), || std::fs::metadata(&port).ok().filter(|m| m.len() > 0))
        .expect("the server listens");
    let client = shell(format!("exec {}", runtime.client(&live, 10 * REQUESTS)));
    let under_way = || (logged_lines(&server) > 5 * CONNECTIONS).then_some(());
    within(Duration::from_secs(20), under_way).expect("requests are under way");
    let running = live.attach(&["-p", &format!("{},{}", server.pid(), client.pid())]);
    assert_eq!(client.wait().code(), 0);
    let recorded = running.stop(SIGINT).succeeded();
    let listing = live.list(&recorded.raw, &["--both-ends"]);
    let all = std::fs::read_to_string(&server.stdout).unwrap();
    let right = right_ones(&listing, &logged(&all));
    assert!(right * 2 >= listing.exchanges.len(), "{right} of {}", listing.exchanges.len());
}

fn logged_lines(server: &Started) -> usize {
    read_lossy(&server.stdout).lines().count()
}

#[test]
fn running_node_programs() {
    joined(&NODE);
}

#[test]
fn running_asyncio_programs() {
    joined(&ASYNCIO);
}
