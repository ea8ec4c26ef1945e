//! curl against nginx, recorded at either end: every body arrives with the hash of the file, and
//! tshark finds the same requests and responses.

use std::collections::BTreeMap;

use crate::listing::{Listing, lines, sha256_of};
use crate::oracle::{Heads, assert_same_heads};
use crate::server::Nginx;
use crate::support::{Live, Recorded, sha256};

const SIGINT: i32 = 2;
const SIGHUP: i32 = 1;

/// Around the sizes at which chunks and TLS records end, and beyond the size of a single call.
const SIZES: [usize; 8] = [0, 1, 8192, 8193, 16384, 16385, 1 << 20, 20 << 20];

/// Serves a file of each size; their hashes by path.
fn serve_bodies(nginx: &Nginx) -> BTreeMap<String, String> {
    let mut hashes = BTreeMap::new();
    for size in SIZES {
        let mut state = size as u64 + 1;
        let body: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        })
        .take(size)
        .collect();
        nginx.serve(&format!("body-{size}"), &body);
        hashes.insert(format!("/body-{size}"), sha256(&body));
    }
    hashes
}

/// curl with the same connection for all paths.
fn curl(nginx: &Nginx, paths: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut command: Vec<String> =
        ["curl", "--http1.1", "-sS", "--cacert", &nginx.ca()].map(str::to_owned).into();
    for path in paths {
        command.extend(["-o".to_owned(), "/dev/null".to_owned(), nginx.url(&path)]);
    }
    command
}

fn assert_bodies(listing: &Listing, hashes: &BTreeMap<String, String>, role: &str) {
    let mut seen = BTreeMap::new();
    for exchange in &listing.exchanges {
        let path = exchange["request"]["path"].as_str().unwrap().to_owned();
        assert_eq!(exchange["complete"], true, "{path}: {}", exchange["notes"]);
        assert_eq!(exchange["lost_bytes"], 0, "{path}");
        assert_eq!(exchange["role"], role, "{path}");
        assert_eq!(exchange["addr"], "exact", "{path}");
        assert_eq!(exchange["response"]["status"], 200, "{path}");
        seen.insert(path, sha256_of(&exchange["response"], "body"));
    }
    assert_eq!(seen, *hashes);
    assert_eq!(listing.exchanges.len(), hashes.len(), "each once");
    assert_eq!(listing.summary["lost_bytes"], 0);
}

fn assert_both_formats(
    live: &Live,
    recorded: &Recorded,
    hashes: &BTreeMap<String, String>,
    role: &str,
) {
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_bodies(&listing, hashes, role);
}

#[test]
fn bodies_of_every_size_are_recorded_whole_at_the_client() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let hashes = serve_bodies(&nginx);
    let recorded = live.record(&[], &curl(&nginx, hashes.keys().cloned())).succeeded();
    assert_both_formats(&live, &recorded, &hashes, "client");
}

#[test]
fn bodies_of_every_size_are_recorded_whole_at_the_server() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let hashes = serve_bodies(&nginx);
    let pids = nginx.worker_pids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let running = live.attach(&["-p", &pids]);
    let client = curl(&nginx, hashes.keys().cloned());
    live.succeed(&client[0], &client[1..]);
    let recorded = running.stop(SIGINT).succeeded();
    assert_both_formats(&live, &recorded, &hashes, "server");
}

#[test]
fn workers_that_start_after_the_recording_are_followed() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("small.html", b"small");
    let before = nginx.worker_pids();
    let running = live.attach(&["-p", &nginx.master_pid().to_string()]);
    // A reload replaces the workers.
    crate::support::signal(nginx.master_pid(), SIGHUP);
    let replaced = || {
        let now = nginx.worker_pids();
        (!now.is_empty() && !now.iter().any(|pid| before.contains(pid))).then_some(())
    };
    crate::support::within(std::time::Duration::from_secs(10), replaced).expect("new workers");
    let client = curl(&nginx, ["/small.html".to_owned()]);
    live.succeed(&client[0], &client[1..]);
    let recorded = running.stop(SIGINT).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(lines(&listing.exchanges), ["GET /small.html 200"]);
    let pid = listing.exchanges[0]["pid"].as_u64().unwrap() as u32;
    assert!(!before.contains(&pid) && pid != nginx.master_pid());
}

