//! Handshakes of `sslanalyze --json`, compared with the clients' own reports: version, cipher,
//! protocol, and failures. Both files must list the same.

use std::collections::BTreeMap;
use std::net::TcpListener;

use serde_json::Value;

use crate::go::said;
use crate::go_peer::Build;
use crate::server::Nginx;
use crate::support::{Live, Output, Recorded};

/// The only handshake of a client that was recorded.
fn the_handshake(live: &Live, recorded: &Recorded, comm: &str) -> Value {
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    let [handshake] = &listing.handshakes[..] else { panic!("{:#?}", listing.handshakes) };
    assert_eq!(listing.summary["handshakes"], 1);
    assert_eq!(handshake["comm"], comm);
    assert_eq!(handshake["role"], "client");
    assert_eq!(handshake["addr"], "exact");
    handshake.clone()
}

fn latency_ms(handshake: &Value) -> f64 {
    handshake["latency_ms"].as_f64().unwrap_or_else(|| panic!("no latency: {handshake}"))
}

/// The rest of the line that begins like this.
fn after<'o>(output: &'o str, beginning: &str) -> &'o str {
    let rest =
        output.lines().find_map(|line| line.trim_start_matches("* ").strip_prefix(beginning));
    rest.unwrap_or_else(|| panic!("no {beginning:?} in {output}")).trim()
}

#[test]
fn curl_settles_on_what_it_says() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start_http2(&live);
    nginx.serve("page", b"x");
    for (options, alpn) in [(&["--tls-max", "1.2", "--http1.1"][..], "http/1.1"), (&[], "h2")] {
        let (ca, url) = (nginx.ca(), nginx.url("/page"));
        let timing = ["-sv", "-w", "%{time_connect} %{time_appconnect}", "-o", "/dev/null"];
        let command = [&["curl", "--cacert", &ca, &url], &timing[..], options].concat();
        let recorded = live.record(&[], &command).succeeded();
        let handshake = the_handshake(&live, &recorded, "curl");
        let Output { stdout, stderr, .. } = &recorded.output;
        let (version, cipher) = after(stderr, "SSL connection using ").split_once(" / ").unwrap();
        assert_eq!(
            (&handshake["version"], &handshake["cipher"]),
            (&version.into(), &cipher.into())
        );
        assert_eq!(after(stderr, "ALPN: server accepted "), alpn);
        assert_eq!((&handshake["alpn"], &handshake["sni"]), (&alpn.into(), &"localhost".into()));
        assert_eq!((&handshake["ok"], &handshake["result"]), (&true.into(), &1.into()));
        assert_eq!(handshake["server"], format!("127.0.0.1:{}", nginx.port()));
        // curl counts from before the first call to after the last.
        let (connected, shaken) = stdout.split_once(' ').unwrap();
        let seconds = |text: &str| text.parse::<f64>().unwrap();
        let most_ms = 1000.0 * (seconds(shaken) - seconds(connected));
        let latency_ms = latency_ms(&handshake);
        assert!(0.0 < latency_ms && latency_ms <= most_ms, "{latency_ms} of {most_ms} ms");
    }
}

#[test]
fn a_client_of_openssl_that_does_not_trust_the_server_fails() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let fetch = format!("import urllib.request\nurllib.request.urlopen('{}')", nginx.url("/page"));
    let recorded = live.record(&[], &["python3", "-c", &fetch]);
    assert_eq!(recorded.output.code(), 1, "{}", recorded.output.stderr);
    assert!(recorded.output.stderr.contains("certificate verify failed"));
    let handshake = the_handshake(&live, &recorded, "python3");
    assert_eq!((&handshake["ok"], &handshake["result"]), (&false.into(), &(-1).into()));
    assert_eq!(handshake["sni"], "localhost");
    assert!(latency_ms(&handshake) > 0.0);
}

/// It still reads: the server might have sent a close alert. No socket is used for that, so the
/// read did not end the handshake; but that is known only where all use of sockets is seen.
#[test]
fn a_client_that_reads_after_its_handshake_failed() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let url = nginx.url("/page");
    let command = ["curl", "-sS", &url];
    let recorded = live.record(&[], &command);
    assert_eq!(recorded.output.code(), 60, "{}", recorded.output.stderr);
    let handshake = the_handshake(&live, &recorded, "curl");
    assert_eq!((&handshake["ok"], &handshake["result"]), (&false.into(), &(-1).into()));
    assert_eq!(handshake["sni"], "localhost");
    assert!(latency_ms(&handshake) > 0.0);
    for without in ["sock-length,fentry,kprobe", "sock-length,fentry,kprobe,rcv-space"] {
        let recorded = live.record(&["--without", without], &command);
        assert_eq!(recorded.output.code(), 60, "{}", recorded.output.stderr);
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
        assert_eq!(listing.handshakes, [Value::Null; 0], "{without}");
    }
}

/// It gives up, and reads once more; the server has sent nothing until then.
#[test]
fn a_client_whose_server_is_silent_fails() {
    let Some(live) = Live::start() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let recorded = live.record(&[], &["curl", "-sS", "--max-time", "2", &url]);
    assert_eq!(recorded.output.code(), 28, "{}", recorded.output.stderr);
    let handshake = the_handshake(&live, &recorded, "curl");
    assert_eq!((&handshake["ok"], &handshake["result"]), (&false.into(), &(-1).into()));
}

/// The handshake call returns "try again", and reads do the rest; no data ever comes. The program
/// itself forwards the bytes of the socket, so that the server cannot answer within that call.
const SHAKES_BY_READING: &str = "
import select, socket, ssl, sys

