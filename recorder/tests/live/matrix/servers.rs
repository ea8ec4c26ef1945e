//! Servers of HTTP. The client is curl, which reports its own address and the response.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use super::Private::{Libraries, Own, Program};
use super::{
    Private, Way, check_get, check_identity, fill, list_one_connection, page, record_server,
};
use crate::go_peer::Build;
use crate::listing::sha256_of;
use crate::server::{Configured, certificate, free_port};
use crate::support::{Live, sha256};

/// A row.
struct Server<'a> {
    /// Its name as the kernel has it.
    comm: &'a str,
    private: Private<'a>,
    /// How the beginning of the recorded file's name reads.
    lib: &'a str,
    addr: &'a str,
    proto: &'a str,
    /// The path of the request.
    path: &'a str,
}

/// `prepare` returns the command of the shell that becomes the server, and its port. A port is used
/// once: some servers cannot listen on a port on which connections are still ending.
fn check_server(live: &Live, server: &Server<'_>, prepare: impl Fn() -> (String, u16)) {
    for way in [Way::Child, Way::Pid, Way::SystemWide] {
        let started = prepare();
        let port = started.1;
        let out = live.path("answer");
        let ask = || ask(live, server, port, &out);
        let (recorded, client) = record_server(live, way, server.private, &started, ask);
        let listing = list_one_connection(live, &recorded);
        let comm = server.comm;
        let [exchange] = &listing.exchanges[..] else { panic!("{comm}: {:?}", listing.streams) };
        check_identity(exchange, "server", [comm, server.lib, server.addr], way);
        check_get(exchange, server.proto, comm);
        assert_eq!(exchange["client"], client, "{comm} {way:?}");
        assert_eq!(exchange["server"], format!("127.0.0.1:{port}"), "{comm} {way:?}");
        assert_eq!(exchange["request"]["path"], server.path, "{comm}");
        let received = fs::read(&out).unwrap();
        assert!(!received.is_empty(), "{comm}");
        assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&received), "{comm} {way:?}");
    }
}

/// The client's address. Whose certificate it is does not matter here.
fn ask(live: &Live, server: &Server<'_>, port: u16, out: &Path) -> String {
    let proto = if server.proto == "h2" { "--http2" } else { "--http1.1" };
    let url = format!("https://localhost:{port}{}", server.path);
    let curl = ["-4", "-sS", "-k", "--max-time", "20", proto, &url];
    let format = ["-w", "127.0.0.1:%{local_port}", "-o", out.to_str().unwrap()];
    live.succeed("curl", &[&curl[..], &format[..]].concat())
}

/// A server by a command of the shell with @PORT, @CERT, @KEY and @FOLDER, in which the page is.
fn check_command(live: &Live, server: &Server<'_>, command: &str) {
    certificate(live, live.dir());
    fs::write(live.path("page"), page()).unwrap();
    check_server(live, server, || {
        let port = free_port(Ipv4Addr::LOCALHOST.into());
        let text = |name: &str| live.path(name).to_str().unwrap().to_owned();
        let words = [
            ("@PORT", &*port.to_string()),
            ("@CERT", &text("cert.pem")),
            ("@KEY", &text("key.pem")),
            ("@FOLDER", live.dir().to_str().unwrap()),
        ];
        (fill(command, &words), port)
    });
}

#[test]
fn gnutls_serv() {
    let Some(live) = Live::start() else { return };
    let server = Server {
        comm: "gnutls-serv",
        private: Libraries(&["libgnutls.so.30"]),
        lib: "libgnutls.so",
        addr: "exact",
        proto: "http/1.1",
        path: "/page",
    };
    let command = "exec gnutls-serv --http --httpdata=@FOLDER/page -q --x509certfile @CERT \
        --x509keyfile @KEY --priority NORMAL -p @PORT";
    check_command(&live, &server, command);
}

/// With `-p`, it was there before the recording, and so was its listening descriptor: nothing
/// showed that its connections are TLS. Its databases and the page are files that NSPR reads,
/// without TLS. It sends the page by `PR_TransmitFile`.
#[test]
fn selfserv_of_nss() {
    let Some(live) = Live::start() else { return };
    let server = Server {
        comm: "selfserv",
        private: Libraries(&["libssl3.so", "libnspr4.so"]),
        lib: "libnspr4.so",
        addr: "exact",
        proto: "http/1.1",
        path: "/page",
    };
    let command = "cd @FOLDER && if [ ! -e db ]; then mkdir db && openssl pkcs12 -export -in @CERT -inkey @KEY \
        -out db/both.p12 -passout pass: -name localhost && certutil -N -d sql:db --empty-password \
        && pk12util -i db/both.p12 -d sql:db -W ''; fi && exec selfserv -d sql:db -n localhost -p @PORT";
    check_command(&live, &server, command);
}

#[test]
fn node_server() {
    let Some(live) = Live::start() else { return };
    let server = Server {
        comm: "node",
        private: Program("node", "openssl"),
        lib: "node",
        addr: "inferred",
        proto: "http/1.1",
        path: "/page",
    };
    let command = "exec node -e \"const fs = require('fs'); require('https').createServer(\
        {key: fs.readFileSync('@KEY'), cert: fs.readFileSync('@CERT')}, \
        (q, r) => r.end(fs.readFileSync('@FOLDER/page'))).listen(@PORT, '127.0.0.1')\"";
    check_command(&live, &server, command);
}

#[test]
fn nghttpd() {
    let Some(live) = Live::start() else { return };
    let server = Server {
        comm: "nghttpd",
        private: Libraries(&["libssl.so.3"]),
        lib: "libssl.so",
        addr: "exact",
        proto: "h2",
        path: "/page",
    };
    let command = "exec nghttpd -a 127.0.0.1 -d @FOLDER @PORT @KEY @CERT";
    check_command(&live, &server, command);
}

#[test]
fn go_server() {
    let Some(live) = Live::start() else { return };
    let Some(peer) = Build::Debian.peer() else { return };
    let server = Server {
        comm: "go_peer_Debian",
        private: Own(&peer, "go"),
        lib: "go_peer_Debian",
        addr: "exact",
        proto: "h2",
        path: "/70001/1",
    };
    check_command(&live, &server, &format!("exec {peer} serve 127.0.0.1:@PORT"));
}

fn check_nginx(listen: &str, proto: &str) {
    let Some(live) = Live::start() else { return };
    let server = Server {
        comm: "nginx",
        private: Libraries(&["libssl.so.3"]),
        lib: "libssl.so",
        addr: "exact",
        proto,
        path: "/page",
    };
    check_server(&live, &server, || {
        let nginx = Configured::new(&live, listen);
        fs::write(nginx.root().join("page"), page()).unwrap();
        (nginx.command(), nginx.port_v4)
    });
}

#[test]
fn nginx() {
    check_nginx("ssl", "http/1.1");
}

#[test]
fn nginx_by_http2() {
    check_nginx("ssl http2", "h2");
}
