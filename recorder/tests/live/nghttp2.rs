//! The tools of nghttp2, which wrote HTTP/2 down: nghttp, nghttpd, and h2load with a hundred
//! streams at once. tshark finds the same exchanges in the same files.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::listing::{Listing, lines, sha256_of};
use crate::oracle::assert_same_heads;
use crate::server::certificate;
use crate::support::{Live, Recorded, Started, sha256, within};

const SIGINT: i32 = 2;

/// A file larger than a frame, than a TLS record and than the windows of a connection.
const LARGE: usize = 300_000;

/// nghttpd with a certificate and files of its own. Dropped, it is ended.
struct Server {
    port: u16,
    process: Started,
}

impl Server {
    fn start(live: &Live) -> Self {
        let folder = live.path("nghttpd");
        fs::create_dir(&folder).unwrap();
        certificate(live, &folder);
        fs::write(folder.join("small.html"), "small").unwrap();
        fs::write(folder.join("large.bin"), large()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("nghttpd");
        command.arg("--address=127.0.0.1").arg("--trailer=checked: yes").arg("--echo-upload");
        command.arg("-d").arg(&folder).arg(port.to_string());
        let process = live.spawn(command.arg(folder.join("key.pem")).arg(folder.join("cert.pem")));
        let answers = || TcpStream::connect(("127.0.0.1", port)).ok();
        assert!(within(Duration::from_secs(10), answers).is_some(), "nghttpd does not answer");
        Self { port, process }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| (at % 251) as u8).collect()
}

/// Returns the listing, which must be complete and equal to tshark's.
fn checked(live: &Live, recorded: &Recorded, options: &[&str]) -> Listing {
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, options);
    for exchange in &listing.exchanges {
        assert_eq!(exchange["proto"], "h2", "{exchange}");
        assert_eq!(exchange["complete"], true, "{exchange}");
        assert_eq!(exchange["notes"].as_array().map(Vec::len), Some(0), "{exchange}");
    }
    assert_same_heads(live, &recorded.pcapng, &listing);
    listing
}

#[test]
fn what_nghttp_asks_for_is_listed() {
    let Some(live) = Live::start() else { return };
    let server = Server::start(&live);
    let urls = ["/small.html", "/large.bin", "/missing?x=1"].map(|path| server.url(path));
    let mut command = vec!["nghttp", "-n"];
    command.extend(urls.iter().map(String::as_str));
    let recorded = live.record(&[], &command).succeeded();
    let listing = checked(&live, &recorded, &["--bodies"]);
    let mut found = lines(&listing.exchanges);
    found.sort();
    assert_eq!(found, ["GET /large.bin 200", "GET /missing?x=1 404", "GET /small.html 200"]);
    for exchange in &listing.exchanges {
        assert_eq!((&exchange["role"], &exchange["alpn"]), (&"client".into(), &"h2".into()));
        if exchange["request"]["path"] == "/large.bin" {
            assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&large()));
            assert_eq!(exchange["response"]["trailers"][0][0], "checked");
        }
    }
}

#[test]
fn uploads_of_nghttp_are_listed_at_both_ends() {
    let Some(live) = Live::start() else { return };
    let server = Server::start(&live);
    let file = live.path("upload");
    fs::write(&file, large()).unwrap();
    let running = live.attach(&["-p", &server.process.pid().to_string()]);
    let url = server.url("/echo");
    let command = ["nghttp", "-n", "-d", file.to_str().unwrap(), &url];
    let at_client = live.record(&[], &command).succeeded();
    let at_server = running.stop(SIGINT).succeeded();
    for recorded in [at_client, at_server] {
        let listing = checked(&live, &recorded, &["--bodies"]);
        assert_eq!(lines(&listing.exchanges), ["POST /echo 200"]);
        for side in ["request", "response"] {
            assert_eq!(sha256_of(&listing.exchanges[0][side], "body"), sha256(&large()), "{side}");
        }
    }
}

/// Two connections with a hundred streams open on each.
#[test]
fn a_hundred_streams_at_once_are_told_apart() {
    let Some(live) = Live::start() else { return };
    let server = Server::start(&live);
    let urls = ["/small.html", "/large.bin", "/missing"].map(|path| server.url(path));
    let load = ["h2load", "-n", "600", "-c", "2", "-m", "100"];
    let running = live.attach(&["-p", &server.process.pid().to_string()]);
    let command: Vec<&str> = load.into_iter().chain(urls.iter().map(String::as_str)).collect();
    let at_client = live.record(&[], &command).succeeded();
    let at_server = running.stop(SIGINT).succeeded();
    for (recorded, role) in [(at_client, "client"), (at_server, "server")] {
        assert_eq!(live.list(&recorded.pcapng, &[]).summary["lost_bytes"], 0, "{role}");
        let listing = checked(&live, &recorded, &[]);
        assert_eq!(listing.exchanges.len(), 600, "{role}");
        for (path, status, bytes) in [
            ("/small.html", 200, Some(5)),
            ("/large.bin", 200, Some(LARGE)),
            ("/missing", 404, None),
        ] {
            let of = |e: &&serde_json::Value| e["request"]["path"] == path;
            let found: Vec<_> = listing.exchanges.iter().filter(of).collect();
            assert_eq!(found.len(), 200, "{role} {path}");
            for exchange in found {
                assert_eq!(exchange["response"]["status"], status);
                assert_eq!(exchange["role"], role);
                if let Some(bytes) = bytes {
                    assert_eq!(exchange["response"]["body_bytes"], bytes, "{exchange}");
                }
            }
        }
    }
}