transport, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=ca)
server = socket.create_connection(('127.0.0.1', port), timeout=10)

def received_from(end):
    return end.recv(65536) or sys.exit('closed')

if transport == 'memory':
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, to_send, server_hostname='localhost')
    def pass_on():
        server.sendall(to_send.read())
        received.write(received_from(server))
else:
    listener = socket.create_server(('127.0.0.1', 0))
    connection = socket.create_connection(listener.getsockname())
    connection.setblocking(False)
    other_end = {server: listener.accept()[0]}
    other_end[other_end[server]] = server
    tls = context.wrap_socket(connection, server_hostname='localhost',
                              do_handshake_on_connect=False)
    def pass_on():
        for end in select.select(other_end, [], [], 10)[0] or sys.exit('silence'):
            other_end[end].sendall(received_from(end))

def tries(call, *arguments):
    try:
        call(*arguments)
    except ssl.SSLWantReadError:
        return
    sys.exit('no wish to read')

tries(tls.do_handshake)
while tls.version() is None:
    pass_on()
    tries(tls.read, 1)
";

#[test]
fn a_handshake_that_reads_ended_has_not_failed() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let (port, ca) = (nginx.port().to_string(), nginx.ca());
    for transport in ["socket", "memory"] {
        let command = ["python3", "-c", SHAKES_BY_READING, transport, &port, &ca];
        let recorded = live.record(&[], &command).succeeded();
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
        assert_eq!(listing.handshakes, [Value::Null; 0], "{transport}");
    }
}

#[test]
fn gnutls_settles_on_what_it_says() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("page", b"x");
    let (ca, port) = (nginx.ca(), nginx.port());
    let command = format!(
        "printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | \
         gnutls-cli --verbose --alpn http/1.1 --x509cafile {ca} -p {port} localhost"
    );
    let recorded = live.record(&[], &["sh", "-c", &command]).succeeded();
    let handshake = the_handshake(&live, &recorded, "gnutls-cli");
    let stdout = &recorded.output.stdout;
    let version = after(stdout, "- Version: ").replace("TLS", "TLSv");
    assert_eq!(handshake["version"], version, "{handshake}");
    let alpn = after(stdout, "- Application protocol: ");
    assert_eq!((&handshake["alpn"], &handshake["sni"]), (&alpn.into(), &"localhost".into()));
    assert_eq!((&handshake["ok"], &handshake["result"]), (&true.into(), &0.into()));
    // It puts the cipher together itself.
    assert_eq!(handshake["cipher"], Value::Null);
    assert!(latency_ms(&handshake) > 0.0);
}

/// It verifies within the handshake, which then fails with `GNUTLS_E_CERTIFICATE_ERROR`.
#[test]
fn gnutls_that_does_not_trust_the_server_fails() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let port = nginx.port().to_string();
    let recorded = live.record(&[], &["gnutls-cli", "-p", &port, "localhost"]);
    assert_eq!(recorded.output.code(), 1, "{}", recorded.output.stderr);
    let handshake = the_handshake(&live, &recorded, "gnutls-cli");
    assert_eq!((&handshake["ok"], &handshake["result"]), (&false.into(), &(-43).into()));
    assert!(latency_ms(&handshake) > 0.0);
}

/// Client and server are the same program.
#[test]
fn go_settles_on_what_it_says() {
    let Some(live) = Live::start() else { return };
    for build in [Build::Debian, Build::Newest] {
        let Some(peer) = build.peer() else { return };
        let recorded = live.record(&[], &[peer.as_str(), "handshakes"]).succeeded();
        let truth = said(&recorded.output.stdout);
        assert_eq!(truth.len(), 6, "{truth:#?}");
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
        let is_client = |object: &&Value| object["role"] == "client";
        let clients: Vec<_> = listing.handshakes.iter().filter(is_client).collect();
        check_go(&truth.iter().filter(is_client).collect::<Vec<_>>(), &clients);
        // The ends of a failed handshake become known as they end, and are not marked as a pair.
        let is_server = |object: &&Value| object["role"] == "server" && object["ok"] == true;
        assert_eq!(listing.handshakes.iter().filter(is_server).count(), 0);
        let listing = live.list(&recorded.raw, &["--both-ends"]);
        assert_eq!(listing.handshakes.iter().filter(is_server).count(), 2);
    }
}

fn check_go(truth: &[&Value], handshakes: &[&Value]) {
    let listed: BTreeMap<&str, &Value> =
        handshakes.iter().map(|h| (h["client"].as_str().unwrap_or_default(), *h)).collect();
    assert_eq!(handshakes.len(), truth.len(), "{handshakes:#?}");
    for end in truth {
        let handshake = listed[end["local"].as_str().unwrap()];
        assert_eq!(handshake["ok"], !end["failed"].as_bool().unwrap(), "{handshake}");
        assert_eq!(handshake["sni"], end["sni"]);
        let latency_ms = latency_ms(handshake);
        let most_ms = end["took_ms"].as_f64().unwrap();
        assert!(0.0 < latency_ms && latency_ms <= most_ms, "{latency_ms} of {most_ms} ms");
        if end["failed"] == true {
            continue;
        }
        let version = format!("TLSv1.{}", end["version"].as_u64().unwrap() - 0x301);
        assert_eq!(handshake["version"], version, "{handshake}");
        assert_eq!(handshake["cipher"], end["cipher"]);
        let alpn = end["alpn"].as_str().filter(|alpn| !alpn.is_empty());
        assert_eq!(handshake["alpn"].as_str(), alpn);
    }
}