#[test]
fn uploads_are_recorded_whole_at_both_ends() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let body: Vec<u8> = (0..3_000_001u32).map(|i| (i % 251) as u8).collect();
    let file = live.path("upload");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let pids = nginx.worker_pids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let running = live.attach(&["-p", &pids]);
    let mut client = curl(&nginx, ["/post".to_owned()]);
    client.extend(["--data-binary".to_owned(), data]);
    let at_client = live.record(&[], &client).succeeded();
    let at_server = running.stop(SIGINT).succeeded();
    for recorded in [at_client, at_server] {
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
        assert_eq!(lines(&listing.exchanges), ["POST /post 201"]);
        assert_eq!(sha256_of(&listing.exchanges[0]["request"], "body"), sha256(&body));
    }
}

/// A request of curl and its result: options, path, and lines of the listing.
fn asked(file: &str) -> Vec<(Vec<&str>, &'static str, Vec<&'static str>)> {
    let expect = ["-H", "Expect: 100-continue", "--expect100-timeout", "30"];
    let upload = [&["-T", file][..], &expect].concat();
    vec![
        (vec![], "/small.html?q=a%20b&empty=", vec!["GET /small.html?q=a%20b&empty= 200"]),
        (vec!["-I"], "/small.html", vec!["HEAD /small.html 200"]),
        (vec!["-r", "0-1"], "/small.html", vec!["GET /small.html 206"]),
        (vec!["-H", "If-None-Match: *"], "/small.html", vec!["GET /small.html 304"]),
        (vec!["-L"], "/moved", vec!["GET /moved 301", "GET /small.html 200"]),
        (vec!["-d", "a=1"], "/post?b=2", vec!["POST /post?b=2 201"]),
        (upload.clone(), "/files/a", vec!["PUT /files/a 201"]),
        (upload, "/files/a", vec!["PUT /files/a 204"]),
        (vec!["-X", "DELETE"], "/files/a", vec!["DELETE /files/a 204"]),
        (vec!["-X", "OPTIONS"], "/small.html", vec!["OPTIONS /small.html 405"]),
        (vec![], "/missing", vec!["GET /missing 404"]),
    ]
}

fn tshark_agrees(version: &str, proto: &str) {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start_http2(&live);
    nginx.serve("small.html", b"small");
    let file = live.path("upload");
    std::fs::write(&file, [b'u'; 20_000]).unwrap();
    let asked = asked(file.to_str().unwrap());
    let ca = nginx.ca();
    let mut client = Vec::new();
    for (options, path, _) in &asked {
        client.push(if client.is_empty() { "curl" } else { "--next" }.to_owned());
        client.extend([version, "-sS", "--cacert", &ca, "-o", "/dev/null"].map(str::to_owned));
        client.extend(options.iter().map(|option| (*option).to_owned()));
        client.push(nginx.url(path));
    }
    let pids = nginx.worker_pids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let running = live.attach(&["-p", &pids]);
    let at_client = live.record(&[], &client).succeeded();
    let at_server = running.stop(SIGINT).succeeded();
    for (recorded, role) in [(at_client, "client"), (at_server, "server")] {
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
        let expected: Vec<&str> = asked.iter().flat_map(|(_, _, lines)| lines.clone()).collect();
        assert_eq!(lines(&listing.exchanges), expected, "{role}");
        for exchange in &listing.exchanges {
            assert_eq!((&exchange["role"], &exchange["proto"]), (&role.into(), &proto.into()));
            // All are not complete: nginx resets a stream when it has answered without reading the
            // body (RFC 9113, section 8.1).
            assert_eq!(exchange["lost_bytes"], 0, "{role}: {exchange}");
        }
        assert_same_heads(&live, &recorded.pcapng, &listing);
        // nginx sends 100 (Continue) over HTTP/1 only.
        let responses = Heads::listed(&listing).responses;
        let interim = responses.iter().filter(|line| *line == "100").count();
        assert_eq!(interim, if proto == "h2" { 0 } else { 2 }, "{role}: {responses:?}");
    }
}

#[test]
fn tshark_finds_what_curl_asks_by_http1() {
    tshark_agrees("--http1.1", "http/1.1");
}

#[test]
fn tshark_finds_what_curl_asks_by_http2() {
    tshark_agrees("--http2", "h2");
}
